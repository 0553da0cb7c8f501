//! Tests of the checks with published examples, and with a wrong digit.

/// A check of digits.
type Check = fn(&[u8]) -> bool;

fn digits(text: impl AsRef<[u8]>) -> Vec<u8> {
    text.as_ref().iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect()
}

/// Published examples pass; a wrong digit or letter, an invalid district or area, and another prefix or length fail.
#[test]
fn published_examples() {
    use super::bank::{is_bic, is_card_number, is_routing_number};
    use super::crypto::{is_base58check, is_bech32};
    use super::lettered_checks::{is_atu, is_curp, is_mbi, is_rfc, is_uk_licence};
    use super::national::{is_itin, is_ssn};
    let checks: [(Check, &str, &str); 12] = [
        (|text| is_routing_number(&digits(text)), "021000021 111000025", "021000022 500000005 -"),
        (
            |text| is_card_number(&digits(text)),
            "4111111111111111 5555555555554444 378282246310005 6011111111111117 3530111333300000 2223003122003222 \
             30569309025904 6759649826438453 4222222222222",
            "4111111111111112 1763628543123456789 490154203237518 0000000000000000 9111111111111111",
        ),
        (is_bic, "DEUTDEFF DEUTDEFF500 NEDSZAJJXXX", "PASSWORDS PASSXXRD DEUTDEF deutdeff"),
        // The first block's address and an example of BIP 16
        (
            is_base58check,
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa 3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb 1A1zP1eP5QGefi2DMPTf0L5SLmv7DivfNa",
        ),
        // Examples of BIP 173 and BIP 350
        (
            is_bech32,
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4 BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4 \
             bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5 bc1 abcdef",
        ),
        (is_atu, "ATU13585627", "ATU13585628 ATU1358562"),
        (is_mbi, "1EG4TE5MK73", "1EG4TE5MK7S 0EG4TE5MK73"),
        (is_curp, "HEGG560427MVZRRL04", "HEGG561327MVZRRL04"),
        (is_rfc, "GODE561231GR8 ABC680524P76", "GODE569931GR8"),
        (is_uk_licence, "MORGA753116SM9IJ", "MORGA793996SM9IJ"),
        // Areas that are not issued, and numbers known from advertising
        (
            |text| is_ssn(&digits(text)),
            "536-90-4399",
            "000-12-3456 666-12-3456 987-65-4321 078-05-1120 123-00-4567 123-45-0000",
        ),
        (|text| is_itin(&digits(text)), "912-70-1234", ""),
    ];
    for (check, good, bad) in checks {
        for (text, passes) in good.split(' ').map(|text| (text, true)).chain(bad.split(' ').map(|text| (text, false))) {
            assert_eq!(check(text.as_bytes()), passes, "{text}");
        }
    }
}

/// Examples of the IBAN registry; wrong lengths and check digits fail.
#[test]
fn ibans() {
    use super::bank::{iban_length, is_iban};
    for good in
        ["DE89370400440532013000", "GB29NWBK60161331926819", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"]
    {
        assert!(is_iban(good.as_bytes()) && iban_length(&good.as_bytes()[..2]) == Some(good.len()), "{good}");
    }
    assert!(!is_iban(b"DE89370400440532013001") && iban_length(b"US").is_none());
}

/// Leap days are valid in leap years only; dates of birth begin in 1900.
#[test]
fn real_days() {
    use super::dates::is_day;
    assert!(is_day(2000, 2, 29) && is_day(1991, 6, 15) && !is_day(1900, 2, 29) && !is_day(1991, 13, 1));
    assert!(!is_day(1899, 1, 1) && !is_day(2001, 4, 31) && !is_day(2001, 4, 0));
}

/// Names and abbreviations of months.
#[test]
fn months() {
    use super::dates::month_of_name;
    let names = ["June", "Sep", "sept", "März", "août", "Ju", "monday", ""];
    assert_eq!(names.map(month_of_name), [Some(6), Some(9), Some(9), Some(3), Some(8), None, None, None]);
}

/// Published examples pass; with another check letter they fail.
#[test]
fn lettered_ids() {
    use super::lettered_checks::*;
    let checks: [(&str, Check); 10] = [
        ("S1234567D", is_nric),
        ("12345678Z", is_dni),
        ("X1234567L", is_dni),
        ("RCCMNL83S18D969H", is_codice_fiscale),
        ("131052-308T", is_hetu),
        ("1M8GDM9AXKP042788", is_vin),
        ("AB1234563", is_dea),
        ("QQ123456C", |text| !is_nino(text)),
        ("AB123456C", is_nino),
        ("AAPFU0939F", is_indian_pan),
    ];
    for (good, check) in checks {
        assert!(check(good.as_bytes()), "{good}");
    }
    for (good, check) in checks.iter().take(5) {
        let mut other = good.as_bytes().to_vec();
        other[3] = match other[3] {
            b'1' => b'2',
            b'0'..=b'9' => b'1',
            _ => b'A',
        };
        assert!(!check(&other), "{good}");
    }
}

/// Hong Kong identity cards; another check digit or length fails.
#[test]
fn checks_in_brackets() {
    use super::lettered_checks::*;
    assert!(is_hkid(b"A123456", b'3') && is_hkid(b"G123456", b'A') && is_hkid(b"AB987654", b'3'));
    assert!(
        !is_hkid(b"A123456", b'4') && !is_hkid(b"A12345", b'3') && !is_hkid(b"A123456", b'x') && !is_hkid(b"", b'0')
    );
}

/// Published examples of each id pass; with one digit changed they fail.
#[test]
fn national_ids() {
    use super::national::*;
    let checks: [(&str, Check); 20] = [
        ("756.9217.0769.85", is_ahv),
        ("943 476 5919", is_nhs_number),
        ("1234567893", is_npi),
        ("2123 45670 1", is_australian_medicare),
        ("390.533.447-05", is_cpf),
        ("16.727.230/0001-97", is_cnpj),
        ("83010411457", is_pesel),
        ("130 692 544", is_sin),
        ("2341 2341 2346", is_aadhaar),
        ("1112.22.333", is_bsn),
        ("2 95 10 99 126 111 93", is_nir),
        ("811228-9874", is_personnummer),
        ("10000000146", is_kimlik),
        ("1-2345-45678-78-1", is_thai_id),
        ("36574261809", is_steuer_id),
        ("51 824 753 556", is_abn),
        ("004 085 616", is_acn),
        ("123 456 782", is_tfn),
        ("20-05536168-2", is_cuit),
        ("980780684", is_uk_vat),
    ];
    for (good, check) in checks {
        assert!(check(&digits(good)), "{good}");
    }
    for (good, check) in checks.iter().take(13) {
        let mut other = digits(good);
        other[4] = (other[4] + 1) % 10;
        assert!(!check(&other), "{good}");
    }
}

/// Ids of Italy, Belgium, Austria, Russia, Ukraine, Israel and Malaysia pass; with one digit changed they fail.
#[test]
fn more_countries() {
    use super::national::*;
    let checks: [(&str, Check); 9] = [
        ("00743110157", is_partita_iva),
        ("85.07.30-033.28", is_belgian_national_number),
        ("01.02.03-123.45", is_belgian_national_number),
        ("0403.170.701", is_belgian_enterprise),
        ("1237 010180", is_austrian_insurance_number),
        ("112-233-445 95", is_snils),
        ("3184710258", is_rnokpp),
        ("123456782", is_israeli_id),
        ("900101-14-5678", is_mykad),
    ];
    for (good, check) in checks {
        assert!(check(&digits(good)), "{good}");
    }
    for (good, check) in checks.iter().take(8) {
        for at in 0..digits(good).len() {
            let mut other = digits(good);
            other[at] = (other[at] + 1) % 10;
            assert!(!check(&other), "{good} at {at}");
        }
    }
    assert!(
        !is_mykad(&digits("901301-14-5678"))
            && !is_mykad(&digits("900101-00-5678"))
            && !is_belgian_national_number(&[])
    );
}

/// Ids with a check character other than a digit.
#[test]
fn other_checks() {
    use super::national::*;
    assert!(is_rut(&digits("12531909"), 2) && !is_rut(&digits("12531909"), 3));
    assert!(
        is_chinese_resident_id(&digits("11010519491231002"), 10)
            && !is_chinese_resident_id(&digits("11010519491331002"), 10)
    );
}

/// Examples of the numbering plans, and numbers with one digit too many or too few.
#[test]
fn plans() {
    use super::phones::{code_length, is_international};
    for good in
        ["14155550123", "442079460958", "33142685300", "4930901820", "919876543210", "8613800138000", "298123456"]
    {
        assert!(is_international(good.as_bytes()), "{good}");
    }
    for bad in ["1415555012", "11155550123", "3314268530", "999123456789", "0000", "", "44", "1111111111111"] {
        assert!(!is_international(bad.as_bytes()), "{bad}");
    }
    assert_eq!(code_length(b"442079460958"), Some(2));
}

/// Published examples pass; with any single wrong digit they fail.
#[test]
fn checksums() {
    use super::checksums::{has_valid_luhn, has_valid_mod_11_10, has_valid_verhoeff, mod_97_remainder};
    let sums: [(&str, Check); 5] = [
        ("79927398713", has_valid_luhn),
        ("4111111111111111", has_valid_luhn),
        ("2363", has_valid_verhoeff),
        ("86095742719", has_valid_mod_11_10),
        ("794623", has_valid_mod_11_10),
    ];
    for (good, check) in sums {
        assert!(check(&digits(good)), "{good}");
        let last = digits(good).len() - 1;
        for wrong in 1..10 {
            let mut other = digits(good);
            other[last] = (other[last] + wrong) % 10;
            assert!(!check(&other), "{other:?}");
        }
    }
    assert_eq!(mod_97_remainder("3214282912345698765432161182".bytes()), Some(1));
    assert_eq!(mod_97_remainder("WEST12345698765432GB82".bytes()), Some(1));
    assert_eq!(mod_97_remainder("-".bytes()), None);
}

/// Checks that users' rules can name: each accepts a valid value and refuses it with another digit.
#[test]
fn checks_by_name() {
    use crate::tests::redact;
    use crate::{CustomRule, Detector};
    for (validator, right, wrong) in [
        ("luhn", "79927398713", "79927398710"),
        ("mod_97", "79444", "79445"),
        ("mod_11_10", "86095742719", "86095742718"),
        ("nhs_number", "943 476 5919", "943 476 5918"),
        ("aba_routing", "111000025", "111000026"),
        ("vin", "1M8GDM9AXKP042788", "1M8GDM9AXKP042789"),
        ("base58check", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
        ("bech32", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
    ] {
        let name = "PART".to_owned();
        let rule = CustomRule {
            name,
            pattern: "no: ([A-Za-z0-9 ]+)".to_owned(),
            validator: validator.to_owned(),
            ..CustomRule::default()
        };
        let Ok(detector) = Detector::new(&[], &[rule]) else { panic!("{validator}") };
        assert_eq!(redact(&detector, &format!("no: {right}")), "no: [PART]", "{validator}");
        assert_eq!(redact(&detector, &format!("no: {wrong}")), format!("no: {wrong}"), "{validator}");
    }
}
