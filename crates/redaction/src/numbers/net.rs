//! Network and device addresses: IPv4, IPv6, MAC. Private (unless chosen), loopback, link-local, multicast and mask
//! addresses stay, because they identify nobody. At most 64 bytes on either side of a run are read, and the whole name
//! before a `/`. Ports and host names are not searched.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::super::anchors::{run_end, run_start};
use super::super::pairs;
use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::number_cues::NumberCues;
use super::number_site::{NumberFinding, NumberSite};

/// Finds an IPv4 address at a site.
pub(super) fn match_ipv4(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let has_dots = (first..first + 3).all(|index| chain.group(index).sep == b'.');
    if !has_dots || (first..first + 4).any(|index| !matches!(chain.len(index), 1..=3)) {
        return None;
    }
    let next_sep = chain.group(first + 3).sep;
    let begins_range = next_sep == b'-' && (first + 4..first + 7).all(|index| chain.group(index).sep == b'.');
    if !(matches!(next_sep, 0 | b' ' | b':' | b'/' | b'(' | b')' | b'~') || begins_range)
        || !site.is_detached_address_after(first + 3)
    {
        return None;
    }
    let range = chain.range(first, first + 3);
    let address: Ipv4Addr = site.scan.part(range.clone()).parse().ok()?;
    let is_host = !is_not_identifying(address, site.scan.detector.options.private_addresses)
        && is_detached_before(site, first)
        && !is_version(site, address)
        && !is_network_prefix(site, first, address);
    is_host.then_some(NumberFinding { family: RuleFamily::Ipv4, range })
}

/// Whether an address identifies nobody. `redact_private`: addresses of private networks count as identifying.
fn is_not_identifying(address: Ipv4Addr, redact_private: bool) -> bool {
    let [first, ..] = address.octets();
    let is_local = address.is_private() || address.is_link_local();
    (is_local && !redact_private) || address.is_loopback() || first == 0 || first >= 224
}

/// Whether an address is not attached to something longer before it.
fn is_detached_before(site: &NumberSite<'_, '_>, first: usize) -> bool {
    if first > 0 {
        let before = site.chain.sep_before(first);
        return before != b'.' && (before != b'-' || first >= 4);
    }
    let (before_start, second_before) =
        (site.scan.byte_before(site.start(), 1), site.scan.byte_before(site.start(), 2));
    match before_start {
        b'_' | b'~' | b'^' | b'.' => false,
        // `%204.2.1.3`: the first digits belong to an escape
        b'%' => !is_escape(site),
        b'-' => !second_before.is_ascii_alphanumeric(),
        b'=' => second_before != b'=' && second_before != b'>' && second_before != b'<' && second_before != b'~',
        _ => true,
    }
}

/// Whether the two characters after the `%` before a site are hex digits.
fn is_escape(site: &NumberSite<'_, '_>) -> bool {
    let digits = site.scan.bytes(site.start()..site.start() + 2);
    digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// Whether four numbers are a version (`version 1.2.3.4`, `v1.2.3.4`, `Chrome/1.2.3.4`), or small numbers that no word
/// calls an address, such as sections and releases.
fn is_version(site: &NumberSite<'_, '_>, address: Ipv4Addr) -> bool {
    const WELL_KNOWN: [[u8; 4]; 5] = [[1, 1, 1, 1], [1, 0, 0, 1], [8, 8, 8, 8], [8, 8, 4, 4], [9, 9, 9, 9]];
    let scan = site.scan;
    let start = site.start();
    // `Chrome/1.2.3.4`, but not `//1.2.3.4` or `a.b/1.2.3.4`
    if scan.byte_before(start, 1) == b'/' && scan.byte_before(start, 2).is_ascii_alphabetic() {
        let name =
            run_start(scan.bytes(0..start), start - 1, |byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        if !b"./".contains(&scan.byte_before(name, 1)) {
            return true;
        }
    }
    let before = scan.bytes(start.saturating_sub(24)..start);
    let word_bytes = before
        .iter()
        .rev()
        .skip_while(|byte| b" :=\"'`\\(".contains(byte))
        .take_while(|byte| byte.is_ascii_alphanumeric());
    let mut word = [0_u8; 12];
    let mut length = 0;
    for (slot, byte) in word.iter_mut().rev().zip(word_bytes) {
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    let word = word.get(word.len() - length..).unwrap_or_default();
    let follows_upgrade = word == b"from" && is_upgrade(scan.bytes(start.saturating_sub(24)..start));
    if word == b"v"
        || follows_upgrade
        || byte_list!("numbers.version_cues").iter().any(|known| word.ends_with(known))
        || (matches!(address.octets(), [..32, ..]) && word_set!("numbers.versioned_products").contains(word))
    {
        return true;
    }
    // `6.9.11.60+dfsg`, and decimals in a row: `2.83-2.12 3.51.98.32 2.03`
    let end = site.chain.range(site.first, site.first + 3).end;
    let has_tag = scan.byte(end) == b'+' && scan.byte(end + 1).is_ascii_alphabetic();
    // A section number, with numbers below 20
    let is_section = [&b" of the text"[..], b" of the spec", b" of the stan", b" of the docu", b" of the RFC "]
        .contains(&scan.bytes(end..end + 12))
        && address.octets().iter().all(|octet| *octet < 20);
    if has_tag
        || is_section
        || (is_decimal(scan.bytes(end..end + 12)) && follows_decimal(scan.bytes(start.saturating_sub(12)..start)))
    {
        return true;
    }
    // `2.5.29.15`: an object identifier
    let [first, second, ..] = address.octets();
    let is_object_id = matches!(first, 1 | 2) && second < 40;
    let may_be_release = is_object_id || address.octets().iter().all(|octet| *octet < 20);
    let is_announced = || NumberCues::around(scan, &(start..site.chain.end)).announces(RuleFamily::Ipv4);
    may_be_release && !WELL_KNOWN.contains(&address.octets()) && !is_announced()
}

/// `upgrade from` comes before a version. (`updated from` often comes before a client's address.)
fn is_upgrade(before: &[u8]) -> bool {
    let words: [&[u8]; 4] = [b"upgrade", b"upgraded", b"downgrade", b"downgraded"];
    let head = before.trim_ascii_end();
    let head = head.get(..head.len().saturating_sub(4)).unwrap_or_default().trim_ascii_end();
    words.iter().any(|word| pairs::ends_with(head, word))
}

/// Whether `rest` begins with a decimal such as ` 2.03`, not followed by further numbers.
fn is_decimal(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b" ") else { return false };
    let rest = rest.strip_prefix(b"-").unwrap_or(rest);
    let integer_len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction_len = rest.iter().skip(integer_len + 1).take_while(|byte| byte.is_ascii_digit()).count();
    rest.get(integer_len) == Some(&b'.') && fraction_len > 0 && rest.get(integer_len + 1 + fraction_len) != Some(&b'.')
}

/// Whether `before` ends with a decimal such as `2.12 `.
fn follows_decimal(before: &[u8]) -> bool {
    let Some(before) = before.strip_suffix(b" ") else { return false };
    let fraction_len = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let integer_len = before.iter().rev().skip(fraction_len + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let point = before.len().checked_sub(fraction_len + 1).and_then(|at| before.get(at));
    let before_number = before.len().checked_sub(fraction_len + integer_len + 2).and_then(|at| before.get(at));
    fraction_len > 0 && point == Some(&b'.') && before_number != Some(&b'.')
}

/// Whether a prefix length makes it a network, not a host: `203.0.113.0/24`.
fn is_network_prefix(site: &NumberSite<'_, '_>, first: usize, address: Ipv4Addr) -> bool {
    let bits = site.group_digits(first + 4);
    if site.chain.group(first + 3).sep != b'/' || !matches!(bits.len(), 1 | 2) || !site.chain.is_free_after(first + 4) {
        return false;
    }
    let bits = bits.iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    bits < 32 && address.to_bits().checked_shl(bits).unwrap_or(0) == 0
}

fn is_hex_or_colon(byte: &u8) -> bool {
    byte.is_ascii_hexdigit() || *byte == b':'
}

/// Finds an IPv6 or hardware address around a run next to a colon, dash or dot. Also returns the end of the text that
/// was read.
pub(super) fn match_address_around(scan: &TextScan<'_>, run: &Range<usize>) -> (Option<NumberFinding>, usize) {
    let has_colon = scan.byte(run.end) == b':' || scan.byte_before(run.start, 1) == b':';
    if !has_colon {
        return (match_dashed_mac(scan, run), run.end);
    }
    let floor = run.start.saturating_sub(48);
    let ceiling = scan.text.len().min(run.start + 64);
    let start = floor + run_start(scan.bytes(floor..ceiling), run.start - floor, is_hex_or_colon);
    let mut end = run.start + run_end(scan.bytes(run.start..ceiling), 0, is_hex_or_colon);
    // An IPv4 address may end an IPv6 one
    if scan.byte(end) == b'.' && scan.byte(end + 1).is_ascii_digit() {
        end = run.start + run_end(scan.bytes(run.start..ceiling), 0, |byte| is_hex_or_colon(byte) || *byte == b'.');
    }
    let start = start + scan.bytes(start..end).iter().take_while(|byte| **byte == b':').count().saturating_sub(2);
    let is_in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if is_in_word(scan.byte_before(start, 1)) && !scan.is_escape_letter(start) || is_in_word(scan.byte(end)) {
        return (None, end);
    }
    let text = scan.part(start..end);
    let found = match_colon_mac(text).or_else(|| match_ipv6(text, scan.detector.options.private_addresses));
    let found = found.filter(|(family, skip, length)| {
        *family != RuleFamily::Ipv6 || !is_network(scan, start + skip, start + skip + length)
    });
    (found.map(|(family, skip, length)| NumberFinding { family, range: start + skip..start + skip + length }), end)
}

/// Whether a prefix length after an IPv6 address makes it a network.
fn is_network(scan: &TextScan<'_>, start: usize, end: usize) -> bool {
    let rest = scan.bytes(end + 1..end + 5);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if scan.byte(end) != b'/' || !matches!(digits, 1..=3) {
        return false;
    }
    let bits = rest.iter().take(digits).fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    let address: Option<Ipv6Addr> = scan.part(start..end).parse().ok();
    bits < 128 && address.is_some_and(|address| address.to_bits().checked_shl(bits).unwrap_or(0) == 0)
}

/// Finds six pairs of hex digits separated by colons: the family, and start and length of the address in `text`.
fn match_colon_mac(text: &str) -> Option<(RuleFamily, usize, usize)> {
    let body = text.trim_matches(':');
    let skip = text.len() - text.trim_start_matches(':').len();
    let has_pairs = body.len() == 17 && skip < 2 && body.split(':').all(|pair| pair.len() == 2);
    (has_pairs && has_different_digits(body.as_bytes())).then_some((RuleFamily::Mac, skip, 17))
}

/// Whether hex digits are not all the same.
fn has_different_digits(text: &[u8]) -> bool {
    let digits = || text.iter().filter(|byte| byte.is_ascii_hexdigit()).map(u8::to_ascii_lowercase);
    let first = digits().next();
    !digits().all(|digit| Some(digit) == first)
}

/// Finds an IPv6 address: the family, and start and length of the address in `text`.
fn match_ipv6(text: &str, redact_private: bool) -> Option<(RuleFamily, usize, usize)> {
    let mut body = text;
    let colons = body.bytes().filter(|byte| *byte == b':').count();
    if colons < 2 || !(body.contains("::") || colons >= 7) || body.len() < 4 {
        return None;
    }
    let mut skip = 0;
    if body.starts_with(':') && !body.starts_with("::") {
        body = body.get(1..)?;
        skip = 1;
    }
    if body.ends_with(':') && !body.ends_with("::") {
        body = body.get(..body.len() - 1)?;
    }
    let address: Ipv6Addr = body.parse().ok()?;
    let mapped_ipv4 = address.to_ipv4_mapped().or_else(|| address.to_ipv4().filter(|_| body.contains('.')));
    let is_local = address.is_unique_local() || address.is_unicast_link_local();
    let identifies_nobody = address.is_loopback()
        || address.is_unspecified()
        || (is_local && !redact_private)
        || address.is_multicast()
        || mapped_ipv4.is_some_and(|address| is_not_identifying(address, redact_private));
    // `1::2` and similar are positions in a program, or scores
    let groups = body.split(':').filter(|group| !group.is_empty());
    let is_global =
        matches!(address.segments().first(), Some(0x2000..=0x3fff | 0x64)) || mapped_ipv4.is_some() || is_local;
    let has_long_groups = groups.clone().count() >= 4 && groups.filter(|group| group.len() >= 3).count() >= 2;
    (!identifies_nobody && (is_global && body.len() >= 6 || has_long_groups)).then_some((
        RuleFamily::Ipv6,
        skip,
        body.len(),
    ))
}

/// A hardware address in pairs with dashes, or in three groups of four with dots.
fn match_dashed_mac(scan: &TextScan<'_>, run: &Range<usize>) -> Option<NumberFinding> {
    let (sep, size, mac_len) = match (scan.byte(run.end), scan.byte_before(run.start, 1)) {
        (b'-', _) | (_, b'-') if run.len() == 2 => (b'-', 2, 17),
        (b'.', _) | (_, b'.') if run.len() == 4 => (b'.', 4, 14),
        _ => return None,
    };
    let belongs = |byte: &u8| byte.is_ascii_hexdigit() || *byte == sep;
    let floor = run.start.saturating_sub(18);
    let start = floor + run_start(scan.bytes(floor..run.start), run.start - floor, belongs);
    let end = run.start + run_end(scan.bytes(run.start..run.start + 20), 0, belongs);
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'.';
    let text = scan.bytes(start..end);
    let has_mac_length = end - start == mac_len
        && !is_in_name(scan.byte_before(start, 1))
        && !(is_in_name(scan.byte(end)) && scan.byte(end) != b'.');
    let mut parts = text.split(|byte| *byte == sep);
    let has_letters = text.iter().any(u8::is_ascii_alphabetic);
    let is_mac = has_mac_length
        && parts.all(|part| part.len() == size)
        && has_different_digits(text)
        && (sep == b'-' || has_letters);
    is_mac.then_some(NumberFinding { family: RuleFamily::Mac, range: start..end })
}
