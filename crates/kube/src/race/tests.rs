//! The race by table: each server is a delay and an answer.

use super::*;

const PACE: Pace = Pace {
    hedge_after: Duration::from_millis(150),
    unanswered_after: Duration::from_millis(500),
    deadline: Duration::from_secs(5),
};

/// What a server does: after so many milliseconds, this answer; `None` never answers.
type Script = Option<(u64, fn() -> Answer<u32>)>;

struct Seen {
    answer: String,
    after: u64,
    sent: Vec<(usize, u64)>,
    unanswered: Option<u64>,
}

/// Plays a race against such servers, jumping from one moment at which something happens to the next.
fn run(servers: &[Script]) -> Seen {
    let mut heat = Heat::new(servers.len(), PACE);
    let (mut now, mut sent, mut unanswered) = (Duration::ZERO, Vec::new(), None);
    let mut arriving: Vec<(Duration, usize)> = Vec::new();
    let ended = 'race: loop {
        while let Some(step) = heat.step(now) {
            match step {
                Step::Send(place) => {
                    sent.push((place, milliseconds(now)));
                    let script = servers[place];
                    arriving.extend(script.map(|(delay, _)| (now + Duration::from_millis(delay), place)));
                }
                Step::Unanswered => unanswered = Some(milliseconds(now)),
                Step::End(ended) => break 'race ended,
            }
        }
        arriving.sort_unstable();
        match arriving.first().copied().filter(|(at, _)| *at <= heat.wake_at()) {
            Some((at, place)) => {
                now = at;
                arriving.remove(0);
                heat.returned(now, place, servers[place].unwrap().1());
            }
            None => now = heat.wake_at(),
        }
    };
    let answer = match ended.answer {
        Answer::Success(value) => format!("success {value} by {}", ended.by.unwrap()),
        Answer::Throttled(wait) => format!("throttled {wait:?}"),
        other => format!("{other:?}").split('(').next().unwrap_or_default().to_lowercase(),
    };
    Seen { answer, after: milliseconds(now), sent, unanswered }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

fn success() -> Answer<u32> {
    Answer::Success(1)
}
fn other_success() -> Answer<u32> {
    Answer::Success(2)
}
fn refused() -> Answer<u32> {
    Answer::Refused(Trouble::new(ErrorClass::Connect, "connection refused"))
}
fn unknown() -> Answer<u32> {
    Answer::unknown(ErrorClass::ServerError, "HTTP 500")
}
fn conflict() -> Answer<u32> {
    Answer::Conflict
}
fn absent() -> Answer<u32> {
    Answer::Absent
}
fn forbidden() -> Answer<u32> {
    Answer::Forbidden(Trouble::new(ErrorClass::Forbidden, "HTTP 403"))
}
fn throttled() -> Answer<u32> {
    Answer::Throttled(Some(Duration::from_secs(2)))
}

/// One row: its name, the servers, the answer that counts, after how long, how many copies, when "unanswered".
type Row = (&'static str, Vec<Script>, &'static str, u64, usize, Option<u64>);

#[test]
fn which_answer_counts_and_when() {
    let rows: Vec<Row> = vec![
        ("no server at all", vec![], "refused", 0, 0, None),
        (
            "a quick server is asked alone",
            vec![Some((20, success)), Some((0, other_success))],
            "success 1 by 0",
            20,
            1,
            None,
        ),
        (
            "refused: the next at once",
            vec![Some((1, refused)), Some((10, success))],
            "success 1 by 1",
            11,
            2,
            None,
        ),
        (
            "slow: the next after 150 ms",
            vec![Some((400, success)), Some((10, other_success))],
            "success 2 by 1",
            160,
            2,
            None,
        ),
        (
            "the slow one may still win",
            vec![Some((200, success)), Some((900, other_success))],
            "success 1 by 0",
            200,
            2,
            None,
        ),
        ("all refuse", vec![Some((1, refused)), Some((1, refused))], "refused", 2, 2, None),
        ("404 decides", vec![Some((5, absent)), Some((1, success))], "absent", 5, 1, None),
        (
            "one 5xx, one refusal: unknown",
            vec![Some((5, unknown)), Some((1, refused))],
            "unknown",
            6,
            2,
            None,
        ),
        (
            "overloaded, then refused",
            vec![Some((5, throttled)), Some((1, refused))],
            "throttled Some(2s)",
            6,
            2,
            None,
        ),
        (
            "403 at one, success at the other",
            vec![Some((5, forbidden)), Some((1, success))],
            "success 1 by 1",
            6,
            2,
            None,
        ),
        ("403 everywhere", vec![Some((5, forbidden)), Some((1, forbidden))], "forbidden", 6, 2, None),
        ("403 and refused", vec![Some((5, forbidden)), Some((1, refused))], "forbidden", 6, 2, None),
        ("silent for ever", vec![None], "unknown", 5000, 1, Some(500)),
        ("all silent for ever", vec![None, None, None], "unknown", 5000, 3, Some(800)),
        ("one refuses, one is silent", vec![Some((1, refused)), None], "unknown", 5000, 2, Some(501)),
        ("one is silent, one refuses", vec![None, Some((1, refused))], "unknown", 5000, 2, Some(500)),
        (
            "late, after being called unanswered",
            vec![Some((2000, success))],
            "success 1 by 0",
            2000,
            1,
            Some(500),
        ),
        (
            "a conflict with nothing else out",
            vec![Some((5, conflict)), Some((1, success))],
            "conflict",
            5,
            1,
            None,
        ),
        (
            "a hedge's conflict, our first copy's success soon after",
            vec![Some((200, success)), Some((10, conflict))],
            "success 1 by 0",
            200,
            2,
            None,
        ),
        (
            "a hedge's conflict, our first copy silent",
            vec![None, Some((10, conflict))],
            "conflict",
            310,
            2,
            None,
        ),
        (
            "a hedge's conflict, our first copy broken",
            vec![Some((170, unknown)), Some((10, conflict))],
            "conflict",
            170,
            2,
            None,
        ),
        (
            "no further copy once there is a conflict",
            vec![None, Some((10, conflict)), Some((0, success))],
            "conflict",
            310,
            2,
            None,
        ),
        (
            "broken after sending, then a conflict",
            vec![Some((5, unknown)), Some((1, conflict))],
            "conflict",
            6,
            2,
            None,
        ),
    ];
    for (name, servers, answer, after, copies, unanswered) in rows {
        let seen = run(&servers);
        assert_eq!(seen.answer, answer, "{name}");
        assert_eq!(seen.after, after, "{name}");
        assert_eq!(seen.sent.len(), copies, "{name}: {:?}", seen.sent);
        assert_eq!(seen.unanswered, unanswered, "{name}");
    }
}

#[test]
fn copies_go_out_one_by_one() {
    let seen = run(&[None, None, Some((1, success))]);
    assert_eq!(seen.sent, [(0, 0), (1, 150), (2, 300)]);
}
