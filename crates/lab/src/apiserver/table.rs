//! Tables: what `kubectl get` prints, made by the server (`Accept: application/json;as=Table`). The columns are those of
//! kubernetes `pkg/printers/internalversion/printers.go`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::resource::Resource;

mod cells;
#[cfg(test)]
mod tests;

/// What each row shows of its object besides the cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Include {
    /// Kind and metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    Nothing,
}

/// A client's wish for tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    resource: &'static Resource,
    include: Include,
    version: &'static str,
}

impl Tables {
    /// Whether the first form that the client accepts is a table, and which.
    pub(super) fn wanted(accept: &str, resource: &'static Resource, include: &str) -> Option<Self> {
        let first = accept.split(',').find(|form| {
            let media = form.split(';').next().unwrap_or_default().trim();
            matches!(media, "application/json" | "*/*")
        })?;
        let has = |wanted: &str| first.split(';').any(|part| part.trim() == wanted);
        if !has("as=Table") || !has("g=meta.k8s.io") {
            return None;
        }
        let version = if has("v=v1beta1") { "v1beta1" } else { "v1" };
        let include = match include {
            "Object" => Include::Object,
            "None" => Include::Nothing,
            _ => Include::Metadata,
        };
        Some(Self { resource, include, version })
    }

    /// A list, or a single object, as a table.
    pub(super) fn of(self, value: &Value) -> Value {
        let items = value["items"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let mut metadata = json!({ "resourceVersion": value["metadata"]["resourceVersion"] });
        for field in ["continue", "remainingItemCount"] {
            if let Some(given) = value["metadata"].get(field).filter(|_| value["items"].is_array()) {
                metadata[field] = given.clone();
            }
        }
        self.table(metadata, &items, Columns::Told)
    }

    /// A watch event's object as a table of one row; the columns are told with the first alone.
    pub(super) fn of_event(self, object: &Value, columns: Columns) -> Value {
        let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
        self.table(metadata, std::slice::from_ref(object), columns)
    }

    fn table(self, metadata: Value, objects: &[Value], columns: Columns) -> Value {
        let definitions = match columns {
            Columns::Told => cells::columns(self.resource).iter().map(Column::to_json).collect(),
            Columns::Known => Value::Null,
        };
        let rows: Vec<Value> = objects.iter().map(|object| self.row(object)).collect();
        json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{}", self.version), "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows,
        })
    }

    fn row(self, object: &Value) -> Value {
        let cells: Vec<Value> =
            cells::columns(self.resource).iter().map(|column| (column.cell)(object)).collect();
        let shown = match self.include {
            Include::Nothing => return json!({ "cells": cells }),
            Include::Object => {
                let mut whole = object.clone();
                whole["kind"] = json!(self.resource.kind);
                whole["apiVersion"] = json!(self.resource.api_version());
                whole
            }
            Include::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{}", self.version),
                "metadata": object["metadata"],
            }),
        };
        json!({ "cells": cells, "object": shown })
    }
}

/// Whether a table tells its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// It does.
    Told,
    /// The client was told before.
    Known,
}

/// A column: its head, its type and what stands in it.
struct Column {
    name: &'static str,
    kind: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    priority: u8,
    cell: fn(&Value) -> Value,
}

impl Column {
    fn to_json(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({
            "name": self.name, "type": self.kind, "format": format, "description": "", "priority": self.priority,
        })
    }
}

/// How long ago, as `duration.HumanDuration` says it; `<unknown>` for what is no time.
fn age(moment: &Value) -> Value {
    let then = moment.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let Some(then) = then else { return json!("<unknown>") };
    json!(human(Timestamp::now().duration_since(then).as_secs()))
}

fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (years, weeks_days) = (days / 365, days % 365);
    let both = |large: i64, unit: &str, small: i64, of: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{of}"),
    };
    match () {
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => both(minutes, "m", seconds % 60, "s"),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => both(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => both(days, "d", hours % 24, "h"),
        () if years < 2 => format!("{days}d"),
        () if years < 8 => both(years, "y", weeks_days, "d"),
        () => format!("{years}y"),
    }
}
