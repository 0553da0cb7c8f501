use super::*;
use crate::Vocabulary;
use crate::nested_content::{SearchOutcome, SearchScope, search};
use crate::testing::request::case_file;
use fixtures::guard::ends;
use otlp::Value;

/// The rest of an error text, as the item of an ordinary service.
fn rest(vocabulary: &Vocabulary, text: &str) -> String {
    let scope = SearchScope { dialect: None, agent: false, in_error: true };
    match search(&vocabulary.keys, Value::Str(text), scope) {
        SearchOutcome::Parts(removed) => removed.texts.get(text).unwrap().clone(),
        SearchOutcome::Nothing => text.to_owned(),
        SearchOutcome::Whole => panic!("all of {text}"),
    }
}

fn quotation_rest(text: &str) -> String {
    take_quotations(text, |_| None).map_or_else(|| text.to_owned(), |split| split.rest)
}

/// Must not regress: real errors stay readable, and the text that they quote goes. A second pass changes nothing.
#[test]
fn errors_stay_readable_without_what_they_quote() {
    let vocabulary =
        Vocabulary::parse(crate::tests::data().to_string().leak()).unwrap_or_else(|error| panic!("{}", error.0));
    for case in case_file::<Vec<Vec<String>>>("tests/cases/error-texts.yaml") {
        let expected = case.last().unwrap();
        assert_eq!(&rest(&vocabulary, &case[0]), expected, "{}", case[0]);
        assert_eq!(&rest(&vocabulary, expected), expected, "again: {}", case[0]);
    }
}

/// Must not regress: no quotation of four words stays, whatever stands around it.
#[test]
fn no_long_quotation_stays() {
    let before = [
        "ValueError: ",
        "don't read the users' file: ",
        "field 'name' is ",
        "key \"a\" has ",
        "x=",
        "{\"k\": ",
        "6\" disk: ",
        "rock 'n' roll ",
        "` odd ",
        "see `foo' and ",
        "msg:\n  ",
        "“short” then ",
    ];
    let quotes = [
        ("\"", "\""),
        ("'", "'"),
        ("`", "`"),
        ("“", "”"),
        ("„", "“"),
        ("«", "»"),
        ("\\\"", "\\\""),
        ("```\n", "\n```"),
        ("\"\"\"\n", "\n\"\"\""),
        ("b'", "'"),
    ];
    let after = [
        "",
        " is not valid",
        ", input_type=str",
        ")",
        "]",
        "}",
        ".",
        "\n",
        " for 'x'",
        " (\"y\")",
        " and the users' data",
    ];
    for first in before {
        for second in before {
            for (open, close) in quotes {
                for blank in [" ", "\n", "+"] {
                    let quoted = ["secret", "woman", "left", "(arm)", "since", "May."].join(blank);
                    for end in after {
                        let text = format!("{first}{second}{open}{quoted}{close}{end}");
                        let rest = quotation_rest(&text);
                        assert!(!rest.contains("secret") && !rest.contains("since"), "{text} became {rest}");
                        assert_eq!(quotation_rest(&rest), rest, "{text}");
                    }
                }
            }
        }
    }
}

/// Text made of one mark for ever takes linear time.
#[test]
fn hostile_errors_end() {
    for piece in [
        "\"",
        "'",
        "`",
        " 'x",
        "('",
        "\\\"",
        "“",
        "„",
        "`x ",
        ")=(",
        "\"x\"x",
        "'message\": \"",
        "'code': ",
        " 'a' b\n",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        ends(piece, move || drop(quotation_rest(&text)));
    }
}
