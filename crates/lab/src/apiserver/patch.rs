//! Patches: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge patch, and configurations for
//! server-side apply.

use serde_json::Value;

use super::resource::Resource;
use super::schema::Place;
use super::status::ApiStatus;

mod merge;
mod operations;
mod strategic;
#[cfg(test)]
mod tests;

/// A patch as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 7386, `application/merge-patch+json`.
    Merge(Value),
    /// `application/strategic-merge-patch+json`.
    Strategic(Value),
    /// A configuration, `application/apply-patch+yaml`. What comes of it depends on who owns what: see
    /// [`super::Store`].
    Configuration(Value),
    /// RFC 6902, `application/json-patch+json`.
    Operations(Vec<Value>),
}

impl Patch {
    /// Reads a patch of this content type.
    ///
    /// # Errors
    /// 415 for another content type, 400 for a body that is no such patch.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, ApiStatus> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let value = || {
            serde_json::from_slice::<Value>(body)
                .map_err(|wrong| ApiStatus::bad_request(format!("error decoding patch: {wrong}")))
        };
        match media {
            "application/merge-patch+json" => object(value()?).map(Self::Merge),
            "application/strategic-merge-patch+json" => object(value()?).map(Self::Strategic),
            "application/apply-patch+yaml" => {
                // JSON is YAML, and so is what people write.
                let read = std::str::from_utf8(body).map_err(|wrong| wrong.to_string());
                let value = read.and_then(|text| {
                    serde_saphyr::from_str::<Value>(text).map_err(|wrong| wrong.to_string())
                });
                let value =
                    value.map_err(|wrong| ApiStatus::bad_request(format!("error decoding YAML: {wrong}")))?;
                object(value).map(Self::Configuration)
            }
            "application/json-patch+json" => match value()? {
                Value::Array(operations) => Ok(Self::Operations(operations)),
                _ => Err(ApiStatus::bad_request("error decoding patch: a JSON patch is an array")),
            },
            _ => Err(unsupported()),
        }
    }

    /// The object of this kind after the patch. A configuration is laid over it as a merge patch.
    ///
    /// # Errors
    /// 422 when an operation of a JSON patch cannot be done, 500 for a strategic patch that makes no sense.
    pub fn apply(&self, resource: &Resource, object: &Value) -> Result<Value, ApiStatus> {
        let mut patched = object.clone();
        match self {
            Self::Merge(patch) | Self::Configuration(patch) => merge::apply(&mut patched, patch),
            Self::Operations(operations) => {
                let done = operations::apply(&mut patched, operations);
                done.map_err(|_| unprocessable())?;
            }
            Self::Strategic(patch) => {
                if let (Value::Object(target), Value::Object(patch)) = (&mut patched, patch) {
                    let done = strategic::apply(target, patch, Place::root(resource));
                    done.map_err(|why| ApiStatus::new(500, "", why))?;
                }
            }
        }
        Ok(patched)
    }
}

fn object(value: Value) -> Result<Value, ApiStatus> {
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiStatus::bad_request("error decoding patch: not an object"))
    }
}

/// What the real server says of an operation that cannot be done, whichever it is.
fn unprocessable() -> ApiStatus {
    let message = "the server rejected our request due to an error in our request";
    ApiStatus::new(422, "Invalid", message).about_nothing()
}

/// In the words of go-restful, which refuses it before Kubernetes is asked.
fn unsupported() -> ApiStatus {
    ApiStatus::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").about_nothing()
}
