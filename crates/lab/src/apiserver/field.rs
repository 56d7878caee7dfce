//! What is wrong with the fields of an object, in the words of kubernetes `apimachinery/pkg/util/validation/field`.

use serde_json::{Value, json};

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    field: String,
    reason: &'static str,
    message: String,
}

impl FieldError {
    fn new(field: impl Into<String>, reason: &'static str, message: String) -> Self {
        Self { field: field.into(), reason, message }
    }

    /// A value that the field cannot have; see [`invalid_as`](Self::invalid_as) for one that is no JSON.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::invalid_as(field, &value.to_string(), why)
    }

    /// The same, with the value as Go prints it.
    pub(super) fn invalid_as(field: impl Into<String>, shown: &str, why: &str) -> Self {
        Self::new(field, "FieldValueInvalid", format!("Invalid value: {shown}: {why}"))
    }

    /// Something is missing; `why` may be empty.
    pub(super) fn required(field: impl Into<String>, why: &str) -> Self {
        let separator = if why.is_empty() { "" } else { ": " };
        Self::new(field, "FieldValueRequired", format!("Required value{separator}{why}"))
    }

    /// The field may not be there, or not be that.
    pub(super) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self::new(field, "FieldValueForbidden", format!("Forbidden: {why}"))
    }

    /// None of the values that there are. `shown` is as Go prints it.
    pub(super) fn unsupported(field: impl Into<String>, shown: &str, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|one| json!(one).to_string()).collect();
        let message = format!("Unsupported value: {shown}: supported values: {}", supported.join(", "));
        Self::new(field, "FieldValueNotSupported", message)
    }

    /// As a cause in a Status.
    pub(super) fn cause(&self) -> Value {
        json!({ "reason": self.reason, "message": self.message, "field": self.field })
    }
}

/// All of them in one text, as Go's aggregates say it: each once, in brackets where there are several.
pub(super) fn told(errors: &[FieldError]) -> String {
    let mut told: Vec<String> = Vec::new();
    for error in errors {
        let one = format!("{}: {}", error.field, error.message);
        if !told.contains(&one) {
            told.push(one);
        }
    }
    if told.len() == 1 { told.remove(0) } else { format!("[{}]", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_are_told_in_brackets_and_each_once() {
        let small = FieldError::invalid("spec.a", &json!(-1), "must be greater than 0");
        let absent = FieldError::required("spec.b", "");
        assert_eq!(told(std::slice::from_ref(&small)), "spec.a: Invalid value: -1: must be greater than 0");
        let twice = [small.clone(), absent, small];
        assert_eq!(
            told(&twice),
            "[spec.a: Invalid value: -1: must be greater than 0, spec.b: Required value]"
        );
        let policy = FieldError::unsupported("policy", "\"x\"", &["a", "b"]);
        assert_eq!(told(&[policy]), "policy: Unsupported value: \"x\": supported values: \"a\", \"b\"");
    }
}
