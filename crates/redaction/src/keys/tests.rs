//! Tests of key rules: positions of keys and values, accepted values, and keys of attributes.

use super::json_tree::{JsonTree, ValueForm};
use super::table::{KeyCache, KeyMatch, KeyTable, SiblingEvidence};
use crate::tests::{assert_redacted, detector, redact};
use crate::{SearchScratch, replace_hits};

fn pairs(text: &str) -> Vec<(String, String)> {
    let mut tree = JsonTree::default();
    tree.walk(text, &detector().keys, &mut KeyCache::default());
    let pairs = tree.pairs.iter().filter(|pair| pair.kind != ValueForm::Container);
    pairs.map(|pair| (text[pair.key.clone()].to_owned(), text[pair.value.clone()].to_owned())).collect()
}

/// Everything that looks like JSON gives its pairs: Python, JS, after prose, escaped as a whole, nested in strings,
/// truncated.
#[test]
fn structures_are_read() {
    let two = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let wanted = [two("first_name", "Ann"), two("n", "1")];
    for text in [
        r#"{"first_name":"Ann","n":1}"#,
        r#"said: {"first_name" : "Ann", "n": 1} and left"#,
        "{'first_name': 'Ann', 'n': 1}",
        r#"{first_name: "Ann", n: 1}"#,
        r#"{\"first_name\": \"Ann\", \"n\": 1}"#,
        r#"{\\\"first_name\\\": \\\"Ann\\\", \\\"n\\\": 1}"#,
        r#"{\n  \"first_name\": \"Ann\",\n  \"n\": 1\n}"#,
        "fn main() { let x = 3; } {\"first_name\": \"Ann\", \"n\": 1}",
        r#"{"first_name" => "Ann", "n" => 1}"#,
    ] {
        assert_eq!(pairs(text), wanted, "{text}");
    }
    assert_eq!(pairs(r#"{"first_name":"An"#), [two("first_name", "An")]);
    assert_eq!(pairs(r#"{"a":"say \"hi\"","first_name":"Ann"}"#)[1], two("first_name", "Ann"));
    let nested = pairs(r#"{"arguments": "{\"first_name\": \"Ann\"}"}"#);
    assert_eq!(nested[1], two("first_name", "Ann"));
}

/// The cache of look-ups serves only its own table and never confuses keys.
#[test]
fn remembered_keys_are_of_their_table() {
    let (mut known, table, empty) = (KeyCache::default(), &detector().keys, KeyTable::default());
    let long = format!("{}_first_name", "x".repeat(40));
    for key in ["email", "first_name", "fire_shame", "customer.first_name", "nothing", "e", "", &long] {
        for _ in 0..2 {
            assert_eq!(known.find(table, key.as_bytes()), table.find(key.as_bytes()), "{key}");
        }
        assert_eq!(known.find(&empty, key.as_bytes()), (KeyMatch::NONE, SiblingEvidence::default()), "{key}");
    }
    assert_ne!(table.find(b"first_name").0, KeyMatch::NONE);
}

/// A thing's name stays and a person's is replaced, depending on sibling keys, parent keys, or the key itself.
#[test]
fn names_of_things_stay() {
    for text in [
        r#"{"type":"function","function":{"name":"get_user","description":"x","parameters":{"type":"object","properties":{"name":{"type":"string"},"email":{"type":"string","description":"The email of the user"}},"required":["name","email"]}}}"#,
        r#"{"name":"left-pad","version":"1.3.0","author":"Acme Tools Team","license":"MIT"}"#,
        r#"{"items":[{"name":"Mechanical Keyboard","product_id":"1","price":272.33}]}"#,
        r#"{"kind":"Deployment","metadata":{"name":"emma","namespace":"default"}}"#,
        r#"{"file_name":"Jane Doe.txt","tool_name":"Jane Smithers"}"#.replace("Jane Doe.txt", "a.txt").replace("Jane Smithers", "x").as_str(),
    ] {
        assert_eq!(redact(detector(), text), text);
    }
}

/// The content of a message is not the value of its role, and not a name because its first words look like one;
/// reversed names and values of page properties are still found.
#[test]
fn messages_are_no_names() {
    for text in [
        r#"{"role":"user","content":"Hi, Tom here. Give me the report."}"#,
        r#"{"role": "user", "content": "Finally, Elizabeth seeks to finalize her purchase."}"#,
        r#"{"role":"user","content":"No, Bill says the total is 12.50 and not what we told the customer."}"#,
        r#"{"customer_name":"Finally, Elizabeth seeks to finalize her purchase with all that is in her cart."}"#,
        r#"{"user":"Ok, Mark as done all that is older than a week"}"#,
        "role: user\ncontent: Please, Grant access to the folder",
    ] {
        let got = redact(detector(), text);
        assert!(!got.contains("\"[PERSON]\"") && !got.contains(": [PERSON]"), "{got}");
    }
    assert_redacted(&[
        r#"{"customer_name":"«PERSON|Zorblatt, Jane A.»"}"#,
        r#"{"customer_name":"«PERSON|Doe, Jane»"}"#,
        "Author: «PERSON|Ben Gertzfield, Barry Warsaw»\n",
        r#"{"name":"first_name","value":"«PERSON|Zorblatt»"}"#,
        r#"{"name":"first_name","content":"«PERSON|Zorblatt»"}"#,
    ]);
}

/// Columns give their keys to values: SQL by order, tables by their header.
#[test]
fn columns_are_keys() {
    assert_redacted(&[
        "INSERT INTO t (id, first_name, street) VALUES (7, '«PERSON|Zorblatt»', '«ADDRESS|Elmsgasse 9»'), (8, '«PERSON|O''Zorb»', '«ADDRESS|Elm 1»');",
        "UPDATE t SET first_name = '«PERSON|Zorblatt»' WHERE id = 3",
        "id,first_name,plan\n1,«PERSON|Zorblatt»,pro\n2,\"«PERSON|Quux»\",free\n",
        "| Id | Full name |\n|---|---|\n| 1 | «PERSON|Zorblatt Quux» |\n",
        "SELECT first_name, street FROM t WHERE plan = 'pro'",
    ]);
}

/// A line's value belongs to its first key only and is replaced whole: months in any language, dashes and slashes
/// between numbers, capitals in a code.
#[test]
fn values_of_lines_go_whole() {
    assert_redacted(&[
        "date_of_birth: «DATE_OF_BIRTH|12 kwietnia 1987»",
        "date_of_birth: «DATE_OF_BIRTH|12 tháng 4 năm 1987»",
        "date_of_birth: «DATE_OF_BIRTH|12 de abril del 1987»",
        "dob: «DATE_OF_BIRTH|1 April 1987» MRN ward 7",
        "dob: «DATE_OF_BIRTH|1 April 1987» ward 7",
        "dob: «DATE_OF_BIRTH|5 May 87» the patient left",
        "telefon: «PHONE|089 / 12345»",
        "telefon: «PHONE|089 12345» / bitte",
        "telefon: «PHONE|089 oder 12345»",
        "passport_number: «PASSPORT|12 ABCD 345678»",
        "passport_number: «PASSPORT|X30532459» VALID",
        "passport_number: «PASSPORT|X30532459» until May",
    ]);
}

/// Keys of attributes: whole values, never ids, never placeholders again.
#[test]
fn attribute_keys() {
    let under = |key: &str, text: &str| {
        let mut scratch = SearchScratch::new();
        let hits = detector().find_for_key(key, text, &mut scratch).to_vec();
        replace_hits(text, &hits, &mut |hit, _, out| out.push_str(detector().placeholder(hit)))
    };
    assert_eq!(under("user.full_name", "zorblatt quux"), "[PERSON]");
    assert_eq!(under("enduser.name", "Li"), "[PERSON]");
    assert_eq!(under("customer.name", "zorblatt"), "[PERSON]");
    assert_eq!(under("user.email", "jane@intranet"), "[EMAIL]");
    assert_eq!(under("app.shippingAddress", "The Old Mill 3"), "[ADDRESS]");
    for (key, text) in [
        ("user.id", "zorblatt"),
        ("session.id", "12345678"),
        ("enduser.id", "zorblatt quux"),
        ("service.name", "Emma"),
        ("gen_ai.agent.name", "Weather Agent"),
        ("gen_ai.tool.name", "Emma"),
        ("user.full_name", "[PERSON]"),
        ("user.full_name", "null"),
        ("server.address", "10.0.0.1"),
        ("", "zorblatt"),
    ] {
        assert_eq!(under(key, text), text, "{key}");
    }
    assert_eq!(under("note", "mail bob@example.com"), "mail [EMAIL]");
}

/// The FHIR description next to an identifier is its key; other systems and codes have no effect.
#[test]
fn identifiers_are_told_beside_them() {
    assert_redacted(&[
        r#"{"name":"x","identifier":[{"system":"http://hl7.org/fhir/sid/us-ssn","value":"«SSN|999-51-6412»"}]}"#,
        r#"{"name":"x","a":[{"type":{"text":"Medical Record Number"},"system":"http://h.org","value":"«MEDICAL_ID|b03f4c8e21»"}]}"#,
        r#"{"name":"x","a":[{"type":{"coding":[{"system":"http://t.org/v2-0203","code":"MR"}]},"value":"«MEDICAL_ID|12345»"}]}"#,
        r#"{"family":"«PERSON|Kozey370»","given":["«PERSON|Delmar187»"]}"#,
        r#"{"name":"x","metric":[{"system":"linux","code":"MR","value":"b03f4c8e21"}]}"#,
        r#"{"name":"x","a":[{"text":"Medical Record Number"},{"value":"b03f4c8e21"}]}"#,
        r#"{"name":"x","a":{"system":"http://h.org/passwd","value":"12345"}}"#,
    ]);
}

/// An id is found behind keys without one, at any position, although the absence of digits is cached for other keys.
#[test]
fn an_id_behind_keys_without_one_is_found() {
    for keys in (0..90).chain([400, 2000]) {
        for (id, joint) in [("A48K2913", "\n"), ("XXXAB82", "\nx: "), ("A48K2913", "dob ")] {
            let got = redact(detector(), &format!("{}{joint}mrn: {id}\n{0}", "mrn: ".repeat(keys)));
            assert!(!got.contains(id), "{id} behind {keys}: {got}");
        }
    }
}

/// A reused scratch carries nothing from one text to the next.
#[test]
fn a_scratch_forgets() {
    let mut scratch = SearchScratch::new();
    let (json, flat) = (r#"{"n": 1234567, "first_name": "Ann"}"#, "<a>1234567</a><firstName>Zorblatt</firstName>");
    let found = |text: &str, scratch: &mut SearchScratch| detector().find(text, scratch).to_vec();
    let alone = found(flat, &mut SearchScratch::new());
    for from in 0..json.len() {
        found(&json[from..], &mut scratch);
        assert!(found(flat, &mut scratch) == alone && !alone.is_empty(), "{from}");
    }
    for pad in 0..40 {
        let json = format!("{}{json}", " ".repeat(pad));
        found(&json, &mut scratch);
        assert!(found(flat, &mut scratch) == alone, "{pad}");
    }
}
