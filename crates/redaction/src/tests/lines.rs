//! Tests of tables within strings.

use super::{detector, redact};

/// Tables within JSON strings are read as in plain text, at any depth of escapes.
#[test]
fn tables_within_strings_are_read_as_tables() {
    let all = |text: &str| redact(detector(), text);
    let quoted = |text: &str| serde_json::to_string(&serde_json::json!({ "o": text })).unwrap();
    for (text, found) in [
        ("id,first_name,last_name,phone,date_of_birth\n7,Kwame,Nakamura,+55 11 97052-2157,1943-06-05\n", 4),
        ("ok\r\nid;first_name;dob\r\n7;Kwame;1990-03-04\r\n", 2),
        (" id | first_name | last_name \n----+------------+-----------\n  7 | Amandine   | McAllister\n(1 row)\n", 2),
        (
            "+----+------------+\n| id | first_name |\n+----+------------+\n|  7 | Amandine   |\n+----+------------+\n",
            1,
        ),
        // Near-misses: the result for plain text also holds within strings
        ("git log, the name, email\nfix: the first name, last name\n", 0),
        ("count,size,status\n7,Kwame,1943-06-05\n", 0),
        ("The phone\nrings on line 4 of 2026-01-02\n", 0),
    ] {
        let plain = all(text);
        assert_eq!(plain.matches('[').count(), found, "{plain}");
        let once = all(&quoted(text));
        assert_eq!(once, quoted(&plain), "{text}");
        let twice = all(&quoted(&quoted(text)));
        assert_eq!(twice, quoted(&quoted(&plain)), "{text}");
    }
}
