//! What names, labels and keys may look like, in the words of kubernetes `apimachinery/pkg/util/validation`.
//!
//! Each check returns what is wrong, empty where nothing is.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MEANS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `RegexError`: what is asked for, examples, and the expression.
fn no_match(what: &str, expression: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|one| format!("'{one}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

/// `IsDNS1123Label`, RFC 1123.
pub(in crate::apiserver) fn label(text: &str) -> Vec<String> {
    let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
    let wrong = !is_label(text);
    let long = (text.len() > 63).then(|| too_long(63));
    long.into_iter().chain(wrong.then(|| no_match(what, LABEL, &["my-name", "123-abc"]))).collect()
}

/// `IsDNS1123Subdomain`, RFC 1123.
pub(in crate::apiserver) fn subdomain(text: &str) -> Vec<String> {
    let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
    let expression = format!("{LABEL}(\\.{LABEL})*");
    let wrong = !text.split('.').all(is_label);
    let long = (text.len() > 253).then(|| too_long(253));
    long.into_iter().chain(wrong.then(|| no_match(what, &expression, &["example.com"]))).collect()
}

/// `IsDNS1035Label`, RFC 1035: the name of a Service.
pub(in crate::apiserver) fn host_label(text: &str) -> Vec<String> {
    let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
    let wrong = !is_label(text) || !text.starts_with(|first: char| first.is_ascii_lowercase());
    let long = (text.len() > 63).then(|| too_long(63));
    let expression = "[a-z]([-a-z0-9]*[a-z0-9])?";
    long.into_iter().chain(wrong.then(|| no_match(what, expression, &["my-name", "abc-123"]))).collect()
}

/// `ValidatePathSegmentName`: the name of a role.
pub(in crate::apiserver) fn path_segment(text: &str) -> Vec<String> {
    if [".", ".."].contains(&text) {
        return vec![format!("may not be '{text}'")];
    }
    let illegal = ["/", "%"].into_iter().filter(|illegal| text.contains(illegal));
    illegal.map(|illegal| format!("may not contain '{illegal}'")).collect()
}

/// `IsQualifiedName`: the key of a label or an annotation, a finalizer.
pub(in crate::apiserver) fn qualified(text: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let parts: Vec<&str> = text.split('/').collect();
    let mut wrong = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        ["", name] => {
            wrong.push("prefix part must be non-empty".to_owned());
            *name
        }
        [prefix, name] => {
            wrong.extend(subdomain(prefix).into_iter().map(|one| format!("prefix part {one}")));
            *name
        }
        _ => {
            let why = no_match(QUALIFIED_MEANS, QUALIFIED, &examples);
            let form = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {why} {form}")];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_long(63)));
    }
    if !is_qualified_part(name) {
        wrong.push(format!("name part {}", no_match(QUALIFIED_MEANS, QUALIFIED, &examples)));
    }
    wrong
}

/// `IsValidLabelValue`.
pub(in crate::apiserver) fn label_value(text: &str) -> Vec<String> {
    let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let expression = format!("({QUALIFIED})?");
    let wrong = !text.is_empty() && !is_qualified_part(text);
    let long = (text.len() > 63).then(|| too_long(63));
    let examples = ["MyValue", "my_value", "12345"];
    long.into_iter().chain(wrong.then(|| no_match(what, &expression, &examples))).collect()
}

/// `IsConfigMapKey`.
pub(in crate::apiserver) fn config_key(text: &str) -> Vec<String> {
    let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let wrong = text.is_empty() || !text.bytes().all(legal);
    let long = (text.len() > 253).then(|| too_long(253));
    let examples = ["key.name", "KEY_NAME", "key-name"];
    let mut all: Vec<String> =
        long.into_iter().chain(wrong.then(|| no_match(what, "[-._a-zA-Z0-9]+", &examples))).collect();
    match text {
        "." | ".." => all.push(format!("must not be '{text}'")),
        text if text.starts_with("..") => all.push("must not start with '..'".to_owned()),
        _ => {}
    }
    all
}

fn is_label(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_has_nothing_wrong() {
        type Check = fn(&str) -> Vec<String>;
        let table: [(Check, &[&str], &[&str]); 7] = [
            (label, &["a", "a-1", "1a"], &["", "A", "-a", "a-", "a.b", "a_b"]),
            (subdomain, &["a.b", "a", "1.2.3"], &["", "a..b", ".a", "A.b"]),
            (host_label, &["a1"], &["1a", "a.b", ""]),
            (path_segment, &["system:node", "A b"], &[".", "..", "a/b", "a%b"]),
            (qualified, &["a", "A.b_c", "example.com/a"], &["", "a b", "/a", "a/", "a/b/c", "A_/b"]),
            (label_value, &["", "a", "A.b_c"], &["a b", "-a", "a/b"]),
            (config_key, &["a", "A_b-c.d", ".a"], &["", "a b", ".", "..", "..a", "a/b"]),
        ];
        for (check, right, wrong) in table {
            right.iter().for_each(|text| assert_eq!(check(text), [""; 0], "{text}"));
            wrong.iter().for_each(|text| assert!(!check(text).is_empty(), "{text}"));
        }
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(subdomain(&"a.".repeat(127)).len(), 2);
    }
}
