//! A run that keeps everything, then one that breaks each promise in turn.

use std::time::Duration;

use mainstay_core::vip::Tenure;

use super::figures;
use super::promises::{self, PHASES, broken, judge};
use super::timeline::{
    Announcement, Answer, ApiState, ApiTrack, Conflict, Connections, Facts, Phase, Probe, Span, TenureSeen,
    Timeline,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Each phase is 20 s long, its pivot 1 s after its begin.
const LENGTH: u64 = 20_000;

fn begin(name: &str) -> u64 {
    let index = PHASES.iter().position(|phase| *phase == name).expect("a phase of the run");
    u64::try_from(index).expect("few phases") * LENGTH
}

fn pivot(name: &str) -> u64 {
    begin(name) + 1_000
}

/// Which node answers at this time, and whether: n0, then n1 after the hand-over, n2 after the death in the outage,
/// n0 after the death, n1 after the death with the API.
fn story(at: u64) -> Answer {
    let dark = |name: &str, length: u64| (pivot(name)..pivot(name) + length).contains(&at);
    if dark("death-in-outage", 1_200) || dark("death", 300) || dark("death-with-api", 2_000) {
        return Answer::None;
    }
    let changes = [("hand-over", 1), ("death-in-outage", 2), ("death", 0), ("death-with-api", 1)];
    let last = changes.iter().rfind(|(name, _)| at >= pivot(name));
    Answer::Node(last.map_or(0, |(_, node)| *node))
}

/// A run in which every promise is kept.
pub(super) fn good() -> Timeline {
    let end = begin("death-with-api") + LENGTH;
    let probes = |step: u64| {
        let times = (0..end).step_by(usize::try_from(step).expect("small"));
        times.map(|at| Probe { at: ms(at), answer: story(at), after: Duration::ZERO }).collect()
    };
    let mut timeline = Timeline {
        nodes: ["n1", "n2", "n3"].map(str::to_owned).to_vec(),
        length: ms(end),
        announce_interval: ms(3_000),
        icmp: probes(1),
        tcp: probes(20),
        api: vec![ApiTrack { name: "api".to_owned(), changes: api_changes() }],
        holding: vec![
            (0, Span::new(ms(0), ms(pivot("hand-over") + 40))),
            (1, Span::new(ms(pivot("hand-over")), ms(pivot("heal") + 20))),
            (2, Span::new(ms(pivot("death-in-outage") + 1_200), ms(pivot("death") + 15_000))),
            (0, Span::new(ms(pivot("death") + 300), ms(end))),
            (1, Span::new(ms(pivot("death-with-api") + 2_000), ms(end))),
        ],
        cut: vec![
            (1, Span::new(ms(pivot("death-in-outage")), ms(pivot("heal")))),
            (2, Span::new(ms(pivot("death")), ms(pivot("death") + 16_000))),
            (0, Span::new(ms(pivot("death-with-api")), ms(end))),
        ],
        ..Timeline::default()
    };
    timeline.phases = PHASES.into_iter().map(phase).collect();
    for at in (0..end).step_by(2_900) {
        if let Answer::Node(node) = story(at) {
            let tenure = Some(tenure(at));
            timeline.announcements.push(Announcement { at: ms(at), node: Some(node), tenure });
            timeline.tenures.push(TenureSeen { at: ms(at), node, tenure: self::tenure(at) });
        }
    }
    for at in [0, 500, 1_000] {
        let at = ms(pivot("rogue-host") + at);
        timeline.announcements.push(Announcement { at, node: None, tenure: None });
    }
    timeline.announcements.sort_by_key(|announcement| announcement.at);
    timeline.conflicts.push(Conflict { at: ms(pivot("rogue-host")), node: 2, words: "rogue".to_owned() });
    timeline
}

fn tenure(at: u64) -> Tenure {
    if (pivot("outage-refused")..pivot("api-returns")).contains(&at) {
        Tenure::Detached
    } else {
        Tenure::Confirmed
    }
}

fn api_changes() -> Vec<(Duration, ApiState)> {
    let changes = [
        ("outage-refused", ApiState::Refused),
        ("outage-blackhole", ApiState::Blackhole),
        ("outage-hung", ApiState::Hung),
        ("outage-503", ApiState::Unavailable),
        ("api-returns", ApiState::Up),
        ("death-with-api", ApiState::WritesStall),
    ];
    [(ms(0), ApiState::Up)].into_iter().chain(changes.map(|(name, state)| (ms(pivot(name)), state))).collect()
}

fn phase(name: &str) -> Phase {
    Phase {
        name: name.to_owned(),
        span: Span::new(ms(begin(name)), ms(begin(name) + LENGTH)),
        pivot: ms(pivot(name)),
        words: format!("the phase {name}"),
        facts: Facts {
            api_answered: Some(0),
            conflict_metric: Some(1),
            connections: Some(Connections { count: 3_000, failed: 150, last_failure: Some(ms(1_000)) }),
            failure: None,
        },
    }
}

/// The promises that a changed run breaks, as `phase: what`.
fn breaks(change: impl FnOnce(&mut Timeline)) -> Vec<String> {
    let mut timeline = good();
    change(&mut timeline);
    let promises = judge(&timeline);
    promises.into_iter().filter(|promise| !promise.kept).map(|p| format!("{}: {}", p.phase, p.what)).collect()
}

/// Nobody answers in this part of the run.
fn darken(timeline: &mut Timeline, from: u64, length: u64) {
    let span = Span::new(ms(from), ms(from + length));
    for probe in timeline.icmp.iter_mut().chain(&mut timeline.tcp).filter(|probe| span.contains(probe.at)) {
        probe.answer = Answer::None;
    }
}

#[test]
fn a_good_run_breaks_nothing() {
    assert_eq!(broken(&judge(&good())), Vec::<String>::new());
}

#[test]
fn one_lost_probe_breaks_each_phase_that_may_lose_none() {
    let may_lose = ["bring-up", "death-in-outage", "heal", "rogue-host", "death", "death-with-api"];
    for name in PHASES.into_iter().filter(|name| !may_lose.contains(name)) {
        let broken = breaks(|timeline| darken(timeline, begin(name) + 5_001, 1));
        assert_eq!(broken, [format!("{name}: probes lost")]);
    }
}

#[test]
fn connections_may_fail_for_a_while_and_not_for_longer() {
    let change = |connections: Option<Connections>| {
        breaks(|timeline| {
            let place = PHASES.iter().position(|name| *name == "api-server-death").expect("a phase");
            timeline.phases[place].facts.connections = connections;
        })
    };
    let good = Connections { count: 3_000, failed: 0, last_failure: None };
    assert_eq!(change(Some(good)), Vec::<String>::new());
    let late = Connections { failed: 1, last_failure: Some(ms(1_201)), ..good };
    assert_eq!(change(Some(late)), ["api-server-death: the last connection that failed after"]);
    let many = Connections { failed: 601, ..good };
    assert_eq!(change(Some(many)), ["api-server-death: connections that failed"]);
    assert_eq!(change(None).len(), 2, "there was no load");
}

#[test]
fn one_lost_tcp_probe_breaks_a_silent_phase() {
    let broken = breaks(|timeline| darken(timeline, begin("outage-hung") + 5_000, 1));
    assert_eq!(broken, ["outage-hung: probes lost", "outage-hung: TCP probes lost"]);
}

#[test]
fn a_move_in_an_outage_breaks_it() {
    let broken = breaks(|timeline| {
        let at = pivot("outage-503");
        timeline.holding[1].1.to = ms(at + 2_000);
        timeline.holding.push((2, Span::new(ms(at + 2_000), ms(at + 4_000))));
        timeline.holding.push((1, Span::new(ms(at + 4_000), ms(pivot("heal") + 20))));
    });
    assert_eq!(broken, ["outage-503: moves of the VIP"]);
}

#[test]
fn a_long_silence_in_an_outage_breaks_it() {
    let broken = breaks(|timeline| {
        let silence = Span::new(ms(pivot("outage-refused") + 5_000), ms(pivot("outage-refused") + 8_000));
        timeline.announcements.retain(|announcement| !silence.contains(announcement.at));
    });
    assert_eq!(broken, ["outage-refused: longest announcement gap"]);
}

#[test]
fn an_answer_of_the_api_shows_that_the_outage_was_none() {
    for name in ["outage-refused", "restart-in-outage", "death-in-outage"] {
        let broken = breaks(|timeline| {
            let phase = timeline.phases.iter_mut().find(|phase| phase.name == name).expect("in the run");
            phase.facts.api_answered = Some(1);
        });
        assert_eq!(broken, [format!("{name}: API requests answered")]);
    }
}

#[test]
fn a_tenure_that_is_not_detached_breaks_the_restart() {
    let broken = breaks(|timeline| {
        let at = ms(pivot("restart-in-outage") + 18_000);
        timeline.tenures.retain(|seen| seen.at < at || seen.at > at + ms(1_500));
        timeline.tenures.push(TenureSeen { at, node: 1, tenure: Tenure::Provisional });
        timeline.tenures.sort_by_key(|seen| seen.at);
    });
    assert_eq!(broken, ["restart-in-outage: tenure is Detached (1 = yes)"]);
}

#[test]
fn darkness_past_its_bound_breaks_each_death() {
    for (name, from, length) in
        [("death-in-outage", 0, 2_001), ("death", 0, 451), ("death-with-api", 0, 2_501)]
    {
        let broken = breaks(|timeline| darken(timeline, pivot(name) + from, length));
        assert_eq!(broken, [format!("{name}: dark")]);
    }
}

#[test]
fn a_death_that_moves_nothing_is_none() {
    let broken = breaks(|timeline| {
        timeline.cut.retain(|(node, _)| *node != 2);
        timeline.holding[2].1.to = ms(begin("death-with-api"));
        timeline.holding[3].1.from = ms(begin("death-with-api"));
    });
    assert_eq!(broken, ["death: moves of the VIP"]);
}

#[test]
fn a_late_confirmation_breaks_the_return() {
    let broken = breaks(|timeline| {
        let late = Span::new(ms(pivot("api-returns")), ms(pivot("api-returns") + 5_001));
        timeline.tenures.retain(|seen| !late.contains(seen.at));
    });
    assert_eq!(broken, ["api-returns: holder confirmed again after"]);
}

#[test]
fn two_holders_past_a_second_break_any_phase() {
    let broken = breaks(|timeline| {
        let at = begin("rogue-host") + 5_000;
        timeline.holding.push((0, Span::new(ms(at), ms(at + 1_001))));
    });
    assert_eq!(broken, ["rogue-host: two nodes that hear each other hold"]);
}

#[test]
fn a_late_end_of_the_second_holder_breaks_the_heal() {
    let broken = breaks(|timeline| timeline.holding[1].1.to = ms(pivot("heal") + 1_001));
    assert_eq!(broken, ["heal: two nodes that hear each other hold", "heal: one holder after"]);
}

#[test]
fn a_loser_that_announces_last_breaks_the_heal() {
    let broken = breaks(|timeline| {
        let at = ms(begin("heal") + LENGTH - 1);
        let loser = Announcement { at, node: Some(1), tenure: None };
        let index = timeline.announcements.partition_point(|announcement| announcement.at <= at);
        timeline.announcements.insert(index, loser);
    });
    assert_eq!(broken, ["heal: the rightful holder announced last (1 = yes)"]);
}

/// Another MAC address than the holder's answers.
fn mislead(timeline: &mut Timeline, from: u64, length: u64, answer: Answer) {
    let span = Span::new(ms(from), ms(from + length));
    for probe in timeline.icmp.iter_mut().filter(|probe| span.contains(probe.at)) {
        probe.answer = answer;
    }
}

#[test]
fn a_client_on_the_wrong_path_breaks_the_heal() {
    let broken = breaks(|timeline| mislead(timeline, pivot("heal"), 1_101, Answer::Node(1)));
    assert_eq!(broken, ["heal: client's path right after"]);
    let broken = breaks(|timeline| mislead(timeline, begin("heal") + LENGTH - 1, 1, Answer::Stranger));
    assert_eq!(broken, ["heal: client's path right after"]);
}

#[test]
fn a_client_that_stays_with_the_rogue_breaks_the_rogue_phase() {
    let last_rogue = pivot("rogue-host") + 1_000;
    let broken = breaks(|timeline| mislead(timeline, last_rogue, 1_101, Answer::Stranger));
    assert_eq!(broken, ["rogue-host: client's path right after the last rogue frame"]);
}

#[test]
fn a_rogue_that_nobody_reports_breaks_the_rogue_phase() {
    assert_eq!(breaks(|timeline| timeline.conflicts.clear()), ["rogue-host: conflict events"]);
    let broken = breaks(|timeline| {
        let phase = timeline.phases.iter_mut().find(|phase| phase.name == "rogue-host").expect("in the run");
        phase.facts.conflict_metric = Some(0);
    });
    assert_eq!(broken, ["rogue-host: conflicts in the metrics"]);
}

#[test]
fn a_short_outage_breaks_the_run() {
    let broken = breaks(|timeline| {
        let phase =
            timeline.phases.iter_mut().find(|phase| phase.name == "outage-refused").expect("in the run");
        phase.pivot = ms(begin("api-returns") - 59_000);
    });
    assert_eq!(broken, ["outage: unbroken length"]);
}

#[test]
fn a_phase_that_failed_or_never_ran_breaks_the_run() {
    let broken = breaks(|timeline| timeline.phases[4].facts.failure = Some("no agent answered".to_owned()));
    assert_eq!(broken, ["outage-hung: no agent answered"]);
    let broken = breaks(|timeline| timeline.phases.truncate(13));
    assert_eq!(broken, ["death-with-api: runs of the phase"]);
}

#[test]
fn a_phase_that_ends_without_a_holder_is_broken() {
    let broken = breaks(|timeline| timeline.holding[4].1.to = ms(begin("death-with-api") + LENGTH - 5));
    assert_eq!(broken, ["death-with-api: holders at its end"]);
}

#[test]
fn an_interrupted_run_is_not_judged_for_what_it_did_not_reach() {
    let broken = breaks(|timeline| {
        timeline.interrupted = true;
        timeline.phases.truncate(3);
    });
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn darkness_is_counted_from_answer_to_answer() {
    let timeline = good();
    let phase = timeline.phase("death").expect("in the run");
    let figures = figures::of(&timeline, phase);
    assert_eq!((figures.lost, figures.longest_dark), (300, ms(300)));
    assert_eq!((figures.holder_before, figures.holder_after, figures.moves), (Some(2), Some(0), 1));
}

#[test]
fn answers_that_all_come_late_do_not_hide_darkness() {
    let mut timeline = good();
    let begin = pivot("outage-hung") + 3_000;
    let queued = Span::new(ms(begin), ms(begin + 200));
    for probe in timeline.icmp.iter_mut().filter(|probe| queued.contains(probe.at)) {
        probe.after = queued.to - probe.at;
    }
    let phase = timeline.phase("outage-hung").expect("in the run");
    let figures = figures::of(&timeline, phase);
    assert_eq!((figures.lost, figures.longest_dark), (0, ms(200)));
}

#[test]
fn darkness_that_does_not_end_lasts_to_the_last_probe() {
    let mut timeline = good();
    let end = begin("death-with-api") + LENGTH;
    darken(&mut timeline, end - 1_000, 1_000);
    let last = figures::dark_spans(&timeline).pop().expect("dark at the end");
    assert_eq!((last.from, last.to), (ms(end - 1_000), ms(end - 1)));
}

#[test]
fn a_partitioned_holder_is_no_second_holder() {
    let timeline = good();
    let phase = timeline.phase("death-in-outage").expect("in the run");
    assert_eq!(figures::of(&timeline, phase).two_holders, Duration::ZERO);
    let heal = timeline.phase("heal").expect("in the run");
    assert_eq!(figures::of(&timeline, heal).two_holders, ms(20));
}

#[test]
fn the_json_has_the_promised_form() {
    let mut timeline = good();
    darken(&mut timeline, pivot("outage-hung") + 4_001, 1);
    let report = super::json::report(&timeline, &judge(&timeline));
    assert_eq!(report["apiVersion"], super::API_VERSION);
    assert_eq!(report["broken"][0], "outage-hung: probes lost 1 (bound: == 0)");
    let names: Vec<_> =
        report["phases"].as_array().expect("a list").iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, PHASES);
    let death = &report["phases"][11];
    for (key, value) in [("sent", 20_000.0), ("lost", 300.0), ("longest_dark_ms", 300.0), ("moves", 1.0)] {
        assert_eq!(death[key].as_f64(), Some(value), "{key}");
    }
    assert_eq!((&death["holder_before"], &death["holder_after"]), (&"n3".into(), &"n1".into()));
    assert!(death["two_holders_ms"].is_number() && death["longest_announcement_gap_ms"].is_number());
}

#[test]
fn the_page_is_one_file_that_fetches_nothing() {
    let timeline = good();
    let page = super::html::page(&timeline, &judge(&timeline));
    assert!(page.contains("promises kept") && page.contains("<svg"));
    for fetching in ["<script", "src=", "<link", "@import", "href="] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http"));
}

#[test]
fn the_report_is_written_to_a_new_directory() {
    let directory = std::env::temp_dir().join(format!("mainstay-report-{}", std::process::id()));
    let timeline = good();
    let page = super::write(&timeline, &judge(&timeline), &directory).expect("writable");
    assert!(page.is_file() && directory.join("report.json").is_file());
    if std::env::var_os("MAINSTAY_KEEP_REPORT").is_none() {
        std::fs::remove_dir_all(&directory).expect("removable");
    }
}

#[test]
fn numbers_are_written_as_people_write_them() {
    assert_eq!(promises::number(301.0, "ms"), "301 ms");
    assert_eq!(promises::number(0.0, ""), "0");
    assert_eq!(promises::number(0.25, "s"), "0.2 s");
    assert_eq!(super::html::thousands(1_234_567), "1\u{202f}234\u{202f}567");
}
