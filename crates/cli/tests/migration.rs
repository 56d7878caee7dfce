//! From kube-vip to Mainstay and back, node by node, with the VIP up: agents beside electors with client-go's rules, which
//! hold the VIP as kube-vip does (`lab::elector`: a model of kube-vip's elector, not kube-vip).
//!
//! Bounds are wide: they tell a mechanism that works from one that does not. On a machine so busy that the client itself
//! comes to a standstill, that time is nobody's fault and is taken off. With `--nocapture` each step prints what it measured,
//! and what an operator sees.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::real::assets;
use mainstay_lab::cluster::{Backend, Cluster, Plan, VIP, wait_for};
use mainstay_lab::elector::{Chronicle, Elector, Settings, Step, Timing};
use mainstay_lab::netns::{self, HolderWatch, Host};
use mainstay_lab::probe::{self, Capture, Moment, Probe};

/// A wide margin for anything that takes seconds, a lease's expiry and the incumbent's grace included (15 s).
const PATIENCE: Duration = Duration::from_secs(90);
/// kube-vip's samples, and the agents' here.
const TIMING: Timing = Timing::seconds(5, 3, 1);
/// `vip_arpRate`, kube-vip's default. When kube-vip has taken the Lease, it announces at the next tick of this clock.
const ARP_RATE: Duration = Duration::from_secs(3);
/// What a busy machine may add to anything.
const MARGIN: Duration = Duration::from_millis(1_500);
/// The longest pause of an elector that waits for a released Lease: 2.2 retry periods.
const LONGEST_RETRY: Duration = Duration::from_millis(2_200);
/// The clients' echoes are so far apart.
const ASKS_EVERY: Duration = Duration::from_millis(1);
const BELIEVES_EVERY: Duration = Duration::from_millis(5);
/// Echoes that are further apart than this mean that the client was not run.
const STANDSTILL: Duration = Duration::from_millis(50);
const ADDRESS: IpAddr = IpAddr::V4(VIP);

/// Each of these runs on the embedded API server, and on a real one where there is one.
macro_rules! on_both_api_servers {
    ($($name:literal: $test:ident),* $(,)?) => {
        mod on_the_embedded_api_server {
            $(#[test] fn $test() { super::on($name, super::Backend::Embedded, super::$test); })*
        }
        mod on_a_real_api_server {
            $(#[test] fn $test() {
                match super::assets() {
                    Ok(assets) => super::on($name, super::Backend::Real(assets), super::$test),
                    Err(reason) => eprintln!("skipped: {reason}"),
                }
            })*
        }
    };
}

on_both_api_servers![
    "release": an_elector_is_followed_while_it_renews_and_succeeded_when_it_lets_go,
    "death": an_elector_that_is_killed_is_succeeded_and_what_it_left_is_cleared,
    "node-death": an_elector_whose_node_dies_is_succeeded_when_its_lease_expires,
    "api-lost": an_elector_that_loses_the_api_is_waited_for_until_it_lets_go,
    "back": an_elector_follows_an_agent_and_takes_over_when_it_stops,
    "only": the_only_agent_hands_back_to_an_elector_that_it_took_over_from,
    "place": a_node_is_migrated_in_place_and_back,
    "roll": a_cluster_is_migrated_node_by_node_and_back,
];

fn on(name: &str, backend: Backend, test: fn(&mut Mixed)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let kind = if backend == Backend::Embedded { "embedded" } else { "real" };
    let scratch = Scratch::new(&format!("migration-{name}-{kind}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick().with_backend(backend);
    let mut mixed = Mixed::new(plan);
    test(&mut mixed);
    mixed.chronicle.check().expect("the Lease is written as client-go writes it");
}

/// What clients saw, less the time for which they stood still themselves.
#[derive(Debug)]
struct Seen {
    /// The longest time without an answer, of the client that saw the least.
    dark: Duration,
    /// The same of the client that asks once a second who has the VIP.
    dark_for_who_asks: Duration,
    /// For how long two kernels had the VIP.
    two_holders: Duration,
    /// Echoes without an answer.
    lost: usize,
    stood_still: Duration,
    /// Who answered, by hardware address.
    answerers: Vec<String>,
}

/// Three nodes, each with an agent, an elector or neither; and everybody who looks on.
struct Mixed {
    /// Forgets its neighbours once a second, and so asks who has the VIP.
    probe: Probe,
    /// Believes what it once learned, until an announcement tells it otherwise: the API server's host.
    believer: Probe,
    capture: Capture,
    holders: HolderWatch,
    chronicle: Chronicle,
    electors: [Option<Elector>; 3],
    cluster: Cluster,
}

impl Mixed {
    fn new(plan: Plan) -> Self {
        let cluster = Cluster::new(plan).expect("hosts and an API server");
        let api = cluster.api_client().expect("a client of the API server");
        let apart = cluster.api_host.as_ref().expect("the API has a host of its own");
        let belief = probe::Plan {
            forget_every: Duration::from_secs(3_600),
            spacing: BELIEVES_EVERY,
            ..probe::Plan::new(ADDRESS)
        };
        Self {
            believer: Probe::start(apart, belief).expect("a second probe"),
            probe: Probe::start(&cluster.client, probe::Plan::new(ADDRESS)).expect("a probe"),
            capture: Capture::start(&cluster.segment).expect("a capture"),
            holders: HolderWatch::start(&cluster.hosts()).expect("a watch of the kernels"),
            chronicle: Chronicle::start(&cluster.client, &api).expect("a watch of the Lease"),
            electors: [None, None, None],
            cluster,
        }
    }

    fn host(&self, node: usize) -> Host {
        self.cluster.nodes[node].host.clone()
    }

    fn name(&self, node: usize) -> String {
        self.host(node).name().to_owned()
    }

    fn start_elector(&mut self, node: usize) {
        let host = self.host(node);
        let settings = Settings {
            identity: host.name().to_owned(),
            timing: TIMING,
            vip: VIP,
            arp_rate: ARP_RATE,
            seed: probe::now().as_nanos(),
        };
        let api = self.cluster.api_client().expect("a client of the API server");
        self.electors[node] = Some(Elector::start(&host, &api, settings).expect("an elector"));
    }

    fn elector(&mut self, node: usize) -> &mut Elector {
        self.electors[node].as_mut().expect("an elector runs there")
    }

    /// An elector on `node`, alone, that holds and has announced.
    fn elected(&mut self, node: usize) {
        let begin = probe::now();
        self.start_elector(node);
        self.elector(node).wait(&Step::Announced, (begin, 1), PATIENCE).expect("it announces");
        self.wait_answered_by(node);
    }

    /// Starts the agent of `node`, and waits until it follows whoever holds.
    fn follow(&mut self, node: usize) {
        self.cluster.start(node).expect("started");
        let holder = self.chronicle.holders().pop().unwrap_or_default();
        let listed = self.name(node);
        let follows = || {
            let claim = self.cluster.claim(node);
            let members = claim["members"].as_array().cloned().unwrap_or_default();
            let follows = claim["state"] == "released" && claim["holder"] == holder.as_str();
            Ok((follows && members.iter().any(|member| *member == listed.as_str())).then_some(()))
        };
        wait_for(PATIENCE, follows).expect("it answers").unwrap_or_else(|| {
            panic!("n{} does not follow {holder}: {:#}", node + 1, self.cluster.claim(node))
        });
    }

    /// Waits until one of `among` has the grant, and is the only one whose kernel has the VIP.
    fn wait_successor(&self, among: &[usize]) -> usize {
        let succeeded = || {
            let newest = self.chronicle.holders().pop();
            let named =
                among.iter().copied().find(|node| newest.as_deref() == Some(self.name(*node).as_str()));
            let Some(named) = named else { return Ok(None) };
            Ok((self.cluster.holders()? == [named]).then_some(named))
        };
        wait_for(PATIENCE, succeeded).expect("kernels answer").unwrap_or_else(|| {
            panic!("none of {among:?} alone: {:?}, {:?}", self.chronicle.holders(), self.cluster.holders())
        })
    }

    /// Waits until the client, asking anew, finds the VIP on `node`.
    fn wait_answered_by(&self, node: usize) {
        let mac = self.host(node).mac();
        let reached = || {
            let answered = probe::ping(&self.cluster.client, ADDRESS, Duration::from_millis(200))?;
            Ok((answered == Some(mac)).then_some(()))
        };
        wait_for(PATIENCE, reached).expect("pings").unwrap_or_else(|| panic!("n{} is not reached", node + 1));
    }

    /// What clients saw since `begin`, for longer than whoever holds is silent between two announcements; printed. Dark
    /// is what the client was that saw the least.
    fn seen(&self, step: &str, begin: Moment) -> Seen {
        wait_until(begin + ARP_RATE + Duration::from_secs(1));
        let now = probe::now();
        let [asks, believes] = [&self.probe, &self.believer].map(|probe| probe.settled_report(begin, now));
        let stood_still = self.stood_still(begin, now);
        let [asking, believing] = [&asks, &believes].map(|report| report.longest_dark);
        let two_holders = self.two_holders(begin, now);
        eprintln!(
            "measured: {step}: dark {} ms (asks), {} ms (believes), two holders {} ms; the client stood still for {} ms",
            asking.as_millis(),
            believing.as_millis(),
            two_holders.as_millis(),
            stood_still.as_millis(),
        );
        let excused = usize::try_from(stood_still.as_millis() * 2).unwrap_or(usize::MAX);
        Seen {
            dark: asking.max(believing).saturating_sub(stood_still),
            dark_for_who_asks: asking.saturating_sub(stood_still),
            two_holders: two_holders.saturating_sub(stood_still),
            lost: (asks.lost + believes.lost).saturating_sub(excused),
            stood_still,
            answerers: asks.answerers.iter().map(|one| one.mac.to_string()).collect(),
        }
    }

    /// For how long a client was not run: by the echoes that it did not send, or by the gaps between them.
    fn stood_still(&self, begin: Moment, end: Moment) -> Duration {
        let still = |probe: &Probe, spacing: Duration| {
            let sent = probe.echoes().into_iter().map(|echo| echo.sent);
            let sent: Vec<Moment> = sent.filter(|at| (begin..end).contains(at)).collect();
            let gaps = sent.windows(2).map(|pair| pair[1].since(pair[0]).saturating_sub(STANDSTILL));
            let unsent =
                end.since(begin).saturating_sub(spacing * u32::try_from(sent.len()).unwrap_or(u32::MAX));
            gaps.sum::<Duration>().max(unsent.saturating_sub(STANDSTILL))
        };
        still(&self.probe, ASKS_EVERY).max(still(&self.believer, BELIEVES_EVERY))
    }

    /// For how long two kernels had the VIP.
    fn two_holders(&self, begin: Moment, end: Moment) -> Duration {
        let overlaps = self.holders.overlaps(ADDRESS, begin, end);
        overlaps.iter().map(|overlap| overlap.to.since(overlap.from)).sum()
    }

    /// Who announced the VIP since `begin`, by the port that the frames came in by.
    fn announcers(&self, begin: Moment) -> BTreeSet<String> {
        let heard = self.capture.announcements(ADDRESS, begin, probe::now());
        heard.into_iter().map(|heard| heard.host).collect()
    }

    /// Nothing moved since `begin`, and the client noticed nothing.
    fn assert_nothing_moved(&self, step: &str, holder: usize, begin: Moment) {
        let seen = self.seen(step, begin);
        assert_eq!((seen.lost, &seen.answerers), (0, &vec![self.host(holder).mac().to_string()]), "{seen:?}");
        assert_eq!(self.cluster.holders().expect("kernels answer"), [holder]);
        assert_eq!(self.chronicle.holders().last(), Some(&self.name(holder)));
        assert_eq!(self.announcers(begin), BTreeSet::from([self.name(holder)]), "nobody else announced");
    }

    /// Prints what an operator sees on `node`.
    fn show(&self, node: usize) {
        let (agent, host) = (&self.cluster.nodes[node].agent, self.host(node));
        let mut status = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        let status = status.arg("status").arg("--socket").arg(agent.socket()).output().expect("it runs");
        let addresses = host.output("ip", &["-4", "-brief", "address", "show", "dev", host.device()]);
        eprintln!("{}{}", String::from_utf8_lossy(&status.stdout), addresses.expect("ip answers"));
    }
}

fn wait_until(moment: Moment) {
    let come = || Ok((probe::now() >= moment).then_some(()));
    wait_for(PATIENCE, come).expect("a clock").expect("time passes");
}

fn others(node: usize) -> Vec<usize> {
    (0..3).filter(|index| *index != node).collect()
}

fn an_elector_is_followed_while_it_renews_and_succeeded_when_it_lets_go(mixed: &mut Mixed) {
    mixed.elected(0);
    let begin = probe::now();
    mixed.follow(1);
    mixed.follow(2);
    mixed.show(1);
    // For longer than its lease lasts, and with the agents' own writes to the same object in between.
    let since = probe::now();
    mixed.elector(0).wait(&Step::Renewed, (since, 7), PATIENCE).expect("it renews");
    mixed.assert_nothing_moved("agents beside an elector", 0, begin);

    let stopped = probe::now();
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    let successor = mixed.wait_successor(&others(0));
    mixed.cluster.wait_tenure(successor, "confirmed", PATIENCE).expect("by a grant");
    mixed.wait_answered_by(successor);
    let seen = mixed.seen("an elector lets go, an agent takes", stopped);
    // The elector's own release time: a retry period. An agent that watches does not need it.
    assert!(seen.dark < TIMING.retry_period + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    let names = [mixed.name(0), String::new(), mixed.name(successor)];
    assert_eq!(mixed.chronicle.holders(), names, "each by a grant");
    mixed.show(successor);
}

fn an_elector_that_is_killed_is_succeeded_and_what_it_left_is_cleared(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.follow(2);
    let killed = probe::now();
    mixed.elector(0).kill().expect("it ran");
    let named = |mixed: &Mixed| {
        let newest = mixed.chronicle.holders().pop();
        [1, 2].into_iter().find(|node| newest.as_deref() == Some(mixed.name(*node).as_str()))
    };
    let successor =
        wait_for(PATIENCE, || Ok(named(mixed))).expect("a watch").expect("a grant when it expired");
    mixed.cluster.wait_tenure(successor, "confirmed", PATIENCE).expect("by a grant");
    // Its kernel answers on; whom the client has from it is drawn away by announcements.
    let took = probe::now();
    wait_until(took + ARP_RATE + Duration::from_secs(1));
    let seen = mixed.seen("an elector is killed, its kernel answers on", killed);
    assert!(seen.dark < MARGIN, "{seen:?}");
    let kept = mixed.cluster.holders().expect("kernels answer");
    assert!(kept.contains(&0) && kept.contains(&successor), "kube-vip's VIP is there for ever: {kept:?}");
    assert_eq!(mixed.announcers(took), BTreeSet::from([mixed.name(successor)]), "the last to announce");
    // An agent there clears it. (kube-vip, started again, does as well.)
    let begin = probe::now();
    mixed.follow(0);
    assert_eq!(mixed.wait_successor(&[successor]), successor);
    mixed.wait_answered_by(successor);
    let seen = mixed.seen("what was left is cleared", begin);
    assert!(seen.dark < MARGIN, "{seen:?}");
    assert_eq!(mixed.chronicle.holders(), [mixed.name(0), mixed.name(successor)], "and nothing moves");
}

fn an_elector_whose_node_dies_is_succeeded_when_its_lease_expires(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.follow(2);
    let died = probe::now();
    mixed.cluster.segment.partition(&mixed.host(0)).expect("partitioned");
    let successor = mixed.cluster.wait_holder(&[1, 2], PATIENCE).expect("an agent takes it");
    mixed.wait_answered_by(successor);
    let seen = mixed.seen("an elector's node dies", died);
    assert!(seen.dark < TIMING.lease_duration + MARGIN, "{seen:?}");
    // By itself, it finds that it cannot renew, and lets go.
    mixed.elector(0).wait(&Step::Removed, (died, 1), PATIENCE).expect("it gives up");
    mixed.cluster.segment.heal(&mixed.host(0)).expect("healed");
    assert_eq!(mixed.wait_successor(&[successor]), successor);
}

/// client-go's elector lets go only when it has tried to renew, and then to release, for a renew deadline each: by then
/// others may have taken the Lease. Agents see that its kernel has the VIP, and give it the incumbent's grace (rule 6).
fn an_elector_that_loses_the_api_is_waited_for_until_it_lets_go(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.follow(2);
    let cut = probe::now();
    let apart = mixed.cluster.api_host.clone().expect("the API has a host of its own");
    mixed.cluster.segment.cut_between(&mixed.host(0), &apart).expect("cut");
    let removed = mixed.elector(0).wait(&Step::Removed, (cut, 1), PATIENCE).expect("it gives up");
    let lost = mixed.elector(0).last(&Step::Lost).expect("it could not renew");
    assert!(cut < lost && lost < removed && mixed.elector(0).last(&Step::Released) < Some(cut));
    let successor = mixed.wait_successor(&[1, 2]);
    // The other client is the host that it was cut off from.
    let seen = mixed.seen("an elector loses the API", cut);
    // Ten intervals of its kernel's silence.
    assert!(seen.dark_for_who_asks < Duration::from_secs(1) + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    let holders = mixed.chronicle.holders();
    assert_eq!((holders.first(), holders.last()), (Some(&mixed.name(0)), Some(&mixed.name(successor))));
    assert!(!holders.contains(&String::new()), "it could not release: {holders:?}");
}

fn an_elector_follows_an_agent_and_takes_over_when_it_stops(mixed: &mut Mixed) {
    for node in [1, 2] {
        mixed.cluster.start(node).expect("started");
    }
    let holder = mixed.cluster.wait_settled(PATIENCE).expect("settled");
    mixed.wait_answered_by(holder);
    let follower = 3 - holder;

    let begin = probe::now();
    mixed.start_elector(0);
    // Longer than the lease lasts.
    let refused = Step::Refused(mixed.name(holder));
    mixed.elector(0).wait(&refused, (begin, 6), PATIENCE).expect("it asks, and follows");
    mixed.assert_nothing_moved("an elector beside agents", holder, begin);

    let begin = probe::now();
    mixed.cluster.stop(follower, PATIENCE).expect("it ends");
    mixed.assert_nothing_moved("an agent that follows stops", holder, begin);

    let stopped = probe::now();
    mixed.cluster.stop(holder, PATIENCE).expect("it ends");
    assert_eq!(mixed.wait_successor(&[0]), 0);
    mixed.elector(0).wait(&Step::Announced, (stopped, 1), PATIENCE).expect("it announces");
    mixed.wait_answered_by(0);
    let seen = mixed.seen("the last agent stops, an elector takes", stopped);
    assert!(seen.dark < ARP_RATE + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    assert_eq!(mixed.chronicle.holders(), [mixed.name(holder), String::new(), mixed.name(0)]);
}

/// The first node of a migration, and nobody else lists itself: electors ask for the Lease, and are heard by nobody.
fn the_only_agent_hands_back_to_an_elector_that_it_took_over_from(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    assert_eq!(mixed.wait_successor(&[1]), 1);
    mixed.cluster.wait_tenure(1, "confirmed", PATIENCE).expect("by a grant");
    let begin = probe::now();
    mixed.start_elector(0);
    let refused = Step::Refused(mixed.name(1));
    mixed.elector(0).wait(&refused, (begin, 1), PATIENCE).expect("it follows");
    mixed.wait_answered_by(1);

    let stopped = probe::now();
    mixed.cluster.stop(1, PATIENCE).expect("it ends");
    // Not after a lease's expiry, and the VIP does not stay behind on a node where nothing runs.
    let took = mixed.chronicle.wait_holder(&mixed.name(0), PATIENCE).expect("the elector takes it");
    assert_eq!(mixed.wait_successor(&[0]), 0);
    let seen = mixed.seen("the only agent stops, an elector takes", stopped);
    assert!(took.since(stopped) < LONGEST_RETRY + MARGIN + seen.stood_still, "{:?}", took.since(stopped));
    assert!(seen.dark < ARP_RATE + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
}

/// One control-plane node, and one name on the Lease: as when the image in a manifest is changed.
fn a_node_is_migrated_in_place_and_back(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.elector(0).kill().expect("it ran");
    let killed = probe::now();
    mixed.cluster.start(0).expect("started");
    mixed.cluster.wait_tenure(0, "confirmed", PATIENCE).expect("by a grant");
    // What it left is worn on, and has an end from now on.
    let seen = mixed.seen("an elector is killed, an agent starts in its place", killed);
    assert_eq!((seen.lost, seen.two_holders), (0, Duration::ZERO), "{seen:?}");
    let changes = mixed.holders.timeline_of(ADDRESS);
    assert!(changes.iter().all(|change| change.at < killed), "never away: {changes:?}");
    let held = mixed.host(0).addresses().expect("the kernel answers");
    assert!(held.iter().any(|one| one.address == ADDRESS && one.valid.is_some()), "{held:?}");

    let begin = probe::now();
    mixed.cluster.stop(0, PATIENCE).expect("it ends");
    mixed.start_elector(0);
    mixed.elector(0).wait(&Step::Added, (begin, 1), PATIENCE).expect("it takes its own name's Lease");
    let seen = mixed.seen("an agent stops, an elector starts in its place", begin);
    assert!(seen.dark < MARGIN, "{seen:?}");

    let begin = probe::now();
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    mixed.cluster.start(0).expect("started");
    mixed.cluster.wait_tenure(0, "confirmed", PATIENCE).expect("by a grant");
    let seen = mixed.seen("an elector stops, an agent starts in its place", begin);
    assert!(seen.dark < MARGIN, "{seen:?}");
    let holders = mixed.chronicle.holders();
    assert!(holders.iter().all(|holder| holder.is_empty() || *holder == mixed.name(0)), "{holders:?}");
}

fn a_cluster_is_migrated_node_by_node_and_back(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.start_elector(1);
    mixed.start_elector(2);
    // Those that follow first, the holder last: the VIP moves once.
    for node in [1, 2] {
        let begin = probe::now();
        mixed.elector(node).stop(PATIENCE).expect("it ends");
        mixed.follow(node);
        mixed.assert_nothing_moved("an elector that follows is replaced", 0, begin);
    }
    let begin = probe::now();
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    let holder = mixed.wait_successor(&[1, 2]);
    mixed.follow(0);
    mixed.wait_answered_by(holder);
    let seen = mixed.seen("the elector that holds is replaced", begin);
    assert!(seen.dark < TIMING.retry_period + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    assert_eq!(mixed.cluster.wait_settled(PATIENCE).expect("three agents"), holder);

    for node in others(holder) {
        let begin = probe::now();
        mixed.cluster.stop(node, PATIENCE).expect("it ends");
        mixed.start_elector(node);
        let refused = Step::Refused(mixed.name(holder));
        mixed.elector(node).wait(&refused, (begin, 1), PATIENCE).expect("it follows");
        mixed.assert_nothing_moved("an agent that follows is replaced", holder, begin);
    }
    let begin = probe::now();
    mixed.cluster.stop(holder, PATIENCE).expect("it ends");
    mixed.start_elector(holder);
    let last = mixed.wait_successor(&others(holder));
    mixed.elector(last).wait(&Step::Announced, (begin, 1), PATIENCE).expect("it announces");
    mixed.wait_answered_by(last);
    let seen = mixed.seen("the agent that holds is replaced", begin);
    assert!(seen.dark < ARP_RATE + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    let [first, second, third] = [0, holder, last].map(|node| mixed.name(node));
    assert_eq!(mixed.chronicle.holders(), [first, String::new(), second, String::new(), third]);
}
