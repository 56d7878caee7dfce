//! Parsing of single values: text in, a type that cannot be wrong or a [`Fault`] out.

mod address;
mod names;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mainstay_core::settings::OnAuthorityLoss;
use mainstay_dataplane::ipvs::Scheduler;

use super::refusal::Fault;
use super::table::Kind;
pub(crate) use address::unusable;
pub(super) use address::{addresses_of, backends, networks, prefixes};
pub(super) use names::{annotations, instance_name, kubernetes_name, lease_name};

/// Whether `text` is of that kind.
pub(super) fn check(kind: Kind, text: &str) -> Result<(), Fault> {
    match kind {
        Kind::Switch => switch(text).map(drop),
        Kind::Number { least, most, .. } => number(text, least, most).map(drop),
        Kind::Choice(words) => choice(text, words).map(drop),
        Kind::Text(_) => Ok(()),
        Kind::Formed(_, check) => check(text),
    }
}

/// Whether `text` is what `parse` reads. Empty, it is not given at all, which may be wrong elsewhere.
pub(super) fn given<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Result<(), Fault> {
    if text.is_empty() { Ok(()) } else { parse(text).map(drop) }
}

/// One of `words`, and which.
pub(super) fn choice(text: &str, words: &'static [&'static str]) -> Result<usize, Fault> {
    words.iter().position(|word| *word == text).ok_or_else(|| {
        let named: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        Fault::new("there is no such choice", format!("write {}", one_of(&named)))
    })
}

/// `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// What Go's `strconv.ParseBool` accepts, because kube-vip's manifests say it so.
pub(super) fn switch(text: &str) -> Result<bool, Fault> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Fault::new("neither true nor false", "write true or false")),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn number<N>(text: &str, least: N, most: N) -> Result<N, Fault>
where
    N: FromStr + PartialOrd + std::fmt::Display,
{
    text.parse().ok().filter(|number| (&least..=&most).contains(&number)).ok_or_else(|| {
        Fault::new(
            "no whole number in the range allowed",
            format!("write a whole number from {least} to {most}"),
        )
    })
}

/// A number and its unit: `100ms`, `30s`, `10m`, `1h`.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, Fault> {
    let remedy =
        || format!("write a number and a unit (ms, s, m, h), from {} to {}", written(least), written(most));
    let fault = || Fault::new("no duration in the range allowed", remedy());
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(fault()),
    };
    count
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .filter(|duration| (least..=most).contains(duration))
        .ok_or_else(fault)
}

/// A duration as this module reads it.
pub(super) fn written(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{}h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(60_000) => format!("{}m", milliseconds / 60_000),
        _ if milliseconds.is_multiple_of(1_000) => format!("{}s", milliseconds / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

/// Addresses separated by commas; none is fine.
pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, Fault> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse().map_err(|_| {
                Fault::new(format!("{part:?} is no IP address"), "write addresses separated by commas")
            })
        })
        .collect()
}

/// A scheduler of IPVS.
pub(super) fn scheduler(text: &str) -> Result<Scheduler, Fault> {
    let remedy = "write rr, wrr, sh or mh, or leave it out";
    Scheduler::named(text).ok_or_else(|| Fault::new(format!("{text:?} is no scheduler of IPVS"), remedy))
}

/// Go's listen address: `:2112`, `127.0.0.1:2112`, `[::1]:2112`. Empty means none. An empty host means every address.
pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let everywhere = text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
    everywhere
        .map(|port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
        .or_else(|| text.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            Fault::new(
                "no address to listen on",
                "write :PORT or IP:PORT, such as :2112, or nothing to switch it off",
            )
        })
}

/// `hold` or `release_after:DURATION`.
pub(super) fn on_authority_loss(text: &str) -> Result<OnAuthorityLoss, Fault> {
    match text.split_once(':') {
        None if text == "hold" => Ok(OnAuthorityLoss::Hold),
        Some(("release_after", after)) => {
            duration(after, Duration::from_secs(1), Duration::from_secs(86_400))
                .map(OnAuthorityLoss::ReleaseAfter)
        }
        _ => Err(Fault::new("neither hold nor release_after", "write hold, or release_after:30s")),
    }
}

/// `log/slog` levels: -4 debug, 0 information, 4 warning, 8 error; anything below -4 is trace.
pub(super) fn log_level(number: i32) -> tracing::Level {
    match number {
        ..=-5 => tracing::Level::TRACE,
        -4..=-1 => tracing::Level::DEBUG,
        0..=3 => tracing::Level::INFO,
        4..=7 => tracing::Level::WARN,
        8.. => tracing::Level::ERROR,
    }
}

/// The word that switches something off which is on by default.
pub(super) const OFF: &str = "off";

/// A URL whose answer says whether something lives; `None` is [`OFF`]. Without a path it is `/livez`.
pub(super) fn health_check(text: &str) -> Result<Option<String>, Fault> {
    // In YAML, `off` without quotes is false.
    if [OFF, "false"].iter().any(|off| text.eq_ignore_ascii_case(off)) {
        return Ok(None);
    }
    let fault = |problem: &str| {
        Fault::new(problem, "write a URL such as https://127.0.0.1:6443/livez, or off to ask for nothing")
    };
    if !text.contains(['.', ':', '/']) {
        return Err(fault("neither a URL nor off"));
    }
    let url = server(text).map_err(|_| fault("no URL"))?;
    let is_bare = url.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#']));
    Ok(Some(if is_bare { format!("{url}/livez") } else { url }))
}

/// An API server: a URL, or a host and perhaps a port, meaning HTTPS.
pub(super) fn server(text: &str) -> Result<String, Fault> {
    let url = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("https://[{v6}]:6443"),
        Ok(IpAddr::V4(v4)) => format!("https://{v4}:6443"),
        Err(_) if text.contains("://") => text.to_owned(),
        Err(_) => format!("https://{text}"),
    };
    let uri = url.parse::<http::Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    match uri {
        Some(_) => Ok(url.trim_end_matches('/').to_owned()),
        None => Err(Fault::new(
            "no URL of an API server",
            "write https://HOST:PORT, such as https://192.0.2.1:6443",
        )),
    }
}

/// An absolute path.
pub(super) fn path(text: &str) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Fault::new("not an absolute path", "write a path that begins with /"))
}

/// `MAINSTAY_RESTART_GRACE`.
pub(super) fn restart_grace(text: &str) -> Result<Duration, Fault> {
    duration(text, Duration::from_secs(1), Duration::from_secs(86_400))
}

/// `MAINSTAY_DETECTION_INTERVAL`.
pub(super) fn detection_interval(text: &str) -> Result<Duration, Fault> {
    duration(text, Duration::from_millis(10), Duration::from_secs(10))
}

/// `health_check_port`: none at 0; kube-vip's floor is 1024.
pub(super) fn health_port(text: &str) -> Result<Option<u16>, Fault> {
    match text.parse::<u16>() {
        Ok(0) => Ok(None),
        Ok(port) if port >= 1024 => Ok(Some(port)),
        _ => Err(Fault::new("no port for health checks", "write a port from 1024 to 65535, or 0 for none")),
    }
}

/// A duration as Go's `time.ParseDuration` reads it, without signs and without units below a millisecond: `0`, `200ms`,
/// `1m30s`, `1.5s`.
pub(super) fn go_duration(text: &str) -> Result<Duration, Fault> {
    let fault = || Fault::new("no duration", "write a number and a unit (ms, s, m, h), such as 200ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fault)?;
        let (count, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(fault()),
        };
        let count: f64 = count.parse().map_err(|_| fault())?;
        let part = Duration::try_from_secs_f64(count * seconds).map_err(|_| fault())?;
        (rest, sum) = (tail, sum.checked_add(part).ok_or_else(fault)?);
    }
    if text.is_empty() { Err(fault()) } else { Ok(sum) }
}

/// An IPv4 address.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::new("no IPv4 address", "write one, such as 192.0.2.1"))
}

/// An IPv6 address.
pub(super) fn ipv6(text: &str) -> Result<Ipv6Addr, Fault> {
    text.parse().map_err(|_| Fault::new("no IPv6 address", "write one, such as 2001:db8::1"))
}
