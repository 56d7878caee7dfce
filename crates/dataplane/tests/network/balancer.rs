//! The load balancer in a real kernel: connections from another host, and from the host itself, to backends elsewhere and
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use mainstay_core::balance::{Balance, Distribution};
use mainstay_core::vip::Vip;
use mainstay_dataplane::balancer::{self, Balanced, TABLE, strays};
use mainstay_dataplane::kernel::TableError;
use socket2::{Domain, Socket, Type};

use crate::support::{INTERFACE, PATIENCE, Star, address_of, ip, nft, on};

const V4: &str = "10.77.0.9";
const V6: &str = "fd77::9";
/// What clients connect to, and what backends listen on.
const PORT: u16 = 7443;
pub(crate) const BEHIND: u16 = 6443;

/// One that says its name to whoever connects, and then echoes.
pub(crate) struct Backend {
    /// Its addresses: of IPv4, or not.
    pub(crate) at: BTreeMap<bool, SocketAddr>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    wake: (String, SocketAddr),
}

impl Backend {
    pub(crate) fn begin(host: &str, number: u8) -> Self {
        let addresses = [format!("10.77.0.{number}"), format!("fd77::{number}")];
        let at: BTreeMap<bool, SocketAddr> = addresses
            .map(|one| SocketAddr::new(address_of(&one), BEHIND))
            .map(|one| (one.is_ipv4(), one))
            .into();
        let listener = on(host, || async { TcpListener::bind(("::", BEHIND)) }).expect("a listener");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                std::thread::spawn(move || echo(stream, number));
            }
        });
        Self { wake: (host.to_owned(), at[&true]), at, stop, thread: Some(thread) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (host, at) = self.wake.clone();
        let _ = on(&host, || async move { TcpStream::connect_timeout(&at, PATIENCE) });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn echo(mut stream: TcpStream, number: u8) {
    let mut heard = [0; 1];
    let mut said = stream.write_all(&[number]);
    while said.is_ok() && stream.read_exact(&mut heard).is_ok() {
        said = stream.write_all(&heard);
    }
}

/// Where the backends with these numbers are, the holder's own being 2.
pub(crate) fn addresses(backends: &[Backend], numbers: &[u8]) -> BTreeSet<SocketAddr> {
    let of = |number: &u8| backends[usize::from(*number) - 2].at.values().copied();
    numbers.iter().flat_map(of).collect()
}

/// A client, a holder of both addresses, which forwards, and backends: 10.77.0.1 is the client's, .2 the holder's.
struct Lab {
    /// They end before their hosts.
    backends: Vec<Backend>,
    star: Star,
}

impl Lab {
    /// With `others` backends beside the holder's own.
    fn new(others: u8) -> Option<Self> {
        let star = Star::new(usize::from(others) + 2)?;
        let holder = star.host(1);
        ip(&["-n", holder, "addr", "add", &format!("{V4}/32"), "dev", INTERFACE]);
        // Never preferred, as the agent has it: what is masqueraded must not be so as the VIP, which may go elsewhere.
        let unpreferred = ["nodad", "preferred_lft", "0"];
        let add = ["-n", holder, "addr", "add", &format!("{V6}/128"), "dev", INTERFACE];
        ip(&[&add[..], &unpreferred].concat());
        forward(holder);
        let number = |at: usize| u8::try_from(at + 1).expect("a few");
        let backends = (1..star.count()).map(|at| Backend::begin(star.host(at), number(at))).collect();
        Some(Self { star, backends })
    }

    fn put(&self, numbers: &[u8], distribution: Distribution) -> Balanced {
        self.put_as(&balance(addresses(&self.backends, numbers), distribution))
    }

    fn put_as(&self, balance: &Balance) -> Balanced {
        on(self.star.holder(), || async { balancer::put(balance) }).expect("the kernel balances")
    }
}

fn forward(host: &str) {
    for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        ip(&["netns", "exec", host, "sysctl", "-qw", setting]);
    }
}

fn balance(takes: BTreeSet<SocketAddr>, distribution: Distribution) -> Balance {
    let vips: BTreeSet<Vip> = [V4, V6].map(address_of).into();
    Balance { vips, port: PORT, distribution, keeps: takes.clone(), takes }
}

/// A connection through the VIP, and who answered.
fn connect(host: &str, vip: &str) -> std::io::Result<(TcpStream, u8)> {
    connect_to(host, SocketAddr::new(address_of(vip), PORT))
}

/// A connection to there, and who answered.
pub(crate) fn connect_to(host: &str, to: SocketAddr) -> std::io::Result<(TcpStream, u8)> {
    let mut stream = on(host, || async move { TcpStream::connect_timeout(&to, PATIENCE) })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut name = [0; 1];
    stream.read_exact(&mut name)?;
    Ok((stream, name[0]))
}

/// How many of so many connections each backend got.
fn shares(host: &str, vip: &str, count: usize) -> BTreeMap<u8, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let (_, number) = connect(host, vip).unwrap_or_else(|error| panic!("{vip}: {error}"));
        *shares.entry(number).or_default() += 1;
    }
    shares
}

#[test]
fn connections_go_to_each_backend_in_turn_from_outside_and_from_the_holder_itself() {
    let Some(lab) = Lab::new(2) else { return };
    assert!(lab.put(&[2, 3, 4], Distribution::RoundRobin).changed);
    for vip in [V4, V6] {
        for host in [lab.star.client(), lab.star.holder()] {
            assert_eq!(shares(host, vip, 30), [(2, 10), (3, 10), (4, 10)].into(), "{vip} from {host}");
        }
    }
    assert_eq!(lab.put(&[2, 3, 4], Distribution::RoundRobin), Balanced::default(), "it is so already");
}

/// The backend must see the holder for it to answer there, and its own host for what comes from there.
#[test]
fn only_what_leaves_the_host_is_masqueraded() {
    let Some(lab) = Lab::new(1) else { return };
    for (number, vip, seen) in
        [(2, V4, "10.77.0.1"), (3, V4, "10.77.0.2"), (2, V6, "fd77::1"), (3, V6, "fd77::2")]
    {
        lab.put(&[number], Distribution::RoundRobin);
        let _open = connect(lab.star.client(), vip).expect("it answers");
        let at = lab.star.host(usize::from(number) - 1);
        let peers = ip(&["netns", "exec", at, "ss", "-Htn", "state", "established", "sport", "=", ":6443"]);
        assert!(peers.contains(&format!("{seen}]:")), "{number} {vip}: {peers}");
    }
}

#[test]
fn a_client_stays_with_its_backend_and_moves_only_when_that_goes() {
    let Some(lab) = Lab::new(3) else { return };
    lab.put(&[2, 3, 4, 5], Distribution::SourceHash);
    for vip in [V4, V6] {
        let (_, mine) = connect(lab.star.client(), vip).expect("it answers");
        assert_eq!(shares(lab.star.client(), vip, 10), [(mine, 10)].into(), "{vip}");
        let others: Vec<u8> = (2..=5).filter(|number| *number != mine).collect();
        for gone in &others {
            let left: Vec<u8> = (2..=5).filter(|number| number != gone).collect();
            lab.put(&left, Distribution::SourceHash);
            assert_eq!(shares(lab.star.client(), vip, 3), [(mine, 3)].into(), "{vip} without {gone}");
        }
        lab.put(&others, Distribution::SourceHash);
        assert!(!shares(lab.star.client(), vip, 3).contains_key(&mine), "{vip}");
        lab.put(&[2, 3, 4, 5], Distribution::SourceHash);
        assert_eq!(shares(lab.star.client(), vip, 3), [(mine, 3)].into(), "{vip}: and back");
    }
}

/// Both the one that sends and the one that only waits: that one would wait for ever.
#[test]
fn connections_of_a_backend_that_is_taken_out_are_reset_at_once_and_others_go_on() {
    let Some(lab) = Lab::new(2) else { return };
    for (vip, host) in
        [(V4, lab.star.client()), (V6, lab.star.client()), (V4, lab.star.holder()), (V6, lab.star.holder())]
    {
        lab.put(&[3, 4], Distribution::RoundRobin);
        let mut open: BTreeMap<u8, TcpStream> = BTreeMap::new();
        while open.len() < 2 {
            let (stream, number) = connect(host, vip).expect("it answers");
            open.insert(number, stream);
        }
        let mut other = open.remove(&4).expect("both");
        let mut waits = open.remove(&3).expect("both");
        let begin = Instant::now();
        let put = lab.put(&[4], Distribution::RoundRobin);
        assert!(put.changed && put.ended >= 1, "{vip} from {host}: {put:?}");
        let error = waits.read_exact(&mut [0]).expect_err("its backend is gone");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{vip} from {host}: {error}");
        assert!(begin.elapsed() < PATIENCE / 2, "{vip} from {host}: {:?}", begin.elapsed());
        other.write_all(&[42]).and_then(|()| other.read_exact(&mut [0])).expect("the other goes on");
        assert_eq!(shares(host, vip, 4), [(4, 4)].into());
    }
}

/// A client that was told, and one that is gone, may connect again from the same port at once.
#[test]
fn the_port_of_an_ended_connection_can_be_used_again_at_once() {
    let Some(lab) = Lab::new(2) else { return };
    for (vip, own) in [(V4, "10.77.0.1:41000"), (V6, "[fd77::1]:41000")] {
        lab.put(&[3], Distribution::RoundRobin);
        let mut waits = connect_from(&lab, own, vip).expect("it answers");
        assert!(lab.put(&[4], Distribution::RoundRobin).ended >= 1);
        assert!(waits.read_exact(&mut [0]).is_err(), "{vip}: reset");
        drop(waits);
        let mut again = connect_from(&lab, own, vip).expect("it answers");
        again.write_all(&[42]).and_then(|()| again.read_exact(&mut [0])).expect("by another");
        // Reset, so that the port is free for the next family.
        again.set_linger(Some(std::time::Duration::ZERO)).expect("an option");
    }
}

fn connect_from(lab: &Lab, own: &str, vip: &str) -> std::io::Result<Socket> {
    let own: SocketAddr = own.parse().expect("an address");
    let to = SocketAddr::new(address_of(vip), PORT);
    on(lab.star.client(), || async move {
        let socket = Socket::new(Domain::for_address(own), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&own.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        (&socket).read_exact(&mut [0])?;
        Ok(socket)
    })
}

/// The VIP goes from the first of three nodes to the second. What the first knows goes on, by way of whoever is asked before it;
/// what nobody knows is reset by the holder after it has been round; and so it is when the VIP goes on to the third.
#[test]
fn a_connection_outlives_that_its_vip_moves() {
    let Some(lab) = Lab::new(2) else { return };
    let nodes: Vec<&str> = (1..=3).map(|at| lab.star.host(at)).collect();
    for host in &nodes[1..] {
        forward(host);
    }
    let all = balance(addresses(&lab.backends, &[2, 3, 4]), Distribution::RoundRobin);
    for (at, host) in nodes.iter().enumerate() {
        let next = u8::try_from((at + 1) % 3 + 2).expect("a few");
        let next: BTreeSet<_> = addresses(&lab.backends, &[next]).iter().map(SocketAddr::ip).collect();
        on(host, || async { balancer::put(&all) }).expect("the kernel balances");
        let send = || on(host, || async { strays::put(&all, INTERFACE, &next) }).expect("it sends on");
        assert_eq!((send(), send()), (true, false), "{host}");
    }
    for vip in [V4, V6] {
        let begin = |count| -> BTreeMap<u8, TcpStream> {
            let connections = (0..count).map(|_| connect(lab.star.client(), vip).expect("it answers"));
            connections.map(|(stream, number)| (number, stream)).collect()
        };
        let echo = |streams: &mut BTreeMap<u8, TcpStream>, of: &str| {
            for (number, stream) in streams {
                let answered = stream.write_all(&[42]).and_then(|()| stream.read_exact(&mut [0]));
                answered.unwrap_or_else(|error| panic!("{vip} of {of} to {number}: {error}"));
            }
        };
        let mut first = begin(3);
        assert_eq!(first.len(), 3, "one of each: the holder's own, and two that are masqueraded");
        move_vip(&lab, vip, (nodes[0], nodes[1]));
        echo(&mut first, "the first");
        let mut second = begin(3);
        move_vip(&lab, vip, (nodes[1], nodes[2]));
        echo(&mut first, "the first, whose VIP moved twice");
        echo(&mut second, "the second");
        // A client that missed the move sends to who held the VIP before: that one passes on what is the holder's.
        let mut third = begin(3);
        let mac = ip(&["netns", "exec", nodes[1], "cat", &format!("/sys/class/net/{INTERFACE}/address")]);
        let stale = ["lladdr", mac.trim(), "nud", "permanent", "dev", INTERFACE];
        ip(&[&["-n", lab.star.client(), "neigh", "replace", vip][..], &stale].concat());
        echo(&mut third, "the third, by way of the second");
        ip(&["-n", lab.star.client(), "neigh", "del", vip, "dev", INTERFACE]);

        // The first node ends what goes to the backend 3: nobody knows it any more.
        let without = balance(addresses(&lab.backends, &[2, 4]), Distribution::RoundRobin);
        let mut gone = first.remove(&3).expect("one of each");
        assert!(on(nodes[0], || async { balancer::put(&without) }).expect("it ends it").ended >= 1);
        let error = gone.read_exact(&mut [0]).expect_err("it was ended");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{vip}: {error}");
        echo(&mut first, "the first, beside what was ended");
        on(nodes[0], || async { balancer::put(&all) }).expect("the kernel balances");
        move_vip(&lab, vip, (nodes[2], nodes[0]));
    }
    on(nodes[1], || async { balancer::remove() }).expect("removed");
    assert_eq!(nft(nodes[1], &["list", "ruleset"]), "", "both are gone");
}

/// Without the address another host speaks for it, and the client knows at once.
fn move_vip(lab: &Lab, vip: &str, (from, to): (&str, &str)) {
    let is_v4 = vip == V4;
    let with_prefix = format!("{vip}/{}", if is_v4 { 32 } else { 128 });
    ip(&["-n", from, "addr", "del", &with_prefix, "dev", INTERFACE]);
    let add = ["-n", to, "addr", "add", &with_prefix, "dev", INTERFACE];
    let unpreferred: &[&str] = if is_v4 { &[] } else { &["nodad", "preferred_lft", "0"] };
    ip(&[&add[..], unpreferred].concat());
    ip(&["-n", lab.star.client(), "neigh", "flush", "to", vip, "dev", INTERFACE]);
}

/// One that only takes nothing new any more (another is preferred) keeps what it has.
#[test]
fn a_backend_that_is_only_not_preferred_keeps_its_connections() {
    let Some(lab) = Lab::new(1) else { return };
    lab.put(&[3], Distribution::RoundRobin);
    let (mut stream, number) = connect(lab.star.client(), V4).expect("it answers");
    let preferred = Balance {
        keeps: addresses(&lab.backends, &[2, 3]),
        ..balance(addresses(&lab.backends, &[2]), Distribution::RoundRobin)
    };
    assert_eq!(lab.put_as(&preferred), Balanced { changed: true, ended: 0 });
    stream.write_all(&[42]).and_then(|()| stream.read_exact(&mut [0])).expect("it goes on");
    assert_eq!((number, shares(lab.star.client(), V4, 3)), (3, [(2, 3)].into()));
    let counted = on(lab.star.holder(), || async { balancer::connections(&preferred) }).expect("counted");
    let of = |number: u8| lab.backends[usize::from(number) - 2].at[&true];
    assert!(counted[&of(3)] == 1 && counted[&of(2)] == 3, "{counted:?}");
}

#[test]
fn it_is_put_back_when_somebody_takes_it_away_and_it_goes_as_a_whole() {
    let Some(lab) = Lab::new(1) else { return };
    lab.put(&[3], Distribution::RoundRobin);
    let tables = || nft(lab.star.holder(), &["list", "tables"]);
    nft(lab.star.holder(), &["flush", "ruleset"]);
    assert!(lab.put(&[3], Distribution::RoundRobin).changed && tables().contains(TABLE));
    nft(lab.star.holder(), &["flush", "table", "inet", TABLE]);
    assert!(lab.put(&[3], Distribution::RoundRobin).changed);
    assert_eq!(shares(lab.star.client(), V6, 2), [(3, 2)].into());
    let read = on(lab.star.holder(), || async { balancer::in_force() }).expect("read");
    let expected = [V4, V6].map(address_of).map(|vip| {
        (
            vip,
            addresses(&lab.backends, &[3]).into_iter().filter(|one| one.is_ipv4() == vip.is_ipv4()).collect(),
        )
    });
    assert_eq!(read, expected.into());
    // Another form replaces this one in one step.
    assert!(lab.put(&[3], Distribution::SourceHash).changed);
    on(lab.star.holder(), || async { balancer::remove() }).expect("removed");
    assert!(!tables().contains(TABLE), "{}", tables());
    on(lab.star.holder(), || async { balancer::remove() }).expect("it is not there already");
}

#[test]
fn a_table_of_somebody_elses_is_not_touched() {
    let Some(lab) = Lab::new(1) else { return };
    nft(lab.star.holder(), &["add", "table", "inet", TABLE]);
    let balance = balance(addresses(&lab.backends, &[3]), Distribution::RoundRobin);
    let refused = on(lab.star.holder(), || async { balancer::put(&balance) }).expect_err("it is not ours");
    assert!(matches!(refused, TableError::NotOurs { .. }), "{refused}");
    assert!(refused.to_string().contains(TABLE), "{refused}");
}

/// It leaves nothing behind, whatever is there.
#[test]
fn a_kernel_that_can_says_so() {
    let Some(lab) = Lab::new(1) else { return };
    for distribution in [Distribution::RoundRobin, Distribution::SourceHash] {
        on(lab.star.holder(), || async { balancer::check(distribution) }).expect("it can");
    }
    assert_eq!(nft(lab.star.holder(), &["list", "ruleset"]), "");
}

/// What `nft` shows of it is what a person can read.
#[test]
fn a_person_can_read_the_rules() {
    let Some(lab) = Lab::new(1) else { return };
    for (distribution, name) in
        [(Distribution::RoundRobin, "round-robin"), (Distribution::SourceHash, "source-hash")]
    {
        lab.put(&[3], distribution);
        let shown = nft(lab.star.holder(), &["list", "table", "inet", TABLE]);
        // Of the slots, the first line of each map will do.
        let kept: Vec<&str> = shown.lines().filter(|line| !line.starts_with("\t\t\t")).collect();
        is_as_kept(name, &kept.join("\n"));
    }
    let all = balance(addresses(&lab.backends, &[3]), Distribution::RoundRobin);
    let next = ["10.77.0.3", "fd77::3"].map(address_of).into();
    on(lab.star.holder(), || async { strays::put(&all, INTERFACE, &next) }).expect("it sends on");
    let shown = ["ip", "ip6"].map(|family| nft(lab.star.holder(), &["list", "table", family, strays::TABLE]));
    is_as_kept("strays", &shown.concat());
}

/// It is what is in a file beside this one.
fn is_as_kept(name: &str, shown: &str) {
    let file = format!("tests/network/balancer/{name}.nft");
    if std::env::var_os("MAINSTAY_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(&file, format!("{}\n", shown.trim_end())).expect("written");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown.trim(), expected.trim(), "{file}; MAINSTAY_WRITE_SNAPSHOTS=1 writes it");
}
