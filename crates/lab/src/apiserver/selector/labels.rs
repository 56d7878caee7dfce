//! Label selectors, parsed and refused as kubernetes `apimachinery/pkg/labels/selector.go` does.

use super::Test;
use crate::apiserver::validate::names;

/// A piece of a selector: an identifier, or a symbol of one or two letters.
type Token<'a> = &'a str;

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).map(|symbol| symbol.len());
        let is_end = |letter: char| letter.is_whitespace() || "=!(),<>".contains(letter);
        let length = symbol.or_else(|| rest.find(is_end)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

fn is_identifier(token: Token<'_>) -> bool {
    !token.is_empty() && !SYMBOLS.contains(&token)
}

/// The requirements of a selector.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Test)>, String> {
    let mut parser = Parser { tokens: tokens(text), next: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            "" => return Ok(requirements),
            token if token == "!" || is_identifier(token) => {
                let requirement = parser.requirement();
                requirements.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            }
            other => return Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
        }
        match parser.take() {
            "" => return Ok(requirements),
            "," if parser.peek() == "!" || is_identifier(parser.peek()) => {}
            "," => return Err(format!("found '{}', expected: identifier after ','", parser.peek())),
            other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    /// The next token; empty at the end.
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.next).copied().unwrap_or_default()
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<(String, Test), String> {
        let absent = self.peek() == "!";
        if absent {
            self.take();
        }
        let key = self.take();
        if !is_identifier(key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let wrong = names::qualified(key);
        if !wrong.is_empty() {
            return Err(format!("invalid label key {key:?}: {}", wrong.join("; ")));
        }
        let test = match self.peek() {
            _ if absent => Test::Absent,
            "" | "," => Test::Present,
            _ => self.test()?,
        };
        for value in test.values() {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                let why = wrong.join("; ");
                return Err(format!("invalid label value: {value:?}: at key: {key:?}: {why}"));
            }
        }
        Ok((key.to_owned(), test))
    }

    /// The operator and what it compares with.
    fn test(&mut self) -> Result<Test, String> {
        match self.take() {
            "=" | "==" => self.value().map(Test::Equals),
            "!=" => self.value().map(Test::Differs),
            "in" => self.set().map(Test::OneOf),
            "notin" => self.set().map(Test::NoneOf),
            ">" => self.number().map(Test::Above),
            "<" => self.number().map(Test::Below),
            other => Err(format!("found '{other}', expected: '=', '!=', '==', 'in', notin'")),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            "" | "," => Ok(String::new()),
            token if is_identifier(token) => Ok(self.take().to_owned()),
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| "for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
    }

    /// `(a,b)`; a value that is left out is the empty one.
    fn set(&mut self) -> Result<Vec<String>, String> {
        let opening = self.take();
        if opening != "(" {
            return Err(format!("found '{opening}' expected: '('"));
        }
        let mut values = Vec::new();
        loop {
            let value = if is_identifier(self.peek()) { self.take() } else { "" };
            values.push(value.to_owned());
            match self.take() {
                "," => {}
                ")" => return Ok(values),
                other => return Err(format!("found '{other}', expected: ',' or ')'")),
            }
        }
    }
}

impl Test {
    fn values(&self) -> &[String] {
        match self {
            Self::Equals(value) | Self::Differs(value) => std::slice::from_ref(value),
            Self::OneOf(values) | Self::NoneOf(values) => values,
            _ => &[],
        }
    }
}
