//! Kubeconfig files, written out.

use super::base64::base64;
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
