//! `report.json`: for machines.

use serde_json::{Value, json};

use super::API_VERSION;
use super::figures;
use super::promises::{Promise, broken, milliseconds};
use super::timeline::{Phase, Timeline};

/// The whole report.
#[must_use]
pub fn report(timeline: &Timeline, promises: &[Promise]) -> Value {
    let phases: Vec<_> = timeline.phases.iter().map(|phase| one_phase(timeline, phase)).collect();
    json!({
        "apiVersion": API_VERSION,
        "broken": broken(promises),
        "interrupted": timeline.interrupted,
        "length_s": timeline.length.as_secs_f64(),
        "phases": phases,
        "promises": promises,
    })
}

fn one_phase(timeline: &Timeline, phase: &Phase) -> Value {
    let figures = figures::of(timeline, phase);
    let name = |node: Option<usize>| node.map(|node| timeline.name(node));
    json!({
        "name": phase.name,
        "sent": figures.sent,
        "lost": figures.lost,
        "longest_dark_ms": milliseconds(figures.longest_dark),
        "holder_before": name(figures.holder_before),
        "holder_after": name(figures.holder_after),
        "moves": figures.moves,
        "two_holders_ms": milliseconds(figures.two_holders),
        "longest_announcement_gap_ms": milliseconds(figures.longest_announcement_gap),
        "tcp_sent": figures.tcp_sent,
        "tcp_lost": figures.tcp_lost,
        "from_s": phase.span.from.as_secs_f64(),
        "to_s": phase.span.to.as_secs_f64(),
        "words": phase.words,
        "api_requests_answered": phase.facts.api_answered,
        "failure": phase.facts.failure,
    })
}
