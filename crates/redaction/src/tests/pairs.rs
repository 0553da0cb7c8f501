//! Tests of keys and values in every notation.

use super::super::pairs::{PairSeparator, key_around, read_pair};

/// The key and value around `word` in `text`.
fn read(text: &str, word: &str) -> Option<(String, PairSeparator, String, String)> {
    let at = text.find(word)?;
    let key = key_around(text.as_bytes(), at..at + word.len());
    let found = read_pair(text.as_bytes(), key)?;
    let part = |range: std::ops::Range<usize>| text[range].to_owned();
    let line = part(found.line_range(text.as_bytes()));
    Some((part(found.key), found.sep, part(found.value), line))
}

/// Every notation gives the whole key and the exact value: one byte too many breaks JSON, one too few leaks.
#[test]
fn notations() {
    for (text, key, sep, value) in [
        ("db_password=hunter2 next", "db_password", PairSeparator::Equals, "hunter2"),
        ("DB_password = 'hun ter2'", "DB_password", PairSeparator::Equals, "hun ter2"),
        (r#"{"password":"a\"b","x":1}"#, "password", PairSeparator::Colon, r#"a\"b"#),
        (r#"{"a":"{\"password\":\"a\\\"b\",\"x\":1}"}"#, "password", PairSeparator::Colon, r#"a\\\"b"#),
        (r#"\\\"password\\\": \\\"v w\\\", "#, "password", PairSeparator::Colon, "v w"),
        (r#"{"password":"end\\"}"#, "password", PairSeparator::Colon, r"end\\"),
        (r#"{"password": 1234}"#, "password", PairSeparator::Colon, "1234"),
        ("'password' => 'v'", "password", PairSeparator::Arrow, "v"),
        ("password := \"v\"", "password", PairSeparator::Equals, "v"),
        ("let password: &str = \"v\";", "password", PairSeparator::Equals, "v"),
        ("var password string = \"v\"", "password", PairSeparator::Equals, "v"),
        ("String password = new String(\"v\");", "password", PairSeparator::Equals, "v"),
        ("config.setpassword(\"v\")", "config.setpassword", PairSeparator::Call, "v"),
        ("os.environ[\"password\"] = \"v\"", "password", PairSeparator::Equals, "v"),
        ("setItem('password', 'v')", "password", PairSeparator::Comma, "v"),
        ("<password>v w</password>", "password", PairSeparator::Element, "v w"),
        ("<add key=\"password\" value=\"v\"/>", "password", PairSeparator::Sibling, "v"),
        ("<meta name=\"password\" content=\"v\">", "password", PairSeparator::Sibling, "v"),
        ("- role: password, value: v", "password", PairSeparator::Sibling, "v"),
        ("- name: password\n  value: v", "password", PairSeparator::Sibling, "v"),
        (r#"{"name":"password","value":"v"}"#, "password", PairSeparator::Sibling, "v"),
        ("<property name=\"password\">v</property>", "password", PairSeparator::Element, "v"),
        ("--password v --x", "password", PairSeparator::Space, "v"),
        ("--password=v --x", "password", PairSeparator::Equals, "v"),
        ("?a=b&password=v&c=d", "password", PairSeparator::Equals, "v"),
        ("?password=a&b", "password", PairSeparator::Equals, "a&b"),
        ("Server=x;password=v;y=z", "password", PairSeparator::Equals, "v"),
        ("| password | v w |", "password", PairSeparator::Cell, "v w"),
        ("| password | `v` |", "password", PairSeparator::Cell, "v"),
        ("my password is \"v\".", "password", PairSeparator::Is, "v"),
        ("user[password]=v", "password", PairSeparator::Equals, "v"),
        ("**password:** `v`", "password", PairSeparator::Colon, "v"),
        ("text\\npassword: v\\nmore", "password", PairSeparator::Colon, "v"),
        ("f(password=v)", "password", PairSeparator::Equals, "v"),
        ("password=\"\"\"v\"\"\"", "password", PairSeparator::Equals, "v"),
        ("password = b'v'", "password", PairSeparator::Equals, "v"),
        ("password=\"cut off", "password", PairSeparator::Equals, "cut off"),
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
