//! Three nodes with agents and electors, and everybody who looks on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use mainstay_lab::cluster::{Cluster, Plan, VIP, wait_for};
use mainstay_lab::elector::{Chronicle, Elector, Settings, Step, Timing};
use mainstay_lab::netns::{HolderWatch, Host};
use mainstay_lab::probe::{self, Capture, Moment, Probe};

/// A wide margin for anything that takes seconds, a lease's expiry and the incumbent's grace included (15 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// kube-vip's samples, and the agents' here.
pub(crate) const TIMING: Timing = Timing::seconds(5, 3, 1);
/// `vip_arpRate`, kube-vip's default. When kube-vip has taken the Lease, it announces at the next tick of this clock.
pub(crate) const ARP_RATE: Duration = Duration::from_secs(3);
/// What a busy machine may add to anything.
pub(crate) const MARGIN: Duration = Duration::from_millis(1_500);
/// The longest pause of an elector that waits for a released Lease: 2.2 retry periods.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_millis(2_200);
/// The clients' echoes are so far apart.
pub(crate) const ASKS_EVERY: Duration = Duration::from_millis(1);
pub(crate) const BELIEVES_EVERY: Duration = Duration::from_millis(5);
/// Echoes that are further apart than this mean that the client was not run.
pub(crate) const STANDSTILL: Duration = Duration::from_millis(50);
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(VIP);

#[derive(Debug)]
pub(crate) struct Seen {
    /// The longest time without an answer, of the client that saw the least.
    pub(crate) dark: Duration,
    /// The same of the client that asks once a second who has the VIP.
    pub(crate) dark_for_who_asks: Duration,
    /// For how long two kernels had the VIP.
    pub(crate) two_holders: Duration,
    /// Echoes without an answer.
    pub(crate) lost: usize,
    pub(crate) stood_still: Duration,
    /// Who answered, by hardware address.
    pub(crate) answerers: Vec<String>,
}

/// Three nodes, each with an agent, an elector or neither; and everybody who looks on.
pub(crate) struct Mixed {
    /// Forgets its neighbours once a second, and so asks who has the VIP.
    pub(crate) probe: Probe,
    /// Believes what it once learned, until an announcement tells it otherwise: the API server's host.
    pub(crate) believer: Probe,
    pub(crate) capture: Capture,
    pub(crate) holders: HolderWatch,
    pub(crate) chronicle: Chronicle,
    pub(crate) electors: [Option<Elector>; 3],
    pub(crate) cluster: Cluster,
}

impl Mixed {
    pub(crate) fn new(plan: Plan) -> Self {
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

    pub(crate) fn host(&self, node: usize) -> Host {
        self.cluster.nodes[node].host.clone()
    }

    pub(crate) fn name(&self, node: usize) -> String {
        self.host(node).name().to_owned()
    }

    pub(crate) fn start_elector(&mut self, node: usize) {
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

    pub(crate) fn elector(&mut self, node: usize) -> &mut Elector {
        self.electors[node].as_mut().expect("an elector runs there")
    }

    /// An elector on `node`, alone, that holds and has announced.
    pub(crate) fn elected(&mut self, node: usize) {
        let begin = probe::now();
        self.start_elector(node);
        self.elector(node).wait(&Step::Announced, (begin, 1), PATIENCE).expect("it announces");
        self.wait_answered_by(node);
    }

    /// Starts the agent of `node`, and waits until it follows whoever holds.
    pub(crate) fn follow(&mut self, node: usize) {
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
    pub(crate) fn wait_successor(&self, among: &[usize]) -> usize {
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
    pub(crate) fn wait_answered_by(&self, node: usize) {
        let mac = self.host(node).mac();
        let reached = || {
            let answered = probe::ping(&self.cluster.client, ADDRESS, Duration::from_millis(200))?;
            Ok((answered == Some(mac)).then_some(()))
        };
        wait_for(PATIENCE, reached).expect("pings").unwrap_or_else(|| panic!("n{} is not reached", node + 1));
    }

    /// What clients saw since `begin`, for longer than whoever holds is silent between two announcements; printed. Dark
    /// is what the client was that saw the least.
    pub(crate) fn seen(&self, step: &str, begin: Moment) -> Seen {
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
    pub(crate) fn stood_still(&self, begin: Moment, end: Moment) -> Duration {
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
    pub(crate) fn two_holders(&self, begin: Moment, end: Moment) -> Duration {
        let overlaps = self.holders.overlaps(ADDRESS, begin, end);
        overlaps.iter().map(|overlap| overlap.to.since(overlap.from)).sum()
    }

    /// Who announced the VIP since `begin`, by the port that the frames came in by.
    pub(crate) fn announcers(&self, begin: Moment) -> BTreeSet<String> {
        let heard = self.capture.announcements(ADDRESS, begin, probe::now());
        heard.into_iter().map(|heard| heard.host).collect()
    }

    /// Nothing moved since `begin`, and the client noticed nothing.
    pub(crate) fn assert_nothing_moved(&self, step: &str, holder: usize, begin: Moment) {
        let seen = self.seen(step, begin);
        assert_eq!((seen.lost, &seen.answerers), (0, &vec![self.host(holder).mac().to_string()]), "{seen:?}");
        assert_eq!(self.cluster.holders().expect("kernels answer"), [holder]);
        assert_eq!(self.chronicle.holders().last(), Some(&self.name(holder)));
        assert_eq!(self.announcers(begin), BTreeSet::from([self.name(holder)]), "nobody else announced");
    }

    /// Prints what an operator sees on `node`.
    pub(crate) fn show(&self, node: usize) {
        let (agent, host) = (&self.cluster.nodes[node].agent, self.host(node));
        let mut status = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        let status = status.arg("status").arg("--socket").arg(agent.socket()).output().expect("it runs");
        let addresses = host.output("ip", &["-4", "-brief", "address", "show", "dev", host.device()]);
        eprintln!("{}{}", String::from_utf8_lossy(&status.stdout), addresses.expect("ip answers"));
    }
}

pub(crate) fn wait_until(moment: Moment) {
    let come = || Ok((probe::now() >= moment).then_some(()));
    wait_for(PATIENCE, come).expect("a clock").expect("time passes");
}
