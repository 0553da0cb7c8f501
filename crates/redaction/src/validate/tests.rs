//! Tests of the checks with published examples, and with a wrong digit.

/// A check of digits.
type Check = fn(&[u8]) -> bool;

fn digits(text: impl AsRef<[u8]>) -> Vec<u8> {
    text.as_ref().iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect()
}

/// Published examples pass; a wrong digit or letter, an invalid district or area, and another prefix or length fail.
#[test]
fn published_examples() {
    use super::bank::{is_bic, is_card_number};
    use super::crypto::{is_base58check, is_bech32};
    let checks: [(Check, &str, &str); 4] = [
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

/// The examples of each id in the rule files pass its check or fail it, and each id has both.
#[test]
fn examples_of_ids() {
    use super::id_check::CompiledCheck;
    for id in crate::tests::rules().iter().flat_map(|rule| &rule.ids) {
        let check = CompiledCheck::from_user(&id.check).unwrap_or_else(|fault| panic!("{}: {fault}", id.name));
        assert!(!id.valid.is_empty() && !id.invalid.is_empty(), "{} lacks examples", id.name);
        assert!(id.valid.iter().all(|text| check.passes(text.as_bytes())), "{}", id.name);
        assert!(!id.invalid.iter().any(|text| check.passes(text.as_bytes())), "{}", id.name);
    }
}

/// With another digit, an example of an id with a check character fails.
#[test]
fn one_check_character_passes() {
    use super::id_check::CompiledCheck;
    for id in crate::tests::rules().iter().flat_map(|rule| &rule.ids) {
        let check = CompiledCheck::new(&id.check).expect("a check");
        for valid in id.valid.iter().filter(|_| check.has_check_character() && id.name != "bic") {
            let digits = valid.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
            let passing = digits.filter(|(at, byte)| {
                let mut other = valid.clone().into_bytes();
                other[*at] = if *byte == b'9' { b'8' } else { byte + 1 };
                check.passes(&other)
            });
            // Two remainders may have one check character, and the issue number of an Australian card is not checked
            assert!(passing.count() < 3, "{}: {valid}", id.name);
        }
    }
}

/// Examples of the numbering plans, and numbers with one digit too many or too few.
#[test]
fn plans() {
    use super::phones::is_international;
    for good in
        ["14155550123", "442079460958", "33142685300", "4930901820", "919876543210", "8613800138000", "298123456"]
    {
        assert!(is_international(good.as_bytes()), "{good}");
    }
    for bad in ["1415555012", "11155550123", "3314268530", "999123456789", "0000", "", "44", "1111111111111"] {
        assert!(!is_international(bad.as_bytes()), "{bad}");
    }
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
    use crate::rule::CustomValidator;
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
            validator: CustomValidator::Name(validator.to_owned()),
            ..CustomRule::default()
        };
        let Ok(detector) = Detector::new(&[], &[rule]) else { panic!("{validator}") };
        assert_eq!(redact(&detector, &format!("no: {right}")), "no: [PART]", "{validator}");
        assert_eq!(redact(&detector, &format!("no: {wrong}")), format!("no: {wrong}"), "{validator}");
    }
}

/// A user's check that could never pass, or whose sums could overflow, is refused: it would find nothing without a word.
#[test]
fn unusable_checks_of_users_are_refused() {
    use super::id_check::{CompiledCheck, IdCheck, WeightedSum};
    let check = |pattern: &str, sum: WeightedSum| {
        let sums = vec![WeightedSum { modulus: 11, ..sum }];
        CompiledCheck::from_user(&IdCheck { pattern: pattern.to_owned(), sums, ..IdCheck::default() }).err()
    };
    let usable = || WeightedSum { weights: vec![5, 4, 3, 2, 1, 1], ..WeightedSum::default() };
    assert_eq!(check(r"\d{6}", usable()), None);
    for pattern in [r"(?x)EMP\d{6} # employee", "HX[0-9A-F]{64}", "", "("] {
        assert!(check(pattern, usable()).is_some_and(|fault| fault.starts_with("`pattern`")), "{pattern}");
    }
    let refused = [
        ("number", WeightedSum { number: 99, ..usable() }),
        ("numbers", WeightedSum { weights: vec![i64::MIN], ..usable() }),
        ("numbers", WeightedSum { add: i64::MAX, ..usable() }),
        ("every value passes", WeightedSum::default()),
        ("beyond", WeightedSum { weights: vec![1; 7], ..usable() }),
        ("beyond", WeightedSum { at: Some(6), ..usable() }),
        ("not both", WeightedSum { checks: "0123456789X".into(), remainders: vec![1], ..usable() }),
        ("`remainders`", WeightedSum { remainders: vec![11], ..usable() }),
        ("`checks`", WeightedSum { checks: "0123456789XY".into(), ..usable() }),
        ("`values`", WeightedSum { values: "0123".into(), ..usable() }),
    ];
    for (part, sum) in refused {
        let fault = check(r"\d{6}", sum.clone());
        assert!(fault.is_some_and(|fault| fault.contains(part)), "{part}: {sum:?} {fault:?}");
    }
}
