//! **What**: checks of banks: IBAN, routing numbers, cards, BIC. **Invariants**: pure. **Not here**: how they are written.

use super::sums::{luhn, mod_97, weighted};

/// Lengths by country of the SWIFT IBAN registry, in order, five bytes a row.
const IBANS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 \
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 \
    KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 \
    PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30 ";

/// Length of an IBAN of a country (two letters), if it has any.
pub(in super::super) fn iban_length(country: &[u8]) -> Option<usize> {
    let [first, second] = country else { return None };
    let wanted = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let (rows, _) = IBANS.as_bytes().as_chunks::<5>();
    let at = rows.binary_search_by(|[a, b, ..]| [*a, *b].cmp(&wanted)).ok()?;
    let [_, _, tens, ones, _] = rows.get(at)?;
    Some(usize::from((tens - b'0') * 10 + (ones - b'0')))
}

/// Whether letters and digits without separators are an IBAN by its check digits.
pub(in super::super) fn iban(compact: &[u8]) -> bool {
    let (head, tail) = compact.split_at_checked(4).unwrap_or((&[], compact));
    mod_97(tail.iter().chain(head).copied()) == Some(1)
}

/// Whether nine digits are a routing number of the American Bankers Association.
pub(in super::super) fn routing(digits: &[u8]) -> bool {
    let [first, second, ..] = digits else { return false };
    let district = first * 10 + second;
    digits.len() == 9
        && matches!(district, 1..=12 | 21..=32 | 61..=72 | 80)
        && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

/// Whether digits are a card of an issuer, by prefix, length and Luhn.
pub(in super::super) fn card(digits: &[u8]) -> bool {
    let [one, two, three, four, ..] = digits else { return false };
    let length = digits.len();
    let head = u32::from(*one) * 10 + u32::from(*two);
    let issuer = match (*one, head, head * 100 + u32::from(*three) * 10 + u32::from(*four)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 51..=55, _) | (.., 2221..=2720) => length == 16,
        (_, 34 | 37, _) | (.., 1800 | 2131) => length == 15,
        (_, 36 | 38 | 39, _) | (.., 3000..=3059 | 3095) => (14..=19).contains(&length),
        (_, 35, _) | (.., 2014 | 2149) => length == 16 || length == 15,
        (.., 6011 | 6440..=6599) => (16..=19).contains(&length),
        (_, 62 | 60 | 81, _) | (.., 2200..=2204) => (16..=19).contains(&length),
        (_, 50 | 56..=58 | 63 | 67 | 68, _) => (12..=19).contains(&length),
        _ => false,
    };
    let alike = digits.iter().all(|digit| Some(digit) == digits.first());
    issuer && !alike && luhn(digits)
}

/// ISO 3166 codes of countries and territories.
const COUNTRIES: &str = "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCO\
    CRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIMINIOIQIRISIT\
    JEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOM\
    PAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUY\
    UZVAVCVEVGVIVNVUWFWSXKYEYTZAZMZW";

/// Whether letters and digits have the shape of a BIC (ISO 9362): four letters, a country, two and maybe three more.
pub(in super::super) fn bic(text: &[u8]) -> bool {
    let (Some(bank), Some(country)) = (text.get(..4), text.get(4..6)) else { return false };
    matches!(text.len(), 8 | 11)
        && bank.iter().all(u8::is_ascii_uppercase)
        && text.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && COUNTRIES.as_bytes().as_chunks::<2>().0.iter().any(|known| known == country)
}
