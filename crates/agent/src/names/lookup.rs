//! Asks the system what a name means, as every program on this host does: `/etc/hosts`, DNS, whatever it is set up for.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::each_once;

/// How long to wait for an answer. The look-up itself goes on after that, and there is no other before it ends.
const LONGEST: Duration = Duration::from_secs(5);

/// Looks names up, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(super) free: Arc<Semaphore>,
    pub(super) ask: fn(&str) -> io::Result<Vec<IpAddr>>,
    pub(super) longest: Duration,
}

impl Resolver {
    /// By the system's resolver.
    pub(crate) fn new() -> Self {
        Self::with(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()), LONGEST)
    }

    pub(super) fn with(ask: fn(&str) -> io::Result<Vec<IpAddr>>, longest: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(1)), ask, longest }
    }

    /// The addresses of `name`, each once, in the order of the answer.
    ///
    /// # Errors
    /// Why there are none, in words.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            return Err("no name server has answered yet".to_owned());
        };
        let (ask, name) = (self.ask, name.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            // Held by the thread, which goes on when the wait for it is given up.
            let _permit = permit;
            ask(&name)
        });
        match tokio::time::timeout(self.longest, asked).await {
            Err(_) => Err("no name server has answered yet".to_owned()),
            Ok(Err(panic)) => Err(panic.to_string()),
            Ok(Ok(Err(error))) => Err(plain(&error)),
            Ok(Ok(Ok(found))) => Ok(each_once(found)),
        }
    }
}

/// The system's words, without the library's before them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit_once("address information: ").map_or(text.clone(), |(_, cause)| cause.to_owned())
}
