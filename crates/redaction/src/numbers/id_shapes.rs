//! Ids of digits that are recognised by their groups and check, and one-group ids with strong checks. A shape needs a
//! word, a check of its own, or a form that nothing else uses. The checks are in `validate::national`.

use super::super::rule::RuleFamily;
use super::super::validate::national as check;
use super::super::validate::phones::is_repeated_digit;
use super::number_site::{NumberFinding, NumberSite};

/// A shape: group lengths, allowed separators, check, and kind.
struct IdShape {
    lens: &'static [usize],
    seps: &'static [u8],
    check: fn(&[u8]) -> bool,
    family: RuleFamily,
}

const fn shape(lens: &'static [usize], seps: &'static [u8], check: fn(&[u8]) -> bool, family: RuleFamily) -> IdShape {
    IdShape { lens, seps, check, family }
}

/// Shapes with one kind of separator, by the length of their first group.
const ONE: &[IdShape] = &[
    shape(&[1, 4, 5, 2, 1], b"- ", check::is_thai_id, RuleFamily::NationalShape),
    shape(&[1, 2, 2, 2, 3, 3, 2], b" ", check::is_nir, RuleFamily::NationalShape),
];
const TWO: &[IdShape] = &[
    shape(&[2, 8, 1], b"-", check::is_cuit, RuleFamily::TaxShape),
    shape(&[2, 3, 3, 3], b" ", check::is_abn, RuleFamily::TaxShape),
    shape(&[2, 6, 6, 1], b"- ", check::may_be_imei, RuleFamily::Device),
];
const THREE: &[IdShape] = &[
    shape(&[3, 2, 4], b"- ", check::is_ssn, RuleFamily::Ssn),
    shape(&[3, 2, 4], b"-", check::is_itin, RuleFamily::TaxShape),
    shape(&[3, 4, 7, 1], b"- ", check::is_emirates_id, RuleFamily::NationalShape),
    shape(&[3, 4, 4, 2], b".", check::is_ahv, RuleFamily::NationalShape),
];
const FOUR: &[IdShape] = &[
    shape(&[4, 4, 4], b" ", check::is_aadhaar, RuleFamily::NationalShape),
    shape(&[4, 3, 3], b".", check::is_belgian_enterprise, RuleFamily::TaxShape),
];
const SIX: &[IdShape] = &[
    shape(&[6, 4], b"-", check::is_personnummer, RuleFamily::NationalShape),
    shape(&[6, 7], b"-", check::is_rrn, RuleFamily::NationalShape),
    shape(&[6, 2, 4], b"-", check::is_mykad, RuleFamily::NationalShape),
];
const EIGHT: &[IdShape] = &[shape(&[8, 4], b"-", check::is_personnummer, RuleFamily::NationalShape)];

fn shapes_with_head(head: usize) -> &'static [IdShape] {
    match head {
        1 => ONE,
        2 => TWO,
        3 => THREE,
        4 => FOUR,
        6 => SIX,
        8 => EIGHT,
        _ => &[],
    }
}

/// Finds the id that the groups at a site form.
pub(super) fn match_groups(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    if !site.is_detached_before() || b"$#".contains(&site.scan.byte_before(site.start(), 1)) {
        return None;
    }
    let head = chain.len(first);
    for shape in shapes_with_head(head) {
        let last = first + shape.lens.len() - 1;
        // Blank-separated groups can also be adjacent by chance
        let sure = |sep: u8| sep != b' ' || site.is_alone(first, last) || site.announces(shape.family);
        if !site.has_cues && !sure(chain.sep(first)) {
            continue;
        }
        let Some(sep) = chain.has_groups(first, shape.lens, shape.seps) else { continue };
        if !sure(sep) || !site.is_detached_behind(last) {
            continue;
        }
        let Some((digits, length)) = site.digits::<24>(first, last) else { continue };
        let social =
            shape.family == RuleFamily::TaxShape && site.has_cues && site.cues().grade(RuleFamily::SsnCued).is_some();
        let counted = matches!(shape.lens, [3, 2, 4] | [6, 2, 4]) && site.counts_thing();
        let denied = social || counted;
        if (shape.check)(digits.get(..length).unwrap_or_default()) && !denied {
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
        (check(digits.get(..length)?) && site.is_detached_behind(last))
            .then(|| NumberFinding { family, range: chain.range(first, last) })
    };
    if chain.has_mixed_groups(first, &[3, 3, 3, 2], b"..-") {
        return found(first + 3, RuleFamily::NationalShape, check::is_cpf);
    }
    if chain.has_mixed_groups(first, &[2, 3, 3, 4, 2], b"../-") {
        return found(first + 4, RuleFamily::TaxShape, check::is_cnpj);
    }
    if chain.has_mixed_groups(first, &[2, 2, 2, 3, 2], b"..-.") {
        return found(first + 4, RuleFamily::NationalShape, check::is_belgian_national_number);
    }
    if chain.has_mixed_groups(first, &[3, 3, 3, 2], b"-- ") || chain.has_mixed_groups(first, &[3, 3, 3, 2], b"---") {
        return found(first + 3, RuleFamily::NationalShape, check::is_snils);
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
    let check = match site.scan.byte(end + 1) {
        digit @ b'0'..=b'9' => digit - b'0',
        b'k' | b'K' => 10,
        _ => return None,
    };
    check::is_rut(body.get(..length)?, check)
        .then(|| NumberFinding { family: RuleFamily::TaxShape, range: site.start()..end + 2 })
}

/// An NHS number, 3-3-4 between blanks. Many phone numbers have the same shape, so a word for phones takes precedence.
pub(super) fn match_nhs_number(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.has_groups(first, &[3, 3, 4], b" -")?;
    let (digits, length) = site.digits::<10>(first, first + 2)?;
    let word = site.announces(RuleFamily::MedicalCued);
    let phone = site.announces(RuleFamily::PhoneCued);
    let plain =
        site.group_digits(first) != site.group_digits(first + 1) && site.scan.byte_before(site.start(), 1) != b'[';
    let sure = word || (sep == b' ' && !phone && plain && site.is_alone(first, first + 2) && !site.counts_thing());
    (check::is_nhs_number(digits.get(..length)?)
        && sure
        && site.is_detached_before()
        && site.is_detached_behind(first + 2))
    .then(|| NumberFinding { family: RuleFamily::MedicalShape, range: chain.range(first, first + 2) })
}

/// 15 or 18 bare digits with checks that random digits rarely pass: Emirates, China.
pub(super) fn match_single_group(site: &NumberSite<'_, '_>) -> Option<NumberFinding> {
    let (chain, first) = (site.chain, site.first);
    let part = site.group_digits(first);
    let (digits, length) = site.digits::<18>(first, first)?;
    let digits = digits.get(..length)?;
    let sure = match length {
        15 if part.starts_with(b"784") => {
            check::is_emirates_id(digits) && super::super::validate::checksums::has_valid_luhn(digits)
        }
        18 => digits.split_last().is_some_and(|(last, body)| check::is_chinese_resident_id(body, *last)),
        _ => false,
    };
    (sure
        && !is_repeated_digit(part)
        && site.is_detached_before()
        && chain.is_free_behind(first)
        && site.is_detached_behind(first))
    .then(|| NumberFinding { family: RuleFamily::NationalShape, range: chain.range(first, first) })
}
