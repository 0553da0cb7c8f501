//! Tests of words of secrets with letters glued to them.

use super::super::glued_words::glued_word_before;

/// The sign behind a key leads to a word glued to the letters before it, but not to a word that is found by its start.
#[test]
fn a_word_is_found_from_behind() {
    for (text, word) in [
        ("ftppassword=", "password"),
        ("MYAPITOKEN:", "APITOKEN"),
        ("\"cpassword\":", "password"),
        ("\\\"cpassword\\\":", "password"),
        ("slapikey  :", "apikey"),
        ("пароль:", "пароль"),
        ("\"비밀번호\" :", "비밀번호"),
    ] {
        let found = glued_word_before(text.as_bytes(), text.len() - 1).map(|range| &text[range]);
        assert_eq!(found, Some(word), "{text}");
    }
    for text in ["password=", "ftpPassword=", "my_password=", "NOPASSWD:", "turkey=", "x:", "=", "\u{e9}:"] {
        assert_eq!(glued_word_before(text.as_bytes(), text.len() - 1), None, "{text}");
    }
}
