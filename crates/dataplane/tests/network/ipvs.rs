//! IPVS in a real kernel: connections from another host, by each way to the backends. Where the kernel has none, the tests
//! say so; `make devices` runs them on User-Mode Linux, which has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use mainstay_core::balance::Balance;
use mainstay_core::vip::Vip;
use mainstay_dataplane::ipvs::{self, Balanced, Forwarding, IpvsError, Scheduler, Settings};

use crate::balancer::{BEHIND, Backend, addresses, connect_to};
use crate::support::{INTERFACE, PATIENCE, Star, address_of, ip, on};

const V4: &str = "10.77.0.9";
const V6: &str = "fd77::9";
/// What clients connect to where ports are translated.
const PORT: u16 = 7443;

/// A client, a holder of both addresses, and backends: 10.77.0.1 is the client's, .2 the holder's, which is one as well.
struct Lab {
    /// They end before their hosts.
    backends: Vec<Backend>,
    star: Star,
}

impl Lab {
    /// With `others` backends beside the holder's own.
    fn new(others: u8) -> Option<Self> {
        let star = Star::new(usize::from(others) + 2)?;
        match on(star.host(1), || async { ipvs::available() }) {
            Err(error @ IpvsError::Missing) => {
                eprintln!("skipped: {error}; make devices runs this on a kernel that has it");
                return None;
            }
            asked => asked.expect("a kernel that says what it has"),
        }
        let holder = star.host(1);
        ip(&["-n", holder, "addr", "add", &format!("{V4}/32"), "dev", INTERFACE]);
        let unpreferred = ["nodad", "preferred_lft", "0"];
        let add = ["-n", holder, "addr", "add", &format!("{V6}/128"), "dev", INTERFACE];
        ip(&[&add[..], &unpreferred].concat());
        let number = |at: usize| u8::try_from(at + 1).expect("a few");
        let backends = (1..star.count()).map(|at| Backend::begin(star.host(at), number(at))).collect();
        Some(Self { star, backends })
    }

    /// Answers come back through the holder, also where the kernel has no nftables to see to that.
    fn with_answers_through_the_holder(self) -> Self {
        sysctl(self.star.holder(), "net.ipv6.conf.all.forwarding=1");
        for setting in ["net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0"] {
            sysctl(self.star.holder(), setting);
        }
        for at in 2..self.star.count() {
            let host = self.star.host(at);
            sysctl(host, "net.ipv6.conf.eth0.accept_redirects=0");
            ip(&["-n", host, "route", "add", "10.77.0.1/32", "via", "10.77.0.2"]);
            ip(&["-n", host, "-6", "route", "add", "fd77::1/128", "via", "fd77::2"]);
        }
        self
    }

    /// The backends have the VIP themselves, on an interface that answers no ARP for it.
    fn with_vips_on(self, interface: &str) -> Self {
        for at in 2..self.star.count() {
            let host = self.star.host(at);
            for of in ["all", "eth0"] {
                sysctl(host, &format!("net.ipv4.conf.{of}.arp_ignore=1"));
                sysctl(host, &format!("net.ipv4.conf.{of}.arp_announce=2"));
                sysctl(host, &format!("net.ipv4.conf.{of}.rp_filter=0"));
            }
            if interface != "lo" {
                ip(&["-n", host, "link", "set", interface, "up"]);
                sysctl(host, &format!("net.ipv4.conf.{interface}.rp_filter=0"));
            }
            ip(&["-n", host, "addr", "add", &format!("{V4}/32"), "dev", interface]);
            if interface == "lo" {
                ip(&["-n", host, "addr", "add", &format!("{V6}/128"), "dev", interface, "nodad"]);
            }
        }
        self
    }

    /// What new connections to `port` go to, and whose stay.
    fn balance(&self, port: u16, takes: &[u8], keeps: &[u8]) -> Balance {
        let (takes, keeps) = (addresses(&self.backends, takes), addresses(&self.backends, keeps));
        Balance { vips: vips(), port, takes, keeps, ..Balance::default() }
    }

    fn put(&self, balance: &Balance, settings: Settings) -> Result<Balanced, IpvsError> {
        on(self.star.holder(), || async { ipvs::put(balance, settings) })
    }

    /// Masqueraded; whether anything changed, and how many connections were ended.
    fn masquerade(&self, takes: &[u8], keeps: &[u8]) -> (bool, usize) {
        let put = self.put(&self.balance(PORT, takes, keeps), by(Forwarding::Masquerade));
        let put = put.expect("the kernel balances");
        // Whether nftables is there is another test's.
        let others = put.lacking.iter().filter(|line| !line.contains("source addresses"));
        assert_eq!(others.count(), 0, "{:?}", put.lacking);
        (put.changed, put.ended)
    }

    /// What the kernel has, as it shows it to anybody.
    fn shown(&self) -> String {
        ip(&["netns", "exec", self.star.holder(), "cat", "/proc/net/ip_vs"])
    }
}

fn vips() -> BTreeSet<Vip> {
    [V4, V6].map(address_of).into()
}

fn by(forwarding: Forwarding) -> Settings {
    Settings { forwarding, scheduler: Scheduler::RoundRobin }
}

fn sysctl(host: &str, setting: &str) {
    ip(&["netns", "exec", host, "sysctl", "-qw", setting]);
}

/// How many of so many connections each backend got.
fn shares(host: &str, (vip, port): (&str, u16), count: usize) -> BTreeMap<u8, usize> {
    let to = SocketAddr::new(address_of(vip), port);
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let (_, number) = connect_to(host, to).unwrap_or_else(|error| panic!("{to} from {host}: {error}"));
        *shares.entry(number).or_default() += 1;
    }
    shares
}

/// A connection to each of the backends with these numbers.
fn one_to_each(lab: &Lab, vip: &str, numbers: &[u8]) -> BTreeMap<u8, TcpStream> {
    let to = SocketAddr::new(address_of(vip), PORT);
    let mut open: BTreeMap<u8, TcpStream> = BTreeMap::new();
    for _ in 0..2 * numbers.len() {
        let (stream, number) = connect_to(lab.star.client(), to).expect("it answers");
        open.entry(number).or_insert(stream);
    }
    assert_eq!(open.keys().copied().collect::<Vec<_>>(), numbers, "{vip}");
    open
}

fn goes_on(stream: &mut TcpStream) {
    stream.write_all(&[42]).and_then(|()| stream.read_exact(&mut [0])).expect("the connection goes on");
}

#[test]
fn masqueraded_connections_go_to_each_backend_in_turn() {
    let Some(lab) = Lab::new(2).map(Lab::with_answers_through_the_holder) else { return };
    assert!(lab.masquerade(&[2, 3, 4], &[]).0);
    for vip in [V4, V6] {
        assert_eq!(shares(lab.star.client(), (vip, PORT), 12), [(2, 4), (3, 4), (4, 4)].into(), "{vip}");
    }
    assert_eq!(shares(lab.star.holder(), (V4, PORT), 6), [(2, 2), (3, 2), (4, 2)].into(), "from the holder");
    assert_eq!(lab.masquerade(&[2, 3, 4], &[]), (false, 0), "it is so already");
    for setting in ["net.ipv4.ip_forward", "net.ipv4.vs.conntrack", "net.ipv4.vs.expire_nodest_conn"] {
        let value = ip(&["netns", "exec", lab.star.holder(), "sysctl", "-n", setting]);
        assert_eq!(value.trim(), "1", "{setting}");
    }
}

/// With nftables a backend needs no route through the holder: it is the holder that asks, as far as it can see.
#[test]
fn nftables_sees_to_it_that_answers_come_back() {
    let Some(lab) = Lab::new(2) else { return };
    let holder = lab.star.holder();
    sysctl(holder, "net.ipv6.conf.all.forwarding=1");
    let put =
        lab.put(&lab.balance(PORT, &[3, 4], &[]), by(Forwarding::Masquerade)).expect("the kernel balances");
    if let Some(line) = put.lacking.iter().find(|line| line.contains("source addresses")) {
        eprintln!("skipped: {line}; make devices runs this on a kernel that has it");
        return;
    }
    for (vip, seen) in [(V4, "10.77.0.2"), (V6, "fd77::2")] {
        assert_eq!(shares(lab.star.client(), (vip, PORT), 6), [(3, 3), (4, 3)].into(), "{vip}");
        let mut open = one_to_each(&lab, vip, &[3, 4]);
        for number in [3, 4] {
            let host = lab.star.host(number - 1);
            let peers =
                ip(&["netns", "exec", host, "ss", "-Htn", "state", "established", "sport", "=", ":6443"]);
            assert!(peers.contains(&format!("{seen}]:")), "{number} {vip}: {peers}");
        }
        open.values_mut().for_each(goes_on);
        assert!(
            lab.put(&lab.balance(PORT, &[4], &[]), by(Forwarding::Masquerade)).expect("it balances").ended
                >= 1
        );
        let error = open.get_mut(&3).expect("both").read_exact(&mut [0]).expect_err("its backend is gone");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{vip}: {error}");
        open.get_mut(&4).map(goes_on).expect("both");
        lab.put(&lab.balance(PORT, &[3, 4], &[]), by(Forwarding::Masquerade)).expect("it balances");
    }
    on(holder, || async { ipvs::remove(&vips(), PORT) }).expect("removed");
    assert_eq!(crate::support::nft(holder, &["list", "ruleset"]), "", "its table goes along");
}

#[test]
fn a_backend_that_only_keeps_gets_nothing_new_and_keeps_its_connections() {
    let Some(lab) = Lab::new(2).map(Lab::with_answers_through_the_holder) else { return };
    for vip in [V4, V6] {
        lab.masquerade(&[3, 4], &[]);
        let mut open = one_to_each(&lab, vip, &[3, 4]);
        assert_eq!(lab.masquerade(&[4], &[3, 4]), (true, 0));
        open.values_mut().for_each(goes_on);
        assert_eq!(shares(lab.star.client(), (vip, PORT), 4), [(4, 4)].into(), "{vip}");
        let balance = lab.balance(PORT, &[4], &[3]);
        let counted = on(lab.star.holder(), || async { ipvs::connections(&balance) }).expect("counted");
        let of = |number: u8| lab.backends[usize::from(number) - 2].at[&address_of(vip).is_ipv4()];
        assert!(counted[&of(3)] >= 1 && counted[&of(4)] >= 1, "{vip}: {counted:?}");
        assert_eq!(lab.masquerade(&[3, 4], &[]), (true, 0));
        goes_on(open.get_mut(&3).expect("it is open"));
        assert_eq!(shares(lab.star.client(), (vip, PORT), 4), [(3, 2), (4, 2)].into(), "{vip}: and back");
    }
}

/// Both the one that sends and the one that only waits: that one would wait for ever.
#[test]
fn connections_of_a_backend_that_is_taken_out_are_reset_at_once_and_others_go_on() {
    let Some(lab) = Lab::new(2).map(Lab::with_answers_through_the_holder) else { return };
    for vip in [V4, V6] {
        lab.masquerade(&[3, 4], &[]);
        let mut open = one_to_each(&lab, vip, &[3, 4]);
        let begin = Instant::now();
        let (changed, ended) = lab.masquerade(&[4], &[]);
        assert!(changed && ended >= 1, "{vip}: {ended} were ended");
        let error = open.get_mut(&3).map(|waits| waits.read_exact(&mut [0])).expect("it is open");
        assert_eq!(error.expect_err("its backend is gone").kind(), ErrorKind::ConnectionReset, "{vip}");
        assert!(begin.elapsed() < PATIENCE / 2, "{vip}: {:?}", begin.elapsed());
        goes_on(open.get_mut(&4).expect("it is open"));
        assert_eq!(shares(lab.star.client(), (vip, PORT), 4), [(4, 4)].into(), "{vip}");
    }
}

/// And a service on another port is no part of it.
#[test]
fn what_is_removed_is_gone_and_what_is_not_ours_stays() {
    let Some(lab) = Lab::new(1).map(Lab::with_answers_through_the_holder) else { return };
    lab.masquerade(&[3], &[]);
    let other = lab.balance(PORT + 1, &[3], &[]);
    lab.put(&other, by(Forwarding::Masquerade)).expect("the kernel balances");
    let in_force =
        |port| on(lab.star.holder(), || async move { ipvs::in_force(&vips(), port) }).expect("read");
    let remove = || on(lab.star.holder(), || async { ipvs::remove(&vips(), PORT) }).expect("removed");
    let there = in_force(PORT + 1);
    assert_eq!((in_force(PORT).len(), there.len()), (2, 2), "{}", lab.shown());
    remove();
    remove();
    assert_eq!((in_force(PORT), in_force(PORT + 1)), (BTreeMap::new(), there), "{}", lab.shown());
    assert!(!lab.shown().contains(":1D13 "), "{}", lab.shown());
    let refused =
        connect_to(lab.star.client(), SocketAddr::new(address_of(V4), PORT)).expect_err("nobody is there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_service_of_kube_proxys_is_not_touched() {
    let Some(lab) = Lab::new(2).map(Lab::with_answers_through_the_holder) else { return };
    lab.masquerade(&[3], &[]);
    ip(&["-n", lab.star.holder(), "link", "add", "kube-ipvs0", "type", "dummy"]);
    ip(&["-n", lab.star.holder(), "addr", "add", &format!("{V4}/32"), "dev", "kube-ipvs0"]);
    let before = lab.shown();
    let v4_alone = Balance { vips: [address_of(V4)].into(), ..lab.balance(PORT, &[4], &[]) };
    let refused = lab.put(&v4_alone, by(Forwarding::Masquerade)).expect_err("it is not ours");
    assert!(matches!(refused, IpvsError::NotOurs { .. }), "{refused}");
    on(lab.star.holder(), || async { ipvs::remove(&v4_alone.vips, PORT) }).expect("there is nothing of ours");
    assert_eq!(lab.shown(), before);
}

/// It is for the host's owner to decide: it turns off router advertisements.
#[test]
fn forwarding_of_ipv6_is_asked_for_and_not_set() {
    let Some(lab) = Lab::new(1) else { return };
    let lacking = || {
        let balance = lab.balance(PORT, &[3], &[]);
        let put = lab.put(&balance, by(Forwarding::Masquerade)).expect("the kernel balances");
        put.lacking.iter().filter(|line| line.contains("net.ipv6.conf.all.forwarding=1")).count()
    };
    assert_eq!((lacking(), lacking()), (1, 1));
    sysctl(lab.star.holder(), "net.ipv6.conf.all.forwarding=1");
    assert_eq!(lacking(), 0);
}

/// Where ports are not translated, whoever listens on another would get nothing.
#[test]
fn a_backend_on_another_port_is_refused_before_anything_is_done() {
    let Some(lab) = Lab::new(1) else { return };
    let refused = lab.put(&lab.balance(PORT, &[3], &[]), by(Forwarding::DirectRoute));
    assert!(matches!(refused, Err(IpvsError::OtherPort { .. })), "{refused:?}");
    assert!(!lab.shown().contains("1D13"), "{}", lab.shown());
}

/// A client stays with its backend; when that rests, it moves; when it is back, so is the client.
#[test]
fn directly_routed_connections_stay_with_a_backend_when_they_are_hashed() {
    let Some(lab) = Lab::new(2).map(|lab| lab.with_vips_on("lo")) else { return };
    let direct = |scheduler| Settings { forwarding: Forwarding::DirectRoute, scheduler };
    for scheduler in Scheduler::ALL {
        let put =
            lab.put(&lab.balance(BEHIND, &[3, 4], &[]), direct(scheduler)).expect("the kernel balances");
        assert_eq!((put.changed, put.lacking), (true, Vec::new()), "{scheduler}");
        for vip in [V4, V6] {
            let shares = |count| shares(lab.star.client(), (vip, BEHIND), count);
            if [Scheduler::RoundRobin, Scheduler::Weighted].contains(&scheduler) {
                assert_eq!(shares(6), [(3, 3), (4, 3)].into(), "{scheduler}, {vip}");
                continue;
            }
            let mine = *shares(1).keys().next().expect("it answers");
            assert_eq!(shares(6), [(mine, 6)].into(), "{scheduler}, {vip}");
            lab.put(&lab.balance(BEHIND, &[7 - mine], &[mine]), direct(scheduler)).expect("it rests");
            assert_eq!(shares(6), [(7 - mine, 6)].into(), "{scheduler}, {vip}: the other");
            lab.put(&lab.balance(BEHIND, &[3, 4], &[]), direct(scheduler)).expect("it is back");
            assert_eq!(shares(6), [(mine, 6)].into(), "{scheduler}, {vip}: and back");
        }
    }
}

#[test]
fn tunnelled_connections_go_to_each_backend_in_turn() {
    let Some(lab) = Lab::new(2) else { return };
    // The module makes `tunl0` everywhere when it is loaded.
    let add = ["-n", lab.star.holder(), "link", "add", "probe", "type", "ipip", "remote", "10.77.0.3"];
    ip(&add);
    let lab = lab.with_vips_on("tunl0");
    lab.put(&lab.balance(BEHIND, &[3, 4], &[]), by(Forwarding::Tunnel)).expect("the kernel balances");
    assert_eq!(shares(lab.star.client(), (V4, BEHIND), 6), [(3, 3), (4, 3)].into());
}

/// It is the host's own TCP that has the connections: they go on when their backend is taken out.
#[test]
fn local_connections_are_the_hosts_own() {
    let Some(lab) = Lab::new(1) else { return };
    lab.put(&lab.balance(BEHIND, &[2, 3], &[]), by(Forwarding::Local)).expect("the kernel balances");
    for vip in [V4, V6] {
        assert_eq!(shares(lab.star.client(), (vip, BEHIND), 4), [(2, 4)].into(), "{vip}");
    }
    let (mut open, _) =
        connect_to(lab.star.client(), SocketAddr::new(address_of(V4), BEHIND)).expect("it answers");
    let put = lab.put(&lab.balance(BEHIND, &[3], &[]), by(Forwarding::Local)).expect("the kernel balances");
    assert_eq!((put.changed, put.ended), (true, 0));
    goes_on(&mut open);
}
