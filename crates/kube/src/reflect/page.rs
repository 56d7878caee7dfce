//! One page of a list: its objects are converted one by one as they are read, and none is kept. Pure.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What came of one page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    /// The objects, converted.
    pub(crate) items: Vec<T>,
    /// The list's resource version.
    pub(crate) version: String,
    /// Where the list goes on; `None` on its last page.
    pub(crate) go_on: Option<String>,
}

/// Reads a page.
///
/// # Errors
/// Where it is no list, or broke off: nothing of it counts then.
pub(crate) fn page<T>(body: &[u8], convert: impl FnMut(&Value) -> T) -> Result<Page<T>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let page = List(convert).deserialize(&mut reader)?;
    reader.end()?;
    Ok(page)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
    #[serde(rename = "continue")]
    go_on: String,
}

struct List<F>(F);

impl<'de, T, F: FnMut(&Value) -> T> DeserializeSeed<'de> for List<F> {
    type Value = Page<T>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Page<T>, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, T, F: FnMut(&Value) -> T> Visitor<'de> for List<F> {
    type Value = Page<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Page<T>, A::Error> {
        let (mut items, mut metadata) = (None, Metadata::default());
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "metadata" => metadata = fields.next_value()?,
                "items" => items = Some(fields.next_value_seed(Items(&mut self.0))?),
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        // Without a version nothing could be watched from here, and without items it is something else.
        let items = items.ok_or_else(|| A::Error::missing_field("items"))?;
        if metadata.resource_version.is_empty() {
            return Err(A::Error::missing_field("metadata.resourceVersion"));
        }
        let go_on = Some(metadata.go_on).filter(|token| !token.is_empty());
        Ok(Page { items, version: metadata.resource_version, go_on })
    }
}

struct Items<'a, F>(&'a mut F);

impl<'de, T, F: FnMut(&Value) -> T> DeserializeSeed<'de> for Items<'_, F> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Vec<T>, D::Error> {
        // Go writes a list that was never made as null.
        reader.deserialize_any(self)
    }
}

impl<'de, T, F: FnMut(&Value) -> T> Visitor<'de> for Items<'_, F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(object) = objects.next_element::<Value>()? {
            items.push((self.0)(&object));
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = concat!(
        r#"{"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":"on","remainingItemCount":3},"#,
        r#""items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#,
    );

    fn names(body: &str) -> Result<Page<String>, String> {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        page(body.as_bytes(), name).map_err(|error| error.to_string())
    }

    fn read(names: &[&str], go_on: Option<&str>) -> Page<String> {
        let items = names.iter().map(|name| (*name).to_owned()).collect();
        Page { items, version: "7".to_owned(), go_on: go_on.map(str::to_owned) }
    }

    #[test]
    fn pages_are_read_whatever_the_order_of_their_fields() {
        assert_eq!(names(PAGE), Ok(read(&["a", "b"], Some("on"))));
        let last =
            r#"{"items":[{"metadata":{"name":"c"}}],"metadata":{"resourceVersion":"7","continue":""}}"#;
        assert_eq!(names(last), Ok(read(&["c"], None)));
        assert_eq!(names(r#"{"metadata":{"resourceVersion":"7"},"items":null}"#), Ok(read(&[], None)));
        assert_eq!(names(r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#), Ok(read(&[], None)));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"items":[]}"#,
            r#"{"metadata":{},"items":[]}"#,
            r#"{"metadata":{"resourceVersion":"7"}}"#,
            r#"{"metadata":{"resourceVersion":"7"},"items":{}}"#,
            r#"{"metadata":{"resourceVersion":"7"},"items":[]} and more"#,
            "<html>",
        ] {
            assert!(names(body).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn a_page_that_broke_off_is_none(cut in 0..PAGE.len()) {
            prop_assert!(names(&PAGE[..cut]).is_err());
        }
    }
}
