//! Parses addresses ([`parse_url`], [`check_host`], [`parse_port`]) for all clients in tollgate. It is stricter than
//! the libraries below it: the HTTP client treats an unreadable port as absent and drops text after `#`, and resolvers
//! read `127.1` as 127.0.0.1, so data would go to a different place than the one written. An error text quotes nothing
//! of the address but the digits of a port, because the rest may hold a password. Addresses to listen on are in
//! `endpoint`.

use std::net::{Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'t> {
    /// True for `https://`, false for `http://`.
    pub tls: bool,
    /// The host name or address; an IPv6 address without its brackets.
    pub host: &'t str,
    /// The port as written; `None` means the scheme's default.
    pub port: Option<u16>,
    /// Empty, or the path starting with `/`.
    pub path: &'t str,
    /// The text after `?`.
    pub query: Option<&'t str>,
}

/// Parses `http://host:port/path?query`.
///
/// # Errors
/// One sentence that describes the fault. It quotes nothing of the address but the digits of its port.
pub fn parse_url(text: &str) -> Result<Url<'_>, String> {
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("must start with `http://` or `https://`, in lower case".to_owned()),
    };
    if rest.contains('#') {
        return Err("has a `#`: the text after it is never sent; remove it".to_owned());
    }
    if rest.contains('\\') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("contains white space, `\\` or a non-ASCII character: percent-encode it (`%20`), and write a host as `xn--…`"
            .to_owned());
    }
    let (authority, path_and_query) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        return Err(
            "contains a user name before the host: put credentials under their own key, such as `headers`".to_owned()
        );
    }
    let (host, port) = split_host_port(authority)?;
    if host.is_empty() {
        return Err("has no host".to_owned());
    }
    let host = check_host(host)?;
    let port = port.map(parse_port).transpose()?;
    let (path, query) =
        path_and_query.split_once('?').map_or((path_and_query, None), |(path, query)| (path, Some(query)));
    Ok(Url { tls, host, port, path, query })
}

/// Parses the address of a site whose pages are addressed by what is appended to it; returns it without a slash at the
/// end.
///
/// # Errors
/// One sentence that describes the fault.
pub fn parse_site(text: &str) -> Result<String, String> {
    let site = text.trim_end_matches('/');
    parse_url(site)?;
    if site.contains(['?', '|', '>']) {
        return Err("must not contain `?`, `|` or `>`, because the paths of pages are appended to it".to_owned());
    }
    Ok(site.to_owned())
}

/// Splits `host:port` into host and port; an IPv6 host keeps its brackets.
///
/// # Errors
/// The address has more than one colon and no brackets.
pub(super) fn split_host_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    let end = authority.rfind(']').map_or(0, |at| at.saturating_add(1));
    let (bracketed, rest) = authority.split_at(end);
    if bracketed.is_empty() && rest.matches(':').count() > 1 {
        return Err("an IPv6 address must be in brackets: `[::1]:4317`".to_owned());
    }
    let Some((name, port)) = rest.split_once(':') else { return Ok((authority, None)) };
    Ok((if bracketed.is_empty() { name } else { bracketed }, Some(port)))
}

/// Checks a host: a name, an IPv4 address in four parts, or an IPv6 address in brackets, which are removed from the
/// result. Forms that a resolver would interpret differently are refused.
///
/// # Errors
/// One sentence that describes the fault.
pub fn check_host(text: &str) -> Result<&str, String> {
    if let Some(bare) = text.strip_prefix('[') {
        let bare = bare.strip_suffix(']').filter(|bare| bare.parse::<Ipv6Addr>().is_ok());
        return bare.ok_or_else(|| "not an IPv6 address in brackets".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return Err("the host may contain only letters, digits, `.`, `-` and `_`".to_owned());
    }
    // Resolvers accept `127.1`, `0x7f.0.0.1`, `010.0.0.1` and `2130706433` as IPv4 addresses.
    let last_label = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last_label.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let is_number = hexadecimal || (!last_label.is_empty() && last_label.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number && text.parse::<Ipv4Addr>().is_err() {
        return Err(
            "the host is a number: write an IPv4 address in four parts from 0 to 255, such as `10.0.0.1`".to_owned()
        );
    }
    Ok(text)
}

/// Parses a port to connect to.
///
/// # Errors
/// The text is not a number from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, String> {
    match parse_listen_port(text)? {
        0 => Err("`0` is not a port to connect to: write a number from 1 to 65535".to_owned()),
        port => Ok(port),
    }
}

/// Parses a port to listen on: as [`parse_port`], but also allows 0, with which the system chooses a port.
pub(super) fn parse_listen_port(text: &str) -> Result<u16, String> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // The standard library's parser would drop leading zeros and accept `+80`.
    let is_canonical = is_digits && (text == "0" || !text.starts_with('0'));
    if let Some(port) = is_canonical.then(|| text.parse().ok()).flatten() {
        return Ok(port);
    }
    // Anything but digits may be the password of an address whose `@` is missing.
    let shown =
        if is_digits && text.len() <= 10 { format!("`{text}`") } else { "the text after the last `:`".to_owned() };
    Err(if text.is_empty() {
        "the port is empty: write a number from 1 to 65535 after the `:`, or remove the `:`".to_owned()
    } else {
        format!("{shown} is not a port: write a number from 1 to 65535")
    })
}
