//! The timeline as a picture: rows of bars and ticks over one axis of time, in SVG that needs no script.

use std::fmt::Write as _;
use std::time::Duration;

use mainstay_core::vip::Tenure;

use super::figures;
use super::timeline::{Answer, ApiState, At, Span, Timeline};

/// Room at the left for the rows' names, in pixels.
const GUTTER: f64 = 104.0;
/// Room at the right, for names that lean over the edge.
const MARGIN: f64 = 64.0;
/// Room at the right without them.
const BARE_MARGIN: f64 = 16.0;
/// Room at the top for the phases' slanted names.
const HEADER: f64 = 96.0;
/// Room at the top without them.
const BARE_HEADER: f64 = 10.0;
/// Room for the axis.
const AXIS: f64 = 24.0;
/// Between rows.
const GAP: f64 = 7.0;
/// Nothing that happened is drawn thinner than this.
const THINNEST: f64 = 1.6;

/// What is drawn.
pub(super) struct View {
    /// This part of the run.
    pub(super) window: Span,
    /// So wide, in pixels.
    pub(super) width: f64,
    /// With the phases' names above, or without.
    pub(super) names: Names,
    /// The axis counts from here.
    pub(super) zero: At,
}

/// Whether the phases are named above the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Named.
    Shown,
    /// Not named: a close-up of one phase.
    Hidden,
}

/// The picture.
pub(super) fn draw(timeline: &Timeline, view: &View) -> String {
    let mut canvas = Canvas::new(timeline, view);
    canvas.row("client", 24.0, Canvas::reachability);
    let tracks: Vec<usize> = (0..timeline.api.len()).filter(|track| canvas.shows(*track)).collect();
    for track in tracks {
        let name = timeline.api.get(track).map_or("", |track| track.name.as_str());
        canvas.row(name, 15.0, |canvas, y, height| canvas.api(track, y, height));
    }
    for node in 0..timeline.nodes.len() {
        canvas.row(timeline.name(node), 24.0, |canvas, y, height| canvas.node(node, y, height));
    }
    canvas.row("announced", 24.0, Canvas::announcements);
    canvas.row("conflicts", 14.0, Canvas::conflicts);
    canvas.finish()
}

struct Canvas<'a> {
    timeline: &'a Timeline,
    view: &'a View,
    top: f64,
    y: f64,
    body: String,
}

impl<'a> Canvas<'a> {
    fn new(timeline: &'a Timeline, view: &'a View) -> Self {
        let top = if view.names == Names::Shown { HEADER } else { BARE_HEADER };
        Self { timeline, view, top, y: top + 4.0, body: String::new() }
    }

    /// One row: its name, its ground line, then what `content` draws at (top, height).
    fn row(&mut self, name: &str, height: f64, content: impl FnOnce(&mut Self, f64, f64)) {
        let y = self.y;
        let middle = y + height / 2.0;
        self.text("name", (GUTTER - 10.0, middle + 4.0), "end", name);
        let _ = write!(
            self.body,
            r#"<line class="ground" x1="{GUTTER}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#,
            self.right()
        );
        content(self, y, height);
        self.y += height + GAP;
    }

    /// Whether an API server's track has begun before the view's end, and it has not been gone all along.
    fn shows(&self, track: usize) -> bool {
        let Some(track) = self.timeline.api.get(track) else { return false };
        let inside = track.changes.iter().filter(|(at, _)| *at < self.view.window.to);
        let known: Vec<_> = inside.collect();
        let before = known.iter().rfind(|(at, _)| *at <= self.view.window.from);
        let changes = known.iter().any(|(at, _)| *at > self.view.window.from);
        changes || before.is_some_and(|(_, state)| *state != ApiState::Gone)
    }

    fn right(&self) -> f64 {
        self.view.width - if self.view.names == Names::Shown { MARGIN } else { BARE_MARGIN }
    }

    fn x(&self, at: At) -> f64 {
        let window = self.view.window;
        let part = at.saturating_sub(window.from).as_secs_f64() / window.length().as_secs_f64().max(1e-9);
        GUTTER + part.min(1.0) * (self.right() - GUTTER)
    }

    /// A bar over the part of `span` that the view shows.
    fn bar(&mut self, class: &str, span: Span, (y, height): (f64, f64), title: &str) {
        let Some(shown) = span.common(&self.view.window) else { return };
        let (from, to) = (self.x(shown.from), self.x(shown.to));
        let width = (to - from).max(THINNEST);
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"><title>{}</title></rect>"#,
            escape(title)
        );
    }

    fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            escape(text)
        );
    }

    /// Text inside a bar, where the bar has room for it.
    fn inside(&mut self, span: Span, y: f64, text: &str) {
        let Some(shown) = span.common(&self.view.window) else { return };
        let (from, to) = (self.x(shown.from), self.x(shown.to));
        let letters = f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX));
        if to - from > letters * 6.2 + 8.0 {
            self.text("inside", (f64::midpoint(from, to), y), "middle", text);
        }
    }

    /// Green where the VIP answered, red where it did not.
    fn reachability(&mut self, y: f64, height: f64) {
        let probes = &self.timeline.icmp;
        let first = probes.iter().find(|probe| probe.answer != Answer::None);
        if let (Some(first), Some(last)) = (first, probes.last()) {
            self.bar("reached", Span::new(first.at, last.at), (y, height), "the VIP answers");
        }
        for dark in figures::dark_spans(self.timeline) {
            let title =
                format!("no answer for {} ms, from {}", dark.length().as_millis(), seconds(dark.from));
            self.bar("dark", dark, (y, height), &title);
            self.inside(dark, y + height / 2.0 + 4.0, &format!("{} ms", dark.length().as_millis()));
        }
    }

    fn api(&mut self, track: usize, y: f64, height: f64) {
        let Some(track) = self.timeline.api.get(track) else { return };
        let ends = track.changes.iter().skip(1).map(|(at, _)| *at).chain([self.timeline.length]);
        for ((from, state), to) in track.changes.iter().zip(ends) {
            let span = Span::new(*from, to);
            let class = format!("api-{}", state.words().replace(' ', "-"));
            self.bar(&class, span, (y, height), &format!("{}: {}", track.name, state.words()));
            if *state != ApiState::Up {
                self.inside(span, y + height / 2.0 + 4.0, state.words());
            }
        }
    }

    /// When the node's kernel had the VIP, by tenure; when it was cut off; when its agent was not running.
    fn node(&mut self, node: usize, y: f64, height: f64) {
        let name = self.timeline.name(node).to_owned();
        for (_, span) in self.timeline.cut.iter().filter(|(cut, _)| *cut == node) {
            self.bar("cut", *span, (y - 2.0, height + 4.0), &format!("{name} is cut from the segment"));
        }
        for (span, tenure) in self.timeline.tenure_pieces(node) {
            let words = tenure_words(tenure);
            let title =
                format!("{name} holds the VIP, {words}, from {} to {}", seconds(span.from), seconds(span.to));
            self.bar(&format!("held {words}"), span, (y + 3.0, height - 6.0), &title);
            self.inside(span, y + height / 2.0 + 4.0, words);
        }
        for (_, span) in self.timeline.stopped.iter().filter(|(stopped, _)| *stopped == node) {
            self.bar("stopped", *span, (y + height - 4.0, 4.0), &format!("{name}'s agent is not running"));
        }
    }

    /// One tick for each announcement, in one lane for each node.
    fn announcements(&mut self, y: f64, height: f64) {
        let timeline = self.timeline;
        let lanes = f64::from(u32::try_from(timeline.nodes.len()).unwrap_or(1).max(1));
        for seen in timeline.announcements.iter().filter(|seen| self.view.window.contains(seen.at)) {
            let lane = f64::from(u32::try_from(seen.node.unwrap_or(0)).unwrap_or(0));
            let x = self.x(seen.at);
            let (top, bottom, class) = match seen.node {
                Some(_) => (y + lane * height / lanes, y + (lane + 1.0) * height / lanes - 1.0, "tick"),
                None => (y, y + height, "tick rogue"),
            };
            let who = seen.node.map_or("a stranger", |node| timeline.name(node));
            let title = format!("{who} announces at {}, {}", seconds(seen.at), tenure_words(seen.tenure));
            let _ = write!(
                self.body,
                r#"<line class="{class} {}" x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}"><title>{}</title></line>"#,
                tenure_words(seen.tenure),
                escape(&title)
            );
        }
    }

    fn conflicts(&mut self, y: f64, height: f64) {
        let timeline = self.timeline;
        for conflict in timeline.conflicts.iter().filter(|seen| self.view.window.contains(seen.at)) {
            let (x, middle) = (self.x(conflict.at), y + height / 2.0);
            let title =
                format!("{} at {}: {}", timeline.name(conflict.node), seconds(conflict.at), conflict.words);
            let _ = write!(
                self.body,
                r#"<path class="conflict" d="M{x:.1} {:.1}l5 5l-5 5l-5 -5z"><title>{}</title></path>"#,
                middle - 5.0,
                escape(&title)
            );
        }
    }

    /// Bands behind the rows, the axis below them, and the whole.
    fn finish(mut self) -> String {
        let rows = std::mem::take(&mut self.body);
        self.bands();
        self.axis();
        let ground = std::mem::take(&mut self.body);
        format!(
            r#"<svg viewBox="0 0 {:.0} {:.0}" role="img" xmlns="http://www.w3.org/2000/svg">{DEFINITIONS}{ground}{rows}</svg>"#,
            self.view.width,
            self.y + AXIS
        )
    }

    fn bands(&mut self) {
        let (top, bottom) = (self.top, self.y);
        let timeline = self.timeline;
        for (index, phase) in timeline.phases.iter().enumerate() {
            let class = if index % 2 == 0 { "band" } else { "band odd" };
            let title = format!("{}: {}", phase.name, phase.words);
            self.bar(class, phase.span, (top, bottom - top), &title);
            if self.view.window.contains(phase.pivot) {
                self.pivot(phase.pivot, (top, bottom));
            }
            if self.view.names == Names::Shown {
                let middle = f64::midpoint(self.x(phase.span.from), self.x(phase.span.to));
                let _ = write!(
                    self.body,
                    r#"<text class="phase" transform="translate({middle:.1} {:.1}) rotate(-38)">{}</text>"#,
                    top - 6.0,
                    escape(&phase.name)
                );
            }
        }
    }

    /// The moment a fault was brought about.
    fn pivot(&mut self, at: At, (top, bottom): (f64, f64)) {
        let x = self.x(at);
        let _ = write!(
            self.body,
            r#"<line class="pivot" x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}"/>"#
        );
    }

    fn axis(&mut self) {
        let window = self.view.window;
        let step = axis_step(window.length());
        let begin = window.from.as_secs_f64() - self.view.zero.as_secs_f64();
        let mut tick = (begin / step).ceil() * step;
        while tick <= begin + window.length().as_secs_f64() + 1e-9 {
            let at = Duration::from_secs_f64((tick + self.view.zero.as_secs_f64()).max(0.0));
            let x = self.x(at);
            let y = self.y;
            let _ = write!(
                self.body,
                r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{y:.1}" y2="{:.1}"/>"#,
                y + 4.0
            );
            let digits = usize::from(step < 1.0);
            let zero_is_near = tick.abs() < 1e-9;
            let label = if zero_is_near { "0 s".to_owned() } else { format!("{tick:.digits$}") };
            self.text("axis-label", (x, y + 17.0), "middle", &label);
            tick += step;
        }
    }
}

/// A step that gives 6 to 15 ticks.
fn axis_step(length: Duration) -> f64 {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
    let fits = |step: &&f64| length.as_secs_f64() / **step <= 15.0;
    steps.iter().find(fits).copied().unwrap_or(120.0)
}

fn tenure_words(tenure: Option<Tenure>) -> &'static str {
    match tenure {
        Some(Tenure::Confirmed) => "confirmed",
        Some(Tenure::Detached) => "detached",
        Some(Tenure::Provisional) => "provisional",
        Some(Tenure::Candidate) => "candidate",
        None => "unmarked",
    }
}

fn seconds(at: At) -> String {
    format!("{:.3} s", at.as_secs_f64())
}

/// Text for SVG and HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The hatching of nodes that are cut off. Repeated in each picture; the first one counts.
const DEFINITIONS: &str = r#"<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>"#;
