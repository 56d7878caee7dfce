//! The OpenAPI version 2 document in protobuf: gnostic's `openapiv2/OpenAPIv2.proto`, as far as our document goes.

use serde_json::{Map, Value};

/// A message under construction: fields of the two wire types that are needed.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// A field of wire type 2: text, bytes, or an inner message.
    fn put(&mut self, field: u32, content: &[u8]) {
        self.varint(u64::from(field << 3 | 2));
        self.varint(content.len() as u64);
        self.0.extend_from_slice(content);
    }

    fn put_text(&mut self, field: u32, value: &Value) {
        if let Some(text) = value.as_str() {
            self.put(field, text.as_bytes());
        }
    }

    /// Base 128, low groups first.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

/// `Document`.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.put_text(1, &document["swagger"]);
    let mut info = Message::default();
    info.put_text(1, &document["info"]["title"]);
    info.put_text(2, &document["info"]["version"]);
    message.put(2, &info.0);
    let mut paths = Message::default();
    for (name, item) in entries(&document["paths"]) {
        let mut path_item = Message::default();
        path_item.put(8, &operation(&item["patch"]));
        paths.put(2, &named(name, &path_item.0));
    }
    message.put(8, &paths.0);
    message.put(9, &named_schemas(&document["definitions"]));
    message.0
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

/// `NamedSchema`, `NamedPathItem`, `NamedAny` and their like: a name and a value.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut message = Message::default();
    message.put(1, name.as_bytes());
    message.put(2, value);
    message.0
}

/// `Definitions` and `Properties`.
fn named_schemas(object: &Value) -> Vec<u8> {
    let mut message = Message::default();
    entries(object).for_each(|(name, value)| message.put(1, &named(name, &schema(value))));
    message.0
}

/// `vendor_extension` entries: JSON is YAML.
fn extensions(message: &mut Message, field: u32, object: &Value) {
    for (name, value) in entries(object).filter(|(name, _)| name.starts_with("x-")) {
        let mut any = Message::default();
        any.put(2, value.to_string().as_bytes());
        message.put(field, &named(name, &any.0));
    }
}

/// `Operation`.
fn operation(operation: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.put_text(3, &operation["description"]);
    message.put_text(5, &operation["operationId"]);
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let mut query = Message::default();
        query.put_text(2, &parameter["in"]);
        query.put_text(4, &parameter["name"]);
        query.put_text(6, &parameter["type"]);
        // ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema.
        let nested = [3, 2, 1].into_iter().fold(query.0, |inner, field| {
            let mut outer = Message::default();
            outer.put(field, &inner);
            outer.0
        });
        message.put(8, &nested);
    }
    let mut responses = Message::default();
    for (code, response) in entries(&operation["responses"]) {
        let mut content = Message::default();
        content.put_text(1, &response["description"]);
        let mut value = Message::default();
        value.put(1, &content.0);
        responses.put(1, &named(code, &value.0));
    }
    message.put(9, &responses.0);
    extensions(&mut message, 13, operation);
    message.0
}

/// `Schema`.
fn schema(schema_json: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.put_text(1, &schema_json["$ref"]);
    message.put_text(2, &schema_json["format"]);
    message.put_text(4, &schema_json["description"]);
    for name in schema_json["required"].as_array().into_iter().flatten() {
        message.put_text(19, name);
    }
    let inner = |field: &str| {
        schema_json.get(field).map(|inner| {
            let mut wrapper = Message::default();
            wrapper.put(1, &schema(inner));
            wrapper.0
        })
    };
    if let Some(values) = inner("additionalProperties") {
        message.put(21, &values);
    }
    if let Some(kind) = schema_json["type"].as_str() {
        let mut item = Message::default();
        item.put(1, kind.as_bytes());
        message.put(22, &item.0);
    }
    if let Some(items) = inner("items") {
        message.put(23, &items);
    }
    if schema_json.get("properties").is_some() {
        message.put(25, &named_schemas(&schema_json["properties"]));
    }
    extensions(&mut message, 31, schema_json);
    message.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_encoded_as_protobuf_says() {
        let mut message = Message::default();
        message.put(1, b"2.0");
        assert_eq!(message.0, [0x0a, 3, b'2', b'.', b'0']);
        let mut long = Message::default();
        long.put(31, &[7; 300]);
        assert_eq!(&long.0[..4], [0xfa, 0x01, 0xac, 0x02]);
    }

    #[test]
    fn a_schema_has_its_fields_in_their_places() {
        let bytes = schema(&json!({ "type": "array", "items": { "$ref": "#/x" }, "x-a": 1 }));
        let expected = [
            &[0xb2, 0x01, 7, 0x0a, 5][..],
            b"array",
            &[0xba, 0x01, 7, 0x0a, 5, 0x0a, 3],
            b"#/x",
            &[0xfa, 0x01, 10, 0x0a, 3],
            b"x-a",
            &[0x12, 3, 0x12, 1],
            b"1",
        ];
        assert_eq!(bytes, expected.concat());
    }
}
