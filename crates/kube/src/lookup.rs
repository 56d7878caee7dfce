//! Looks names up, a few at a time.
//!
//! The system's resolver blocks, for half a minute and more where no name server answers, and cannot be interrupted. Each
//! look-up under way has a thread, also after whoever asked has given up; without a bound they would use up the threads
//! that loading credentials needs, and an API server known by its address would not be asked either.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;

/// Look-ups under way at once. Policy when there are so many: whoever asks waits, and gives up at its own deadline.
const AT_ONCE: usize = 2;

/// Looks up names; its copies share the bound.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    free: Arc<Semaphore>,
    resolve: fn(&str) -> io::Result<Vec<SocketAddr>>,
}

impl Lookup {
    pub(crate) fn new() -> Self {
        Self::with(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn with(resolve: fn(&str) -> io::Result<Vec<SocketAddr>>) -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)), resolve }
    }

    /// The addresses of `name`, with port 0.
    pub(crate) async fn addresses(self, name: String) -> io::Result<Vec<SocketAddr>> {
        let permit = self.free.acquire_owned().await.map_err(io::Error::other)?;
        let looked_up = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by whoever waits for it.
            let _permit = permit;
            (self.resolve)(&name)
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

impl tower::Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        self.clone().addresses(name.to_string()).map(|found| found.map(Vec::into_iter)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static STUCK: Mutex<()> = Mutex::new(());
    static BEGUN: AtomicUsize = AtomicUsize::new(0);

    fn no_name_server(_: &str) -> io::Result<Vec<SocketAddr>> {
        BEGUN.fetch_add(1, Ordering::SeqCst);
        drop(STUCK.lock());
        Ok(Vec::new())
    }

    #[test]
    fn look_ups_that_hang_leave_threads_for_others() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(AT_ONCE + 1)
            .build()
            .expect("a runtime");
        let stuck = STUCK.lock().expect("nobody panics with it");
        runtime.block_on(async {
            let lookup = Lookup::with(no_name_server);
            let given_up = (0..8).map(|_| {
                let asked = lookup.clone().addresses("api.example.org".to_owned());
                tokio::time::timeout(Duration::from_millis(20), asked)
            });
            let given_up = futures::future::join_all(given_up).await;
            assert!(given_up.iter().all(Result::is_err), "no answer: {given_up:?}");
            let other = tokio::task::spawn_blocking(|| 7);
            let other = tokio::time::timeout(Duration::from_secs(20), other).await;
            assert_eq!(other.expect("a thread is free").expect("it does not panic"), 7);
            assert_eq!(BEGUN.load(Ordering::SeqCst), AT_ONCE);
            drop(stuck);
            let answer = lookup.addresses("api.example.org".to_owned()).await;
            assert!(answer.is_ok_and(|found| found.is_empty()), "when they end, look-ups go on");
        });
    }
}
