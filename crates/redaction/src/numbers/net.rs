//! Network and device addresses: IPv4, IPv6, MAC. Private (unless chosen), loopback, link-local, multicast and mask
//! addresses stay, because they identify nobody. At most 64 bytes on either side of a run are read.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::super::anchors::{run_end, run_start};
use super::super::pairs;
use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::secrets::value_facts::contains_any_case;
use super::number_cues::NumberCues;
use super::number_site::{NumberFinding, NumberSite};

/// Finds an IPv4 address at a site.
pub(super) fn match_ipv4(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first, scan) = (site.chain, site.first, site.scan);
    let has_dots = |from: usize| (from..from + 3).all(|index| chain.sep(index) == b'.');
    if !has_dots(first) || (first..first + 4).any(|index| !matches!(chain.len(index), 1..=3)) {
        return None;
    }
    let next_sep = chain.sep(first + 3);
    let is_range = next_sep == b'-' && has_dots(first + 4);
    let range = chain.range(first, first + 3);
    let (before, second_before) = (scan.byte_before(range.start, 1), scan.byte_before(range.start, 2));
    let is_free_before = match before {
        _ if first > 0 => chain.sep_before(first) != b'.' && (chain.sep_before(first) != b'-' || first >= 4),
        b'_' | b'~' | b'^' | b'.' => false,
        // `%204.2.1.3`: the first digits belong to an escape
        b'%' => !scan.bytes(range.start..range.start + 2).iter().all(u8::is_ascii_hexdigit),
        b'-' => !second_before.is_ascii_alphanumeric(),
        b'=' => !b"=><~".contains(&second_before),
        _ => true,
    };
    let is_ended = match (scan.byte(range.end), scan.byte(range.end + 1)) {
        (b'-' | b'.', next) => is_range || !next.is_ascii_alphanumeric(),
        (next, _) => next != b'_' && !next.is_ascii_alphanumeric(),
    };
    let address: Ipv4Addr = scan.part(range.clone()).parse().ok()?;
    let bits = prefix_bits(scan, range.end);
    let is_network = bits.is_some_and(|bits| bits < 32 && address.to_bits().checked_shl(bits).unwrap_or(0) == 0);
    let is_host =
        is_free_before && is_ended && !is_network && identifies_host(address, scan) && !is_version(site, address);
    is_host.then_some(NumberFinding { family: RuleFamily::Ipv4, range })
}

/// Whether an address belongs to a host outside of private networks, unless those count too.
fn identifies_host(address: Ipv4Addr, scan: &TextScan<'_>) -> bool {
    let [first, ..] = address.octets();
    let is_local = address.is_private() || address.is_link_local();
    (!is_local || scan.detector.options.private_addresses) && !address.is_loopback() && (1..224).contains(&first)
}

/// The length of the network's prefix after an address: `203.0.113.0/24`.
fn prefix_bits(scan: &TextScan<'_>, end: usize) -> Option<u32> {
    let len = scan.bytes(end + 1..end + 5).iter().take_while(|byte| byte.is_ascii_digit()).count();
    scan.part(end..end + 1 + len).strip_prefix('/')?.parse().ok()
}

/// Whether four numbers are a version (`version 1.2.3.4`, `v1.2.3.4`, `Chrome/1.2.3.4`), decimals in a row, or small
/// numbers that no word calls an address, such as sections, releases and object identifiers.
fn is_version(site: &NumberSite<'_, '_>, address: Ipv4Addr) -> bool {
    const WELL_KNOWN: [[u8; 4]; 5] = [[1, 1, 1, 1], [1, 0, 0, 1], [8, 8, 8, 8], [8, 8, 4, 4], [9, 9, 9, 9]];
    let (scan, start, end) = (site.scan, site.start(), site.chain.range(site.first, site.first + 3).end);
    let octets = address.octets();
    // `Chrome/1.2.3.4`, but not `//1.2.3.4` or `a.b/1.2.3.4`
    if scan.byte_before(start, 1) == b'/' && scan.byte_before(start, 2).is_ascii_alphabetic() {
        let name =
            run_start(scan.bytes(0..start), start - 1, |byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        if !b"./".contains(&scan.byte_before(name, 1)) {
            return true;
        }
    }
    let before = scan.bytes(start.saturating_sub(24)..start);
    let mut words = before.rsplit(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let is_beside =
        before.iter().rev().find(|byte| !b" :=\"'`\\(".contains(byte)).is_some_and(u8::is_ascii_alphanumeric);
    let word = words.next().filter(|_| is_beside).unwrap_or_default();
    // `updated from` often comes before a client's address
    let mut is_upgrade = || words.next().is_some_and(|word| contains_any_case(word, b"grade"));
    let is_decimal = |token: Option<&[u8]>| {
        token.is_some_and(|token| {
            token.iter().filter(|byte| **byte == b'.').count() == 1
                && token.iter().all(|byte| byte.is_ascii_digit() || b".-".contains(byte))
        })
    };
    let mut tokens_before = before.rsplit(|byte| matches!(byte, b' ' | b'-'));
    let mut tokens_after = scan.bytes(end..end + 12).split(|byte| matches!(byte, b' ' | b'-'));
    let mut is_in_row = || is_decimal(tokens_before.nth(1)) && is_decimal(tokens_after.nth(1));
    let has_tag = scan.byte(end) == b'+' && scan.byte(end + 1).is_ascii_alphabetic();
    if word.eq_ignore_ascii_case(b"v")
        || byte_list!("numbers.version_cues").iter().any(|known| pairs::ends_with(word, known))
        || word.eq_ignore_ascii_case(b"from") && is_upgrade()
        || octets < [32; 4] && word_set!("numbers.versioned_products").contains(word)
        || has_tag
        || is_in_row()
    {
        return true;
    }
    let is_object_id = matches!(octets, [1 | 2, ..40, ..]);
    let may_be_release = is_object_id || octets.iter().all(|octet| *octet < 20);
    let is_announced = || NumberCues::around(scan, &(start..site.chain.end)).announces(RuleFamily::Ipv4);
    may_be_release && !WELL_KNOWN.contains(&octets) && !is_announced()
}

/// Finds an IPv6 or hardware address around a run next to a colon, dash or dot. Also returns the end of the text that
/// was read.
pub(super) fn match_address_around(scan: &TextScan<'_>, run: &Range<usize>) -> (Option<NumberFinding>, usize) {
    let joints = [scan.byte(run.end), scan.byte_before(run.start, 1)];
    let Some(sep) = [b':', b'-', b'.'].into_iter().find(|sep| joints.contains(sep)) else { return (None, run.end) };
    let (floor, ceiling) = (run.start.saturating_sub(48), scan.text.len().min(run.start + 64));
    let belongs = |byte: &u8| byte.is_ascii_hexdigit() || *byte == sep;
    let mut start = floor + run_start(scan.bytes(floor..ceiling), run.start - floor, belongs);
    let mut end = run.start + run_end(scan.bytes(run.start..ceiling), 0, belongs);
    // An IPv4 address may end an IPv6 one
    if sep == b':' && scan.byte(end) == b'.' && scan.byte(end + 1).is_ascii_digit() {
        end = run.start + run_end(scan.bytes(run.start..ceiling), 0, |byte| belongs(byte) || *byte == b'.');
    }
    let (read_end, is_double) = (end, |at: usize| scan.bytes(at..at + 2) == b"::");
    start += usize::from(scan.byte(start) == sep && !is_double(start));
    end -= usize::from(scan.byte_before(end, 1) == sep && !is_double(end.saturating_sub(2)));
    let is_in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || sep == b'-' && byte == b'.';
    if is_in_word(scan.byte_before(start, 1)) && !scan.is_escape_letter(start)
        || is_in_word(scan.byte(end)) && (sep != b'-' || scan.byte(end) != b'.')
    {
        return (None, read_end);
    }
    let text = scan.part(start..end);
    let family = match is_mac(text, sep) {
        true => Some(RuleFamily::Mac),
        false => is_ipv6(scan, text, end).then_some(RuleFamily::Ipv6),
    };
    (family.map(|family| NumberFinding { family, range: start..end }), read_end)
}

/// Whether a text is a hardware address: six pairs of hex digits, or three groups of four with dots and a letter.
fn is_mac(text: &str, sep: u8) -> bool {
    let (count, size) = if sep == b'.' { (3, 4) } else { (6, 2) };
    let mut digits = text.bytes().filter(|byte| *byte != sep).map(|byte| byte.to_ascii_lowercase());
    let first = digits.next();
    text.len() == count * (size + 1) - 1
        && text.split(char::from(sep)).all(|part| part.len() == size)
        && digits.any(|digit| Some(digit) != first)
        && (sep != b'.' || text.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

/// Whether a text, which ends at `end`, is an IPv6 address of a host.
fn is_ipv6(scan: &TextScan<'_>, text: &str, end: usize) -> bool {
    let colons = text.bytes().filter(|byte| *byte == b':').count();
    let has_form = colons >= 7 || colons >= 2 && text.contains("::") && text.len() > 3;
    let Some(address) = text.parse::<Ipv6Addr>().ok().filter(|_| has_form) else { return false };
    let mapped_ipv4 = address.to_ipv4_mapped().or_else(|| address.to_ipv4().filter(|_| text.contains('.')));
    let is_local = address.is_unique_local() || address.is_unicast_link_local();
    let identifies_nobody = address.is_loopback()
        || address.is_unspecified()
        || (is_local && !scan.detector.options.private_addresses)
        || address.is_multicast()
        || mapped_ipv4.is_some_and(|address| !identifies_host(address, scan));
    // `1::2` and similar are positions in a program, or scores
    let groups = || text.split(':').filter(|group| !group.is_empty());
    let is_global = matches!(address.segments(), [0x2000..=0x3fff | 0x64, ..]) || mapped_ipv4.is_some() || is_local;
    let has_long_groups = groups().count() >= 4 && groups().filter(|group| group.len() >= 3).count() >= 2;
    let is_network = || {
        prefix_bits(scan, end).is_some_and(|bits| bits < 128 && address.to_bits().checked_shl(bits).unwrap_or(0) == 0)
    };
    !identifies_nobody && (is_global && text.len() >= 6 || has_long_groups) && !is_network()
}
