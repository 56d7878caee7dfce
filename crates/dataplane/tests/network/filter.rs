//! The filter before Services' addresses, in a real kernel and with real traffic.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::filter::{Admission, Filter};
use mainstay_core::intent::{Port, Protocol};
use mainstay_core::vip::Vip;
use mainstay_dataplane::filter::{self, InForce, ServiceFilter, TABLE};
use mainstay_dataplane::kernel::TableError;
use socket2::{Domain, Protocol as Transport, Socket, Type};

use crate::support::{INTERFACE, PATIENCE, Pair, address_of, assign, done, ip, mac, nft, on, open, withdraw};

const V4: &str = "10.77.0.9";
const V6: &str = "fd77::9";
/// How long a connect may go unanswered before it counts as dropped. One that is let through takes microseconds.
const UNANSWERED: Duration = Duration::from_millis(700);

/// Lets in these TCP ports on both addresses.
fn allowing(ports: &[u16]) -> Filter {
    let ports: BTreeSet<Port> =
        ports.iter().map(|port| Port { protocol: Protocol::Tcp, port: *port }).collect();
    Filter([V4, V6].map(|vip| (address_of(vip), Admission::Ports(ports.clone()))).into())
}

fn put(host: &str, filter: &Filter) -> InForce {
    on(host, || async { put_here(filter) }).expect("the kernel filters")
}

/// As an agent that has just begun: it knows nothing of what is there.
fn put_here(filter: &Filter) -> Result<InForce, TableError> {
    ServiceFilter::default().put(&Arc::new(filter.clone()))
}

/// Two hosts, of which the first has both addresses, as an agent would put them there but for their lifetime.
fn pair() -> Option<Pair> {
    let pair = Pair::new()?;
    ip(&["-n", &pair.a, "addr", "add", &format!("{V4}/32"), "dev", INTERFACE]);
    ip(&["-n", &pair.a, "addr", "add", &format!("{V6}/128"), "dev", INTERFACE, "nodad"]);
    Some(pair)
}

/// Listens on all addresses of both families.
fn listen(host: &str, port: u16) -> TcpListener {
    on(host, || async move { TcpListener::bind(("::", port)) }).expect("a listener")
}

fn connect(host: &str, vip: &str, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddr::new(address_of(vip), port);
    on(host, || async move { TcpStream::connect_timeout(&to, UNANSWERED) })
}

fn pings(host: &str, vip: &str) -> bool {
    let arguments = ["netns", "exec", host, "ping", "-n", "-c", "1", "-W", "5", vip];
    Command::new("ip").args(arguments).output().expect("ping is installed").status.success()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ports_of_services_and_echoes_are_let_in_and_nothing_else_is() {
    let Some(pair) = pair() else { return };
    let _listeners = [80, 81, 22].map(|port| listen(&pair.a, port));
    put(&pair.a, &allowing(&[80, 81]));
    for vip in [V4, V6] {
        for port in [80, 81] {
            connect(&pair.b, vip, port).unwrap_or_else(|error| panic!("{vip} {port}: {error}"));
        }
        let dropped = put(&pair.a, &allowing(&[80, 81])).dropped;
        let refused = connect(&pair.b, vip, 22).expect_err("no port of a Service");
        assert_eq!(refused.kind(), std::io::ErrorKind::TimedOut, "{vip}: not answered at all");
        assert!(put(&pair.a, &allowing(&[80, 81])).dropped > dropped, "{vip}: counted");
        assert!(pings(&pair.b, vip), "{vip}: echo");
        connect(&pair.a, vip, 22).unwrap_or_else(|error| panic!("{vip} from the host itself: {error}"));
    }
    // What is not named is not filtered.
    for own in ["10.77.0.1", "fd77::1"] {
        connect(&pair.b, own, 22).unwrap_or_else(|error| panic!("{own}: {error}"));
    }
}

#[test]
fn a_connection_outlives_its_port_and_a_new_port_opens_beside_it() {
    let Some(pair) = pair() else { return };
    let (first, second) = (listen(&pair.a, 80), listen(&pair.a, 443));
    for vip in [V4, V6] {
        put(&pair.a, &allowing(&[80]));
        let mut client = connect(&pair.b, vip, 80).expect("open");
        let (mut server, _) = first.accept().expect("a client");
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        }
        let mut exchange = |what: &str| {
            let mut heard = [0; 4];
            server.write_all(b"ping").and_then(|()| client.read_exact(&mut heard)).expect(what);
            client.write_all(b"pong").and_then(|()| server.read_exact(&mut heard)).expect(what);
        };
        exchange("before");
        assert!(connect(&pair.b, vip, 443).is_err(), "{vip}: not open yet");
        put(&pair.a, &allowing(&[80, 443]));
        exchange("with a port more");
        connect(&pair.b, vip, 443).expect("opened");
        drop(second.accept());
        put(&pair.a, &allowing(&[443]));
        exchange("when its port is closed");
        assert!(connect(&pair.b, vip, 80).is_err(), "{vip}: closed for others");
    }
}

/// Errors of ICMP are let in whatever they are about; other messages are not. Those that pass go first: the kernel
/// counts in the order of arrival.
#[test]
fn errors_of_icmp_and_neighbour_discovery_are_let_in() {
    let Some(pair) = pair() else { return };
    put(&pair.a, &allowing(&[80]));
    // Timestamp (RFC 792); node information (RFC 4620).
    for (vip, passing, dropped) in [(V4, &[3, 8, 11, 12][..], 13), (V6, &[1, 2, 3, 4, 128][..], 139)] {
        let before = put(&pair.a, &allowing(&[80])).dropped;
        passing.iter().chain([&dropped]).for_each(|kind| send_icmp(&pair.b, address_of(vip), *kind));
        wait_until("the last is dropped", || put(&pair.a, &allowing(&[80])).dropped > before);
        assert_eq!(put(&pair.a, &allowing(&[80])).dropped, before + 1, "{vip}: the last alone");
    }
    // The neighbour is asked, at the address itself, whether it is still there.
    let lladdr = mac(&pair.a).to_string();
    ip(&["-n", &pair.b, "neigh", "replace", V6, "lladdr", &lladdr, "nud", "probe", "dev", INTERFACE]);
    wait_until("the neighbour answers", || {
        ip(&["-n", &pair.b, "neigh", "show", V6, "dev", INTERFACE]).contains("REACHABLE")
    });
}

/// One message of this type, code 0 (fragmentation needed: 4), with 28 bytes behind it that are nothing's.
fn send_icmp(host: &str, to: IpAddr, kind: u8) {
    let (domain, transport) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Transport::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Transport::ICMPV6),
    };
    let mut message = vec![kind, if (kind, to.is_ipv4()) == (3, true) { 4 } else { 0 }, 0, 0];
    message.extend([0; 32]);
    if to.is_ipv4() {
        // ICMPv6's checksum is the kernel's to write.
        let sum = !u16::from_be_bytes([message[0], message[1]]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    on(host, || async move {
        let socket = Socket::new(domain, Type::RAW, Some(transport)).expect("a raw socket");
        socket.send_to(&message, &SocketAddr::new(to, 0).into()).expect("it is sent");
    });
}

#[test]
fn the_table_is_what_nft_shows_and_goes_with_the_last_address() {
    let Some(pair) = pair() else { return };
    put(&pair.a, &allowing(&[443, 80]));
    let shown = nft(&pair.a, &["list", "table", "inet", TABLE]);
    assert_eq!(without_marker(&shown), EXPECTED, "{shown}");
    // Nothing is done where nothing changes: rules that are made anew have other handles.
    let handles = nft(&pair.a, &["-a", "list", "table", "inet", TABLE]);
    put(&pair.a, &allowing(&[443, 80]));
    assert_eq!(nft(&pair.a, &["-a", "list", "table", "inet", TABLE]), handles);
    assert_eq!(put(&pair.a, &Filter::default()), InForce::default());
    assert_eq!(nft(&pair.a, &["list", "tables"]), "");
}

/// The marker has a number that changes with the form.
fn without_marker(shown: &str) -> String {
    let Some((_, rest)) = shown.split_once(&format!("comment \"{TABLE} ")) else { return shown.to_owned() };
    let marker = format!("{TABLE} {}", rest.chars().take(8).collect::<String>());
    shown.replace(&format!("{marker}: "), "").replace(&marker, "MARKER")
}

const EXPECTED: &str = r#"table inet mainstay-services {
	comment "MARKER"
	set guarded-ipv4 {
		type ipv4_addr
		elements = { 10.77.0.9 }
	}

	set guarded-ipv6 {
		type ipv6_addr
		elements = { fd77::9 }
	}

	set open-ipv4 {
		type ipv4_addr . inet_proto . inet_service
		elements = { 10.77.0.9 . tcp . 80,
			     10.77.0.9 . tcp . 443 }
	}

	set open-ipv6 {
		type ipv6_addr . inet_proto . inet_service
		elements = { fd77::9 . tcp . 80,
			     fd77::9 . tcp . 443 }
	}

	chain ipv4 {
		meta iiftype loopback accept comment "from this host itself"
		ct state established,related accept comment "connected, or answered"
		ip daddr . meta l4proto . th dport @open-ipv4 accept comment "a port of a Service"
		icmp type destination-unreachable accept comment "errors, echoes, neighbours"
		icmp type echo-request accept comment "errors, echoes, neighbours"
		icmp type time-exceeded accept comment "errors, echoes, neighbours"
		icmp type parameter-problem accept comment "errors, echoes, neighbours"
		counter packets 0 bytes 0 drop comment "the rest"
	}

	chain ipv6 {
		meta iiftype loopback accept comment "from this host itself"
		ct state established,related accept comment "connected, or answered"
		ip6 daddr . meta l4proto . th dport @open-ipv6 accept comment "a port of a Service"
		icmpv6 type destination-unreachable accept comment "errors, echoes, neighbours"
		icmpv6 type packet-too-big accept comment "errors, echoes, neighbours"
		icmpv6 type time-exceeded accept comment "errors, echoes, neighbours"
		icmpv6 type parameter-problem accept comment "errors, echoes, neighbours"
		icmpv6 type echo-request accept comment "errors, echoes, neighbours"
		icmpv6 type nd-neighbor-solicit accept comment "errors, echoes, neighbours"
		icmpv6 type nd-neighbor-advert accept comment "errors, echoes, neighbours"
		counter packets 0 bytes 0 drop comment "the rest"
	}

	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ip daddr @guarded-ipv4 goto ipv4 comment "an address of Services"
		ip6 daddr @guarded-ipv6 goto ipv6 comment "an address of Services"
	}
}
"#;

#[test]
fn somebody_elses_tables_are_not_touched() {
    let Some(pair) = pair() else { return };
    let rule = "add table inet other; add chain inet other c { type filter hook prerouting priority 0; }; \
                add rule inet other c tcp dport 9 counter drop comment \"mine\"";
    nft(&pair.a, &[rule]);
    let before = nft(&pair.a, &["-a", "list", "ruleset"]);
    put(&pair.a, &allowing(&[80]));
    put(&pair.a, &allowing(&[81]));
    on(&pair.a, || async { filter::remove() }).expect("removed");
    assert_eq!(nft(&pair.a, &["-a", "list", "ruleset"]), before);

    // Not even one of our name, where we did not make it.
    nft(&pair.a, &["add", "table", "inet", TABLE]);
    let refused = on(&pair.a, || async { put_here(&allowing(&[80])) }).expect_err("not ours");
    assert!(matches!(refused, TableError::NotOurs { .. }), "{refused}");
    assert!(refused.to_string().contains("nft delete table inet mainstay-services"), "{refused}");
    on(&pair.a, || async { filter::remove() }).expect("nothing of ours is there");
    assert!(nft(&pair.a, &["list", "tables"]).contains(TABLE));
}

/// By one that has seen that all was as it should be, and would not look again while nothing changes.
#[test]
fn what_others_flush_is_put_back() {
    let Some(pair) = pair() else { return };
    let _listener = listen(&pair.a, 22);
    let (mut filter, wanted) = (ServiceFilter::default(), Arc::new(allowing(&[80])));
    let mut put = || on(&pair.a, || async { filter.put(&wanted) }).expect("the kernel filters");
    let filtered = || connect(&pair.b, V4, 22).is_err();
    let set = ["flush", "set", "inet", TABLE, "guarded-ipv4"];
    for flush in [&["flush", "ruleset"][..], &["flush", "table", "inet", TABLE], &set] {
        put();
        let before = put().dropped;
        assert!(filtered(), "before {flush:?}");
        assert!(put().dropped > before, "counted, though nothing changed");
        nft(&pair.a, flush);
        assert!(!filtered(), "after {flush:?}");
    }
    put();
    assert!(filtered(), "after all");
}

/// An address that nobody names any more is filtered until it has left the interface.
#[test]
fn an_address_that_is_still_there_stays_filtered_until_it_goes() {
    let Some(pair) = Pair::new() else { return };
    let vips: [Vip; 2] = [V4, V6].map(address_of);
    on(&pair.a, || async {
        let mut plane = open().await;
        done(&mut plane, assign(1, &vips, 60)).await;
        put_here(&allowing(&[80])).expect("the kernel filters");
        let left = put_here(&Filter::default()).expect("the kernel filters");
        assert_eq!((left.addresses, left.ports, left.lingering), (2, 2, 2));
        let opened = Filter([(vips[0], Admission::Everything)].into());
        let left = put_here(&opened).expect("the kernel filters");
        assert_eq!((left.addresses, left.lingering), (1, 1), "what lets in everything does so at once");
        done(&mut plane, withdraw(2, &vips)).await;
        assert_eq!(put_here(&Filter::default()).expect("the kernel filters"), InForce::default());
    });
    assert_eq!(nft(&pair.a, &["list", "tables"]), "");
}

/// More than one message of elements, and more than a socket sends at once unasked.
#[test]
fn thousands_of_addresses_are_one_transaction() {
    let Some(pair) = Pair::new() else { return };
    let ports: BTreeSet<Port> = [80, 443].map(|port| Port { protocol: Protocol::Tcp, port }).into();
    let vip = |number: u32| Vip::from((0x0a00_0000 + number).to_be_bytes());
    let many = |count| Filter((0..count).map(|one| (vip(one), Admission::Ports(ports.clone()))).collect());
    let mut filter = ServiceFilter::default();
    let steps = [(10_000, "made"), (10_000, "compared"), (10_000, "not changed"), (10_001, "one more")];
    for (count, what) in steps {
        let wanted = Arc::new(many(count));
        let (in_force, took) = on(&pair.a, || async {
            let began = Instant::now();
            (filter.put(&wanted).expect("the kernel filters"), began.elapsed())
        });
        println!("{count} addresses {what} in {took:?}");
        assert_eq!((in_force.addresses, in_force.ports), (wanted.0.len(), 2 * wanted.0.len()));
    }
    let elements = nft(&pair.a, &["-j", "list", "set", "inet", TABLE, "open-ipv4"]);
    assert_eq!(elements.matches("\"concat\": [\"10.").count(), 20_002);
}
