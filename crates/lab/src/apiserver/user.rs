//! Who asks: a name and groups, from a bearer token or from a client certificate's subject.

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

/// The group that may do anything: it is asked for nothing.
pub const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";

/// A user as the API server knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// The name, as RBAC subjects and messages have it.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl UserInfo {
    /// A user who proved who they are: `system:authenticated` is added to the groups.
    pub fn authenticated(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self { name: name.to_owned(), groups }
    }

    /// A member of `system:masters`.
    pub fn administrator(name: &str) -> Self {
        Self::authenticated(name, &[MASTERS])
    }

    /// A service account, as its token stands for it.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let group = format!("system:serviceaccounts:{namespace}");
        Self::authenticated(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &group],
        )
    }

    /// Who brings no credentials at all.
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }

    /// The subject of a client certificate: common name and organisations. `None` when it has no common name.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let subject = subject(certificate)?;
        let of = |wanted: &'static [u8]| {
            subject.iter().filter(move |(kind, _)| kind == wanted).map(|(_, text)| text.as_str())
        };
        let name = of(COMMON_NAME).next()?;
        Some(Self::authenticated(name, &of(ORGANISATION).collect::<Vec<_>>()))
    }

    /// Whether the user may do anything.
    pub fn is_administrator(&self) -> bool {
        self.is_in(MASTERS)
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }

    /// As reviews show a user.
    pub(super) fn to_json(&self) -> Value {
        json!({ "username": self.name, "groups": self.groups })
    }
}

/// `id-at-commonName` and `id-at-organizationName` (RFC 5280, appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// The attributes of a certificate's subject, in order: RFC 5280 section 4.1. The TLS library has verified the
/// certificate by then.
fn subject(certificate: &[u8]) -> Option<Vec<(Vec<u8>, String)>> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        rest = any_element(rest)?.2;
    }
    let (mut names, _) = element(rest, SEQUENCE)?;
    let mut attributes = Vec::new();
    while let Some((mut set, after)) = element(names, SET) {
        while let Some((attribute, next)) = element(set, SEQUENCE) {
            let (kind, value) = element(attribute, OBJECT_IDENTIFIER)?;
            let (_, text, _) = any_element(value)?;
            attributes.push((kind.to_vec(), String::from_utf8_lossy(text).into_owned()));
            set = next;
        }
        names = after;
    }
    Some(attributes)
}

/// The content of a DER element with this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and the rest (X.690 section 8.1): definite lengths, at most 65,535.
fn any_element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = match rest {
        [short, rest @ ..] if *short < 0x80 => (usize::from(*short), rest),
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::apiserver::Authority;

    #[test]
    fn a_certificate_names_user_and_group() {
        let identity = Authority::new().unwrap().client_identity("jane", "ops").unwrap();
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let user = UserInfo::of_certificate(&certificate).unwrap();
        assert_eq!(user, UserInfo::authenticated("jane", &["ops"]));
        assert!(!user.is_administrator() && user.is_in("system:authenticated"));
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        let identity = Authority::new().unwrap().client_identity("jane", "ops").unwrap();
        let whole = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        for length in [0, 1, 4, 40, 100] {
            assert_eq!(UserInfo::of_certificate(&CertificateDer::from(whole[..length].to_vec())), None);
        }
    }

    #[test]
    fn a_service_account_is_in_the_groups_of_its_namespace() {
        let user = UserInfo::service_account("kube-system", "mainstay");
        assert_eq!(user.name, "system:serviceaccount:kube-system:mainstay");
        assert!(user.is_in("system:serviceaccounts:kube-system") && user.is_in("system:serviceaccounts"));
    }
}
