//! Who may ask at all: bearer tokens, and client certificates of the cluster's own authority.

use std::sync::{PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What TLS told of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// No client certificate.
    Unknown,
    /// A client certificate signed by the cluster's authority.
    Certified,
}

/// The tokens that are accepted. Without any, everyone is let in.
#[derive(Debug, Default)]
pub struct Access {
    tokens: RwLock<Vec<String>>,
}

impl Access {
    /// Lets these tokens in, and no others; an empty list lets everyone in.
    pub fn of(tokens: Vec<String>) -> Self {
        Self { tokens: RwLock::new(tokens) }
    }

    /// Replaces the tokens, as when they are rotated.
    pub fn set_tokens(&self, tokens: Vec<String>) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    pub(super) fn admits(&self, peer: Peer, headers: &HeaderMap) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        peer == Peer::Certified
            || tokens.is_empty()
            || given.is_some_and(|given| tokens.iter().any(|one| one == given))
    }
}
