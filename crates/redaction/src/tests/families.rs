//! Compares the families with naive references: values generated here must all be replaced, whatever surrounds their
//! line, and findings in random and real texts must satisfy the reference. Both are exhaustive matches, so a new family
//! does not compile without its reference.

use proptest::prelude::*;

use super::super::rule::Family;
use super::super::{Detector, Scratch};
use super::properties::{Random, sources, spliced};
use super::{detector, rules};

const DIGITS: &str = "0123456789";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHJKLMNPQRSTUVWXYZ";
const HEX: &str = "0123456789abcdef";
const MIXED: &str = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789";

fn some(random: &mut Random, count: usize, from: &str) -> String {
    (0..count).map(|_| char::from(from.as_bytes()[random.below(from.len())])).collect()
}

/// A random token that can't be read as words: letters of both cases and digits.
fn token(random: &mut Random, count: usize) -> String {
    let mixed = some(random, count, MIXED);
    format!("{}4K7q9{}", &mixed[..count / 2], &mixed[count / 2..])
}

fn number(random: &mut Random, count: usize) -> String {
    format!("{}{}", 1 + random.below(9), some(random, count - 1, DIGITS))
}

/// Luhn check, in a simple implementation.
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte - b'0') * if at % 2 == 1 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064 mod 97 of a text.
fn mod_97(text: &str) -> u32 {
    text.chars()
        .filter_map(|c| c.to_digit(36))
        .flat_map(|value| value.to_string().into_bytes())
        .fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97)
}

fn weighted(digits: &str, weights: &[u32]) -> u32 {
    digits.bytes().zip(weights).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum()
}

/// Repeats `make` until the result fits.
fn until(random: &mut Random, make: impl Fn(&mut Random) -> String, fits: impl Fn(&str) -> bool) -> String {
    loop {
        let made = make(random);
        if fits(&made) {
            return made;
        }
    }
}

fn card(random: &mut Random) -> String {
    until(random, |random| format!("4{}", some(random, 15, DIGITS)), luhn)
}

/// The text that announces a value, the value, and the text behind it.
type Made = (String, String, String);

fn of(before: &str, value: String, behind: &str) -> Made {
    (before.to_owned(), value, behind.to_owned())
}

/// Generates a value of a family. The match is exhaustive; each function below handles one group of families.
fn made(family: Family, random: &mut Random) -> Made {
    let first =
        (*["Jennifer", "Gabriela", "Thomas", "Miguel", "Aisha"].get(random.below(5)).unwrap_or(&"Emma")).to_owned();
    let last =
        (*["Okonkwo", "Quesadero", "Lindqvist", "Hernandez"].get(random.below(4)).unwrap_or(&"Meyer")).to_owned();
    match family {
        Family::Email
        | Family::Keys
        | Family::NameIntroduced
        | Family::NameCued
        | Family::NameGreeted
        | Family::NameSigned
        | Family::NameRecord
        | Family::NameMail
        | Family::NameCarried
        | Family::NameListed
        | Family::NameEastern
        | Family::Street
        | Family::PostBox
        | Family::PhoneInternational
        | Family::PhoneNational
        | Family::PhoneCued
        | Family::Birth => made_person(family, random, first, last),
        Family::Card
        | Family::CardCued
        | Family::CardCode
        | Family::CardExpiry
        | Family::Iban
        | Family::Upi
        | Family::OneTimeCode
        | Family::Account
        | Family::Swift
        | Family::Routing
        | Family::Wallet => made_money(family, random),
        Family::Ssn
        | Family::SsnCued
        | Family::TaxShape
        | Family::TaxCued
        | Family::NationalShape
        | Family::NationalCued
        | Family::Passport
        | Family::License
        | Family::MedicalShape
        | Family::MedicalCued => made_id(family, random),
        Family::Ipv4 | Family::Ipv6 | Family::Mac | Family::Device | Family::Vin | Family::VehicleCued => {
            made_device(family, random)
        }
        Family::Password
        | Family::SecretValue
        | Family::HeaderCredentials
        | Family::BasicCredentials
        | Family::Cookie
        | Family::AwsSecret
        | Family::AzureKey
        | Family::WebUserinfo
        | Family::Userinfo
        | Family::KeyBlock
        | Family::ProviderValue
        | Family::TelegramToken
        | Family::MarkedToken
        | Family::MailchimpKey
        | Family::DiscordToken
        | Family::PasswordHash
        | Family::HostedWebhook
        | Family::SeedPhrase
        | Family::Entropy => made_secret(family, random),
        Family::Recognised => unreachable!("nobody here searches for it"),
    }
}

/// Generates names, mail addresses and postal addresses.
fn made_person(family: Family, random: &mut Random, first: String, last: String) -> Made {
    match family {
        Family::Email => {
            let value =
                format!("{}.{}@{}.example.com", some(random, 4, LOWER), some(random, 5, LOWER), some(random, 5, LOWER));
            of("mail ", value, " now")
        }
        Family::Keys => of(
            "{\"date_of_birth\":\"",
            format!("19{}-0{}-1{}", 40 + random.below(60), 1 + random.below(9), random.below(10)),
            "\"}",
        ),
        Family::NameIntroduced => of("my name is ", format!("{first} {last}"), " and I wait"),
        Family::NameCued => of("for customer ", format!("{first} {last}"), " today"),
        Family::NameGreeted => of("Dear ", first, ","),
        Family::NameSigned => of("Best regards,\n", format!("{first} {last}"), ""),
        Family::NameRecord => of("BEGIN:VCARD\nN:", last, ";;;;\nEND:VCARD"),
        Family::NameMail => of("ask ", format!("{first} {last}"), " <x@example.com>"),
        Family::NameCarried => of("{\"last_name\":\"Quesadero\"} then ", "Quesadero".to_owned(), " left"),
        Family::NameListed => of("the talk by ", format!("{first} {last}"), " was good"),
        Family::NameEastern => of("患者", "王小明".to_owned(), "先生"),
        Family::Street => of("ship to ", format!("{} {} Street", 1 + random.below(9_000), last), " today"),
        Family::PostBox => of("write to ", format!("P.O. Box {}", number(random, 4)), " please"),
        Family::PhoneInternational => of("ring ", format!("+49 30 9{}", some(random, 6, DIGITS)), " now"),
        Family::PhoneNational => of(
            "or ",
            format!("({}) {}-{}", 212 + random.below(7), 234 + random.below(700), some(random, 4, DIGITS)),
            " now",
        ),
        Family::PhoneCued => of("phone: ", format!("41555{}", number(random, 5)), ""),
        Family::Birth => {
            of("born on ", format!("{}/{}/19{}", 1 + random.below(12), 1 + random.below(28), 40 + random.below(60)), "")
        }
        _ => unreachable!("{family:?} is made elsewhere"),
    }
}

/// Generates cards, accounts and wallets.
fn made_money(family: Family, random: &mut Random) -> Made {
    match family {
        Family::Card => of("paid with ", card(random), " today"),
        Family::CardCued => of(
            "card number: ",
            until(random, |random| format!("4{}", some(random, 15, DIGITS)), |text| !luhn(text)),
            "",
        ),
        Family::CardCode => of("cvv ", number(random, 3), ""),
        Family::CardExpiry => of("exp date ", format!("0{}/{}", 1 + random.below(9), 27 + random.below(9)), ""),
        Family::Iban => {
            let body = some(random, 18, DIGITS);
            of("to ", format!("DE{:02}{body}", 98 - mod_97(&format!("{body}DE00"))), " please")
        }
        Family::Upi => of("pay to ", format!("{}{}@okaxis", some(random, 6, LOWER), some(random, 2, DIGITS)), " now"),
        Family::OneTimeCode => of("your code is ", number(random, 6), ""),
        Family::Account => of("account number: ", number(random, 10), ""),
        Family::Swift => of("SWIFT: ", format!("{}DEFF", some(random, 4, UPPER)), ""),
        Family::Routing => of(
            "routing number ",
            until(
                random,
                |random| format!("0{}{}", 1 + random.below(9), some(random, 7, DIGITS)),
                |text| weighted(text, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10),
            ),
            "",
        ),
        Family::Wallet => of("to ", format!("0x{}", some(random, 40, HEX)), " today"),
        _ => unreachable!("{family:?} is made elsewhere"),
    }
}

/// Generates national and medical ids.
fn made_id(family: Family, random: &mut Random) -> Made {
    match family {
        Family::Ssn => of(
            "on file ",
            format!("{}-{}-{}", 219 + random.below(300), 10 + random.below(80), 1000 + random.below(9000)),
            "",
        ),
        Family::SsnCued => {
            of("ssn=", format!("{}{}{}", 219 + random.below(300), 10 + random.below(80), 1000 + random.below(9000)), "")
        }
        Family::TaxShape => of(
            "pan ",
            format!(
                "{}P{}{}{}",
                some(random, 3, UPPER),
                some(random, 1, UPPER),
                number(random, 4),
                some(random, 1, UPPER)
            ),
            "",
        ),
        Family::TaxCued => of("EIN ", format!("{}-{}", 20 + random.below(8), number(random, 7)), ""),
        Family::NationalShape => {
            let body = number(random, 8);
            let check = b"TRWAGMYFPDXBNJZSQVHLCKE"[body.parse::<usize>().unwrap_or(0) % 23];
            of("DNI ", format!("{body}{}", char::from(check)), "")
        }
        Family::NationalCued => of(
            "\"national_id\": \"",
            until(
                random,
                |random| format!("85{}", some(random, 9, DIGITS)),
                |text| {
                    let sum = weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
                    (10 - sum % 10) % 10 == u32::from(text.as_bytes()[10] - b'0')
                },
            ),
            "\"",
        ),
        Family::Passport => of("passport no. ", format!("{}{}", some(random, 1, UPPER), number(random, 8)), ""),
        Family::License => {
            of("the driver license number is ", format!("{}{}", some(random, 1, UPPER), number(random, 7)), "")
        }
        Family::MedicalShape => {
            let digits = until(
                random,
                |random| number(random, 10),
                |text| {
                    let rest = 11 - weighted(text, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
                    rest % 11 == u32::from(text.as_bytes()[9] - b'0') && rest != 10
                },
            );
            of("NHS number ", format!("{} {} {}", &digits[..3], &digits[3..6], &digits[6..]), "")
        }
        Family::MedicalCued => of("MRN: ", number(random, 8), ""),
        _ => unreachable!("{family:?} is made elsewhere"),
    }
}

/// Generates values of devices, networks and vehicles.
fn made_device(family: Family, random: &mut Random) -> Made {
    match family {
        Family::Ipv4 => of("peer ", format!("203.0.113.{}", 1 + random.below(254)), " left"),
        Family::Ipv6 => of("from ", format!("2606:4700:{}::{}", some(random, 4, HEX), 1 + random.below(9)), " ok"),
        Family::Mac => of(
            "from ",
            format!(
                "02:1a:{}",
                [some(random, 2, HEX), some(random, 2, HEX), some(random, 2, HEX), "9f".to_owned()].join(":")
            ),
            "",
        ),
        Family::Device => of("imei: ", until(random, |random| format!("49{}", some(random, 13, DIGITS)), luhn), ""),
        Family::Vin => of(
            "car ",
            until(random, |random| format!("1HGCM8263{}A{}", some(random, 1, DIGITS), number(random, 6)), vin),
            " sold",
        ),
        Family::VehicleCued => of("license plate: ", format!("{}-{}", some(random, 3, UPPER), number(random, 4)), ""),
        _ => unreachable!("{family:?} is made elsewhere"),
    }
}

/// Generates credentials behind keys, in headers and in URLs.
fn made_secret(family: Family, random: &mut Random) -> Made {
    match family {
        Family::Password => of("DB_PASSWORD=", token(random, 8), ""),
        Family::SecretValue => of("\"api_key\": \"", token(random, 20), "\""),
        Family::HeaderCredentials => of("Authorization: Token ", token(random, 12), ""),
        Family::BasicCredentials => of("curl -u ", format!("bob:{}", token(random, 4)), " https://example.com/"),
        Family::Cookie => of("Set-Cookie: sid=", token(random, 10), "; Path=/; HttpOnly"),
        Family::AwsSecret => of("keys for aws: ", token(random, 35), ""),
        Family::AzureKey => of("found ", format!("abc8Q~{}", token(random, 27)), " there"),
        Family::WebUserinfo => of("proxy http://", format!("bob:{}", token(random, 5)), "@proxy:3128"),
        Family::Userinfo => of("postgres://", format!("app:{}", token(random, 5)), "@db.example.net:5432/x"),
        Family::KeyBlock => {
            of("", format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", token(random, 50)), "")
        }
        Family::ProviderValue => of("datadog ", some(random, 24, HEX) + "0a1b2c3d", ""),
        Family::TelegramToken => of("bot ", format!("{}:AA{}", number(random, 9), token(random, 28)), ""),
        Family::MarkedToken => of("vault token ", format!("s.{}", token(random, 19)), " of old"),
        Family::MailchimpKey => of("key ", format!("{}0a1b2c3d-us{}", some(random, 24, HEX), 1 + random.below(20)), ""),
        Family::DiscordToken => {
            of("bot ", format!("MT{}.G{}.{}", token(random, 19), some(random, 5, MIXED), token(random, 25)), "")
        }
        Family::PasswordHash => of("hash ", format!("$2y$10${}", token(random, 48)), ""),
        Family::HostedWebhook => {
            of("post to ", format!("https://acme.webhook.office.com/webhookb2/{}", token(random, 30)), "")
        }
        Family::SeedPhrase => {
            // Words of a wallet that prose also uses
            let own =
                ["all", "between", "can", "more", "must", "other", "used", "use", "very", "where", "zoo", "sausage"];
            let joint = [" ", ", ", "\n", "', '", "',\n      '"][random.below(5)];
            let words = (0..[12, 18, 24, 36][random.below(4)]).map(|_| own[random.below(own.len())]);
            of("seed phrase: '", words.collect::<Vec<_>>().join(joint), "'")
        }
        Family::Entropy => of("here is my API key ", token(random, 25), " thanks"),
        _ => unreachable!("{family:?} is made elsewhere"),
    }
}

/// VIN check digit, by the table of letter values.
fn vin(text: &str) -> bool {
    let value = |c: char| {
        "0123456789.ABCDEFGH..JKLMN.P.R..STUVWXYZ".find(c).map_or(0, |at| u32::try_from(at % 10).unwrap_or(0))
    };
    let weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let sum: u32 = text.chars().zip(weights).map(|(c, weight)| value(c) * weight).sum();
    text.chars().nth(8) == Some(if sum % 11 == 10 { 'X' } else { char::from_digit(sum % 11, 10).unwrap_or('?') })
}

fn may_be_iban(compact: &str, before: &str) -> bool {
    mod_97(&format!("{}{}", compact.get(4..).unwrap_or(""), compact.get(..4).unwrap_or("").to_uppercase())) == 1
        || compact.get(4..8).is_some_and(|bank| bank == "TEST")
        // A key for IBANs is trusted
        || before.to_lowercase().contains("iban")
}

/// Whether a finding of a family is plausible, given the text before and behind it.
fn may_be(family: Family, found: &str, before: &str, behind: &str) -> bool {
    let digits: String = found.chars().filter(char::is_ascii_digit).collect();
    let letters = found.chars().filter(|c| c.is_alphabetic()).count();
    let compact: String = found.chars().filter(|c| c.is_alphanumeric()).collect();
    let within = |range: std::ops::RangeInclusive<usize>| range.contains(&digits.len());
    match family {
        // The second list item of a split address
        Family::Email => {
            found.contains('@') || found.contains('＠') || (before.contains('@') && before.ends_with(['"', '\'']))
        }
        Family::NameIntroduced
        | Family::NameCued
        | Family::NameGreeted
        | Family::NameSigned
        | Family::NameRecord
        | Family::NameMail
        | Family::NameCarried
        | Family::NameEastern
        | Family::NameListed => letters >= 2,
        Family::Keys | Family::Password | Family::SecretValue | Family::HeaderCredentials | Family::Cookie => {
            !found.is_empty()
        }
        Family::Street => letters >= 2 && (!digits.is_empty() || found.contains('#')),
        Family::PostBox => within(1..=12),
        Family::PhoneInternational => {
            within(8..=20) && (found.starts_with('+') || found.starts_with("00") || before.ends_with('+'))
        }
        Family::PhoneNational => within(7..=18),
        Family::PhoneCued => within(6..=20),
        // A stripe's track begins with its card number
        Family::Card if found.contains(['^', '=']) => {
            found.split(['^', '=']).next().is_some_and(|card| (12..=19).contains(&card.len()) && luhn(card))
        }
        Family::Card => within(12..=19) && luhn(&digits),
        Family::CardCued => within(12..=19),
        Family::CardCode => within(3..=4) && letters == 0,
        Family::CardExpiry => within(3..=6),
        Family::Iban => may_be_iban(&compact, before),
        Family::Account | Family::MedicalCued | Family::Passport | Family::VehicleCued => within(1..=40),
        Family::Upi => found.contains('@') && !found.contains(' '),
        Family::OneTimeCode => within(3..=8) && compact.len() <= 9,
        Family::Swift => matches!(compact.len(), 8 | 11),
        Family::Routing => within(6..=9),
        Family::Wallet => compact.len() >= 26,
        Family::Ssn | Family::SsnCued => within(9..=9),
        Family::TaxShape | Family::TaxCued => within(2..=18) && compact.len() >= 7,
        Family::NationalShape | Family::NationalCued => within(5..=20) && compact.len() >= 7,
        Family::License => within(3..=20),
        Family::MedicalShape => compact.len() >= 9,
        Family::Birth => within(4..=8) || (letters >= 3 && within(2..=6)),
        Family::Ipv4 => found.parse::<std::net::Ipv4Addr>().is_ok() || found.contains(':'),
        Family::Ipv6 => found.split('%').next().is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        Family::Mac => compact.len() == 12 && compact.chars().all(|c| c.is_ascii_hexdigit()),
        Family::Device => within(4..=32),
        Family::Vin => compact.len() == 17 && vin(&compact.to_uppercase()),
        Family::BasicCredentials
        | Family::AwsSecret
        | Family::AzureKey
        | Family::WebUserinfo
        | Family::Userinfo
        | Family::KeyBlock
        | Family::ProviderValue
        | Family::TelegramToken
        | Family::MarkedToken
        | Family::MailchimpKey
        | Family::DiscordToken
        | Family::PasswordHash
        | Family::SeedPhrase
        | Family::HostedWebhook
        | Family::Entropy => may_be_credential(family, found, before, behind),
        Family::Recognised => false,
    }
}

/// Like [`may_be`], for credentials recognised by shape or position.
fn may_be_credential(family: Family, found: &str, before: &str, behind: &str) -> bool {
    let compact: String = found.chars().filter(|c| c.is_alphanumeric()).collect();
    match family {
        Family::BasicCredentials => found.contains(':') || compact.len() >= 4,
        Family::AwsSecret => found.len() >= 20,
        Family::AzureKey => found.len() >= 16,
        Family::WebUserinfo | Family::Userinfo => behind.starts_with('@') || behind.starts_with("%40"),
        Family::KeyBlock => {
            // In a PuTTY key file, only the private lines
            found.contains("BEGIN")
                || found.contains("END ")
                || found.contains("PuTTY")
                || before.contains("Private-Lines:")
        }
        Family::ProviderValue => found.len() >= 16,
        Family::TelegramToken => found.contains(':'),
        Family::MarkedToken => found.contains('|') || found.contains("atlasv1") || lettered(found),
        Family::MailchimpKey => found.contains("-us"),
        Family::DiscordToken => found.matches('.').count() == 2,
        Family::PasswordHash => found.starts_with(['$', '*']) || found.starts_with("pbkdf2_"),
        Family::SeedPhrase => found.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).count() >= 12,
        Family::HostedWebhook => found.contains("://"),
        Family::Entropy => found.len() >= 20,
        _ => unreachable!("{family:?} is judged elsewhere"),
    }
}

/// Tokens of Vault, PagerDuty and Google that begin with a letter or digit and a sign.
fn lettered(found: &str) -> bool {
    ["s.", "u+", "1//0"].iter().any(|prefix| found.starts_with(prefix))
}

/// Each family rule with its own engine.
fn alone() -> &'static [(Family, Detector)] {
    static ALONE: std::sync::LazyLock<Vec<(Family, Detector)>> = std::sync::LazyLock::new(|| {
        let one = |mut rule: super::RuleData| {
            rule.on = true;
            let family = rule.family.filter(|family| *family != Family::Keys)?;
            let engine =
                Detector::new(std::slice::from_ref(&rule), &[]).map_err(|errors| errors.len()).expect("compiles");
            Some((family, engine))
        };
        rules().into_iter().filter_map(one).collect()
    });
    &ALONE
}

/// Each family has a rule and a reference that accepts its own values.
#[test]
fn each_family_is_looked_at() {
    assert!(alone().len() > 50, "{}", alone().len());
    for (family, _) in alone() {
        let (before, value, behind) = made(*family, &mut Random::new(7));
        assert!(may_be(*family, &value, &before, &behind), "{family:?}: {value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Completeness: a generated value is replaced whole on its line, whatever the other lines are.
    #[test]
    fn what_references_make_is_hidden(seed in any::<u64>()) {
        let (all, mut random, mut scratch) = (detector(), Random::new(seed), Scratch::new());
        for (family, _) in alone() {
            let (before, value, behind) = made(*family, &mut random);
            let mut around = || -> String {
                let text: String = spliced(&mut random).chars().take(100).collect();
                text.replace(['"', '\'', '`', '\\', '[', '|', '<', '%', '='], " ")
            };
            let (above, below) = (around(), around());
            let text = format!("{above}\n\n{before}{value}{behind}\n\n{below}");
            let at = above.len() + 2 + before.len();
            let hits = all.find(&text, &mut scratch);
            let bare = |at: &usize| !hits.iter().any(|hit| hit.range.contains(at));
            let left = (at..at + value.len()).filter(|at| text.as_bytes()[*at].is_ascii_alphanumeric()).find(bare);
            prop_assert!(left.is_none(), "{:?}: {} in {:?}", family, value, text);
        }
    }

    /// Soundness: every finding of a family alone in spliced texts satisfies the reference.
    #[test]
    fn what_is_found_is_what_it_may_be(seed in any::<u64>()) {
        let (mut random, mut scratch) = (Random::new(seed), Scratch::new());
        for (family, engine) in alone() {
            // Without escapes, because the reference would see the encoded text
            let text: String = spliced(&mut random).replace(['\\', '%', '&', '=', '\u{200b}'], " ");
            sound(*family, engine, &text, &mut scratch).map_err(TestCaseError::fail)?;
        }
    }
}

fn sound(family: Family, engine: &Detector, text: &str, scratch: &mut Scratch) -> Result<(), String> {
    for hit in engine.find(text, scratch) {
        let (found, before, behind) = (&text[hit.range.clone()], &text[..hit.range.start], &text[hit.range.end..]);
        if engine.placeholder(hit) != "[UNSCANNED]" && found.is_ascii() && !may_be(family, found, before, behind) {
            return Err(format!("{family:?}: {found:?} in {text:?}"));
        }
    }
    Ok(())
}

/// The same for each example and for real texts.
#[test]
fn examples_and_real_texts_are_what_they_may_be() {
    let mut scratch = Scratch::new();
    for text in sources().iter().filter(|text| !text.contains(['\\', '%', '&', '='])) {
        for (family, engine) in alone() {
            sound(*family, engine, text, &mut scratch).unwrap_or_else(|gap| panic!("{gap}"));
        }
    }
}
