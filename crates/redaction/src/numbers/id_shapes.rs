//! Recognises ids by the lengths of their digit groups, their separators and a check. Groups between blanks must also
//! be announced by a word or have no other digits next to them; an id of one group needs a check that random digits
//! rarely pass. The checks are in `validate::national`.

use super::super::rule::RuleFamily;
use super::super::validate::checksums::{has_valid_luhn, is_one_digit};
use super::super::validate::national;
use super::number_site::{NumberFinding, NumberSite};

/// A shape of ids.
struct IdShape {
    /// Lengths of its groups.
    lens: &'static [usize],
    /// Allowed separators; all groups of an id have the same one.
    seps: &'static [u8],
    check: fn(&[u8]) -> bool,
    family: RuleFamily,
}

const fn shape(lens: &'static [usize], seps: &'static [u8], check: fn(&[u8]) -> bool, family: RuleFamily) -> IdShape {
    IdShape { lens, seps, check, family }
}

/// Shapes with one separator between all groups. Those with the same first group are tried in this order.
const SHAPES: &[IdShape] = &[
    shape(&[1, 4, 5, 2, 1], b"- ", national::is_thai_id, RuleFamily::NationalShape),
    shape(&[1, 2, 2, 2, 3, 3, 2], b" ", national::is_nir, RuleFamily::NationalShape),
    shape(&[2, 8, 1], b"-", national::is_cuit, RuleFamily::TaxShape),
    shape(&[2, 3, 3, 3], b" ", national::is_abn, RuleFamily::TaxShape),
    shape(&[2, 6, 6, 1], b"- ", national::may_be_imei, RuleFamily::Device),
    shape(&[3, 2, 4], b"- ", national::is_ssn, RuleFamily::Ssn),
    shape(&[3, 2, 4], b"-", national::is_itin, RuleFamily::TaxShape),
    shape(&[3, 4, 7, 1], b"- ", national::is_emirates_id, RuleFamily::NationalShape),
    shape(&[3, 4, 4, 2], b".", national::is_ahv, RuleFamily::NationalShape),
    shape(&[4, 4, 4], b" ", national::is_aadhaar, RuleFamily::NationalShape),
    shape(&[4, 3, 3], b".", national::is_belgian_enterprise, RuleFamily::TaxShape),
    shape(&[6, 4], b"-", national::is_personnummer, RuleFamily::NationalShape),
    shape(&[6, 7], b"-", national::is_rrn, RuleFamily::NationalShape),
    shape(&[6, 2, 4], b"-", national::is_mykad, RuleFamily::NationalShape),
    shape(&[8, 4], b"-", national::is_personnummer, RuleFamily::NationalShape),
];

/// Finds the id that the groups at a site form.
pub(super) fn match_groups(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    if !site.is_detached_before() || b"$#".contains(&site.scan.byte_before(site.start(), 1)) {
        return None;
    }
    for shape in SHAPES.iter().filter(|shape| shape.lens.first() == Some(&chain.len(first))) {
        let last = first + shape.lens.len() - 1;
        // Blank-separated groups can also be adjacent by chance
        let belong_together = |sep: u8| sep != b' ' || site.is_alone(first, last) || site.announces(shape.family);
        if !site.has_cues && !belong_together(chain.sep(first)) {
            continue;
        }
        let Some(sep) = chain.has_groups(first, shape.lens, shape.seps) else { continue };
        if !belong_together(sep) || !site.is_detached_after(last) {
            continue;
        }
        let Some((digits, length)) = site.digits::<24>(first, last) else { continue };
        let is_announced_ssn = shape.family == RuleFamily::TaxShape
            && site.has_cues
            && site.cues().distance(RuleFamily::SsnCued).is_some();
        let is_count = matches!(shape.lens, [3, 2, 4] | [6, 2, 4]) && site.counts_thing();
        if (shape.check)(digits.get(..length).unwrap_or_default()) && !is_announced_ssn && !is_count {
            return Some(NumberFinding { family: shape.family, range: chain.range(first, last) });
        }
    }
    match_mixed_separators(site)
}

/// Shapes with several kinds of separators.
fn match_mixed_separators(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    if !matches!((chain.group(first).sep, chain.len(first)), (b'.', _) | (b'-', 3)) {
        return None;
    }
    let found = |last: usize, family: RuleFamily, check: fn(&[u8]) -> bool| {
        let (digits, length) = site.digits::<16>(first, last)?;
        (check(digits.get(..length)?) && site.is_detached_after(last))
            .then(|| NumberFinding { family, range: chain.range(first, last) })
    };
    if chain.has_mixed_groups(first, &[3, 3, 3, 2], b"..-") {
        return found(first + 3, RuleFamily::NationalShape, national::is_cpf);
    }
    if chain.has_mixed_groups(first, &[2, 3, 3, 4, 2], b"../-") {
        return found(first + 4, RuleFamily::TaxShape, national::is_cnpj);
    }
    if chain.has_mixed_groups(first, &[2, 2, 2, 3, 2], b"..-.") {
        return found(first + 4, RuleFamily::NationalShape, national::is_belgian_national_number);
    }
    if chain.has_mixed_groups(first, &[3, 3, 3, 2], b"-- ") || chain.has_mixed_groups(first, &[3, 3, 3, 2], b"---") {
        return found(first + 3, RuleFamily::NationalShape, national::is_snils);
    }
    match_rut(site)
}

/// `12.345.678-5`, `7.654.321-K`.
fn match_rut(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    if !matches!(chain.len(first), 1 | 2) || chain.len(first + 1) != 3 || chain.len(first + 2) != 3 {
        return None;
    }
    if chain.group(first).sep != b'.' || chain.group(first + 1).sep != b'.' {
        return None;
    }
    let (body, length) = site.digits::<8>(first, first + 2)?;
    let end = chain.range(first, first + 2).end;
    if site.scan.byte(end) != b'-' || site.scan.byte(end + 2).is_ascii_alphanumeric() {
        return None;
    }
    let check_digit = match site.scan.byte(end + 1) {
        digit @ b'0'..=b'9' => digit - b'0',
        b'k' | b'K' => 10,
        _ => return None,
    };
    national::is_rut(body.get(..length)?, check_digit)
        .then(|| NumberFinding { family: RuleFamily::TaxShape, range: site.start()..end + 2 })
}

/// Finds an NHS number, 3-3-4 between blanks, or with dashes after a word for it. Many phone numbers have the same
/// shape, so a word for phones takes precedence.
pub(super) fn match_nhs_number(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.has_groups(first, &[3, 3, 4], b" -")?;
    let (digits, length) = site.digits::<10>(first, first + 2)?;
    let is_announced = site.announces(RuleFamily::MedicalCued);
    let is_announced_phone = site.announces(RuleFamily::PhoneCued);
    let is_plain =
        site.group_digits(first) != site.group_digits(first + 1) && site.scan.byte_before(site.start(), 1) != b'[';
    let is_plausible = is_announced
        || (sep == b' ' && !is_announced_phone && is_plain && site.is_alone(first, first + 2) && !site.counts_thing());
    (national::is_nhs_number(digits.get(..length)?)
        && is_plausible
        && site.is_detached_before()
        && site.is_detached_after(first + 2))
    .then(|| NumberFinding { family: RuleFamily::MedicalShape, range: chain.range(first, first + 2) })
}

/// Finds 15 or 18 bare digits with checks that random digits rarely pass: Emirates, China.
pub(super) fn match_single_group(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let group = site.group_digits(first);
    let (digits, length) = site.digits::<18>(first, first)?;
    let digits = digits.get(..length)?;
    let passes_check = match length {
        15 if group.starts_with(b"784") => national::is_emirates_id(digits) && has_valid_luhn(digits),
        18 => digits.split_last().is_some_and(|(last, body)| national::is_chinese_resident_id(body, *last)),
        _ => false,
    };
    (passes_check && !is_one_digit(group) && site.is_separate(first))
        .then(|| NumberFinding { family: RuleFamily::NationalShape, range: chain.range(first, first) })
}
