//! An embedded Kubernetes API server, in memory, with faults on command.
//!
//! Real clients (kube-rs, kubectl) are to accept it, so it speaks to the letter what they live by: resource versions,
//! watches, conflicts, Status objects. A [`Cluster`] is one store with an authority and a token; each
//! [`FrontEndHandle`] serves it on one socket and has faults of its own, so that a cluster with an API server on every
//! node can be built. What is deliberately absent: protobuf in answers, admission but for what pods are filled in with,
//! tokens in Secrets, and controllers, but for the emptying of a deleted namespace and the collection of what a deleted
//! object owned ([`Controllers`]).
//!
//! The kinds it knows are one line each in `resource`. [`conformance`] holds the checks that say "as the real one
//! does"; [`real`] starts a real one where its binaries are.
//!
//! It asks who one is (a bearer token, a client certificate) and lets one do what the Role objects in its store say,
//! nothing more; the token a cluster is born with is an administrator's.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

mod access;
mod account;
mod apply;
mod attributes;
mod base64;
pub mod client;
pub mod conformance;
mod decode;
mod defaults;
mod discovery;
mod events;
mod fault;
mod field;
mod front_end;
mod gate;
mod identity;
mod kubeconfig;
mod manifest;
mod openapi;
mod page;
#[doc(hidden)]
pub mod parsers;
mod patch;
mod perform;
mod protobuf;
mod rbac;
pub mod real;
mod relay;
mod reply;
mod request;
mod resource;
mod respond;
mod review;
mod schema;
mod selector;
mod stall;
mod status;
mod store;
mod table;
mod tls;
mod user;
mod validate;

pub use access::Access;
pub use account::{Account, Asked, Reply, Verb, WriteRecord};
pub use fault::Fault;
pub use front_end::{FrontEnd, FrontEndHandle, ServeError};
pub use kubeconfig::{User, kubeconfig};
pub use manifest::ManifestError;
pub use patch::Patch;
pub use resource::{
    CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CONFIG_MAP, ENDPOINT_SLICE, ENDPOINTS, EVENT, LEASE, NAMESPACE, NODE,
    POD, RESOURCES, ROLE, ROLE_BINDING, Resource, SERVICE, SERVICE_ACCOUNT, SERVICE_CIDR, Scope,
};
pub use selector::Selector;
pub use stall::Reads;
pub use status::ApiStatus;
pub use store::{
    At, Controllers, DeleteOptions, Deleted, Listed, Mode, Part, Preconditions, Propagation, Scan, Seen,
    Store, StoreOptions, Target, Written,
};
pub use tls::{Authority, Identity, TlsError};
pub use user::{MASTERS, UserInfo};

/// One cluster: a store, a certificate authority and a bearer token.
#[derive(Debug)]
pub struct Cluster {
    store: Arc<Store>,
    access: Arc<Access>,
    authority: Authority,
    token: String,
}

impl Cluster {
    /// A fresh cluster with a random token.
    ///
    /// # Errors
    /// When the authority cannot be made.
    pub fn new(options: StoreOptions) -> Result<Self, TlsError> {
        let token = identity::random_token();
        let store = Store::new(options);
        rbac::bootstrap::fill(&store);
        Ok(Self {
            store: Arc::new(store),
            access: Arc::new(Access::of(vec![token.clone()])),
            authority: Authority::new()?,
            token,
        })
    }

    /// The store behind every front end.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Who is let in; for rotating tokens.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// The certificate authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Creates every object of a manifest (YAML).
    ///
    /// # Errors
    /// When it is no YAML, or an object of it is refused.
    pub fn create_all(&self, yaml: &str) -> Result<(), ManifestError> {
        manifest::create_all(&self.store, yaml)
    }

    /// A new token that stands for `user`, who may do what the roles bound to them say.
    pub fn new_token(&self, user: UserInfo) -> String {
        let token = identity::random_token();
        self.access.add_token(token.clone(), user);
        token
    }

    /// The administrator's token, that is let in from the start.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Serves on a bound listener over HTTPS, with a certificate for its own address and `addresses`.
    ///
    /// # Errors
    /// When the certificate cannot be made or the socket does not serve.
    pub fn serve_https(
        &self,
        name: &str,
        listener: TcpListener,
        addresses: &[IpAddr],
    ) -> Result<FrontEndHandle, ServeError> {
        let tls = self.certified(name, &listener, addresses)?;
        FrontEnd::serve(name, listener, Some(tls), (&self.store, &self.access), None)
    }

    /// Serves what `upstream` answers, with this front end's faults before it, over HTTPS as [`Cluster::serve_https`].
    /// The store stays empty: it counts what was asked.
    ///
    /// # Errors
    /// When the certificate cannot be made or the socket does not serve.
    pub fn relay_https(
        &self,
        name: &str,
        listener: TcpListener,
        addresses: &[IpAddr],
        upstream: client::ApiClient,
    ) -> Result<FrontEndHandle, ServeError> {
        let tls = self.certified(name, &listener, addresses)?;
        FrontEnd::serve(name, listener, Some(tls), (&self.store, &self.access), Some(upstream))
    }

    fn certified(
        &self,
        name: &str,
        listener: &TcpListener,
        addresses: &[IpAddr],
    ) -> Result<Arc<rustls::ServerConfig>, ServeError> {
        let bound =
            listener.local_addr().map_err(|source| ServeError::Listen { name: name.to_owned(), source })?;
        let addresses: Vec<IpAddr> = std::iter::once(bound.ip()).chain(addresses.iter().copied()).collect();
        let config = self.authority.server_config(&addresses);
        config.map_err(|source| ServeError::Certificate { name: name.to_owned(), source })
    }

    /// Serves on a bound listener over plain HTTP, with the same tokens.
    ///
    /// # Errors
    /// When the socket does not serve.
    pub fn serve_http(&self, name: &str, listener: TcpListener) -> Result<FrontEndHandle, ServeError> {
        FrontEnd::serve(name, listener, None, (&self.store, &self.access), None)
    }

    /// A kubeconfig for the API server at `url`, with the authority's certificate and the token.
    pub fn kubeconfig(&self, url: &str) -> String {
        self.kubeconfig_with_token(url, &self.token)
    }

    /// A kubeconfig with another token.
    pub fn kubeconfig_with_token(&self, url: &str, token: &str) -> String {
        kubeconfig(url, self.authority.pem(), &User::Token(token.to_owned()))
    }

    /// A kubeconfig with a client certificate in place of the token.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn kubeconfig_with_certificate(&self, url: &str, user: &str) -> Result<String, TlsError> {
        let identity = self.authority.client_identity(user, "system:masters")?;
        Ok(kubeconfig(url, self.authority.pem(), &User::Certificate(identity)))
    }
}
