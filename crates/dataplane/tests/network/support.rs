//! Two hosts on one wire: network namespaces joined by a veth pair, removed when the test ends, however it ends.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mainstay_core::effect::{Effect, Pace};
use mainstay_core::input::{EffectId, Input, Outcome};
use mainstay_core::names::{ClaimId, Mac, NodeName};
use mainstay_core::vip::{Mark, Tenure, Vip};
use mainstay_dataplane::plane::{Dataplane, LinkSettings};
use socket2::{Domain, Protocol, Socket, Type};

/// How long anything may take on a busy machine before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The name of the interface in either host.
pub(crate) const INTERFACE: &str = "eth0";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Two hosts. `a` has 10.77.0.1/24 and fd77::1/64, `b` the same with 2.
pub(crate) struct Pair {
    pub(crate) a: String,
    pub(crate) b: String,
}

impl Pair {
    /// `None`, with the reason printed, where this process may not make network namespaces.
    pub(crate) fn new() -> Option<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("msdp-{}-{number}{side}", std::process::id());
        let pair = Self { a: name("a"), b: name("b") };
        for host in [&pair.a, &pair.b] {
            if !make_host(host) {
                return None;
            }
        }
        pair.plug();
        Some(pair)
    }

    /// Puts a new cable between the two.
    pub(crate) fn plug(&self) {
        ip(&[
            "-n", &self.a, "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns",
            &self.b,
        ]);
        for (host, last) in [(&self.a, 1), (&self.b, 2)] {
            ip(&["-n", host, "addr", "add", &format!("10.77.0.{last}/24"), "dev", INTERFACE]);
            ip(&["-n", host, "addr", "add", &format!("fd77::{last}/64"), "dev", INTERFACE, "nodad"]);
            ip(&["-n", host, "link", "set", INTERFACE, "up"]);
        }
    }

    /// Takes the cable away.
    pub(crate) fn unplug(&self) {
        ip(&["-n", &self.a, "link", "del", INTERFACE]);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for host in [&self.a, &self.b] {
            run("ip", &["netns", "del", host]);
        }
    }
}

/// Hosts on one switch. The first has 10.77.0.1/24 and fd77::1/64, and so on.
pub(crate) struct Star {
    hosts: Vec<String>,
    switch: String,
}

impl Star {
    /// `None`, with the reason printed, where this process may not make network namespaces.
    pub(crate) fn new(count: usize) -> Option<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |part: &str| format!("msdp-{}-{number}{part}", std::process::id());
        let star = Self { hosts: (1..=count).map(|at| name(&format!("h{at}"))).collect(), switch: name("s") };
        for host in star.hosts.iter().chain([&star.switch]) {
            if !make_host(host) {
                return None;
            }
        }
        ip(&["-n", &star.switch, "link", "add", "br0", "up", "type", "bridge"]);
        for (at, host) in (1..).zip(&star.hosts) {
            star.plug(at, host);
        }
        Some(star)
    }

    fn plug(&self, at: usize, host: &str) {
        let port = format!("p{at}");
        ip(&[
            "-n",
            host,
            "link",
            "add",
            INTERFACE,
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            &self.switch,
        ]);
        ip(&["-n", &self.switch, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", host, "addr", "add", &format!("10.77.0.{at}/24"), "dev", INTERFACE]);
        ip(&["-n", host, "addr", "add", &format!("fd77::{at}/64"), "dev", INTERFACE, "nodad"]);
        ip(&["-n", host, "link", "set", INTERFACE, "up"]);
    }

    /// The first, by custom.
    pub(crate) fn client(&self) -> &str {
        self.host(0)
    }

    /// The second.
    pub(crate) fn holder(&self) -> &str {
        self.host(1)
    }

    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn host(&self, at: usize) -> &str {
        &self.hosts[at]
    }
}

impl Drop for Star {
    fn drop(&mut self) {
        for host in self.hosts.iter().chain([&self.switch]) {
            run("ip", &["netns", "del", host]);
        }
    }
}

/// Makes one that has a loopback interface. `false`, with the reason printed, where this process may not.
fn make_host(host: &str) -> bool {
    let made = run("ip", &["netns", "add", host]);
    if !made.status.success() {
        eprintln!("skipped: cannot make a network namespace: {}", text(&made.stderr).trim());
        return false;
    }
    ip(&["netns", "exec", host, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
    ip(&["-n", host, "link", "set", "lo", "up"]);
    true
}

/// Runs `nft` on `host`; it must succeed. Its output.
pub(crate) fn nft(host: &str, arguments: &[&str]) -> String {
    let output = Command::new("ip").args(["netns", "exec", host, "nft"]).args(arguments).output();
    let output = output.expect("iproute2 and nftables are installed");
    assert!(output.status.success(), "nft {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs `ip`; it must succeed. Its output.
pub(crate) fn ip(arguments: &[&str]) -> String {
    let output = run("ip", arguments);
    assert!(output.status.success(), "ip {}: {}", arguments.join(" "), text(&output.stderr));
    text(&output.stdout)
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("iproute2 is installed")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The kernel's description of one address on `host`, if it is there.
pub(crate) fn address(host: &str, vip: Vip) -> Option<serde_json::Value> {
    let all = ip(&["-n", host, "-j", "-d", "addr", "show", "dev", INTERFACE]);
    let all: serde_json::Value = serde_json::from_str(&all).expect("json");
    let found = all.as_array().into_iter().flatten().flat_map(|link| link["addr_info"].as_array().cloned());
    found.flatten().find(|one| one["local"].as_str().and_then(|ip| ip.parse().ok()) == Some(vip))
}

/// The hardware address of `host`'s interface.
pub(crate) fn mac(host: &str) -> Mac {
    let all = ip(&["-n", host, "-j", "link", "show", "dev", INTERFACE]);
    let all: serde_json::Value = serde_json::from_str(&all).expect("json");
    all[0]["address"].as_str().and_then(|mac| mac.parse().ok()).expect("a hardware address")
}

/// Runs `body` on a thread that is on `host`, with a runtime of its own as the agent has.
pub(crate) fn on<F, Fut, T>(host: &str, body: F) -> T
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            enter(host).expect("enter the namespace");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(body())
        });
        there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves this thread, and threads it starts, to `host`.
#[expect(unsafe_code, reason = "no safe wrapper of setns is among the dependencies")]
fn enter(host: &str) -> io::Result<()> {
    let namespace = std::fs::File::open(format!("/run/netns/{host}"))?;
    // SAFETY: setns reads no memory of ours; the descriptor is open for the whole call.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A socket on `host` that sees every frame its interfaces receive.
pub(crate) fn ears(host: &str) -> Socket {
    let all = i32::from(u16::try_from(libc::ETH_P_ALL).expect("16 bits").to_be());
    let socket =
        on(host, || async move { Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(all))) });
    let socket = socket.expect("a packet socket");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out");
    socket.set_recv_buffer_size(4 << 20).expect("a buffer");
    socket
}

/// The marked frames that `ears` hears until `enough` of them are there or patience ends, each with when.
pub(crate) fn marked(ears: &Socket, enough: usize) -> Vec<(Instant, mainstay_wire::Parsed)> {
    let began = Instant::now();
    let mut heard = Vec::new();
    let mut buffer = [0_u8; 2_048];
    while heard.len() < enough && began.elapsed() < PATIENCE {
        let Ok(length) = io::Read::read(&mut &*ears, &mut buffer) else { continue };
        if let Ok(parsed) = mainstay_wire::parse(&buffer[..length])
            && parsed.mark.is_some()
        {
            heard.push((Instant::now(), parsed));
        }
    }
    heard
}

/// Sends frames from `host`'s interface.
#[expect(unsafe_code, reason = "socket2 has no constructor for a link-layer address")]
pub(crate) fn send(host: &str, frames: &[Vec<u8>]) {
    on(host, || async move {
        let socket =
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).expect("a packet socket");
        let name = std::ffi::CString::new(INTERFACE).expect("no zero");
        // SAFETY: `name` is a string that ends in zero and lives through the call; `storage` is zeroed, writable and
        // larger than a `sockaddr_ll`, and the length is set to what was written.
        let ((), to) = unsafe {
            let index = libc::if_nametoindex(name.as_ptr());
            socket2::SockAddr::try_init(|storage, length| {
                let link = storage.cast::<libc::sockaddr_ll>();
                (*link).sll_family = u16::try_from(libc::AF_PACKET).expect("16 bits");
                (*link).sll_ifindex = index.cast_signed();
                *length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("32 bits");
                Ok(())
            })
        }
        .expect("an address");
        for frame in frames {
            socket.send_to(frame, &to).expect("the device takes it");
        }
    });
}

pub(crate) fn address_of(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn mark() -> Mark {
    Mark { tenure: Tenure::Confirmed, epoch: 7, node: NodeName::new("a").id() }
}

pub(crate) fn claim() -> ClaimId {
    ClaimId::control_plane()
}

pub(crate) async fn open() -> Dataplane {
    let settings =
        LinkSettings { interface: INTERFACE.to_owned(), announce_every: Duration::from_secs(3), seed: 1 };
    Dataplane::open(settings).await.expect("the data plane opens").0
}

pub(crate) fn assign(id: u64, vips: &[Vip], seconds: u64) -> Effect {
    let lifetime = Duration::from_secs(seconds);
    Effect::Assign { id: EffectId(id), claim: claim(), vips: vips.to_vec(), lifetime }
}

pub(crate) fn withdraw(id: u64, vips: &[Vip]) -> Effect {
    Effect::Withdraw { id: EffectId(id), claim: claim(), vips: vips.to_vec() }
}

pub(crate) fn announce(vips: &[Vip], pace: Pace) -> Effect {
    Effect::Announce { claim: claim(), vips: vips.to_vec(), mark: mark(), pace }
}

pub(crate) fn listen(vips: &[Vip], others: &[IpAddr]) -> Effect {
    Effect::Listen { vips: vips.iter().copied().collect(), others: others.iter().copied().collect() }
}

/// Runs the plane until `pick` finds what it looks for; other inputs are passed over.
pub(crate) async fn until<T>(
    plane: &mut Dataplane,
    what: &str,
    mut pick: impl FnMut(&Input) -> Option<T>,
) -> T {
    let search = async {
        loop {
            let input = plane.next().await;
            if let Some(found) = pick(&input) {
                return found;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => panic!("no {what} in {PATIENCE:?}; {:?}", plane.counters()),
    }
}

/// Runs the plane while `busy` works on another thread.
pub(crate) async fn alongside<T: Send + 'static>(
    plane: &mut Dataplane,
    busy: impl FnOnce() -> T + Send + 'static,
) -> T {
    let mut work = tokio::task::spawn_blocking(busy);
    loop {
        tokio::select! {
            done = &mut work => return done.expect("it does not panic"),
            _ = plane.next() => {}
        }
    }
}

/// Gives an order and waits for its outcome.
pub(crate) async fn done(plane: &mut Dataplane, effect: Effect) -> Outcome {
    let wanted = match &effect {
        Effect::Assign { id, .. } | Effect::Withdraw { id, .. } | Effect::Probe { id, .. } => *id,
        other => panic!("{other:?} has no outcome"),
    };
    assert_eq!(plane.submit(effect), None);
    until(plane, "outcome", |input| match input {
        Input::Outcome { id, outcome } if *id == wanted => Some(outcome.clone()),
        _ => None,
    })
    .await
}
