//! Values of each family, generated here, must all be replaced, whatever surrounds their line. A family without a
//! generator fails the test.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::SearchScratch;
use super::super::rule::RuleFamily;
use super::super::validate::bank::is_iban;
use super::super::validate::checksums::has_valid_luhn;
use super::properties::{Random, spliced};
use super::{detector, rules};

const DIGITS: &str = "0123456789";
const MIXED: &str = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// A «value» of each family, with the text that announces it and the text behind it. `drawn` explains the ‹slots›.
const VALUES: &[(RuleFamily, &str)] = &[
    // Names, mail addresses and postal addresses
    (RuleFamily::Email, "mail «‹l4›.‹l5›@‹l5›.example.com» now"),
    (RuleFamily::NameIntroduced, "my name is «‹first› ‹last›» and I wait"),
    (RuleFamily::NameCued, "for customer «‹first› ‹last›» today"),
    (RuleFamily::NameGreeted, "Dear «‹first›»,"),
    (RuleFamily::NameSigned, "Best regards,\n«‹first› ‹last›»"),
    (RuleFamily::NameMail, "ask «‹first› ‹last›» <x@example.com>"),
    (RuleFamily::NameRepeated, "{\"last_name\":\"Quesadero\"} then «Quesadero» left"),
    (RuleFamily::NameListed, "the talk by «‹first› ‹last›» was good"),
    (RuleFamily::NameCjk, "患者«王小明»先生"),
    (RuleFamily::Street, "ship to «‹1-9000› ‹last› Street» today"),
    (RuleFamily::PostBox, "write to «P.O. Box ‹n4›» please"),
    (RuleFamily::PhoneInternational, "ring «+49 30 9‹d6›» now"),
    (RuleFamily::PhoneNational, "or «(‹212-218›) ‹234-933›-‹d4›» now"),
    (RuleFamily::PhoneCued, "phone: «41555‹n5›»"),
    (RuleFamily::Birth, "born on «‹1-12›/‹1-28›/19‹40-99›»"),
    // Cards, accounts and wallets
    (RuleFamily::Card, "paid with «4‹d15›» today"),
    (RuleFamily::CardCued, "card number: «4‹d15›»"),
    (RuleFamily::CardCode, "cvv «‹n3›»"),
    (RuleFamily::CardExpiry, "exp date «0‹1-9›/‹27-35›»"),
    (RuleFamily::Iban, "to «DE‹d20›» please"),
    (RuleFamily::Upi, "pay to «‹l6›‹d2›@okaxis» now"),
    (RuleFamily::OneTimeCode, "your code is «‹n6›»"),
    (RuleFamily::Account, "account number: «‹n10›»"),
    (RuleFamily::Swift, "SWIFT: «‹u4›DEFF»"),
    (RuleFamily::Routing, "routing number «0‹n8›»"),
    (RuleFamily::Wallet, "to «0x‹h40›» today"),
    // National and medical ids
    (RuleFamily::Ssn, "on file «‹219-518›-‹10-89›-‹1000-9999›»"),
    (RuleFamily::SsnCued, "ssn=«‹219-518›‹10-89›‹1000-9999›»"),
    (RuleFamily::TaxShape, "pan «‹u3›P‹u1›‹n4›‹u1›»"),
    (RuleFamily::TaxCued, "EIN «‹20-27›-‹n7›»"),
    (RuleFamily::NationalShape, "DNI «‹n8›‹u1›»"),
    (RuleFamily::NationalCued, "\"national_id\": \"«85‹d9›»\""),
    (RuleFamily::Passport, "passport no. «‹u1›‹n8›»"),
    (RuleFamily::License, "the driver license number is «‹u1›‹n7›»"),
    (RuleFamily::MedicalShape, "NHS number «‹n3› ‹d3› ‹d4›»"),
    (RuleFamily::MedicalCued, "MRN: «‹n8›»"),
    // Devices, networks and vehicles
    (RuleFamily::Ipv4, "peer «203.0.113.‹1-254›» left"),
    (RuleFamily::Ipv6, "from «2606:4700:‹h4›::‹1-9›» ok"),
    (RuleFamily::Mac, "from «02:1a:‹h2›:‹h2›:‹h2›:9f»"),
    (RuleFamily::Device, "imei: «49‹d13›»"),
    (RuleFamily::Vin, "car «1HGCM8263‹d1›A‹n6›» sold"),
    (RuleFamily::VehicleCued, "license plate: «‹u3›-‹n4›»"),
    // Credentials behind keys, in headers and in URLs
    (RuleFamily::Password, "DB_PASSWORD=«‹t8›»"),
    (RuleFamily::SecretValue, "\"api_key\": \"«‹t20›»\""),
    (RuleFamily::HeaderCredentials, "Authorization: Token «‹t12›»"),
    (RuleFamily::BasicCredentials, "curl -u «bob:‹t4›» https://example.com/"),
    (RuleFamily::Cookie, "Set-Cookie: sid=«‹t10›»; Path=/; HttpOnly"),
    (RuleFamily::AwsSecret, "keys for aws: «‹t35›»"),
    (RuleFamily::AzureKey, "found «abc8Q~‹t27›» there"),
    (RuleFamily::WebUserinfo, "proxy http://«bob:‹t5›»@proxy:3128"),
    (RuleFamily::Userinfo, "postgres://«app:‹t5›»@db.example.net:5432/x"),
    (RuleFamily::KeyBlock, "«-----BEGIN PRIVATE KEY-----\n‹t50›\n-----END PRIVATE KEY-----»"),
    (RuleFamily::ProviderValue, "datadog «‹h24›0a1b2c3d»"),
    (RuleFamily::MarkedToken, "TFE «‹t12›.atlasv1.‹t60›»"),
    (RuleFamily::HostedWebhook, "post to «https://acme.webhook.office.com/webhookb2/‹t30›»"),
    (RuleFamily::SeedPhrase, "seed phrase: '«‹words›»'"),
    (RuleFamily::Entropy, "here is my API key «‹t25›» thanks"),
];

/// Values of patterns that are tried at runs with digits.
const AT_RUNS: &[&str] = &[
    "bot «‹n9›:AA‹t28›»",
    "vault token «s.‹t19›» of old",
    "pagerduty «u+‹t13›» for users",
    "refresh with «1//0‹t50›»",
    "app «‹n15›|‹t22›» now",
    "key «‹h24›0a1b2c3d-us‹1-20›»",
    "bot «MT‹t19›.G‹m5›.‹t25›»",
    "hash «$2y$10$‹t48›»",
];

fn some(random: &mut Random, count: usize, from: &str) -> String {
    (0..count).map(|_| char::from(from.as_bytes()[random.below(from.len())])).collect()
}

/// The text of a slot: a letter and a count of characters, a range of numbers, or a name.
fn drawn(slot: &str, random: &mut Random) -> String {
    let number = |text: &str| text.parse::<usize>().expect("a number");
    if let Some((from, to)) = slot.split_once('-') {
        return (number(from) + random.below(number(to) + 1 - number(from))).to_string();
    }
    match slot {
        "first" => return random.pick(&["Jennifer", "Gabriela", "Thomas", "Miguel", "Aisha"]).to_owned(),
        "last" => return random.pick(&["Okonkwo", "Quesadero", "Lindqvist", "Hernandez"]).to_owned(),
        "words" => {
            // Words of a wallet that prose also uses
            let own =
                ["all", "between", "can", "more", "must", "other", "used", "use", "very", "where", "zoo", "sausage"];
            let joint = [" ", ", ", "\n", "', '", "',\n      '"][random.below(5)];
            let words = (0..[12, 18, 24, 36][random.below(4)]).map(|_| own[random.below(own.len())]);
            return words.collect::<Vec<_>>().join(joint);
        }
        _ => {}
    }
    let (kind, count) = (&slot[..1], number(&slot[1..]));
    match kind {
        "d" => some(random, count, DIGITS),
        "n" => format!("{}{}", 1 + random.below(9), some(random, count - 1, DIGITS)),
        "h" => some(random, count, "0123456789abcdef"),
        "l" => some(random, count, "abcdefghijklmnopqrstuvwxyz"),
        "u" => some(random, count, "ABCDEFGHJKLMNPQRSTUVWXYZ"),
        "r" => some(random, count, "23456789"),
        "a" => some(random, count, "ABCDEFGHJKLMNPQRSTUVWXYZ234567"),
        "m" => some(random, count, MIXED),
        // A token that can't be read as words: letters of both cases and digits
        "t" => format!("{}4K7q9{}", some(random, count / 2, MIXED), some(random, count - count / 2, MIXED)),
        _ => panic!("{slot}"),
    }
}

/// `template` with its slots drawn.
fn filled(template: &str, random: &mut Random) -> String {
    let mut parts = template.split('‹');
    let head = parts.next().unwrap_or_default().to_owned();
    parts.filter_map(|part| part.split_once('›')).fold(head, |text, (slot, tail)| text + &drawn(slot, random) + tail)
}

/// Whether a value passes the check of one of a rule's ids.
fn passes(rule: &str, value: &str) -> bool {
    detector().written_forms.passes_any(rule, value.as_bytes())
}

/// Whether a drawn value has the check digit of its family. (Each id in `pii.yaml` has published examples.)
fn fits(family: RuleFamily, value: &str) -> bool {
    let digits: Vec<u8> = value.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
    match family {
        RuleFamily::Card | RuleFamily::Device => has_valid_luhn(&digits),
        RuleFamily::CardCued => !has_valid_luhn(&digits),
        RuleFamily::Iban => is_iban(value.as_bytes()),
        RuleFamily::Routing => passes("routing_number", value),
        RuleFamily::NationalShape | RuleFamily::NationalCued => passes("national_id", value),
        RuleFamily::MedicalShape => passes("medical_id", value),
        RuleFamily::Vin => passes("vin", value),
        _ => true,
    }
}

/// The text before the «value» of a template, the value, and the text behind it.
pub(super) fn made_from(template: &str, random: &mut Random) -> (String, String, String) {
    let text = filled(template, random);
    let (before, rest) = text.split_once('«').expect("a value");
    let (value, behind) = rest.split_once('»').expect("its end");
    (before.to_owned(), value.to_owned(), behind.to_owned())
}

/// Generates a value of a family, with the text around it.
fn made(family: RuleFamily, random: &mut Random) -> (String, String, String) {
    let (_, template) = VALUES.iter().find(|(of, _)| *of == family).unwrap_or_else(|| panic!("{family:?} is not made"));
    let mut each = std::iter::repeat_with(|| made_from(template, random));
    each.find(|(_, value, _)| fits(family, value)).expect("one fits")
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
        let by_family = FAMILIES.iter().map(|family| made(*family, &mut random)).collect::<Vec<_>>();
        let at_runs = AT_RUNS.iter().map(|template| made_from(template, &mut random)).collect::<Vec<_>>();
        for (before, value, behind) in by_family.into_iter().chain(at_runs) {
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
            prop_assert!(left.is_none(), "{} in {:?}", value, text);
        }
    }
}
