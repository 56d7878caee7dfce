//! The plan against a model of the kernel's service, and the messages read back.

use proptest::prelude::*;

use super::*;
use crate::linux::message::{Attributes, Message, Request, messages};

const AT: &str = "10.0.0.9:6443";
const FAMILY_NUMBER: u16 = 0x22;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn all(texts: &[&str]) -> BTreeSet<SocketAddr> {
    texts.iter().map(|text| at(text)).collect()
}

fn balance(takes: &[&str], keeps: &[&str]) -> Balance {
    let vips = ["10.0.0.9", "fd00::9"].map(|vip| vip.parse().expect("an address")).into();
    Balance { vips, port: 6443, takes: all(takes), keeps: all(keeps), ..Balance::default() }
}

fn wanted(balance: &Balance, settings: Settings) -> Option<Found> {
    plan::wanted(balance, at(AT).ip(), settings)
}

/// What a kernel makes of a change; `None` where it would refuse it.
fn apply(mut kernel: Option<Found>, change: &Change) -> Option<Option<Found>> {
    let there = |kernel: &Option<Found>, at: &SocketAddr| {
        kernel.as_ref().is_some_and(|one| one.destinations.contains_key(at))
    };
    match change {
        Change::Make(service) if kernel.is_none() => {
            kernel = Some(Found { service: service.clone(), destinations: BTreeMap::new() });
        }
        Change::Alter(service) => kernel.as_mut()?.service = service.clone(),
        Change::Remove if kernel.is_some() => kernel = None,
        Change::Add(to, one) if !there(&kernel, to) => drop(kernel.as_mut()?.destinations.insert(*to, *one)),
        Change::Set(to, one) if there(&kernel, to) => drop(kernel.as_mut()?.destinations.insert(*to, *one)),
        Change::Drop(to) if there(&kernel, to) => drop(kernel.as_mut()?.destinations.remove(to)),
        _ => return None,
    }
    Some(kernel)
}

/// The kernel after each of the changes; nobody else's are in between.
fn states(found: Option<&Found>, wanted: Option<&Found>) -> Vec<Option<Found>> {
    let mut kernel = found.cloned();
    let step = |change: &Change| {
        kernel = apply(kernel.clone(), change).unwrap_or_else(|| panic!("{change:?} on {kernel:?}"));
        kernel.clone()
    };
    plan::changes(found, wanted).iter().map(step).collect()
}

#[test]
fn the_first_order_makes_a_service_with_its_destinations() {
    let wanted =
        wanted(&balance(&["10.0.0.1:6443"], &["10.0.0.2:6443", "[fd00::1]:6443"]), Settings::default());
    let changes = plan::changes(None, wanted.as_ref());
    let expected = |weight| Destination { forwarding: 1, weight, limits: (0, 0), connections: 0 };
    let service = Service { scheduler: "rr".to_owned(), flags: 0 };
    assert_eq!(
        changes,
        [
            Change::Make(service),
            Change::Add(at("10.0.0.1:6443"), expected(1)),
            Change::Add(at("10.0.0.2:6443"), expected(0)),
        ]
    );
}

#[test]
fn a_family_without_a_backend_has_no_service() {
    let balance = balance(&["[fd00::1]:6443"], &[]);
    assert_eq!(wanted(&balance, Settings::default()), None);
    let before = wanted(&self::balance(&["10.0.0.1:6443"], &[]), Settings::default());
    assert_eq!(plan::changes(before.as_ref(), None), [Change::Remove]);
    assert_eq!(plan::changes(None, None), []);
}

/// Whoever comes takes new connections before another stops to.
#[test]
fn what_adds_comes_before_what_takes_away() {
    let before = wanted(&balance(&["10.0.0.1:6443", "10.0.0.2:6443"], &[]), Settings::default());
    let after = wanted(&balance(&["10.0.0.3:6443"], &["10.0.0.1:6443"]), Settings::default());
    let of = |change: &Change| match change {
        Change::Add(at, _) => ("add", at.to_string()),
        Change::Set(at, one) => (if one.weight == 0 { "rest" } else { "set" }, at.to_string()),
        Change::Drop(at) => ("drop", at.to_string()),
        other => panic!("{other:?}"),
    };
    let changes: Vec<_> = plan::changes(before.as_ref(), after.as_ref()).iter().map(of).collect();
    let expected = [("add", "10.0.0.3:6443"), ("rest", "10.0.0.1:6443"), ("drop", "10.0.0.2:6443")];
    assert_eq!(changes, expected.map(|(what, at)| (what, at.to_owned())));
}

#[test]
fn hashing_has_whoever_meets_a_resting_backend_fall_back_to_another() {
    let flags = |scheduler| {
        let settings = Settings { scheduler, ..Settings::default() };
        wanted(&balance(&["10.0.0.1:6443"], &[]), settings).expect("a service").service.flags
    };
    assert_eq!(Scheduler::ALL.map(flags), [0, 0, 8, 8]);
}

#[test]
fn only_masquerading_leads_to_another_port() {
    let balance = balance(&["10.0.0.1:6443"], &["10.0.0.2:6444"]);
    for forwarding in Forwarding::ALL {
        let checked = plan::check_ports(&balance, forwarding);
        assert_eq!(checked.is_ok(), forwarding == Forwarding::Masquerade, "{forwarding}");
    }
    let error = plan::check_ports(&balance, Forwarding::Tunnel).expect_err("another port").to_string();
    assert!(error.contains("10.0.0.2:6444") && error.contains("tunnel") && error.contains("6443"), "{error}");
}

#[test]
fn a_service_of_another_form_is_a_strangers() {
    let ours = || wanted(&balance(&["10.0.0.1:6443"], &[]), Settings::default()).expect("a service");
    assert_eq!(ours().stranger(), None);
    let with = |change: &dyn Fn(&mut Found)| {
        let mut found = ours();
        change(&mut found);
        found.stranger().expect("a stranger's")
    };
    let destination = |found: &mut Found| {
        found.destinations.values_mut().next().expect("one").weight = 100;
    };
    assert!(with(&|found| found.service.scheduler = "lc".to_owned()).contains("lc"));
    assert!(with(&|found| found.service.flags |= 1).contains("0x1"));
    assert!(with(&destination).contains("100"));
    assert!(with(&|found| found.destinations.values_mut().for_each(|one| one.limits.0 = 9)).contains('9'));
}

#[test]
fn words_are_read_back() {
    for forwarding in Forwarding::ALL {
        assert_eq!(Forwarding::named(&forwarding.word().to_uppercase()), Some(forwarding));
    }
    for scheduler in Scheduler::ALL {
        assert_eq!(Scheduler::named(scheduler.word()), Some(scheduler));
    }
    assert_eq!((Forwarding::named("nat"), Scheduler::named("lc")), (None, None));
    // As kube-vip has them, and as `linux/ip_vs.h` has their numbers.
    let numbers = ["masquerade", "local", "tunnel", "directroute", "bypass"]
        .map(|word| Forwarding::named(word).map(Forwarding::number));
    assert_eq!(numbers, [0, 1, 2, 3, 4].map(Some));
}

/// What a kernel answers to a question for the service and its destination. Its own flag is among the others.
fn answers(to: SocketAddr, (service, method): (&Service, u32), weight: u32) -> Vec<u8> {
    let number = |number: u32| number.to_ne_bytes();
    let key = |at: SocketAddr| {
        let family: u16 = if at.is_ipv4() { 2 } else { 10 };
        let mut address = crate::nftables::rows::octets(at.ip());
        address.resize(16, 0);
        (family.to_ne_bytes(), address, at.port().to_be_bytes())
    };
    let (family, address, port) = key(to);
    let inner = Attributes::default()
        .with(1, &family)
        .with(2, &6_u16.to_ne_bytes())
        .with(3, &address)
        .with(4, &port)
        .with(6, &[service.scheduler.as_bytes(), &[0]].concat())
        .with(7, &[number(service.flags | 2), number(u32::MAX)].concat());
    let destination = Attributes::default()
        .with(1, &address)
        .with(2, &port)
        .with(3, &number(method))
        .with(4, &number(weight))
        .with(5, &number(0))
        .with(6, &number(0))
        .with(7, &number(3))
        .with(8, &number(4))
        .with(11, &family);
    let all = Attributes::default().nested(1, &inner).nested(2, &destination);
    Request::new(FAMILY_NUMBER, 0, &[1, 1, 0, 0]).with_all(&all).finish(1)
}

fn family() -> impl Strategy<Value = IpFamily> {
    prop_oneof![Just(IpFamily::V4), Just(IpFamily::V6)]
}

#[derive(Clone, Copy, Debug)]
enum IpFamily {
    V4,
    V6,
}

fn somewhere() -> impl Strategy<Value = SocketAddr> {
    (family(), any::<[u8; 16]>(), 1_u16..).prop_map(|(family, octets, port)| {
        let ip = match family {
            IpFamily::V4 => [octets[0], octets[1], octets[2], octets[3]].into(),
            IpFamily::V6 => octets.into(),
        };
        SocketAddr::new(ip, port)
    })
}

fn backends() -> impl Strategy<Value = BTreeSet<SocketAddr>> {
    let one = (1_u8..6).prop_map(|host| SocketAddr::new([10, 0, 0, host].into(), 6443));
    proptest::collection::btree_set(one, 0..4)
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (0..Forwarding::ALL.len(), 0..Scheduler::ALL.len()).prop_map(|(forwarding, scheduler)| Settings {
        forwarding: Forwarding::ALL[forwarding],
        scheduler: Scheduler::ALL[scheduler],
    })
}

fn service() -> impl Strategy<Value = Option<Found>> {
    (backends(), backends(), any_settings())
        .prop_map(|(takes, keeps, settings)| wanted(&Balance { takes, keeps, ..balance(&[], &[]) }, settings))
}

proptest! {
    #[test]
    fn the_kernel_has_what_is_wanted_and_then_nothing_is_left_to_do(found in service(), wanted in service()) {
        let states = states(found.as_ref(), wanted.as_ref());
        let last = states.last().cloned().unwrap_or(found);
        prop_assert_eq!(&last, &wanted);
        prop_assert_eq!(plan::changes(last.as_ref(), wanted.as_ref()), []);
    }

    #[test]
    fn a_new_connection_always_has_somewhere_to_go(found in service(), wanted in service()) {
        let takes = |one: &Option<Found>| one.as_ref().is_some_and(|one| one.takes().next().is_some());
        if takes(&found) && takes(&wanted) {
            let states = states(found.as_ref(), wanted.as_ref());
            prop_assert!(states.iter().all(takes), "{:?}", states);
        }
    }

    /// A connection of a backend that stays is never without its destination.
    #[test]
    fn a_backend_that_stays_is_there_all_the_time(found in service(), wanted in service()) {
        let (Some(before), Some(after)) = (&found, &wanted) else { return Ok(()) };
        let gone = plan::gone(before, Some(after));
        let stays: Vec<_> = before.destinations.keys().filter(|at| !gone.contains(at)).collect();
        for state in states(found.as_ref(), wanted.as_ref()) {
            let state = state.expect("a service");
            prop_assert!(stays.iter().all(|at| state.destinations.contains_key(at)));
        }
    }

    #[test]
    fn what_the_kernel_answers_is_read(at in somewhere(), weight: u32, method in 0_u32..5, flags in prop_oneof![Just(0_u32), Just(8)]) {
        let service = Service { scheduler: "mh".to_owned(), flags };
        let bytes = answers(at, (&service, method), weight);
        let message = messages(&bytes).next().expect("a message");
        prop_assert_eq!(read_service(&message), Some((at, service)));
        let destination = Destination { forwarding: method, weight, limits: (0, 0), connections: 7 };
        prop_assert_eq!(read_destination(&message, at), Some((at, destination)));
    }

    /// An order has all that the kernel wants to know, and it reads back as what was ordered.
    #[test]
    fn what_is_ordered_is_read_back(at in somewhere(), to in somewhere(), settings in any_settings(), weight in 0..2_u32) {
        let destination = Destination { forwarding: settings.forwarding.number(), weight, limits: (0, 0), connections: 0 };
        let service = Service { scheduler: settings.scheduler.word().to_owned(), flags: 8 };
        for (change, command) in [
            (Change::Make(service.clone()), 1), (Change::Alter(service.clone()), 2),
            (Change::Add(to, destination), 5), (Change::Set(to, destination), 6),
        ] {
            let bytes = change.request(FAMILY_NUMBER, at).finish(7);
            let message = messages(&bytes).next().expect("a message");
            prop_assert_eq!((message.kind, message.body[0]), (FAMILY_NUMBER, command));
            match &change {
                Change::Make(_) | Change::Alter(_) => prop_assert_eq!(read_service(&message), Some((at, service.clone()))),
                _ => prop_assert_eq!(read_destination(&message, at), Some((to, destination))),
            }
        }
    }

    #[test]
    fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for message in messages(&bytes) {
            let _ = read_family(&Message { kind: 0x10, ..message });
            let _ = read_service(&message);
            let _ = read_destination(&message, at(AT));
        }
    }

    #[test]
    fn any_table_of_connections_is_read(text in "[ -~\n]{0,300}") {
        prop_assert!(read_connections(&text).count() <= text.lines().count());
    }

    #[test]
    fn the_number_of_the_family_is_read(number: u16) {
        let answer = Attributes::default().with(2, b"IPVS\0").with(1, &number.to_ne_bytes());
        let bytes = Request::new(0x10, 0, &[1, 2, 0, 0]).with_all(&answer).finish(1);
        prop_assert_eq!(read_family(&messages(&bytes).next().expect("a message")), Some(number));
    }
}

/// As Linux 6.1 shows them.
#[test]
fn connections_are_read_from_the_kernels_table() {
    let table = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A4D0001 9C40 0A4D0009 1D13 0A4D0003 192B ESTABLISHED     899
TCP 0A4D0001 9C41 0A4D0009 1D13 0A4D0003 192B TIME_WAIT       119
UDP 0A4D0001 9C41 0A4D0009 0035 0A4D0003 0035 UDP             299
TCP fd77:0000:0000:0000:0000:0000:0000:0001 9C40 fd77:0000:0000:0000:0000:0000:0000:0009 1D13 fd77:0000:0000:0000:0000:0000:0000:0003 192B FIN_WAIT        119
";
    let connection = |client: &str, vip: &str, backend: &str, lives| Connection {
        client: at(client),
        virtual_address: at(vip),
        backend: at(backend),
        lives,
    };
    assert_eq!(
        read_connections(table).collect::<Vec<_>>(),
        [
            connection("10.77.0.1:40000", "10.77.0.9:7443", "10.77.0.3:6443", true),
            connection("10.77.0.1:40001", "10.77.0.9:7443", "10.77.0.3:6443", false),
            connection("[fd77::1]:40000", "[fd77::9]:7443", "[fd77::3]:6443", true),
        ]
    );
}

#[test]
fn what_goes_wrong_is_said_in_one_line_with_the_remedy() {
    let lines = [
        IpvsError::Missing.to_string(),
        IpvsError::NoScheduler(Scheduler::Maglev).to_string(),
        IpvsError::NotOurs { at: at(AT), why: "its scheduler is lc".to_owned() }.to_string(),
    ];
    for (line, remedy) in
        lines.iter().zip(["modprobe ip_vs", "modprobe ip_vs_mh", "ipvsadm -D -t 10.0.0.9:6443"])
    {
        assert!(line.contains(remedy) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn of_the_masqueraded_only_those_of_that_port_are_forgotten() {
    let row = |vip: &str, port| (vip.parse().expect("an address"), crate::nftables::TCP, port);
    let rows = [row("10.0.0.9", 6443), row("10.0.0.9", 7443), row("fd00::9", 6443)];
    let there = masquerade::contents(rows.into_iter());
    let there: BTreeMap<String, _> = there.into_iter().map(|(set, rows)| (set.to_owned(), rows)).collect();
    let vips = ["10.0.0.9", "fd00::9"].map(|vip| vip.parse().expect("an address")).into();
    let expected = masquerade::contents([row("10.0.0.9", 7443)].into_iter());
    assert_eq!(masquerade::left(&there, &vips, 6443), Some(expected));
    assert_eq!(masquerade::left(&BTreeMap::new(), &vips, 6443), None);
}
