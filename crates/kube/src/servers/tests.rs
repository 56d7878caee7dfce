//! The order of servers, by table.

use super::*;

const A: &str = "https://10.0.0.1:6443";
const B: &str = "https://10.0.0.2:6443";
const C: &str = "https://10.0.0.3:6443";
const LOCAL: &str = "https://127.0.0.1:6443";
const VIP: &str = "https://10.0.0.100:6443";

/// Where only what is no time is looked at.
fn instants() -> impl Fn(Moment) -> Instant {
    let now = Instant::now();
    move |_| now
}

fn at(milliseconds: u64) -> Moment {
    Moment::from_millis(milliseconds)
}

fn book() -> Book {
    let mut book = Book::new(vec!["10.0.0.100".parse().unwrap()], Rng::new(1));
    book.set(at(0), ServerKind::Configured, &[A.to_owned()]);
    book.set(at(0), ServerKind::Learned, &[B.to_owned(), C.to_owned()]);
    book.set(at(0), ServerKind::Local, &[LOCAL.to_owned()]);
    book
}

fn fail(book: &mut Book, milliseconds: u64, url: &str) {
    book.report(at(milliseconds), url, Report::Failed(Trouble::new(ErrorClass::Connect, "refused")));
}

fn answer(book: &mut Book, milliseconds: u64, url: &str) {
    book.report(at(milliseconds), url, Report::Answered);
}

#[test]
fn the_order_follows_health() {
    type Row = (&'static str, fn(&mut Book), u64, [&'static str; 4]);
    let rows: [Row; 7] = [
        ("local, configured, learned", |_| {}, 0, [LOCAL, A, B, C]),
        ("who answered goes before who was never asked", |book| answer(book, 1, C), 2, [LOCAL, C, A, B]),
        (
            "the latest answer first",
            |book| {
                answer(book, 1, C);
                answer(book, 2, B);
            },
            3,
            [LOCAL, B, C, A],
        ),
        ("a failing server goes behind", |book| fail(book, 1, A), 2, [LOCAL, B, C, A]),
        ("so does the local one", |book| fail(book, 1, LOCAL), 2, [A, B, C, LOCAL]),
        ("which is tried first again after its backoff", |book| fail(book, 1, LOCAL), 1002, [LOCAL, A, B, C]),
        (
            "while another waits for a need even then, before those that rest",
            |book| {
                fail(book, 1, A);
                book.report(at(2), B, Report::Throttled(Some(Duration::from_secs(5))));
            },
            1500,
            [LOCAL, C, A, B],
        ),
    ];
    for (name, prepare, now, expected) in rows {
        let mut book = book();
        prepare(&mut book);
        assert_eq!(book.order(at(now)), expected, "{name}");
    }
}

#[test]
fn our_own_vip_is_asked_only_if_nothing_else_is_known() {
    let mut book = Book::new(vec!["10.0.0.100".parse().unwrap()], Rng::new(1));
    book.set(at(0), ServerKind::Configured, &[VIP.to_owned()]);
    assert_eq!(book.order(at(0)), [VIP]);
    book.set(at(0), ServerKind::Learned, &[A.to_owned()]);
    fail(&mut book, 1, A);
    assert_eq!(book.order(at(2)), [A], "not even when the other fails");
}

#[test]
fn an_ipv6_vip_is_recognised_in_any_spelling() {
    let mut book = Book::new(vec!["fd00::1".parse().unwrap()], Rng::new(1));
    let vip = "https://[fd00:0:0::1]:6443".to_owned();
    book.set(at(0), ServerKind::Configured, &[vip, A.to_owned()]);
    assert_eq!(book.order(at(0)), [A]);
}

#[test]
fn replacing_a_kind_keeps_what_is_known_of_the_rest() {
    let mut book = book();
    fail(&mut book, 1, B);
    book.set(at(2), ServerKind::Learned, &[B.to_owned()]);
    let status = book.status(at(3), instants());
    let urls: Vec<&str> = status.iter().map(|server| server.url.as_str()).collect();
    assert_eq!(urls, [LOCAL, A, B]);
    assert_eq!(status[2].failures_in_a_row, 1);
    assert_eq!(status[2].state, ServerState::Failing);
    assert_eq!(status[2].last_error, Some(Trouble::new(ErrorClass::Connect, "refused")));
}

#[test]
fn one_server_known_twice_is_one_server() {
    let mut book = Book::new(Vec::new(), Rng::new(1));
    book.set(at(0), ServerKind::Configured, &[format!("{A}/")]);
    book.set(at(0), ServerKind::Learned, &[A.to_owned(), B.to_owned()]);
    assert_eq!(book.order(at(0)), [A, B]);
    book.set(at(0), ServerKind::Learned, &[B.to_owned()]);
    assert_eq!(book.order(at(0)), [A, B], "it is still the configured one");
}

#[test]
fn retry_after_is_kept_within_reason_and_an_answer_forgets_all() {
    let mut book = Book::new(Vec::new(), Rng::new(1));
    book.set(at(0), ServerKind::Local, &[LOCAL.to_owned()]);
    // The longest wait that is believed, and the backoff's jitter, which never exceeds its cap.
    for (wait, least, most) in [(None, 0, 1_000), (Some(20), 20_000, 22_000), (Some(86_400), 30_000, 34_000)]
    {
        book.report(at(0), LOCAL, Report::Throttled(wait.map(Duration::from_secs)));
        let start = Instant::now();
        let status = book.status(at(0), |moment| start + moment.since(at(0)));
        let rest = status[0].backoff.expect("it fails");
        assert!((least..=most).contains(&rest.as_millis()), "{wait:?}: {rest:?}");
        assert_eq!(status[0].next_retry, Some(start + rest), "{wait:?}");
    }
    book.report(at(1), LOCAL, Report::Answered);
    let status = book.status(at(1), instants());
    assert_eq!((status[0].failures_in_a_row, status[0].next_retry, status[0].backoff), (0, None, None));
}

/// All that is told of one server, through a failure and back.
#[test]
fn the_last_success_outlives_the_failures_after_it() {
    let start = Instant::now();
    let mut book = Book::new(Vec::new(), Rng::new(1));
    book.set(at(0), ServerKind::Configured, &[A.to_owned()]);
    let mut told = |now: u64, report: Option<Report>| {
        if let Some(report) = report {
            book.report(at(now), A, report);
        }
        let status = book.status(at(now), |moment| start + moment.since(at(0))).remove(0);
        let class = status.last_error.map(|trouble| trouble.class);
        let after = |at: Instant| u64::try_from((at - start).as_millis()).unwrap();
        (status.state, status.failures_in_a_row, after(status.since), status.last_success.map(after), class)
    };
    let failed = |class| Some(Report::Failed(Trouble::new(class, "no luck")));
    assert_eq!(told(1, None), (ServerState::Untried, 0, 0, None, None));
    assert_eq!(told(2, Some(Report::Answered)), (ServerState::Answering, 0, 2, Some(2), None));
    assert_eq!(told(9, Some(Report::Answered)), (ServerState::Answering, 0, 2, Some(9), None));
    let timeout = failed(ErrorClass::Timeout);
    assert_eq!(told(20, timeout), (ServerState::Failing, 1, 20, Some(9), Some(ErrorClass::Timeout)));
    let refused = failed(ErrorClass::Connect);
    assert_eq!(told(30, refused), (ServerState::Failing, 2, 20, Some(9), Some(ErrorClass::Connect)));
    let overloaded = Some(Report::Throttled(None));
    assert_eq!(told(40, overloaded), (ServerState::Failing, 3, 20, Some(9), Some(ErrorClass::Overloaded)));
    assert_eq!(told(50, Some(Report::Answered)), (ServerState::Answering, 0, 50, Some(50), None));
}

#[test]
fn addresses_become_urls() {
    for (text, url) in [
        ("https://10.0.0.1:6443/", Some("https://10.0.0.1:6443")),
        ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
        ("10.0.0.1", Some("https://10.0.0.1:6443")),
        ("10.0.0.1:8443", Some("https://10.0.0.1:8443")),
        ("fd00::1", Some("https://[fd00::1]:6443")),
        ("[fd00::1]:8443", Some("https://[fd00::1]:8443")),
        ("kubernetes:6443", Some("https://kubernetes:6443")),
        ("https://rancher.example/k8s/clusters/c-1", Some("https://rancher.example/k8s/clusters/c-1")),
        ("ftp://10.0.0.1", None),
        ("not a url", None),
        ("", None),
    ] {
        assert_eq!(normalise(text).as_deref(), url, "{text:?}");
    }
    // Found by the fuzz target `endpoint-slices`: a normal form that was another's text.
    assert_eq!(normalise("https://a/b/\u{a0}/").as_deref(), Some("https://a/b"));
}

/// The VIPs come from a name, which means other addresses than before.
#[test]
fn a_server_is_avoided_as_long_as_it_means_a_vip() {
    let mut book = Book::new(Vec::new(), Rng::new(1));
    let urls = [
        "https://vip.example.com.:6443",
        "https://10.0.0.100:6443",
        "https://a:6443",
        "https://10.0.0.1:6443",
    ];
    book.set(Moment::ZERO, ServerKind::Configured, &urls.map(str::to_owned));
    let asked = |book: &Book| book.order(Moment::ZERO).into_iter().collect::<std::collections::BTreeSet<_>>();
    let all_but =
        |own: &[&str]| urls.iter().filter(|url| !own.contains(url)).map(|url| (*url).to_owned()).collect();
    book.resolved("https://a:6443", &["10.0.0.101".parse().unwrap()]);
    assert_eq!(asked(&book), all_but(&[]));
    book.avoid_names(&["vip.example.com".to_owned()]);
    book.avoid(&["10.0.0.100".parse().unwrap()]);
    assert_eq!(asked(&book), all_but(&[urls[0], urls[1]]), "by its name, and by its address");
    book.avoid(&["10.0.0.101".parse().unwrap()]);
    assert_eq!(asked(&book), all_but(&[urls[0], urls[2]]), "what a name meant is remembered");
}
