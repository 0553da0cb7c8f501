//! **What**: [`url`], [`host`] and [`port`]: addresses as every client of ours reads them. **Why**: the client library
//! takes a port that it can't read for none, drops what stands behind `#`, and a resolver reads `127.1` as 127.0.0.1:
//! data would go elsewhere than it is written. **Invariants**: an error text shows a port's digits, never another part:
//! there may be a password. **Not here**: where to listen (`endpoint`).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The parts of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'t> {
    /// `https://`, not `http://`.
    pub tls: bool,
    /// Without brackets.
    pub host: &'t str,
    /// As written; none: that of the scheme.
    pub port: Option<u16>,
    /// Empty, or with its first `/`.
    pub path: &'t str,
    /// Behind `?`.
    pub query: Option<&'t str>,
}

/// Reads `http://host:port/path?query`, or says why no client may be given it.
///
/// # Errors
/// The fault in one sentence. It quotes nothing of the address but the digits of its port.
pub fn url(text: &str) -> Result<Url<'_>, String> {
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("has neither `https://` nor `http://` (in small letters)".to_owned()),
    };
    if rest.contains('#') {
        return Err("has a `#`: what stands behind it is never sent".to_owned());
    }
    if rest.contains('\\') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds white space, `\\`, or a character that is not ASCII: write it as `%20`, a host as `xn--…`"
            .to_owned());
    }
    let (authority, tail) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        return Err("has a user in front of its host: credentials belong under a key of their own, such as `headers`"
            .to_owned());
    }
    let (name, number) = split(authority)?;
    if name.is_empty() {
        return Err("has no host".to_owned());
    }
    let host = host(name)?;
    let port = number.map(port).transpose()?;
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    Ok(Url { tls, host, port, path, query })
}

/// Host and port of `host:port`; the host keeps its brackets.
///
/// # Errors
/// More than one colon, without brackets.
pub(super) fn split(authority: &str) -> Result<(&str, Option<&str>), String> {
    let end = authority.rfind(']').map_or(0, |at| at.saturating_add(1));
    let (bracketed, rest) = authority.split_at(end);
    if bracketed.is_empty() && rest.matches(':').count() > 1 {
        return Err("an IPv6 address stands in brackets: `[::1]:4317`".to_owned());
    }
    let Some((name, number)) = rest.split_once(':') else { return Ok((authority, None)) };
    Ok((if bracketed.is_empty() { name } else { bracketed }, Some(number)))
}

/// A host that is looked up as it is written: a name, an IPv4 address in four parts, an IPv6 address in brackets.
/// Without the brackets.
///
/// # Errors
/// The fault in one sentence.
pub fn host(text: &str) -> Result<&str, String> {
    if let Some(bare) = text.strip_prefix('[') {
        let bare = bare.strip_suffix(']').filter(|bare| bare.parse::<Ipv6Addr>().is_ok());
        return bare.ok_or_else(|| "not an IPv6 address in brackets".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return Err("its host holds another character than letters, digits, `.`, `-` and `_`".to_owned());
    }
    // resolvers read `127.1`, `0x7f.0.0.1`, `010.0.0.1` and `2130706433` as IPv4 addresses of their own choice
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let number = hexadecimal || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()));
    if number && text.parse::<Ipv4Addr>().is_err() {
        return Err(
            "its host is a number, but no IPv4 address in four parts from 0 to 255, such as `10.0.0.1`".to_owned()
        );
    }
    Ok(text)
}

/// A port to connect to.
///
/// # Errors
/// It is not a number from 1 to 65535.
pub fn port(text: &str) -> Result<u16, String> {
    match any_port(text)? {
        0 => Err("`0` is no port to connect to: write a number from 1 to 65535".to_owned()),
        port => Ok(port),
    }
}

/// The same with 0, which leaves the choice to the system.
pub(super) fn any_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // leading zeros would be dropped, and `+80` is a number for the standard library
    let plain = digits && (text == "0" || !text.starts_with('0'));
    if let Some(port) = plain.then(|| text.parse().ok()).flatten() {
        return Ok(port);
    }
    // other than digits may be the password of an address that lost its `@`
    let shown =
        if digits && text.len() <= 10 { format!("`{text}`") } else { "what stands behind the last `:`".to_owned() };
    Err(if text.is_empty() {
        "its port is empty: write a number from 1 to 65535 behind the `:`, or leave the `:` out".to_owned()
    } else {
        format!("{shown} is not a port: write a number from 1 to 65535")
    })
}
