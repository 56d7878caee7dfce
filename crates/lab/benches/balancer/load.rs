//! Load from the client's host: as much as goes, at a rate, and one large stream.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::netns::Host;
use socket2::SockRef;

use crate::server::{NUMBER, STREAM};

/// Who asks at once, where as much is asked as goes.
const THREADS: usize = 8;
/// Who asks at once, at a rate.
const PACED: u32 = 8;
/// The longest that anything may take.
const LONGEST: Duration = Duration::from_secs(5);

/// One connection.
pub(crate) struct Asked {
    /// When it began.
    pub(crate) at: Instant,
    /// How long it took.
    pub(crate) took: Duration,
    /// Which backend answered, or why none did.
    pub(crate) answer: io::Result<u8>,
}

/// Asks each of `targets` in turn, with as many at once as go, for so long.
pub(crate) fn burst(client: &Host, targets: &[SocketAddr], long: Duration) -> Result<Vec<Asked>> {
    let until = Instant::now() + long;
    on_threads(client, THREADS, |thread| {
        let mut turn = targets.iter().cycle().skip(thread);
        let mut asked = Vec::new();
        while Instant::now() < until {
            asked.extend(turn.next().map(|target| ask(*target)));
        }
        asked
    })
}

/// Asks so often a second until `stop`, each of `targets` in turn.
pub(crate) fn paced(
    client: &Host,
    targets: &[SocketAddr],
    rate: f64,
    stop: &AtomicBool,
) -> Result<Vec<Asked>> {
    let (begin, apart) = (Instant::now(), Duration::from_secs_f64(f64::from(PACED) / rate));
    on_threads(client, PACED as usize, |thread| {
        let mut turn = targets.iter().cycle().skip(thread);
        let mut next = begin + apart * u32::try_from(thread).unwrap_or_default() / PACED;
        let mut asked = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            sleep(next.saturating_duration_since(Instant::now()));
            asked.extend(turn.next().map(|target| ask(*target)));
            next += apart;
        }
        asked
    })
}

/// The same for so long.
pub(crate) fn paced_for(
    client: &Host,
    targets: &[SocketAddr],
    rate: f64,
    long: Duration,
) -> Result<Vec<Asked>> {
    let stop = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            sleep(long);
            stop.store(true, Ordering::Relaxed);
        });
        paced(client, targets, rate, &stop)
    })
}

/// Bytes a second of one large stream.
pub(crate) fn stream(client: &Host, target: SocketAddr, long: Duration) -> Result<f64> {
    client.enter(|| {
        let mut stream = connect(target)?;
        stream.write_all(&[STREAM])?;
        let (begin, mut bytes, mut buffer) = (Instant::now(), 0_usize, vec![0; 256 * 1024]);
        while begin.elapsed() < long {
            bytes += stream.read(&mut buffer)?;
        }
        Ok(f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0
            / begin.elapsed().as_secs_f64())
    })?
}

/// How many each backend answered.
pub(crate) fn shares(asked: &[Asked]) -> BTreeMap<u8, usize> {
    let mut shares = BTreeMap::new();
    for number in asked.iter().filter_map(|one| one.answer.as_ref().ok()) {
        *shares.entry(*number).or_default() += 1;
    }
    shares
}

fn on_threads(client: &Host, count: usize, work: impl Fn(usize) -> Vec<Asked> + Sync) -> Result<Vec<Asked>> {
    client.enter(|| {
        scope(|threads| {
            let work = &work;
            let running: Vec<ScopedJoinHandle<'_, _>> =
                (0..count).map(|thread| threads.spawn(move || work(thread))).collect();
            running.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect()
        })
    })
}

/// Connects, asks, is answered, and resets, which leaves nothing behind on either side.
pub(crate) fn ask(target: SocketAddr) -> Asked {
    let at = Instant::now();
    let answer = (|| {
        let mut stream = connect(target)?;
        stream.write_all(&[NUMBER])?;
        let mut number = [0];
        stream.read_exact(&mut number)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(number[0])
    })();
    Asked { at, took: at.elapsed(), answer }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, LONGEST)?;
    stream.set_read_timeout(Some(LONGEST))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
