//! Which addresses become VIPs, and what becomes of answers that are wrong, late or missing.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_core::names::{ClaimId, InstanceId, NodeName};
use mainstay_core::snapshot::{ClaimMemory, Member};
use proptest::prelude::*;

use super::*;
use crate::config::features::DnsMode;
use crate::config::{Address, DnsName};

const NAME: &str = "api.example.com";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(ip).collect()
}

fn named(name: &str) -> Address {
    Address::Name(DnsName::parse(name).expect("a name"))
}

fn choice(mode: DnsMode, kept: &str) -> Choice {
    Choice::new(&[named(NAME)], mode, &[(NAME.to_owned(), ips(kept))].into())
}

#[test]
fn the_mode_says_which_addresses_of_an_answer_become_vips() {
    use DnsMode::{Dual, First, Ipv4, Ipv6};
    for (mode, held, answer, expected) in [
        (First, "", "10.0.0.1 10.0.0.2", "10.0.0.1"),
        (First, "", "fd00::1 10.0.0.1", "fd00::1"),
        (First, "", "10.0.0.2 10.0.0.1", "10.0.0.1"),
        (First, "", "fd00::2 10.0.0.1 fd00::1", "fd00::1"),
        (First, "10.0.0.2", "10.0.0.1 10.0.0.2", "10.0.0.2"),
        (First, "10.0.0.3", "10.0.0.1 10.0.0.2", "10.0.0.1"),
        (Ipv4, "", "fd00::1 10.0.0.1", "10.0.0.1"),
        (Ipv4, "10.0.0.2", "10.0.0.1 10.0.0.2 fd00::1", "10.0.0.2"),
        (Ipv4, "", "fd00::1", "no IPv4 address"),
        (Ipv6, "", "10.0.0.1 fd00::1 fd00::2", "fd00::1"),
        (Ipv6, "fd00::2", "fd00::1 fd00::2", "fd00::2"),
        (Ipv6, "fd00::2", "10.0.0.1", "no IPv6 address"),
        (Dual, "", "fd00::1 10.0.0.1", "10.0.0.1 fd00::1"),
        (Dual, "10.0.0.1 fd00::1", "10.0.0.2 10.0.0.1 fd00::2", "10.0.0.1 fd00::2"),
        (Dual, "10.0.0.1 fd00::1", "10.0.0.2", "10.0.0.2 fd00::1"),
        (Dual, "10.0.0.1 fd00::1", "fd00::2", "10.0.0.1 fd00::2"),
        (Dual, "", "10.0.0.2", "10.0.0.2"),
        (Dual, "10.0.0.1 fd00::1", "", "no address"),
        (First, "10.0.0.1", "", "no address"),
    ] {
        let chosen = choice(mode, held).of(NAME, &ips(answer), &[]);
        match expected.strip_prefix("no ") {
            Some(missing) => {
                assert_eq!(
                    chosen,
                    Err(format!("the answer for {NAME} has no {missing}")),
                    "{mode:?} of {answer}"
                )
            }
            None => assert_eq!(chosen, Ok(ips(expected)), "{mode:?} of {answer}, holding {held:?}"),
        }
    }
}

/// Whoever takes the claim from the holder is to go on with what that wears, if its own answer names it.
#[test]
fn what_the_holder_wears_is_chosen_before_what_is_held() {
    use DnsMode::{Dual, First, Ipv6};
    for (mode, held, answer, told, expected) in [
        (First, "", "10.0.0.1 10.0.0.2", "10.0.0.2", "10.0.0.2"),
        (First, "", "10.0.0.1 10.0.0.3 10.0.0.2", "10.0.0.3 10.0.0.2", "10.0.0.2"),
        (First, "10.0.0.1", "10.0.0.1 10.0.0.2", "10.0.0.2", "10.0.0.2"),
        (First, "10.0.0.2", "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2", "10.0.0.2"),
        (First, "10.0.0.1", "10.0.0.1 fd00::1", "fd00::1", "fd00::1"),
        (First, "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1"),
        (Ipv6, "fd00::2", "fd00::2 10.0.0.1", "10.0.0.1", "fd00::2"),
        (Dual, "10.0.0.1 fd00::1", "10.0.0.1 10.0.0.2 fd00::1", "10.0.0.2", "10.0.0.2 fd00::1"),
    ] {
        let chosen = choice(mode, held).of(NAME, &ips(answer), &ips(told));
        assert_eq!(chosen, Ok(ips(expected)), "{mode:?} of {answer}, holding {held:?}, told {told}");
    }
}

#[test]
fn names_and_addresses_make_one_set_in_their_order_as_far_as_they_are_known() {
    let addresses = [named("b.example.com"), Address::Ip(ip("10.0.0.9")), named(NAME)];
    let mut choice = Choice::new(&addresses, DnsMode::First, &Answers::new());
    assert_eq!((choice.vips(), choice.is_complete()), (ips("10.0.0.9"), false), "what needs no answer");
    choice.hold(NAME, ips("10.0.0.9"));
    assert_eq!((choice.vips(), choice.is_complete()), (ips("10.0.0.9"), false), "one is unknown");
    choice.hold("b.example.com", ips("10.0.0.2"));
    assert_eq!((choice.vips(), choice.is_complete()), (ips("10.0.0.2 10.0.0.9"), true), "each once");
    let kept = choice.answers();
    assert_eq!(
        Choice::new(&addresses, DnsMode::First, &kept).vips(),
        choice.vips(),
        "a restart goes on with it"
    );
    assert_eq!(
        Choice::new(&addresses, DnsMode::Ipv6, &kept).vips(),
        ips("10.0.0.9"),
        "in another mode it is asked for anew"
    );
    let none = Choice::new(&[Address::Ip(ip("10.0.0.9"))], DnsMode::First, &kept);
    assert_eq!((none.vips(), none.answers()), (ips("10.0.0.9"), Answers::new()));
}

fn mode() -> impl Strategy<Value = DnsMode> {
    prop::sample::select(vec![DnsMode::First, DnsMode::Ipv4, DnsMode::Ipv6, DnsMode::Dual])
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0..6_u8, any::<bool>()).prop_map(|(host, four)| {
        if four {
            IpAddr::from([10, 0, 0, host])
        } else {
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)])
        }
    })
}

proptest! {
    /// Name servers answer in turns, and leave out and add what is not held: nothing moves, unless the holder wears it.
    #[test]
    fn what_is_held_stays_while_the_answer_lists_it(
        mode in mode(),
        mut answer in prop::collection::vec(address(), 1..8),
        more in prop::collection::vec(address(), 0..4),
        told in prop::collection::vec(address(), 0..3),
        turns in 0..8_usize,
    ) {
        let mut choice = choice(mode, "");
        let Ok(chosen) = choice.of(NAME, &answer, &told) else { return Ok(()) };
        choice.hold(NAME, chosen.clone());
        let by = turns % answer.len();
        answer.rotate_left(by);
        answer.splice(0..0, more.into_iter().filter(|ip| !told.contains(ip)));
        let again = choice.of(NAME, &answer, &told).expect("an address");
        // Of a family that was not there before, dual takes one.
        prop_assert!(chosen.iter().all(|ip| again.contains(ip)));
    }

    /// One address, or one of each family, each of the answer or held before.
    #[test]
    fn there_are_never_two_of_a_family(
        mode in mode(),
        held in prop::collection::vec(address(), 0..3),
        answer in prop::collection::vec(address(), 0..8),
        told in prop::collection::vec(address(), 0..3),
    ) {
        let kept: Answers = [(NAME.to_owned(), held.clone())].into();
        let choice = Choice::new(&[named(NAME)], mode, &kept);
        if let Ok(chosen) = choice.of(NAME, &answer, &told) {
            let families: BTreeSet<bool> = chosen.iter().map(IpAddr::is_ipv4).collect();
            prop_assert!(!chosen.is_empty() && families.len() == chosen.len());
            prop_assert!(chosen.iter().all(|ip| answer.contains(ip) || held.contains(ip)));
            prop_assert!(mode == DnsMode::Dual || chosen.len() == 1);
        }
    }
}

// === look-ups ===

/// What the name server of the tests that share it says next; `Err` is a failure.
static SAYS: StdMutex<Vec<Result<&str, &str>>> = StdMutex::new(Vec::new());

fn scripted(_: &str) -> io::Result<Vec<IpAddr>> {
    let mut says = SAYS.lock().unwrap_or_else(PoisonError::into_inner);
    let next = if says.len() > 1 { says.remove(0) } else { says.first().copied().unwrap_or(Err("nothing")) };
    next.map(ips).map_err(io::Error::other)
}

fn own_host() -> Host {
    Host { own_addresses: [(ip("10.0.0.5"), "eth0".to_owned())].into(), ..Host::default() }
}

fn keeper(kept: &Answers, resolver: Resolver) -> Keeper {
    keeper_of(&[named(NAME)], kept, resolver)
}

/// On a link with a gateway, and with another member.
fn keeper_of(addresses: &[Address], kept: &Answers, resolver: Resolver) -> Keeper {
    let other = Member { macs: vec![], addresses: vec![ip("10.0.0.6")] };
    let members = [(NodeName::new("n2"), other)].into();
    let keeper = Keeper {
        interface: "eth0".to_owned(),
        witnesses: ips("10.0.0.254"),
        resolver,
        host: own_host,
        known: Known {
            vips: watch::Sender::default(),
            answers: watch::Sender::default(),
            members: watch::Sender::new(members),
            told: watch::Sender::default(),
        },
        view: NamesView::default(),
        choice: Mutex::new(Choice::new(addresses, DnsMode::First, kept)),
    };
    keeper.begun()
}

/// What is in force and what is complained of after each of these answers.
#[tokio::test]
async fn what_cannot_be_a_vip_and_what_is_not_answered_leave_the_last_good_answer_in_force() {
    let keeper = keeper(&Answers::new(), Resolver::with(scripted, Duration::from_secs(20)));
    let mut choice = keeper.choice.lock().await;
    let remedy = format!("give {NAME} an address in DNS that is unused on the interface's network");
    for (says, in_force, complaint) in [
        (Err("no such name"), "", Some(format!("{NAME} cannot be resolved: no such name"))),
        (
            Ok("127.0.0.1"),
            "",
            Some(format!(
                "{NAME} means 127.0.0.1, which is a loopback address and cannot be a VIP; {remedy}"
            )),
        ),
        (Ok("10.0.0.100"), "10.0.0.100", None),
        (Err("a time-out"), "10.0.0.100", Some(format!("{NAME} cannot be resolved: a time-out"))),
        (
            Ok("10.0.0.5"),
            "10.0.0.100",
            Some(format!("{NAME} means 10.0.0.5, which is this host's own address on eth0; {remedy}")),
        ),
        (
            Ok("10.0.0.6"),
            "10.0.0.100",
            Some(format!("{NAME} means 10.0.0.6, which is n2's own address; {remedy}")),
        ),
        (
            Ok("10.0.0.254"),
            "10.0.0.100",
            Some(format!("{NAME} means 10.0.0.254, which is the gateway's or a witness's; {remedy}")),
        ),
        (
            Ok("0.0.0.0"),
            "10.0.0.100",
            Some(format!(
                "{NAME} means 0.0.0.0, which is the unspecified address and cannot be a VIP; {remedy}"
            )),
        ),
        (
            Ok("224.0.0.9"),
            "10.0.0.100",
            Some(format!(
                "{NAME} means 224.0.0.9, which is a multicast address and cannot be a VIP; {remedy}"
            )),
        ),
        (Ok(""), "10.0.0.100", Some(format!("the answer for {NAME} has no address"))),
        (Ok("10.0.0.101 10.0.0.100"), "10.0.0.100", None),
        (Ok("10.0.0.101"), "10.0.0.101", None),
    ] {
        *SAYS.lock().expect("nobody panics with it") = vec![says];
        keeper.look_up(&mut choice, NAME).await;
        keeper.publish(&choice);
        assert_eq!(*keeper.known.vips.borrow(), ips(in_force), "{says:?}");
        let shown = keeper.view.read().remove(0);
        assert_eq!(shown.last_error, complaint);
        assert_eq!(shown.addresses.join(" "), in_force);
        assert_eq!(keeper.view.waits_for().is_empty(), !in_force.is_empty(), "{:?}", keeper.view.waits_for());
    }
}

#[test]
fn failures_are_counted_in_a_row() {
    let view = NamesView::default();
    for (trouble, counted) in
        [(Some("no"), 1), (Some("no"), 2), (Some("other"), 3), (None, 0), (Some("no"), 1)]
    {
        view.note(NAME, &ips("10.0.0.1"), trouble.map(str::to_owned));
        assert_eq!(view.read()[0].failures_in_a_row, counted);
    }
}

#[test]
fn a_restart_begins_with_the_last_good_answer_and_asks_nobody_first() {
    let kept: Answers = [(NAME.to_owned(), ips("10.0.0.100"))].into();
    let keeper = keeper(&kept, Resolver::with(|_| Err(io::Error::other("dead")), Duration::from_secs(1)));
    assert_eq!(
        (keeper.known.vips.borrow().clone(), keeper.known.answers.borrow().clone()),
        (ips("10.0.0.100"), kept)
    );
}

/// What was a good answer once may be a host's own address by now.
#[test]
fn a_restart_does_not_begin_with_a_hosts_own_address() {
    for own in ["10.0.0.5", "10.0.0.6", "10.0.0.254", "127.0.0.1"] {
        let kept: Answers = [(NAME.to_owned(), ips(own))].into();
        let keeper = keeper(&kept, Resolver::new());
        assert_eq!(*keeper.known.vips.borrow(), [] as [Vip; 0], "{own}");
        assert!(keeper.known.answers.borrow().is_empty(), "{own}");
    }
}

/// One address of several is better than none.
#[test]
fn a_name_that_is_not_known_keeps_no_other_address_waiting() {
    let addresses = [named(NAME), Address::Ip(ip("10.0.0.9"))];
    let keeper = keeper_of(&addresses, &Answers::new(), Resolver::new());
    assert_eq!(*keeper.known.vips.borrow(), ips("10.0.0.9"));
    assert!(keeper.view.waits_for().is_empty(), "there is something to hold");
    let missing = format!("no address of {NAME} is known yet: it has not been answered yet");
    assert_eq!(keeper.view.missing(), [missing]);
}

#[test]
fn the_members_and_the_holders_word_are_in_the_snapshot() {
    let member = |last: u8| Member { macs: vec![], addresses: vec![IpAddr::from([10, 0, 0, last])] };
    let both: Members = [("n1", 5), ("n2", 6)].map(|(name, last)| (NodeName::new(name), member(last))).into();
    let memory = ClaimMemory { members: both.clone(), told: ips("10.0.0.7"), ..ClaimMemory::default() };
    let snapshot = Snapshot {
        boot_id: "boot".to_owned(),
        instance: InstanceId(1),
        claims: [(ClaimId::control_plane(), memory)].into(),
        api_servers: vec![],
        names: Answers::new(),
        cluster: None,
    };
    assert_eq!((members(&snapshot), told(&snapshot)), (both, ips("10.0.0.7")));
}

/// What the holder says it wears counts from the next look-up on.
#[tokio::test]
async fn a_look_up_chooses_what_the_holder_says_that_it_wears() {
    let both = |_: &str| Ok(ips("10.0.0.101 10.0.0.102"));
    let keeper = keeper(&Answers::new(), Resolver::with(both, Duration::from_secs(20)));
    let mut choice = keeper.choice.lock().await;
    for (told, chosen) in [("", "10.0.0.101"), ("10.0.0.102", "10.0.0.102"), ("", "10.0.0.102")] {
        keeper.known.told.send_replace(ips(told));
        keeper.look_up(&mut choice, NAME).await;
        assert_eq!(choice.vips(), ips(chosen), "told {told:?}");
    }
}

static STUCK: StdMutex<()> = StdMutex::new(());
static BEGUN: AtomicUsize = AtomicUsize::new(0);

fn no_name_server(_: &str) -> io::Result<Vec<IpAddr>> {
    BEGUN.fetch_add(1, Ordering::SeqCst);
    drop(STUCK.lock());
    Ok(ips("10.0.0.1 10.0.0.1"))
}

/// A resolver that hangs has one thread and no more, and whoever waits for it gives up.
#[test]
fn of_look_ups_that_hang_there_is_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stuck = STUCK.lock().expect("nobody panics with it");
    runtime.block_on(async {
        let resolver = Resolver::with(no_name_server, Duration::from_millis(20));
        for _ in 0..5 {
            assert_eq!(resolver.addresses(NAME).await, Err("no name server has answered yet".to_owned()));
        }
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1);
        drop(stuck);
        let patient = Resolver { longest: Duration::from_secs(20), ..resolver };
        let answer = loop {
            match patient.addresses(NAME).await {
                Err(_) => tokio::task::yield_now().await,
                answer => break answer,
            }
        };
        assert_eq!(answer, Ok(ips("10.0.0.1")), "when it ends, names are looked up again; each address once");
    });
}
