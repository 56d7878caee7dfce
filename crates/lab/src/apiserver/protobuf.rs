//! Bodies in Kubernetes' protobuf, which recent typed clients send (`kubectl create configmap`, `kubectl auth can-i`),
//! brought into the form that JSON bodies have. Answers are JSON, which those clients accept.
//!
//! The field numbers are those of kubernetes `generated.proto`, in the table of [`super::schema`]. A field without a number
//! there is refused, never dropped.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::base64::base64;
use super::schema::{Field, Kind, Type, types};

/// The content type.
pub(super) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// What an encoded object begins with (`runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// Reads an object of the type with this full name from its envelope (`runtime.Unknown`).
///
/// # Errors
/// Why it cannot be read.
pub(super) fn object(body: &[u8], type_name: &str) -> Result<Value, String> {
    let envelope = body.strip_prefix(MAGIC).ok_or("the body does not begin as Kubernetes' protobuf does")?;
    let of = types().get(type_name).ok_or_else(|| format!("{type_name} is not known in protobuf"))?;
    let (mut kind, mut raw) = (Map::new(), &[][..]);
    for (number, payload) in fields(envelope)? {
        match (number, payload) {
            (1, Payload::Bytes(bytes)) => {
                for (number, payload) in fields(bytes)? {
                    let name = if number == 1 { "apiVersion" } else { "kind" };
                    kind.insert(name.to_owned(), json!(payload.text()?));
                }
            }
            (2, Payload::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    kind.append(&mut read_struct(of, raw)?);
    Ok(Value::Object(kind))
}

/// A field as it is on the wire.
#[derive(Clone, Copy, Debug)]
enum Payload<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn number(self) -> Result<u64, String> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err("protobuf: a number is wanted".to_owned()),
        }
    }

    fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err("protobuf: bytes are wanted".to_owned()),
        }
    }

    fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "protobuf: text is not UTF-8".to_owned())
    }
}

/// The fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Payload<'_>)>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes)?;
        let (payload, rest) = match tag & 7 {
            0 => varint(rest).map(|(number, rest)| (Payload::Number(number), rest))?,
            2 => {
                let (length, rest) = varint(rest)?;
                let length = usize::try_from(length).map_err(|_| "protobuf: too long")?;
                let (content, rest) = rest.split_at_checked(length).ok_or("protobuf: cut short")?;
                (Payload::Bytes(content), rest)
            }
            other => return Err(format!("protobuf: wire type {other} is not used here")),
        };
        found.push((tag >> 3, payload));
        bytes = rest;
    }
    Ok(found)
}

/// Base 128, low groups first, at most ten.
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), String> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).wrapping_shl(7 * u32::try_from(place).unwrap_or(0));
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[place + 1..]));
        }
    }
    Err("protobuf: a number is cut short".to_owned())
}

fn read_struct(of: &Type, bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut read = Map::new();
    for (number, payload) in fields(bytes)? {
        let known = of.fields.iter().find(|field| u64::from(field.number) == number && number > 0);
        let field =
            known.ok_or_else(|| format!("protobuf: field {number} of {} is not known here", of.name))?;
        read_field(of, field, payload, &mut read)?;
    }
    Ok(read)
}

fn read_field(
    of: &Type,
    field: &Field,
    payload: Payload<'_>,
    read: &mut Map<String, Value>,
) -> Result<(), String> {
    match &field.kind {
        Kind::List(inner) => {
            let item = read_value(inner, payload)?.unwrap_or_else(|| json!({}));
            let slot = read.entry(&field.name).or_insert_with(|| json!([]));
            slot.as_array_mut().into_iter().for_each(|items| items.push(item.clone()));
        }
        Kind::Map(inner) => {
            let (mut key, mut value) = (String::new(), json!(""));
            for (number, payload) in fields(payload.bytes()?)? {
                match number {
                    1 => payload.text()?.clone_into(&mut key),
                    _ => value = read_value(inner, payload)?.unwrap_or(Value::Null),
                }
            }
            read.entry(&field.name).or_insert_with(|| json!({}))[key] = value;
        }
        kind => {
            // What is zero was most often not given: Go's protobuf writes fields that are no pointers all the same. All
            // fields of a Lease are pointers.
            let says = |value: &Value| {
                let zero = [json!(""), json!(0), json!(false), json!({})].contains(value);
                !zero || field.required || of.name == "coordination.v1.LeaseSpec"
            };
            if let Some(value) = read_value(kind, payload)?.filter(says) {
                read.insert(field.name.clone(), value);
            }
        }
    }
    Ok(())
}

/// A value; none for a time that is not set.
fn read_value(kind: &Kind, payload: Payload<'_>) -> Result<Option<Value>, String> {
    let inner = |wanted: u64| -> Result<Option<Payload<'_>>, String> {
        Ok(fields(payload.bytes()?)?
            .into_iter()
            .find(|(number, _)| *number == wanted)
            .map(|(_, payload)| payload))
    };
    Ok(Some(match kind {
        Kind::Text => json!(payload.text()?),
        Kind::Bytes => json!(base64(payload.bytes()?)),
        Kind::Bool => json!(payload.number()? != 0),
        Kind::Int32 | Kind::Int64 => json!(payload.number()?.cast_signed()),
        Kind::Struct(name) => {
            let of = types().get(name).ok_or_else(|| format!("{name} is not known in protobuf"))?;
            Value::Object(read_struct(of, payload.bytes()?)?)
        }
        Kind::Quantity => json!(inner(1)?.map(Payload::text).transpose()?.unwrap_or_default()),
        Kind::IntOrString => match inner(1)?.map(Payload::number).transpose()?.unwrap_or(0) {
            0 => json!(inner(2)?.map(Payload::number).transpose()?.unwrap_or(0).cast_signed()),
            _ => json!(inner(3)?.map(Payload::text).transpose()?.unwrap_or_default()),
        },
        Kind::Fields => {
            let raw = inner(1)?.map(Payload::bytes).transpose()?.unwrap_or(b"{}");
            serde_json::from_slice(raw).map_err(|wrong| format!("protobuf: fields: {wrong}"))?
        }
        Kind::Time | Kind::MicroTime => {
            let Some(seconds) = inner(1)? else { return Ok(None) };
            let nanos = inner(2)?.map(Payload::number).transpose()?.unwrap_or(0).cast_signed();
            let nanos = i32::try_from(nanos).map_err(|_| "protobuf: no such time")?;
            let moment =
                Timestamp::new(seconds.number()?.cast_signed(), nanos).map_err(|wrong| wrong.to_string())?;
            let form = if *kind == Kind::Time { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
            json!(moment.strftime(form).to_string())
        }
        Kind::List(_) | Kind::Map(_) => return Err("protobuf: lists of lists are not used here".to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of wire type 2.
    fn put(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn envelope(content: &[u8]) -> Vec<u8> {
        let kind = [put(1, b"v1"), put(2, b"ConfigMap")].concat();
        [MAGIC.to_vec(), put(1, &kind), put(2, content)].concat()
    }

    #[test]
    fn an_object_is_read_as_its_json_form() {
        let metadata =
            [put(1, b"a"), put(3, b"default"), put(8, b""), put(11, &[put(1, b"k"), put(2, b"v")].concat())];
        let content =
            [put(1, &metadata.concat()), put(2, &[put(1, b"x"), put(2, b"1")].concat()), vec![4 << 3, 0]];
        let read = object(&envelope(&content.concat()), "core.v1.ConfigMap").unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "x": "1" },
            "metadata": { "name": "a", "namespace": "default", "labels": { "k": "v" } },
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn times_numbers_and_ports_are_read() {
        let time = put(4, &[&[1 << 3, 0x80, 0x01][..], &[2 << 3, 0xe8, 0x07]].concat());
        let spec = [put(1, b"n1"), vec![2 << 3, 15, 5 << 3, 0], time].concat();
        let read = object(&envelope(&put(2, &spec)), "coordination.v1.Lease").unwrap();
        assert_eq!(read["spec"]["leaseTransitions"], 0);
        assert_eq!(read["spec"]["renewTime"], "1970-01-01T00:02:08.000001Z");
        assert_eq!(read["spec"]["leaseDurationSeconds"], 15);
        let port = [vec![3 << 3, 80], put(4, &[&[1 << 3, 1][..], &put(3, b"http")].concat())].concat();
        let read = object(&envelope(&put(2, &put(1, &port))), "core.v1.Service").unwrap();
        assert_eq!(read["spec"]["ports"], json!([{ "port": 80, "targetPort": "http" }]));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let table: [(Vec<u8>, &str); 5] = [
            (b"{}".to_vec(), "does not begin"),
            (envelope(&[0x0a, 200]), "cut short"),
            (envelope(&put(15, b"x")), "field 15 of core.v1.ConfigMap"),
            (envelope(&[0x0d, 1, 2, 3, 4]), "wire type 5"),
            (envelope(&put(2, &put(1, &[0xff]))), "UTF-8"),
        ];
        for (body, expected) in table {
            let wrong = object(&body, "core.v1.ConfigMap").unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        }
    }
}
