//! The shapes of the kinds: every field with its type, and how lists are merged. One table, read by decoding, strategic
//! merge patch, server-side apply and OpenAPI.
//!
//! The table is text, `schema/*.txt`, after the types of kubernetes `staging/src/k8s.io/api` (their `patchStrategy`,
//! `patchMergeKey`, `+listType` and `+structType` marks). A line without indent begins a type, one with indent is a
//! field of it:
//!
//! ```text
//! core.v1.ServiceSpec [object] [atomic] -- what it is
//!   ports! #1 []ServicePort merge=port keys=port,protocol -- what it is
//! ```
//!
//! `object` has `apiVersion` and `kind`; `atomic` is applied whole. A field is required with `!`, and `shown` where it is
//! told even when it is empty, as required text and numbers are; the number is its one
//! in protobuf, left out where it is not known. `merge` and
//! `merge=KEY` are the patch strategy of a strategic merge patch; `keys=`, `set` and `atomic` the list type of
//! server-side apply, which follows from the patch strategy where it is not given.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::resource::Resource;

#[cfg(test)]
mod tests;

const TABLES: [&str; 5] = [
    include_str!("schema/core.txt"),
    include_str!("schema/groups.txt"),
    include_str!("schema/reviews.txt"),
    include_str!("schema/volume.txt"),
    include_str!("schema/pod.txt"),
];

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Bool,
    Int32,
    Int64,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any object: the field sets of managed fields.
    Fields,
    /// A type of the table, by its full name.
    Struct(String),
    List(Box<Kind>),
    Map(Box<Kind>),
}

/// How server-side apply merges a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListRule<'a> {
    /// Replaced whole.
    Atomic,
    /// Scalars, each owned by itself.
    Set,
    /// Objects, each known by these fields.
    Map(&'a [String]),
}

/// A field of a type.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// In protobuf; 0 where it is not known.
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) required: bool,
    /// `patchStrategy: merge`, with the merge key for objects.
    pub(super) merge: Option<String>,
    /// `patchStrategy: retainKeys`.
    pub(super) retain_keys: bool,
    /// There even when it is empty: in Go a struct by value, or a field without `omitempty`.
    pub(super) shown: bool,
    pub(super) atomic: bool,
    pub(super) set: bool,
    pub(super) keys: Vec<String>,
    pub(super) about: String,
}

/// A type.
#[derive(Clone, Debug)]
pub(super) struct Type {
    /// Such as `core.v1.ServiceSpec`.
    pub(super) name: String,
    pub(super) is_object: bool,
    pub(super) atomic: bool,
    pub(super) fields: Vec<Field>,
    pub(super) about: String,
}

impl Type {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The name without package and version.
    pub(super) fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

static TYPES: LazyLock<BTreeMap<String, Type>> = LazyLock::new(|| parse(&TABLES));

/// Every type, by its full name.
pub(super) fn types() -> &'static BTreeMap<String, Type> {
    &TYPES
}

/// The full name of a resource's type.
pub(super) fn name_of(resource: &Resource) -> String {
    let package = match resource.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{package}.{}.{}", resource.version, resource.kind)
}

/// A place in the shape of an object: where a walk through a value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) kind: &'static Kind,
    /// The field that led here; none for the root and for elements.
    pub(super) field: Option<&'static Field>,
}

static TEXT: Kind = Kind::Text;

impl Place {
    /// The root of an object of this kind. The table has every kind that is served, which a test holds to.
    pub(super) fn root(resource: &Resource) -> Option<Self> {
        Self::of(&name_of(resource))
    }

    /// The root of a type with this full name.
    pub(super) fn of(type_name: &str) -> Option<Self> {
        static ROOTS: LazyLock<BTreeMap<String, Kind>> =
            LazyLock::new(|| types().keys().map(|name| (name.clone(), Kind::Struct(name.clone()))).collect());
        ROOTS.get(type_name).map(|kind| Self { kind, field: None })
    }

    /// The type here, if it is one of the table's.
    pub(super) fn struct_type(self) -> Option<&'static Type> {
        match self.kind {
            Kind::Struct(name) => types().get(name),
            _ => None,
        }
    }

    /// The place of a member: a field of a type, or a value of a map. None where there is no such field.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        match self.kind {
            Kind::Struct(_) => {
                let of = self.struct_type()?;
                if of.is_object && matches!(name, "apiVersion" | "kind") {
                    return Some(Self { kind: &TEXT, field: None });
                }
                of.field(name).map(|field| Self { kind: &field.kind, field: Some(field) })
            }
            Kind::Map(kind) => Some(Self { kind, field: None }),
            _ => None,
        }
    }

    /// The place of an element, if this is a list.
    pub(super) fn element(self) -> Option<Self> {
        match self.kind {
            Kind::List(kind) => Some(Self { kind, field: None }),
            _ => None,
        }
    }

    /// How server-side apply merges the list here.
    pub(super) fn list_rule(self) -> ListRule<'static> {
        let Some(field) = self.field else { return ListRule::Atomic };
        match field {
            Field { atomic: true, .. } => ListRule::Atomic,
            Field { set: true, .. } => ListRule::Set,
            Field { keys, .. } if !keys.is_empty() => ListRule::Map(keys),
            Field { merge: Some(key), .. } if key.is_empty() => ListRule::Set,
            _ => ListRule::Atomic,
        }
    }

    /// Whether an object here is applied whole.
    pub(super) fn is_atomic(self) -> bool {
        self.field.is_some_and(|field| field.atomic) || self.struct_type().is_some_and(|of| of.atomic)
    }

    /// The merge key of a strategic merge patch: none to replace the list, empty for a list of scalars.
    pub(super) fn merge_key(self) -> Option<&'static str> {
        self.field.and_then(|field| field.merge.as_deref())
    }
}

fn parse(tables: &[&str]) -> BTreeMap<String, Type> {
    let lines = || tables.iter().flat_map(|table| table.lines());
    let heads = lines().filter(|line| !line.starts_with([' ', '#']) && !line.is_empty());
    let names: Vec<&str> = heads.filter_map(|line| line.split(' ').next()).collect();
    let mut types: Vec<Type> = Vec::new();
    for line in lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (words, about) = line.split_once(" -- ").unwrap_or((line, ""));
        match types.last_mut() {
            Some(last) if line.starts_with(' ') => {
                let package = last.name.split('.').next().unwrap_or_default().to_owned();
                last.fields.push(parse_field(words, about, &|short| full_name(&names, &package, short)));
            }
            _ => types.push(parse_type(words, about)),
        }
    }
    types.into_iter().map(|one| (one.name.clone(), one)).collect()
}

/// A type of the same package, of the core group, or of the metadata.
fn full_name(names: &[&str], package: &str, short: &str) -> String {
    let candidates = [package, "core", "meta"].map(|package| format!("{package}.v1.{short}"));
    let found = candidates.iter().find(|name| names.contains(&name.as_str()));
    found.cloned().unwrap_or_else(|| short.to_owned())
}

fn parse_type(words: &str, about: &str) -> Type {
    let mut words = words.split_whitespace();
    let mut parsed = Type {
        name: words.next().unwrap_or_default().to_owned(),
        is_object: false,
        atomic: false,
        fields: Vec::new(),
        about: about.to_owned(),
    };
    for word in words {
        match word {
            "object" => parsed.is_object = true,
            _ => parsed.atomic = true,
        }
    }
    parsed
}

fn parse_field(words: &str, about: &str, full: &dyn Fn(&str) -> String) -> Field {
    let mut words = words.split_whitespace().peekable();
    let name = words.next().unwrap_or_default();
    let number = words.next_if(|word| word.starts_with('#')).and_then(|word| word[1..].parse().ok());
    let kind = match words.next().unwrap_or_default() {
        "map" => Kind::Map(Box::new(parse_kind(words.next().unwrap_or_default(), full))),
        other => parse_kind(other, full),
    };
    let mut field = Field {
        name: name.trim_end_matches('!').to_owned(),
        number: number.unwrap_or(0),
        kind,
        required: name.ends_with('!'),
        merge: None,
        retain_keys: false,
        shown: false,
        atomic: false,
        set: false,
        keys: Vec::new(),
        about: about.to_owned(),
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("merge", key) => field.merge = Some(key.to_owned()),
            ("keys", keys) => field.keys = keys.split(',').map(str::to_owned).collect(),
            ("set", _) => field.set = true,
            ("shown", _) => field.shown = true,
            ("atomic", _) => field.atomic = true,
            _ => field.retain_keys = true,
        }
    }
    field.shown |=
        field.required && matches!(field.kind, Kind::Text | Kind::Bool | Kind::Int32 | Kind::Int64);
    if let (true, Some(key)) = (field.keys.is_empty(), field.merge.as_ref().filter(|key| !key.is_empty())) {
        field.keys = vec![key.clone()];
    }
    field
}

fn parse_kind(word: &str, full: &dyn Fn(&str) -> String) -> Kind {
    if let Some(element) = word.strip_prefix("[]") {
        return Kind::List(Box::new(parse_kind(element, full)));
    }
    match word {
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        "bool" => Kind::Bool,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "Time" => Kind::Time,
        "MicroTime" => Kind::MicroTime,
        "Quantity" => Kind::Quantity,
        "IntOrString" => Kind::IntOrString,
        "Fields" => Kind::Fields,
        name => Kind::Struct(full(name)),
    }
}
