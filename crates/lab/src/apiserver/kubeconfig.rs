//! Kubeconfig files, written out.

use super::tls::Identity;

/// How a kubeconfig's user proves who they are.
#[derive(Clone, Debug)]
pub enum User {
    /// A bearer token.
    Token(String),
    /// A client certificate.
    Certificate(Identity),
}

/// A kubeconfig (YAML) for one cluster: its URL, its authority's certificate (PEM) and one user.
pub fn kubeconfig(url: &str, authority_pem: &str, user: &User) -> String {
    let credentials = match user {
        User::Token(token) => format!("    token: {token}\n"),
        User::Certificate(identity) => format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            base64(identity.certificate.as_bytes()),
            base64(identity.key.as_bytes()),
        ),
    };
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters:\n- name: lab\n  cluster:\n    server: {url}\n    certificate-authority-data: {}\n\
         users:\n- name: lab\n  user:\n{credentials}\
         contexts:\n- name: lab\n  context:\n    cluster: lab\n    user: lab\n\
         current-context: lab\n",
        base64(authority_pem.as_bytes()),
    )
}

/// RFC 4648 section 4, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0_u32, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 0x3f;
            text.push(if place <= group.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10.
    #[test]
    fn base64_follows_the_rfc_examples() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in table {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
