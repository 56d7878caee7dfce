//! Loaded credentials and the connection pools made with them. A new load makes new pools; requests under way on the
//! old ones go on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Uri};
use kube::Config;
use kube::client::ConfigExt;
use kube::client::middleware::{AuthLayer, ExtraHeadersLayer};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder};

use crate::credentials::chain;
use crate::lookup::Lookup;
use crate::servers::ServerKind;
use crate::transport::{self, Outgoing, Service};
use crate::verify::AnyName;

/// The name in every API server's certificate.
const COMMON_NAME: &str = "kubernetes.default.svc";

/// What a connection is for: lease requests never queue behind anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Traffic {
    /// Reads and writes of the Lease.
    Lease,
    /// Lists and watches.
    Watch,
    /// What nothing waits for: a node's label.
    Aside,
    /// Lists and watches of many objects.
    Bulk,
    /// Writes on Services, and Events.
    Publish,
    /// That a node is dead.
    Report,
}

/// One load of the credentials.
pub(crate) struct Access {
    /// Grows with every load.
    pub(crate) generation: u64,
    /// The server that the credentials name.
    pub(crate) server: String,
    /// For the configured server.
    strict: ClientConfig,
    /// For servers reached by address.
    lenient: ClientConfig,
    lookup: Lookup,
    server_name: Option<ServerName<'static>>,
    token_file: Option<Arc<TokenFile>>,
    authorization: Option<AuthLayer>,
    headers: ExtraHeadersLayer,
    pools: Mutex<BTreeMap<(String, Traffic), Service>>,
}

impl Access {
    /// Reads whatever files `config` names. Blocks for as long as they take, and for a credential plugin's run.
    pub(crate) fn build(generation: u64, config: &Config, lookup: Lookup) -> Result<Self, String> {
        // Another crate of the process may have chosen already; then that choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = config.clone();
        let token_file =
            config.auth_info.token.is_none().then(|| config.auth_info.token_file.take()).flatten();
        let token_file = token_file.map(|path| TokenFile::open(path.into())).transpose()?.map(Arc::new);
        check_token(&config)?;
        let strict = client_config(&mut config)?;
        let server_name = config.tls_server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| format!("tls-server-name: {error}"))?;
        Ok(Self {
            generation,
            server: config.cluster_url.to_string(),
            lenient: lenient(&config, &strict)?,
            strict,
            lookup,
            server_name,
            token_file,
            authorization: config.auth_layer().map_err(|error| chain(&error))?,
            headers: config.extra_headers_layer().map_err(|error| chain(&error))?,
            pools: Mutex::default(),
        })
    }

    /// The pool to `url` for `traffic`, made at its first use.
    pub(crate) fn service(&self, url: &str, kind: ServerKind, traffic: Traffic) -> Service {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry((url.to_owned(), traffic)).or_insert_with(|| self.make(kind)).clone()
    }

    /// Forgets the pools to servers that are known no more.
    pub(crate) fn retain(&self, urls: &[String]) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(url, _), _| urls.contains(url));
    }

    fn make(&self, kind: ServerKind) -> Service {
        let tls = if kind == ServerKind::Configured { &self.strict } else { &self.lenient };
        let pool = transport::pool(tls.clone(), self.server_name.clone(), self.lookup.clone());
        let stack = ServiceBuilder::new()
            .layer(self.headers.clone())
            .option_layer(self.token_file.clone().map(token_layer))
            .option_layer(self.authorization.as_ref())
            .map_err(BoxError::from)
            .service(pool);
        BoxCloneSyncService::new(stack)
    }
}

/// kube-rs's TLS configuration, except that plain HTTP and `insecure-skip-tls-verify` need no trust store (a
/// `scratch` image has none, and making one fails there).
fn client_config(config: &mut Config) -> Result<ClientConfig, String> {
    let needs_trust = config.cluster_url.scheme_str() == Some("https") && !config.accept_invalid_certs;
    if config.root_cert.is_none() && !needs_trust {
        config.root_cert = Some(Vec::new());
    }
    // Trust is reloaded with the credentials, by us.
    config.root_cert_file = None;
    config.rustls_client_config().map_err(|error| {
        let without = if config.root_cert.is_none() {
            " (no certificate-authority is given, so the system's trust store was tried)"
        } else {
            ""
        };
        format!("{}{without}", chain(&error))
    })
}

/// The configuration for servers reached by address: see [`AnyName`].
fn lenient(config: &Config, strict: &ClientConfig) -> Result<ClientConfig, String> {
    let mut lenient = strict.clone();
    let Some(roots) = config.root_cert.as_ref().filter(|roots| !roots.is_empty()) else { return Ok(lenient) };
    if config.accept_invalid_certs || config.tls_server_name.is_some() {
        return Ok(lenient);
    }
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).map_err(|error| chain(&error))?;
    }
    let inner = WebPkiServerVerifier::builder(Arc::new(store)).build().map_err(|error| chain(&error))?;
    let names = [Some(COMMON_NAME), host(&config.cluster_url)];
    let others =
        names.into_iter().flatten().filter_map(|name| ServerName::try_from(name.to_owned()).ok()).collect();
    lenient.dangerous().set_certificate_verifier(Arc::new(AnyName::new(inner, others)));
    Ok(lenient)
}

/// kube-rs panics at a token that no header can carry: one with a line break in it.
fn check_token(config: &Config) -> Result<(), String> {
    let Some(token) = &config.auth_info.token else { return Ok(()) };
    let header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    header.map(drop).map_err(|_| "the user's token has a character that no header can carry".to_owned())
}

fn host(url: &Uri) -> Option<&str> {
    url.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'))
}

/// A token in a file. It is read for every request, which is rare and costs microseconds, so that a renewed token
/// counts at once; when it cannot be read, the last one that could is used (kubernetes issue 68164).
struct TokenFile {
    path: PathBuf,
    last: Mutex<HeaderValue>,
}

impl TokenFile {
    fn open(path: PathBuf) -> Result<Self, String> {
        let last = Mutex::new(read_token(&path)?);
        Ok(Self { path, last })
    }

    fn header(&self) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(fresh) = read_token(&self.path) {
            *last = fresh;
        }
        last.clone()
    }
}

fn read_token(path: &PathBuf) -> Result<HeaderValue, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("token file {}: {error}", path.display()))?;
    bearer(&text).map_err(|cause| format!("token file {}: {cause}", path.display()))
}

/// A token file's content as the header that is sent.
pub(crate) fn bearer(text: &str) -> Result<HeaderValue, String> {
    let token = text.trim();
    if token.is_empty() {
        return Err("it is empty".to_owned());
    }
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header.map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

fn token_layer(file: Arc<TokenFile>) -> tower::util::MapRequestLayer<impl Fn(Outgoing) -> Outgoing + Clone> {
    tower::util::MapRequestLayer::new(move |mut request: Outgoing| {
        request.headers_mut().insert(AUTHORIZATION, file.header());
        request
    })
}
