//! Does the API server at one address live? (rule 12; kube-vip issues 1786 and 1787)
//!
//! An HTTP answer below 500 says that it does: where anonymous requests are switched off, `/livez` answers 401, and a
//! server that can refuse is alive. So no credentials are sent, and none are needed before the cluster is made.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use kube::Config;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;
use tokio::time::timeout;

use crate::access::{Access, Traffic};
use crate::answer::Answer;
use crate::lookup::Lookup;
use crate::servers::ServerKind;
use crate::transport;

/// The most that is read of an answer: it is read so that its connection can be used again.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why an address cannot be checked at all.
#[derive(Debug, Error)]
pub enum LivenessError {
    /// It is no URL.
    #[error(
        "control_plane_health_check_address={address}: {cause}; write a URL such as https://127.0.0.1:6443/livez"
    )]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The authority's certificates cannot be read.
    #[error("control_plane_health_check_ca_path={path}: {cause}; give a readable PEM file, or none to check no certificate", path = .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// Checks one address, over one connection while that lasts.
pub struct Liveness {
    url: Uri,
    longest: Duration,
    access: Access,
}

impl Liveness {
    /// A check of `address`, a URL with its path, that waits for an answer for `longest`. `authority` is a PEM file of
    /// the certificates that the server's has to be signed by. Without one any certificate will do, as for the kubelet's
    /// probes: nothing secret is sent, and the worst that an impostor could say is that it lives.
    ///
    /// Reads the file, and so blocks for a moment.
    ///
    /// # Errors
    /// When `address` is no URL, or `authority` cannot be read.
    pub fn new(address: &str, authority: Option<PathBuf>, longest: Duration) -> Result<Self, LivenessError> {
        let wrong = |cause: String| LivenessError::Address { address: address.to_owned(), cause };
        let url: Uri = address.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
        if url.host().is_none() || url.scheme().is_none() {
            return Err(wrong("it has no scheme or no host".to_owned()));
        }
        let mut config = Config::new(url.clone());
        config.accept_invalid_certs = authority.is_none();
        config.root_cert = authority.map(certificates).transpose()?;
        let access = Access::build(0, &config, Lookup::new()).map_err(wrong)?;
        Ok(Self { url, longest, access })
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why it counts as dead: no connection, no answer in time, or an answer of 500 and above; in one line.
    pub async fn check(&self) -> Result<(), String> {
        match timeout(self.longest, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", self.longest.as_millis())),
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let request = Request::get(self.url.clone()).body(Full::<Bytes>::default());
        let request = request.map_err(|error| error.to_string())?;
        // As for the local server: an address that its certificate need not carry.
        let service = self.access.service(&self.url.to_string(), ServerKind::Local, Traffic::Watch);
        let response = match transport::send(service, request).await {
            Answer::Success(response) => response,
            failure => return Err(failure.complaint().map(|trouble| trouble.text).unwrap_or_default()),
        };
        let status = response.status();
        // Unread, it would cost a new connection and handshake each time. That it is too long is no matter.
        drop(Limited::new(response.into_body(), LONGEST_ANSWER).collect().await);
        if status.is_server_error() { Err(format!("HTTP {status}")) } else { Ok(()) }
    }
}

fn certificates(path: PathBuf) -> Result<Vec<Vec<u8>>, LivenessError> {
    let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(LivenessError::Authority { path, cause: "it has no certificate".to_owned() })
        }
        Ok(found) => Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect()),
        Err(error) => Err(LivenessError::Authority { path, cause: error.to_string() }),
    }
}
