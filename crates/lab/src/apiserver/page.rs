//! Lists, in pages where `limit` asks for them: kubernetes `apiserver/pkg/storage/etcd3/store.go`.

use serde_json::{Value, json};

use super::base64::{base64, from_base64};
use super::request::Call;
use super::respond::without_kind;
use super::status::ApiStatus;
use super::store::{At, Listed, Scan, Store};

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Where a list goes on: the token's content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    /// The revision that the list is of; none for whichever is the newest.
    revision: Option<u64>,
    /// The key of the last object that was sent, in the collection.
    after: String,
}

impl Token {
    fn write(&self) -> String {
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision));
        let token = json!({ "v": "meta.k8s.io/v1", "rv": revision, "start": format!("{}\0", self.after) });
        let padded = base64(token.to_string().as_bytes());
        padded.trim_end_matches('=').replace('+', "-").replace('/', "_")
    }

    fn read(text: &str) -> Result<Self, ApiStatus> {
        let refuse = |why: &str| {
            ApiStatus::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let bytes = from_base64(&text.replace('-', "+").replace('_', "/"));
        let bytes = bytes.ok_or_else(|| refuse("illegal base64 data"))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| refuse(&not_json(&bytes)))?;
        let version = token["v"].as_str().unwrap_or_default();
        if version != "meta.k8s.io/v1" {
            return Err(refuse(&format!("server does not recognize this encoded version {version:?}")));
        }
        let start = token["start"].as_str().unwrap_or_default();
        match token["rv"].as_i64() {
            None | Some(0) => Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            Some(_) if start.is_empty() => Err(refuse("encoded start key empty (version meta.k8s.io/v1)")),
            Some(revision) => {
                let after = start.trim_end_matches('\0').to_owned();
                Ok(Self { revision: u64::try_from(revision).ok(), after })
            }
        }
    }
}

/// What Go's decoder says of the first byte of what is no JSON.
fn not_json(bytes: &[u8]) -> String {
    match bytes.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(first) if first.is_ascii_graphic() => {
            format!("invalid character '{}' looking for beginning of value", char::from(*first))
        }
        Some(first) => format!("invalid character '\\u{first:04x}' looking for beginning of value"),
    }
}

/// Answers a list.
pub(super) fn list(store: &Store, call: &Call) -> Result<Value, ApiStatus> {
    let scan = call.scan()?;
    let token = call.query.text("continue");
    let limit = call.query.number("limit")?.filter(|limit| *limit > 0);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let token = if token.is_empty() { None } else { Some(Token::read(token)?) };
    if token.is_some() && !matches!(call.query.text("resourceVersion"), "" | "0") {
        return Err(ApiStatus::bad_request("specifying resource version is not allowed when using continue"));
    }
    let at = match &token {
        Some(token) => token.revision.map_or(At::Newest, At::Exactly),
        // With a limit, a version without a match is that very version.
        None => match call.at()? {
            At::NotOlderThan(version)
                if version > 0 && limit.is_some() && call.query.text("resourceVersionMatch").is_empty() =>
            {
                At::Exactly(version)
            }
            at => at,
        },
    };
    // A page is full of what is selected, and what is behind it counts whether it is selected or not.
    let everything = Scan { selector: super::selector::Selector::default(), ..scan.clone() };
    let listed = store.list(&everything, at).map_err(|refusal| too_old(refusal, token.as_ref()))?;
    Ok(page(call, &scan, &listed, (token.as_ref(), limit)))
}

/// The words for a token whose revision is forgotten, with another that goes on from the same place.
fn too_old(refusal: ApiStatus, token: Option<&Token>) -> ApiStatus {
    match token {
        Some(token) if refusal.code == 410 => {
            let on = Token { revision: None, after: token.after.clone() };
            ApiStatus { message: EXPIRED.to_owned(), go_on: Some(on.write()), ..refusal }
        }
        _ => refusal,
    }
}

/// Namespace and name.
fn place(object: &Value) -> (&str, &str) {
    let field = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (field("namespace"), field("name"))
}

fn page(call: &Call, scan: &Scan, listed: &Listed, (token, limit): (Option<&Token>, Option<usize>)) -> Value {
    let first = token.map_or(0, |token| {
        let (namespace, name) = token.after.rsplit_once('/').unwrap_or(("", &token.after));
        listed.items.partition_point(|object| {
            let (of, named) = place(object);
            (if namespace.is_empty() { "" } else { of }, named) <= (namespace, name)
        })
    });
    let rest = &listed.items[first..];
    let selected = rest.iter().enumerate().filter(|(_, object)| scan.selector.matches(object));
    let page: Vec<_> = selected.take(limit.unwrap_or(usize::MAX)).collect();
    let mut metadata = json!({ "resourceVersion": listed.revision.to_string() });
    if let Some((last, object)) =
        page.last().filter(|(last, _)| Some(page.len()) == limit && last + 1 < rest.len())
    {
        let after = match place(object) {
            (namespace, name) if scan.namespace.is_none() && !namespace.is_empty() => {
                format!("{namespace}/{name}")
            }
            (_, name) => name.to_owned(),
        };
        let token = Token { revision: Some(listed.revision), after };
        metadata["continue"] = json!(token.write());
        if scan.selector.is_empty() {
            metadata["remainingItemCount"] = json!(rest.len() - last - 1);
        }
    }
    let items: Vec<Value> = page.iter().map(|(_, object)| without_kind(object)).collect();
    let (kind, version) = (format!("{}List", call.resource.kind), call.resource.api_version());
    json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for revision in [Some(7), None] {
            let token = Token { revision, after: "kube-system/a".to_owned() };
            assert_eq!(Token::read(&token.write()).unwrap(), token);
        }
        for bad in ["nonsense", "e30", "%", ""] {
            assert_eq!(Token::read(bad).unwrap_err().code, 400, "{bad}");
        }
    }
}
