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
    let prefix = |len: usize| digits.iter().take(len).fold(0_u32, |value, digit| value * 10 + u32::from(*digit));
    let length = digits.len();
    let issuer = match (prefix(1), prefix(2), prefix(4)) {
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

#[cfg(test)]
mod tests {
    use super::{bic, card, iban, iban_length, routing};

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    /// Examples of the IBAN registry; lengths and checks tell wrong ones.
    #[test]
    fn ibans() {
        for good in
            ["DE89370400440532013000", "GB29NWBK60161331926819", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"]
        {
            assert!(iban(good.as_bytes()) && iban_length(&good.as_bytes()[..2]) == Some(good.len()), "{good}");
        }
        assert!(!iban(b"DE89370400440532013001") && iban_length(b"US").is_none());
    }

    /// Routing numbers of public examples; one digit off fails, so does a district that is none.
    #[test]
    fn routing_numbers() {
        assert!(routing(&digits("021000021")) && routing(&digits("111000025")));
        assert!(!routing(&digits("021000022")) && !routing(&digits("500000005")) && !routing(&[]));
    }

    /// Test cards of the issuers; other prefixes and lengths, and sums that fail.
    #[test]
    fn cards() {
        for good in [
            "4111111111111111",
            "5555555555554444",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "2223003122003222",
            "30569309025904",
            "6759649826438453",
            "4222222222222",
        ] {
            assert!(card(&digits(good)), "{good}");
        }
        for bad in
            ["4111111111111112", "1763628543123456789", "490154203237518", "0000000000000000", "9111111111111111"]
        {
            assert!(!card(&digits(bad)), "{bad}");
        }
    }

    /// BICs of the standard's examples, and upper case words that are none.
    #[test]
    fn bics() {
        assert!(bic(b"DEUTDEFF") && bic(b"DEUTDEFF500") && bic(b"NEDSZAJJXXX"));
        assert!(!bic(b"PASSWORDS") && !bic(b"PASSXXRD") && !bic(b"DEUTDEF") && !bic(b"deutdeff"));
    }
}
