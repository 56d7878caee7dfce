//! The parsers of what clients send, opened for tests that feed them anything (`crates/lab/tests/fuzz`). The front
//! ends are the only other user.

use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::account::Verb;
use super::decode;
use super::page::list;
use super::perform::perform;
use super::protobuf;
use super::request;
use super::resource::Resource;
use super::respond::get;
use super::schema::name_of;
use super::status::ApiStatus;
use super::store::Store;
use super::user::UserInfo;

/// A JSON object in the form of its kind, and the paths of fields that the kind does not have.
///
/// # Errors
/// 400 when a field is of another type.
pub fn fitted(resource: &Resource, object: Map<String, Value>) -> Result<(Value, Vec<String>), ApiStatus> {
    let mut unknown = Vec::new();
    let fitted = decode::fit_object(resource, object, &mut unknown)?;
    Ok((fitted, unknown))
}

/// A protobuf body of this kind as its JSON form.
///
/// # Errors
/// Why it cannot be read.
pub fn from_protobuf(resource: &Resource, body: &[u8]) -> Result<Value, String> {
    protobuf::object(body, &name_of(resource))
}

/// Percent decoding, as of paths and queries.
pub fn percent_decoded(text: &str) -> String {
    request::decode(text)
}

/// Does what one request asks for, as an administrator, and says the status and the body of the answer. `None` for
/// what is no request, and for watches.
pub fn answer(
    store: &Store,
    (method, path): (&str, &str),
    content_type: &str,
    body: &[u8],
) -> Option<(u16, Value)> {
    let request =
        Request::builder().method(method).uri(path).header(CONTENT_TYPE, content_type).body(()).ok()?;
    let (parts, ()) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let answered = request::parse(&parts.method, parts.uri.path(), query).and_then(|call| match call.verb {
        Verb::Watch => Ok(None),
        Verb::List => list(store, &call).map(|list| Some((200, list))),
        Verb::Get => get(store, &call).map(|object| Some((200, Value::clone(&object)))),
        _ => {
            let user = UserInfo::administrator("fuzz");
            perform(store, &user, (&parts, &call), body).map(|done| Some((done.code, done.body)))
        }
    });
    answered.unwrap_or_else(|refusal| Some((refusal.code, refusal.to_json())))
}
