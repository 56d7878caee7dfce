//! One backend's check: does it take a connection, or does the API server behind it say that it is ready?

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_kube::{Liveness, LivenessError};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::BackendCheck;

/// How backends are checked.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) how: BackendCheck,
    /// How long an answer may take.
    pub(super) longest: Duration,
    /// A PEM file with the certificates that sign the servers'; `None` accepts any.
    pub(super) authority: Option<PathBuf>,
}

/// What checks one of them.
pub(super) struct Checker {
    pub(super) address: SocketAddr,
    longest: Duration,
    /// `None` where a connection is enough.
    asks: Option<Liveness>,
}

impl Check {
    /// # Errors
    /// When the authority's file cannot be read.
    pub(super) fn of(&self, address: SocketAddr) -> Result<Checker, LivenessError> {
        let path = match self.how {
            BackendCheck::Ready => Some("readyz"),
            BackendCheck::Live => Some("livez"),
            BackendCheck::Tcp => None,
        };
        let url = path.map(|path| format!("https://{address}/{path}"));
        let asks = url.map(|url| Liveness::new(&url, self.authority.clone(), self.longest)).transpose()?;
        Ok(Checker { address, longest: self.longest, asks })
    }
}

/// How long a host is waited for, on the way to which a packet may be lost.
const REACHED_WITHIN: Duration = Duration::from_millis(300);
const ATTEMPTS: usize = 3;

/// Whether anything answers at that host, be it that nobody listens there: its kernel lives.
pub(super) async fn reaches(address: SocketAddr) -> bool {
    let mut attempts: JoinSet<_> = (0..ATTEMPTS).map(|_| TcpStream::connect(address)).collect();
    let answered = async {
        while let Some(Ok(attempt)) = attempts.join_next().await {
            if attempt.map_or_else(|error| error.kind() == ErrorKind::ConnectionRefused, |_| true) {
                return true;
            }
        }
        false
    };
    timeout(REACHED_WITHIN, answered).await.unwrap_or(false)
}

impl Checker {
    /// Asks once.
    ///
    /// # Errors
    /// What went wrong, in one line.
    pub(super) async fn check(&self) -> Result<(), String> {
        match &self.asks {
            Some(asks) => asks.check().await,
            None => match timeout(self.longest, TcpStream::connect(self.address)).await {
                Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
                Err(_) => Err(format!("no connection within {} ms", self.longest.as_millis())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_listens_is_up_and_who_does_not_is_down_with_a_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let check = Check { how: BackendCheck::Tcp, longest: Duration::from_secs(5), authority: None };
        let checker = check.of(address).expect("nothing to read");
        assert_eq!(checker.check().await, Ok(()));
        drop(listener);
        let why = checker.check().await.expect_err("nobody listens");
        assert!(why.contains("refused"), "{why}");
        assert!(reaches(address).await, "its host says so");
    }
}
