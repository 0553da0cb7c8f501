//! Values of each family, generated here, must all be replaced, whatever surrounds their line. A family without a
//! generator fails the test.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::SearchScratch;
use super::super::rule::RuleFamily;
use super::properties::{Random, spliced};
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

/// Generates a value of a family.
fn made(family: RuleFamily, random: &mut Random) -> Made {
    let groups = [made_person, made_money, made_id, made_device, made_secret];
    groups.iter().find_map(|made| made(family, random)).unwrap_or_else(|| panic!("{family:?} is not made"))
}

/// Generates names, mail addresses and postal addresses.
fn made_person(family: RuleFamily, random: &mut Random) -> Option<Made> {
    let first = random.pick(&["Jennifer", "Gabriela", "Thomas", "Miguel", "Aisha"]).to_owned();
    let last = random.pick(&["Okonkwo", "Quesadero", "Lindqvist", "Hernandez"]).to_owned();
    let made = match family {
        RuleFamily::Email => {
            let value =
                format!("{}.{}@{}.example.com", some(random, 4, LOWER), some(random, 5, LOWER), some(random, 5, LOWER));
            of("mail ", value, " now")
        }
        RuleFamily::NameIntroduced => of("my name is ", format!("{first} {last}"), " and I wait"),
        RuleFamily::NameCued => of("for customer ", format!("{first} {last}"), " today"),
        RuleFamily::NameGreeted => of("Dear ", first, ","),
        RuleFamily::NameSigned => of("Best regards,\n", format!("{first} {last}"), ""),
        RuleFamily::NameRecord => of("BEGIN:VCARD\nN:", last, ";;;;\nEND:VCARD"),
        RuleFamily::NameMail => of("ask ", format!("{first} {last}"), " <x@example.com>"),
        RuleFamily::NameRepeated => of("{\"last_name\":\"Quesadero\"} then ", "Quesadero".to_owned(), " left"),
        RuleFamily::NameListed => of("the talk by ", format!("{first} {last}"), " was good"),
        RuleFamily::NameCjk => of("患者", "王小明".to_owned(), "先生"),
        RuleFamily::Street => of("ship to ", format!("{} {} Street", 1 + random.below(9_000), last), " today"),
        RuleFamily::PostBox => of("write to ", format!("P.O. Box {}", number(random, 4)), " please"),
        RuleFamily::PhoneInternational => of("ring ", format!("+49 30 9{}", some(random, 6, DIGITS)), " now"),
        RuleFamily::PhoneNational => of(
            "or ",
            format!("({}) {}-{}", 212 + random.below(7), 234 + random.below(700), some(random, 4, DIGITS)),
            " now",
        ),
        RuleFamily::PhoneCued => of("phone: ", format!("41555{}", number(random, 5)), ""),
        RuleFamily::Birth => {
            of("born on ", format!("{}/{}/19{}", 1 + random.below(12), 1 + random.below(28), 40 + random.below(60)), "")
        }
        _ => return None,
    };
    Some(made)
}

/// Generates cards, accounts and wallets.
fn made_money(family: RuleFamily, random: &mut Random) -> Option<Made> {
    let made = match family {
        RuleFamily::Card => of("paid with ", card(random), " today"),
        RuleFamily::CardCued => of(
            "card number: ",
            until(random, |random| format!("4{}", some(random, 15, DIGITS)), |text| !luhn(text)),
            "",
        ),
        RuleFamily::CardCode => of("cvv ", number(random, 3), ""),
        RuleFamily::CardExpiry => of("exp date ", format!("0{}/{}", 1 + random.below(9), 27 + random.below(9)), ""),
        RuleFamily::Iban => {
            let body = some(random, 18, DIGITS);
            of("to ", format!("DE{:02}{body}", 98 - mod_97(&format!("{body}DE00"))), " please")
        }
        RuleFamily::Upi => {
            of("pay to ", format!("{}{}@okaxis", some(random, 6, LOWER), some(random, 2, DIGITS)), " now")
        }
        RuleFamily::OneTimeCode => of("your code is ", number(random, 6), ""),
        RuleFamily::Account => of("account number: ", number(random, 10), ""),
        RuleFamily::Swift => of("SWIFT: ", format!("{}DEFF", some(random, 4, UPPER)), ""),
        RuleFamily::Routing => of(
            "routing number ",
            until(
                random,
                |random| format!("0{}{}", 1 + random.below(9), some(random, 7, DIGITS)),
                |text| weighted(text, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10),
            ),
            "",
        ),
        RuleFamily::Wallet => of("to ", format!("0x{}", some(random, 40, HEX)), " today"),
        _ => return None,
    };
    Some(made)
}

/// Generates national and medical ids.
fn made_id(family: RuleFamily, random: &mut Random) -> Option<Made> {
    let made = match family {
        RuleFamily::Ssn => of(
            "on file ",
            format!("{}-{}-{}", 219 + random.below(300), 10 + random.below(80), 1000 + random.below(9000)),
            "",
        ),
        RuleFamily::SsnCued => {
            of("ssn=", format!("{}{}{}", 219 + random.below(300), 10 + random.below(80), 1000 + random.below(9000)), "")
        }
        RuleFamily::TaxShape => of(
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
        RuleFamily::TaxCued => of("EIN ", format!("{}-{}", 20 + random.below(8), number(random, 7)), ""),
        RuleFamily::NationalShape => {
            let body = number(random, 8);
            let check = b"TRWAGMYFPDXBNJZSQVHLCKE"[body.parse::<usize>().unwrap_or(0) % 23];
            of("DNI ", format!("{body}{}", char::from(check)), "")
        }
        RuleFamily::NationalCued => of(
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
        RuleFamily::Passport => of("passport no. ", format!("{}{}", some(random, 1, UPPER), number(random, 8)), ""),
        RuleFamily::License => {
            of("the driver license number is ", format!("{}{}", some(random, 1, UPPER), number(random, 7)), "")
        }
        RuleFamily::MedicalShape => {
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
        RuleFamily::MedicalCued => of("MRN: ", number(random, 8), ""),
        _ => return None,
    };
    Some(made)
}

/// Generates values of devices, networks and vehicles.
fn made_device(family: RuleFamily, random: &mut Random) -> Option<Made> {
    let made = match family {
        RuleFamily::Ipv4 => of("peer ", format!("203.0.113.{}", 1 + random.below(254)), " left"),
        RuleFamily::Ipv6 => of("from ", format!("2606:4700:{}::{}", some(random, 4, HEX), 1 + random.below(9)), " ok"),
        RuleFamily::Mac => of(
            "from ",
            format!(
                "02:1a:{}",
                [some(random, 2, HEX), some(random, 2, HEX), some(random, 2, HEX), "9f".to_owned()].join(":")
            ),
            "",
        ),
        RuleFamily::Device => of("imei: ", until(random, |random| format!("49{}", some(random, 13, DIGITS)), luhn), ""),
        RuleFamily::Vin => of(
            "car ",
            until(random, |random| format!("1HGCM8263{}A{}", some(random, 1, DIGITS), number(random, 6)), vin),
            " sold",
        ),
        RuleFamily::VehicleCued => {
            of("license plate: ", format!("{}-{}", some(random, 3, UPPER), number(random, 4)), "")
        }
        _ => return None,
    };
    Some(made)
}

/// Generates credentials behind keys, in headers and in URLs.
fn made_secret(family: RuleFamily, random: &mut Random) -> Option<Made> {
    let made = match family {
        RuleFamily::Password => of("DB_PASSWORD=", token(random, 8), ""),
        RuleFamily::SecretValue => of("\"api_key\": \"", token(random, 20), "\""),
        RuleFamily::HeaderCredentials => of("Authorization: Token ", token(random, 12), ""),
        RuleFamily::BasicCredentials => of("curl -u ", format!("bob:{}", token(random, 4)), " https://example.com/"),
        RuleFamily::Cookie => of("Set-Cookie: sid=", token(random, 10), "; Path=/; HttpOnly"),
        RuleFamily::AwsSecret => of("keys for aws: ", token(random, 35), ""),
        RuleFamily::AzureKey => of("found ", format!("abc8Q~{}", token(random, 27)), " there"),
        RuleFamily::WebUserinfo => of("proxy http://", format!("bob:{}", token(random, 5)), "@proxy:3128"),
        RuleFamily::Userinfo => of("postgres://", format!("app:{}", token(random, 5)), "@db.example.net:5432/x"),
        RuleFamily::KeyBlock => {
            of("", format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", token(random, 50)), "")
        }
        RuleFamily::ProviderValue => of("datadog ", some(random, 24, HEX) + "0a1b2c3d", ""),
        RuleFamily::TelegramToken => of("bot ", format!("{}:AA{}", number(random, 9), token(random, 28)), ""),
        RuleFamily::MarkedToken => of("vault token ", format!("s.{}", token(random, 19)), " of old"),
        RuleFamily::MailchimpKey => {
            of("key ", format!("{}0a1b2c3d-us{}", some(random, 24, HEX), 1 + random.below(20)), "")
        }
        RuleFamily::DiscordToken => {
            of("bot ", format!("MT{}.G{}.{}", token(random, 19), some(random, 5, MIXED), token(random, 25)), "")
        }
        RuleFamily::PasswordHash => of("hash ", format!("$2y$10${}", token(random, 48)), ""),
        RuleFamily::HostedWebhook => {
            of("post to ", format!("https://acme.webhook.office.com/webhookb2/{}", token(random, 30)), "")
        }
        RuleFamily::SeedPhrase => {
            // Words of a wallet that prose also uses
            let own =
                ["all", "between", "can", "more", "must", "other", "used", "use", "very", "where", "zoo", "sausage"];
            let joint = [" ", ", ", "\n", "', '", "',\n      '"][random.below(5)];
            let words = (0..[12, 18, 24, 36][random.below(4)]).map(|_| own[random.below(own.len())]);
            of("seed phrase: '", words.collect::<Vec<_>>().join(joint), "'")
        }
        RuleFamily::Entropy => of("here is my API key ", token(random, 25), " thanks"),
        _ => return None,
    };
    Some(made)
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

/// The families of the rules. (`tests/keys_kept.rs` and `keys/tests.rs` have those of keys.)
static FAMILIES: LazyLock<Vec<RuleFamily>> = LazyLock::new(|| {
    let all = rules().into_iter().filter_map(|rule| rule.family);
    all.filter(|family| *family != RuleFamily::Keys).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Completeness: a generated value is replaced whole on its line, whatever the other lines are.
    #[test]
    fn what_references_make_is_hidden(seed in any::<u64>()) {
        let (all, mut random, mut scratch) = (detector(), Random::new(seed), SearchScratch::new());
        for family in FAMILIES.iter() {
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
}
