//! Tests of keys and values in every notation.

use super::super::pairs::{Read, Sep, key_around, pair};
use super::properties::Random;

/// The key and value around `word` in `text`.
fn read(text: &str, word: &str) -> Option<(String, Sep, String, String)> {
    let at = text.find(word)?;
    let key = key_around(text.as_bytes(), at..at + word.len());
    let found = pair(text.as_bytes(), key, &mut Read::default())?;
    let part = |range: std::ops::Range<usize>| text[range].to_owned();
    let line = part(found.line(text.as_bytes()));
    Some((part(found.key), found.sep, part(found.value), line))
}

/// Every notation gives the whole key and the exact value: one byte too many breaks JSON, one too few leaks.
#[test]
fn notations() {
    for (text, key, sep, value) in [
        ("db_password=hunter2 next", "db_password", Sep::Equals, "hunter2"),
        ("DB_password = 'hun ter2'", "DB_password", Sep::Equals, "hun ter2"),
        (r#"{"password":"a\"b","x":1}"#, "password", Sep::Colon, r#"a\"b"#),
        (r#"{"a":"{\"password\":\"a\\\"b\",\"x\":1}"}"#, "password", Sep::Colon, r#"a\\\"b"#),
        (r#"\\\"password\\\": \\\"v w\\\", "#, "password", Sep::Colon, "v w"),
        (r#"{"password":"end\\"}"#, "password", Sep::Colon, r"end\\"),
        (r#"{"password": 1234}"#, "password", Sep::Colon, "1234"),
        ("'password' => 'v'", "password", Sep::Arrow, "v"),
        ("password := \"v\"", "password", Sep::Equals, "v"),
        ("let password: &str = \"v\";", "password", Sep::Equals, "v"),
        ("var password string = \"v\"", "password", Sep::Equals, "v"),
        ("String password = new String(\"v\");", "password", Sep::Equals, "v"),
        ("config.setpassword(\"v\")", "config.setpassword", Sep::Call, "v"),
        ("os.environ[\"password\"] = \"v\"", "password", Sep::Equals, "v"),
        ("setItem('password', 'v')", "password", Sep::Comma, "v"),
        ("<password>v w</password>", "password", Sep::Element, "v w"),
        ("<add key=\"password\" value=\"v\"/>", "password", Sep::Sibling, "v"),
        ("<meta name=\"password\" content=\"v\">", "password", Sep::Sibling, "v"),
        ("- role: password, value: v", "password", Sep::Sibling, "v"),
        ("- name: password\n  value: v", "password", Sep::Sibling, "v"),
        (r#"{"name":"password","value":"v"}"#, "password", Sep::Sibling, "v"),
        ("<property name=\"password\">v</property>", "password", Sep::Element, "v"),
        ("the password for user 'bob' is 'v'", "password", Sep::Is, "v"),
        ("--password v --x", "password", Sep::Space, "v"),
        ("--password=v --x", "password", Sep::Equals, "v"),
        ("?a=b&password=v&c=d", "password", Sep::Equals, "v"),
        ("?password=a&b", "password", Sep::Equals, "a&b"),
        ("Server=x;password=v;y=z", "password", Sep::Equals, "v"),
        ("| password | v w |", "password", Sep::Cell, "v w"),
        ("| password | `v` |", "password", Sep::Cell, "v"),
        ("my password is \"v\".", "password", Sep::Is, "v"),
        ("user[password]=v", "password", Sep::Equals, "v"),
        ("**password:** `v`", "password", Sep::Colon, "v"),
        ("text\\npassword: v\\nmore", "password", Sep::Colon, "v"),
        ("f(password=v)", "password", Sep::Equals, "v"),
        ("password=\"\"\"v\"\"\"", "password", Sep::Equals, "v"),
        ("password = b'v'", "password", Sep::Equals, "v"),
        ("password=\"cut off", "password", Sep::Equals, "cut off"),
    ] {
        let (got_key, got_sep, got_value, _) = read(text, "password").unwrap_or_else(|| panic!("nothing in {text}"));
        assert_eq!((got_key.as_str(), got_sep, got_value.as_str()), (key, sep, value), "{text}");
    }
}

/// A YAML value can be read up to the line's end; comments and surrounding quotes do not belong to it.
#[test]
fn lines() {
    let line = |text: &str| read(text, "password").map(|(.., line)| line).unwrap_or_default();
    assert_eq!(line("password: correct horse  # old\nx"), "correct horse");
    assert_eq!(line(r"password: a b\nx: y"), "a b");
}

/// Texts that only look like a key have no value.
#[test]
fn no_pairs() {
    for text in [
        "<a role=\"password\" content=\"v\">",
        "password::new()",
        "password",
        "the password",
        "password:",
        "x(password)",
        "password, user",
        "password()",
    ] {
        assert_eq!(read(text, "password"), None, "{text}");
    }
}

/// The cache for other keys changes no value: a bracket not counted, or a call not seen, would cut a value.
#[test]
fn what_was_read_before_changes_no_value() {
    const PIECES: [&str; 22] = [
        "auth=(",
        "key=[",
        "a={",
        "k: ",
        "k=",
        "k = ",
        "(",
        "[",
        "{",
        ")",
        "]",
        "}",
        " ",
        ",",
        "x",
        "str(\"v",
        "Some('",
        "\"",
        "&b=",
        "\n",
        "\\n",
        "abcdefghijklmnopqrstuvwxyz",
    ];
    let mut random = Random::new(20_261_122);
    for _ in 0..4_000 {
        let few = [(); 3].map(|()| PIECES[random.below(PIECES.len())]);
        let some = |random: &mut Random| match random.below(3) {
            0 => PIECES[random.below(PIECES.len())],
            _ => few[random.below(few.len())],
        };
        let text: String = (0..random.below(90)).map(|_| some(&mut random)).collect();
        let (bytes, mut read) = (text.as_bytes(), Read::default());
        for at in (0..bytes.len()).filter(|at| bytes[*at].is_ascii_alphabetic() && random.below(4) > 0) {
            let key = key_around(bytes, at..at + 1);
            assert_eq!(
                pair(bytes, key.clone(), &mut read),
                pair(bytes, key, &mut Read::default()),
                "at {at} of {text:?}"
            );
        }
    }
}
