//! `report.html`: for people. One file that needs nothing beside it.

use std::fmt::Write as _;
use std::time::Duration;

use super::figures::{self, Figures};
use super::promises::{Promise, milliseconds, number};
use super::svg::{self, Names, View, escape};
use super::timeline::{Phase, Span, Timeline};

const STYLE: &str = include_str!("page.css");
/// Pixels to a second in the whole picture.
const SCALE: f64 = 5.2;
/// The whole picture is no narrower than this.
const NARROWEST: f64 = 1_180.0;
/// A close-up's width.
const CLOSE_UP: f64 = 620.0;
/// A close-up shows this much before its pivot, and at least so much after.
const CLOSE_BEFORE: Duration = Duration::from_millis(500);
const CLOSE_AFTER: Duration = Duration::from_millis(2_000);

/// The page.
#[must_use]
pub fn page(timeline: &Timeline, promises: &[Promise]) -> String {
    let mut page = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Mainstay: a demonstration</title><style>{STYLE}</style></head><body>"
    );
    head(&mut page, timeline, promises);
    whole(&mut page, timeline);
    close_ups(&mut page, timeline);
    phases(&mut page, timeline);
    promised(&mut page, promises);
    page.push_str("</body></html>\n");
    page
}

fn head(page: &mut String, timeline: &Timeline, promises: &[Promise]) {
    let broken = promises.iter().filter(|promise| !promise.kept).count();
    let (class, verdict) = match (broken, timeline.interrupted) {
        (0, false) => ("kept", format!("all {} promises kept", promises.len())),
        (0, true) => ("broken", "ended early".to_owned()),
        _ => ("broken", format!("{broken} of {} promises broken", promises.len())),
    };
    let _ = write!(
        page,
        "<h1>Three nodes hold a virtual IP</h1><p class=\"soft\">{} nodes, a client and an API server, each in its own network namespace; real agents, real frames. The client asked the VIP {} times in {:.0} s.</p><p><span class=\"verdict {class}\">{}</span></p>",
        timeline.nodes.len(),
        thousands(timeline.icmp.len()),
        timeline.length.as_secs_f64(),
        escape(&verdict)
    );
    page.push_str("<div class=\"cards\">");
    for (value, words) in cards(timeline) {
        let _ =
            write!(page, "<div class=\"card\"><b>{}</b><span>{}</span></div>", escape(&value), escape(words));
    }
    page.push_str("</div>");
}

/// The figures that matter most.
fn cards(timeline: &Timeline) -> Vec<(String, &'static str)> {
    let outages = timeline.phases.iter().filter(|phase| phase.name.starts_with("outage-"));
    let lost: usize = outages.map(|phase| figures::of(timeline, phase).lost).sum();
    let dark = |name: &str| {
        let figures = timeline.phase(name).map(|phase| figures::of(timeline, phase));
        figures.map_or_else(|| "–".to_owned(), |figures| format!("{} ms", figures.longest_dark.as_millis()))
    };
    let outage = timeline.phase("outage-refused").zip(timeline.phase("api-returns"));
    let length = outage.map_or(Duration::ZERO, |(from, to)| to.pivot.saturating_sub(from.pivot));
    vec![
        (format!("{:.0} s", length.as_secs_f64()), "without an API server, in four forms"),
        (lost.to_string(), "probes lost to the outage alone"),
        (dark("death"), "dark when the holder's node dies"),
        (dark("death-in-outage"), "dark when it dies during the outage"),
        (dark("death-with-api"), "dark when it dies with its API server"),
    ]
}

fn whole(page: &mut String, timeline: &Timeline) {
    let window = Span::new(Duration::ZERO, timeline.length.max(Duration::from_millis(1)));
    let width = (timeline.length.as_secs_f64() * SCALE).max(NARROWEST);
    let view = View { window, width, names: Names::Shown, zero: Duration::ZERO };
    let _ = write!(page, "<h2>The run</h2><div class=\"picture\">{}</div>", svg::draw(timeline, &view));
    page.push_str("<div class=\"legend\">");
    for (colour, words) in [
        ("reached", "the VIP answers"),
        ("dark", "no answer"),
        ("confirmed", "held, confirmed by the API"),
        ("detached", "held, detached (API out of reach)"),
        ("provisional", "held, provisional (taken without a grant)"),
        ("unmarked", "held, tenure not yet seen"),
    ] {
        let _ = write!(page, "<span><i style=\"background:var(--{colour})\"></i>{words}</span>");
    }
    page.push_str("<span>hatched: cut from the segment</span><span>red line below a node: its agent is not running</span><span>dashed: the moment of the fault</span></div>");
}

/// The moments at which the VIP moved or was dark, enlarged.
fn close_ups(page: &mut String, timeline: &Timeline) {
    let worth = |phase: &&Phase| {
        let figures = figures::of(timeline, phase);
        phase.name != "bring-up" && (figures.moves > 0 || figures.lost > 0 || !figures.two_holders.is_zero())
    };
    let phases: Vec<_> = timeline.phases.iter().filter(worth).collect();
    if phases.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Close-ups</h2><p class=\"soft\">Seconds from the moment of the fault.</p><div class=\"close\">",
    );
    for phase in phases {
        let window = close_window(timeline, phase);
        let view = View { window, width: CLOSE_UP, names: Names::Hidden, zero: phase.pivot };
        let _ = write!(
            page,
            "<figure><figcaption><b>{}</b><br>{}</figcaption>{}</figure>",
            escape(&phase.name),
            escape(&phase.words),
            svg::draw(timeline, &view)
        );
    }
    page.push_str("</div>");
}

fn close_window(timeline: &Timeline, phase: &Phase) -> Span {
    let darks = figures::dark_spans(timeline).into_iter().filter(|dark| dark.common(&phase.span).is_some());
    let dark_end = darks.map(|dark| dark.to).max().unwrap_or_default();
    let end = (phase.pivot + CLOSE_AFTER).max(dark_end + CLOSE_BEFORE).min(phase.span.to.max(phase.pivot));
    Span::new(phase.pivot.saturating_sub(CLOSE_BEFORE), end)
}

fn phases(page: &mut String, timeline: &Timeline) {
    page.push_str("<h2>Phases</h2><div class=\"scroll\"><table><tr><th>phase</th><th>what happens</th><th class=\"n\">probes</th><th class=\"n\">lost</th><th class=\"n\">longest dark</th><th>holder</th><th class=\"n\">moves</th><th class=\"n\">two holders</th><th class=\"n\">longest gap between announcements</th></tr>");
    for phase in &timeline.phases {
        phase_row(page, timeline, phase, &figures::of(timeline, phase));
    }
    page.push_str("</table></div>");
}

fn phase_row(page: &mut String, timeline: &Timeline, phase: &Phase, figures: &Figures) {
    let ms = |duration| number(milliseconds(duration), "ms");
    let _ = write!(
        page,
        "<tr><td class=\"name\">{}</td><td class=\"soft\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        escape(&phase.name),
        escape(&phase.words),
        thousands(figures.sent),
        figures.lost,
        ms(figures.longest_dark),
        escape(&holders(timeline, figures)),
        figures.moves,
        ms(figures.two_holders),
        ms(figures.longest_announcement_gap)
    );
}

/// `n1`, or `n1 → n2` where it moved.
#[must_use]
pub fn holders(timeline: &Timeline, figures: &Figures) -> String {
    let name = |node: Option<usize>| node.map_or("nobody", |node| timeline.name(node));
    if figures.holder_before == figures.holder_after {
        name(figures.holder_after).to_owned()
    } else {
        format!("{} → {}", name(figures.holder_before), name(figures.holder_after))
    }
}

fn promised(page: &mut String, promises: &[Promise]) {
    page.push_str("<h2>Promises</h2><div class=\"scroll\"><table><tr><th></th><th>phase</th><th>what</th><th class=\"n\">measured</th><th class=\"n\">bound</th></tr>");
    for promise in promises {
        let (class, word) = if promise.kept { ("yes", "kept") } else { ("no", "BROKEN") };
        let measured =
            promise.measured.map_or_else(|| "never".to_owned(), |value| number(value, promise.unit));
        let _ = write!(
            page,
            "<tr><td class=\"{class}\">{word}</td><td class=\"name\">{}</td><td>{}</td><td class=\"n\">{measured}</td><td class=\"n\">{} {}</td></tr>",
            escape(&promise.phase),
            escape(&promise.what),
            escape(promise.op.sign()),
            number(promise.value, promise.unit)
        );
    }
    page.push_str("</table></div>");
}

/// A count with thin groups: 12 345.
#[must_use]
pub fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
