//! The figures of a phase, read off the timeline.

use std::collections::BTreeSet;
use std::time::Duration;

use super::timeline::{Announcement, Answer, At, Phase, Probe, Span, Timeline};

/// What one phase comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// ICMP probes sent.
    pub sent: usize,
    /// Of those, without an answer.
    pub lost: usize,
    /// TCP probes sent.
    pub tcp_sent: usize,
    /// Of those, without an answer.
    pub tcp_lost: usize,
    /// The longest time a client waited for an answer ([`dark_spans`]).
    pub longest_dark: Duration,
    /// Who held the VIP alone when the phase began, among the nodes on the segment.
    pub holder_before: Option<usize>,
    /// Who held it alone when the phase ended.
    pub holder_after: Option<usize>,
    /// How often the sole holder became another.
    pub moves: usize,
    /// The longest time two nodes that could hear each other both held it.
    pub two_holders: Duration,
    /// The longest time between two announcements by nodes, while the VIP was held.
    pub longest_announcement_gap: Duration,
}

/// The figures of one phase.
#[must_use]
pub fn of(timeline: &Timeline, phase: &Phase) -> Figures {
    let span = phase.span;
    let icmp = within(&timeline.icmp, span);
    let tcp = within(&timeline.tcp, span);
    Figures {
        sent: icmp.len(),
        lost: lost(icmp),
        tcp_sent: tcp.len(),
        tcp_lost: lost(tcp),
        longest_dark: longest(dark_within(timeline, span)),
        holder_before: sole_holders(timeline, before(span)).last().map(|(node, _)| *node),
        holder_after: sole_holders(timeline, Span::new(Duration::ZERO, span.to))
            .last()
            .map(|(node, _)| *node),
        moves: moves(timeline, span),
        two_holders: longest(two_holders(timeline).iter().filter_map(|both| both.common(&span))),
        longest_announcement_gap: longest(announcement_gaps(timeline, span).into_iter()),
    }
}

/// The probes sent within a span; probes are in the order of sending.
#[must_use]
pub fn within(probes: &[Probe], span: Span) -> &[Probe] {
    let from = probes.partition_point(|probe| probe.at < span.from);
    let to = probes.partition_point(|probe| probe.at < span.to);
    probes.get(from..to).unwrap_or_default()
}

fn lost(probes: &[Probe]) -> usize {
    probes.iter().filter(|probe| probe.answer == Answer::None).count()
}

fn longest(spans: impl Iterator<Item = Span>) -> Duration {
    spans.map(|span| span.length()).max().unwrap_or_default()
}

/// Everything up to a span, and its first moment, so that what holds as it begins counts as before.
fn before(span: Span) -> Span {
    Span::new(Duration::ZERO, span.from + Duration::from_nanos(1))
}

/// How far before a phase a darkness that reaches into it may have begun.
const LOOK_BACK: Duration = Duration::from_secs(10);
/// How far after a phase to look for the answer that ends its darkness.
const LOOK_AHEAD: Duration = Duration::from_secs(1);

/// Waits shorter than this are round trips, and hiccups of a busy machine: not darkness.
const NOTICEABLE: Duration = Duration::from_millis(5);

/// When the VIP did not answer, as a client feels it: from the first probe sent after an answer to the arrival of
/// the next answer. One that is still dark at the end ends with the last probe. Before the first answer nothing is
/// dark: the VIP was not up yet.
#[must_use]
pub fn dark_spans(timeline: &Timeline) -> Vec<Span> {
    dark_among(&timeline.icmp)
}

fn dark_among(probes: &[Probe]) -> Vec<Span> {
    let answered = probes.iter().filter(|probe| probe.answer != Answer::None);
    let mut arrivals: Vec<At> = answered.map(|probe| probe.at + probe.after).collect();
    arrivals.sort_unstable();
    let ends = arrivals.iter().skip(1).copied().chain(probes.last().map(|probe| probe.at));
    let waits = arrivals.iter().zip(ends).filter_map(|(last, next)| {
        let waiting = probes.partition_point(|probe| probe.at <= *last);
        probes.get(waiting).map(|probe| Span::new(probe.at, next))
    });
    waits.filter(|wait| wait.length() >= NOTICEABLE).collect()
}

/// Dark spans that reach into a phase: with their whole past, and cut off at the phase's end.
fn dark_within(timeline: &Timeline, span: Span) -> impl Iterator<Item = Span> {
    let around = Span::new(span.from.saturating_sub(LOOK_BACK), span.to + LOOK_AHEAD);
    let inside = dark_among(within(&timeline.icmp, around))
        .into_iter()
        .filter(move |dark| dark.common(&span).is_some());
    inside.map(move |dark| Span::new(dark.from, dark.to.min(span.to)))
}

/// The nodes whose kernels had the VIP at this moment and that were on the segment.
#[must_use]
pub fn holders_at(timeline: &Timeline, at: At) -> Vec<usize> {
    let holding = timeline.holding.iter().filter(|(_, span)| span.contains(at)).map(|(node, _)| *node);
    let unique: BTreeSet<_> = holding.filter(|node| !is_cut(timeline, *node, at)).collect();
    unique.into_iter().collect()
}

/// Every moment within a span at which who holds, or who is on the segment, may have changed; its ends too.
fn turning_points(timeline: &Timeline, span: Span) -> Vec<At> {
    let both = timeline.holding.iter().chain(&timeline.cut).flat_map(|(_, part)| [part.from, part.to]);
    let inside = both.filter(|at| span.contains(*at));
    let unique: BTreeSet<_> = inside.chain([span.from, span.to]).collect();
    unique.into_iter().collect()
}

/// Who held the VIP alone, and when; in order, with changes only.
fn sole_holders(timeline: &Timeline, span: Span) -> Vec<(usize, Span)> {
    let mut sequence: Vec<(usize, Span)> = Vec::new();
    for pair in turning_points(timeline, span).windows(2) {
        let &[from, to] = pair else { continue };
        let [holder] = *holders_at(timeline, from) else { continue };
        match sequence.last_mut() {
            Some((last, held)) if *last == holder => held.to = to,
            _ => sequence.push((holder, Span::new(from, to))),
        }
    }
    sequence
}

fn moves(timeline: &Timeline, span: Span) -> usize {
    let all = sole_holders(timeline, Span::new(Duration::ZERO, span.to));
    all.iter().skip(1).filter(|(_, held)| held.from > span.from).count()
}

/// When two or more nodes that could hear each other held the VIP.
#[must_use]
pub fn two_holders(timeline: &Timeline) -> Vec<Span> {
    let whole = Span::new(Duration::ZERO, timeline.length);
    let mut spans: Vec<Span> = Vec::new();
    for pair in turning_points(timeline, whole).windows(2) {
        let &[from, to] = pair else { continue };
        if holders_at(timeline, from).len() < 2 {
            continue;
        }
        match spans.last_mut() {
            Some(last) if last.to == from => last.to = to,
            _ => spans.push(Span::new(from, to)),
        }
    }
    spans
}

/// The times between announcements by nodes that end within `span`, and the open one at its end.
fn announcement_gaps(timeline: &Timeline, span: Span) -> Vec<Span> {
    let by_nodes: Vec<At> =
        audible(timeline).map(|announcement| announcement.at).filter(|at| *at < span.to).collect();
    let ends = by_nodes.iter().copied().skip(1).chain([span.to]);
    by_nodes
        .iter()
        .zip(ends)
        .map(|(from, to)| Span::new(*from, to))
        .filter(|gap| gap.to >= span.from)
        .collect()
}

/// When the client's path was right again: the moment after which every answered or lost probe of the phase was
/// answered by the phase's last holder. `None` when it never was.
#[must_use]
pub fn path_right_at(timeline: &Timeline, phase: &Phase) -> Option<At> {
    let holder = of(timeline, phase).holder_after?;
    let probes = within(&timeline.icmp, phase.span);
    let right = |probe: &Probe| matches!(probe.answer, Answer::Node(node) if node == holder);
    let after = probes.iter().rposition(|probe| !right(probe)).map_or(0, |wrong| wrong + 1);
    probes.get(after).map(|probe| probe.at)
}

/// When the phase's last rogue frame was seen.
#[must_use]
pub fn last_rogue(timeline: &Timeline, phase: &Phase) -> Option<At> {
    let rogues = timeline.announcements.iter().filter(|announcement| announcement.node.is_none());
    rogues.map(|rogue| rogue.at).rfind(|at| phase.span.contains(*at))
}

/// Who was the last node to announce in the phase, as a client hears it.
#[must_use]
pub fn last_announcer(timeline: &Timeline, phase: &Phase) -> Option<usize> {
    let inside = audible(timeline).filter(|announcement| phase.span.contains(announcement.at));
    inside.last().and_then(|announcement| announcement.node)
}

/// Announcements by nodes that were on the segment: the others reach nobody.
fn audible(timeline: &Timeline) -> impl Iterator<Item = &Announcement> {
    timeline
        .announcements
        .iter()
        .filter(|announcement| announcement.node.is_some_and(|node| !is_cut(timeline, node, announcement.at)))
}

fn is_cut(timeline: &Timeline, node: usize, at: At) -> bool {
    timeline.cut.iter().any(|(other, span)| *other == node && span.contains(at))
}

/// The last moment of the phase at which two nodes that could hear each other both held the VIP; the pivot when
/// there was none.
#[must_use]
pub fn one_holder_at(timeline: &Timeline, phase: &Phase) -> At {
    let both = two_holders(timeline).into_iter().filter_map(|both| both.common(&phase.span));
    both.map(|both| both.to).max().unwrap_or(phase.pivot).max(phase.pivot)
}
