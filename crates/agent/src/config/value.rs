//! Parsing of single values: text in, a type that cannot be wrong or a [`Fault`] out.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use mainstay_core::settings::OnAuthorityLoss;
use mainstay_core::vip::Vip;

use super::LogFormat;
use super::refusal::Fault;

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

/// One virtual address or several, separated by commas.
pub(super) fn vips(text: &str) -> Result<Vec<Vip>, Fault> {
    let mut vips: Vec<Vip> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let vip = vip(part)?;
        if !vips.contains(&vip) {
            vips.push(vip);
        }
    }
    if vips.is_empty() {
        return Err(Fault::new("no virtual address given", "set address to the VIP, such as 192.0.2.10"));
    }
    Ok(vips)
}

fn vip(text: &str) -> Result<Vip, Fault> {
    let remedy = "write an unused IPv4 or IPv6 address of the interface's network, such as 192.0.2.10";
    let Ok(vip) = text.parse::<IpAddr>() else {
        return Err(Fault::new(format!("{text:?} is no IP address"), remedy));
    };
    let kind = match vip {
        _ if vip.is_unspecified() => "the unspecified address",
        _ if vip.is_loopback() => "a loopback address",
        _ if vip.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6's clothes",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        _ => return Ok(vip),
    };
    Err(Fault::new(format!("{vip} is {kind} and cannot be a VIP"), remedy))
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
pub(super) fn log_level(text: &str) -> Result<tracing::Level, Fault> {
    Ok(match number::<i32>(text, -100, 100)? {
        ..=-5 => tracing::Level::TRACE,
        -4..=-1 => tracing::Level::DEBUG,
        0..=3 => tracing::Level::INFO,
        4..=7 => tracing::Level::WARN,
        8.. => tracing::Level::ERROR,
    })
}

/// `text` or `json`.
pub(super) fn log_format(text: &str) -> Result<LogFormat, Fault> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Fault::new("no form of log lines", "write text or json")),
    }
}

/// An API server: a URL, or a host and perhaps a port, meaning HTTPS. Empty means none.
pub(super) fn server(text: &str) -> Result<Option<String>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
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
        Some(_) => Ok(Some(url.trim_end_matches('/').to_owned())),
        None => Err(Fault::new(
            "no URL of an API server",
            "write https://HOST:PORT, such as https://192.0.2.1:6443",
        )),
    }
}

/// A name as Kubernetes has them (RFC 1123 subdomain): at most 253 of a-z, 0-9, `-` and `.`, beginning and ending
/// with a letter or a digit.
pub(super) fn kubernetes_name(text: &str) -> Result<String, Fault> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good =
        text.len() <= 253 && text.chars().all(inner) && text.starts_with(outer) && text.ends_with(outer);
    if good {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} is no Kubernetes name"),
        "use lower-case letters, digits, - and ., beginning and ending with a letter or a digit",
    ))
}
