//! What is followed, where, and how an object of it is read. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mainstay_core::intent::{Kind, NodeFacts, ObjectName, Reading, Service, Slice};
use mainstay_core::names::NodeName;
use serde::Serialize;
use serde_json::Value;

use super::Following;
use super::observed::{self, Observed};
use crate::convert;

/// Objects in a page. client-go's pager takes as many.
const PAGE: u32 = 500;
/// A Node lists the images that it has: some 30 KiB for each Node.
const PAGE_OF_NODES: u32 = 100;

/// What is followed: one watch each, however many objects there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// Services.
    Services,
    /// EndpointSlices.
    Endpoints,
    /// Nodes.
    Nodes,
    /// The ConfigMap with the pools of addresses.
    Pools,
}

impl Watched {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Services, Self::Endpoints, Self::Nodes, Self::Pools];

    /// The word, as in metrics and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Endpoints => "endpoints",
            Self::Nodes => "nodes",
            Self::Pools => "pools",
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Names one object of what is followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Service(ObjectName),
    Slice(ObjectName),
    Node(NodeName),
    Pools,
}

/// One object, converted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Service(Box<ServiceItem>),
    Slice(Reading<ObjectName, Slice>),
    Node(Reading<NodeName, NodeFacts>),
    /// `None` where the ConfigMap makes no sense.
    Pools(Option<BTreeMap<String, String>>),
    /// Another object than was asked for.
    Stranger,
}

/// A Service: what it asks, and what is written on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceItem {
    pub(super) reading: Reading<ObjectName, Service>,
    /// `None` for one on which nothing is written, nor could be.
    pub(super) observed: Option<Observed>,
}

impl Item {
    /// Its name, where it has one.
    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Service(service) => service.reading.key.clone().map(Key::Service),
            Self::Slice(reading) => reading.key.clone().map(Key::Slice),
            Self::Node(reading) => reading.key.clone().map(Key::Node),
            Self::Pools(_) => Some(Key::Pools),
            Self::Stranger => None,
        }
    }
}

/// How to follow one of them.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) watched: Watched,
    /// The collection's path.
    pub(super) path: String,
    /// What selects objects: empty, or with `&` at its end.
    selector: String,
    page: u32,
    pools: ObjectName,
    annotations: BTreeSet<String>,
}

impl Plan {
    pub(super) fn new(watched: Watched, following: &Following) -> Self {
        let (place, pools) = (following.place(), &following.pools);
        let (path, selector) = match watched {
            Watched::Services => (format!("/api/v1{place}/services"), String::new()),
            Watched::Endpoints => (format!("/apis/discovery.k8s.io/v1{place}/endpointslices"), String::new()),
            Watched::Nodes => ("/api/v1/nodes".to_owned(), String::new()),
            Watched::Pools => (
                format!("/api/v1/namespaces/{}/configmaps", pools.namespace()),
                format!("fieldSelector=metadata.name%3D{}&", pools.name()),
            ),
        };
        let page = if watched == Watched::Nodes { PAGE_OF_NODES } else { PAGE };
        let annotations = following.annotations.clone();
        Self { watched, path, selector, page, pools: pools.clone(), annotations }
    }

    /// The path of a page: without a resource version, so that it is read from a quorum.
    pub(super) fn list(&self, go_on: Option<&str>) -> String {
        let go_on = go_on.map(|token| format!("&continue={}", encoded(token))).unwrap_or_default();
        format!("{}?{}limit={}{go_on}", self.path, self.selector, self.page)
    }

    /// The path of a watch from `version` on, for so many seconds.
    pub(super) fn watch(&self, version: &str, seconds: u64) -> String {
        format!(
            "{}?{}watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
            self.path,
            self.selector,
            encoded(version)
        )
    }

    /// The kind, in the core's words.
    pub(super) fn kind(&self) -> Kind {
        match self.watched {
            Watched::Nodes => Kind::Node,
            Watched::Endpoints => Kind::EndpointSlice,
            Watched::Services | Watched::Pools => Kind::Service,
        }
    }

    /// Reads one object.
    pub(super) fn item(&self, object: &Value) -> Item {
        match self.watched {
            Watched::Services => {
                let observed = observed::read(object, &self.annotations);
                Item::Service(Box::new(ServiceItem { reading: convert::service(object), observed }))
            }
            Watched::Endpoints => Item::Slice(convert::endpoint_slice(object)),
            Watched::Nodes => Item::Node(convert::node(object)),
            Watched::Pools if object["metadata"]["name"] == self.pools.name() => {
                Item::Pools(data(&object["data"]))
            }
            Watched::Pools => Item::Stranger,
        }
    }
}

/// A ConfigMap's `data`: texts by name, or nothing at all.
fn data(data: &Value) -> Option<BTreeMap<String, String>> {
    match data {
        Value::Null => Some(BTreeMap::new()),
        Value::Object(fields) => {
            fields.iter().map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
        }
        _ => None,
    }
}

/// Text in a query (RFC 3986 section 2.3).
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let part = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(part).collect()
}
