//! Ids of digits that are recognised by their groups and check, and one-group ids with strong checks. A shape needs a
//! word, a check of its own, or a form that nothing else uses. The checks are in `validate::national`.

use super::super::rule::Family;
use super::super::validate::national as check;
use super::super::validate::phones::is_alike;
use super::site::{Found, Site};

/// A shape: group lengths, allowed separators, check, and kind.
struct Shape {
    lens: &'static [usize],
    seps: &'static [u8],
    check: fn(&[u8]) -> bool,
    family: Family,
}

const fn shape(lens: &'static [usize], seps: &'static [u8], check: fn(&[u8]) -> bool, family: Family) -> Shape {
    Shape { lens, seps, check, family }
}

/// Shapes with one kind of separator, by the length of their first group.
const ONE: &[Shape] = &[
    shape(&[1, 4, 5, 2, 1], b"- ", check::thai, Family::NationalShape),
    shape(&[1, 2, 2, 2, 3, 3, 2], b" ", check::nir, Family::NationalShape),
];
const TWO: &[Shape] = &[
    shape(&[2, 8, 1], b"-", check::cuit, Family::TaxShape),
    shape(&[2, 3, 3, 3], b" ", check::abn, Family::TaxShape),
    shape(&[2, 6, 6, 1], b"- ", check::imei_shape, Family::Device),
];
const THREE: &[Shape] = &[
    shape(&[3, 2, 4], b"- ", check::ssn, Family::Ssn),
    shape(&[3, 2, 4], b"-", check::itin, Family::TaxShape),
    shape(&[3, 4, 7, 1], b"- ", check::emirates, Family::NationalShape),
    shape(&[3, 4, 4, 2], b".", check::ahv, Family::NationalShape),
];
const FOUR: &[Shape] = &[
    shape(&[4, 4, 4], b" ", check::aadhaar, Family::NationalShape),
    shape(&[4, 3, 3], b".", check::enterprise, Family::TaxShape),
];
const SIX: &[Shape] = &[
    shape(&[6, 4], b"-", check::personnummer, Family::NationalShape),
    shape(&[6, 7], b"-", check::rrn, Family::NationalShape),
    shape(&[6, 2, 4], b"-", check::mykad, Family::NationalShape),
];
const EIGHT: &[Shape] = &[shape(&[8, 4], b"-", check::personnummer, Family::NationalShape)];

fn shapes(head: usize) -> &'static [Shape] {
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
pub(super) fn grouped(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    if !site.is_free() || b"$#".contains(&site.scan.before(site.start(), 1)) {
        return None;
    }
    let head = chain.len(first);
    for shape in shapes(head) {
        let last = first + shape.lens.len() - 1;
        // Blank-separated groups can also be adjacent by chance
        let sure = |sep: u8| sep != b' ' || site.is_alone(first, last) || site.speaks_of(shape.family);
        if !site.cued && !sure(chain.sep(first)) {
            continue;
        }
        let Some(sep) = chain.is(first, shape.lens, shape.seps) else { continue };
        if !sure(sep) || !site.ends_well(last) {
            continue;
        }
        let Some((digits, length)) = site.digits::<24>(first, last) else { continue };
        let social = shape.family == Family::TaxShape && site.cued && site.cues().grade(Family::SsnCued).is_some();
        let counted = matches!(shape.lens, [3, 2, 4] | [6, 2, 4]) && site.is_denied();
        let denied = social || counted;
        if (shape.check)(digits.get(..length).unwrap_or_default()) && !denied {
            return Some(Found { family: shape.family, range: chain.range(first, last) });
        }
    }
    mixed(site)
}

/// Shapes with several kinds of separators.
fn mixed(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    if !matches!((chain.group(first).sep, chain.len(first)), (b'.', _) | (b'-', 3)) {
        return None;
    }
    let found = |last: usize, family: Family, check: fn(&[u8]) -> bool| {
        let (digits, length) = site.digits::<16>(first, last)?;
        (check(digits.get(..length)?) && site.ends_well(last))
            .then(|| Found { family, range: chain.range(first, last) })
    };
    if chain.is_mixed(first, &[3, 3, 3, 2], b"..-") {
        return found(first + 3, Family::NationalShape, check::cpf);
    }
    if chain.is_mixed(first, &[2, 3, 3, 4, 2], b"../-") {
        return found(first + 4, Family::TaxShape, check::cnpj);
    }
    if chain.is_mixed(first, &[2, 2, 2, 3, 2], b"..-.") {
        return found(first + 4, Family::NationalShape, check::belgian);
    }
    if chain.is_mixed(first, &[3, 3, 3, 2], b"-- ") || chain.is_mixed(first, &[3, 3, 3, 2], b"---") {
        return found(first + 3, Family::NationalShape, check::snils);
    }
    rut(site)
}

/// `12.345.678-5`, `7.654.321-K`.
fn rut(site: &Site<'_, '_>) -> Option<Found> {
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
    check::rut(body.get(..length)?, check).then(|| Found { family: Family::TaxShape, range: site.start()..end + 2 })
}

/// An NHS number, 3-3-4 between blanks. Many phone numbers have the same shape, so a word for phones takes precedence.
pub(super) fn health(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let sep = chain.is(first, &[3, 3, 4], b" -")?;
    let (digits, length) = site.digits::<10>(first, first + 2)?;
    let word = site.speaks_of(Family::MedicalCued);
    let phone = site.speaks_of(Family::PhoneCued);
    let plain = site.part(first) != site.part(first + 1) && site.scan.before(site.start(), 1) != b'[';
    let sure = word || (sep == b' ' && !phone && plain && site.is_alone(first, first + 2) && !site.is_denied());
    (check::nhs(digits.get(..length)?) && sure && site.is_free() && site.ends_well(first + 2))
        .then(|| Found { family: Family::MedicalShape, range: chain.range(first, first + 2) })
}

/// 15 or 18 bare digits with checks that random digits rarely pass: Emirates, China.
pub(super) fn bare(site: &Site<'_, '_>) -> Option<Found> {
    let (chain, first) = (site.chain, site.first);
    let part = site.part(first);
    let (digits, length) = site.digits::<18>(first, first)?;
    let digits = digits.get(..length)?;
    let sure = match length {
        15 if part.starts_with(b"784") => check::emirates(digits) && super::super::validate::sums::luhn(digits),
        18 => digits.split_last().is_some_and(|(last, body)| check::resident(body, *last)),
        _ => false,
    };
    (sure && !is_alike(part) && site.is_free() && chain.is_free_behind(first) && site.ends_well(first))
        .then(|| Found { family: Family::NationalShape, range: chain.range(first, first) })
}
