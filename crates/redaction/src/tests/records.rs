//! Tests of records as printed by tools and languages, and of pairs in other forms.

use super::{assert_redacted, detector, marked, redact};

/// Checks the rows as they are, and in a string of JSON.
fn each(rows: &[&str]) {
    assert_redacted(rows);
    for (text, wanted) in rows.iter().map(|row| marked(row, "")) {
        let quoted = |text: &str| serde_json::to_string(&serde_json::json!({ "o": text })).unwrap();
        assert_eq!(redact(detector(), &quoted(&text)), quoted(&wanted), "in a string of JSON");
    }
}

/// Fields of structs, psql records, terms of lists and calls identify their values.
#[test]
fn records_are_read() {
    each(&[
        "&{ID:4350 FirstName:«PERSON|Philippa» LastName:«PERSON|McAllister» Email:«EMAIL|p@corp.io» City:Lyon}",
        "-[ RECORD 1 ]-+-----\nid            | 7\nfirst_name    | «PERSON|Amandine»\nlast_name     | «PERSON|McAllister»\ndate_of_birth | «DATE_OF_BIRTH|1990-03-04»\n",
        "<dl><dt>Date of birth</dt><dd>«DATE_OF_BIRTH|01/18/1998»</dd></dl>",
        "Customer(first_name='«PERSON|Ana»', dob=«DATE_OF_BIRTH|datetime.date(1990, 3, 4)», id=7)",
        "7,«PHONE|+33636221859»,2026-07-12T16:28:39.811Z",
        // Near-misses
        "&{Name:default Namespace:kube-system Kind:Pod}",
        "first_name | last_name\n-----------+----------\n",
        "password | string\n",
        "<dt>Date of birth</dt><dd>The date in ISO form</dd>",
        "<dt>name</dt><dd>The name of the bucket</dd>",
        "rose by +33636221859,25 points",
    ]);
}

/// Pairs under `k` and `v`, rows below columns, elements with a namespace, password files.
#[test]
fn pairs_in_other_forms_are_read() {
    each(&[
        r#"{"k":"password","v":"«PASSWORD|m6d3HioZ9W4hny»"}"#,
        r#"{"key":"password","val":"«PASSWORD|m6d3HioZ9W4hny»"}"#,
        "INSERT INTO u (id, email, password) VALUES (1,'«EMAIL|a@corp.io»','«PASSWORD|Granite99x»'),(2,'«EMAIL|b@corp.io»','«PASSWORD|copper_granite923»');",
        "username,password\nsvc,«PASSWORD|orchid_saddle312»\n",
        r#"<wsse:Password Type="http://docs.example.org/x#PasswordText">«PASSWORD|Granite2248»</wsse:Password>"#,
        "$ cat ~/.pgpass\ndb:5432:crm:app:«PASSWORD|Granite8948»\n*:*:*:app:«PASSWORD|Walnut7743»\n",
        "echo db.internal:5432:crm:app:«PASSWORD|Granite8948» >> ~/.pgpass",
        // Near-misses
        r#"{"k":"password","v":"string"}"#,
        r#"{"key":"page","val":"m6d3HioZ9W4hny"}"#,
        "username,password\nsvc,not_set\n",
        "<xs:element name=\"password\" type=\"xs:string\"/>",
        "db:5432:crm:app:Granite8948",
        "man pgpass: hostname:port:database:username:password",
    ]);
}

/// Neither a line continuation within a word nor hex with a prefix hides a value.
#[test]
fn values_on_two_lines_and_in_hex_are_read() {
    let hex: String = "mail joan.hart@fastmail.com now, please".bytes().map(|byte| format!("{byte:02x}")).collect();
    each(&[
        "to «EMAIL|joan.ha\\\nrt@fastmail.com» now",
        &format!("data=0x«EMAIL|{hex}» end"),
        // Near-misses
        "SRC = main.c\\\nutil.c",
        &format!("0xa9059cbb{}", "0".repeat(128)),
    ]);
}
