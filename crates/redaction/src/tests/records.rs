//! Tests of records as printed by tools and languages, and of pairs in other forms.

use super::{redact, shared};

fn each(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        let got = redact(shared(), text);
        assert_eq!(got, *wanted, "{text}");
        assert_eq!(redact(shared(), &got), got, "a second pass");
        let quoted = |text: &str| serde_json::to_string(&serde_json::json!({ "o": text })).unwrap();
        assert_eq!(redact(shared(), &quoted(text)), quoted(wanted), "in a string of JSON");
    }
}

/// Fields of structs, psql records, terms of lists and calls identify their values.
#[test]
fn records_are_read() {
    each(&[
        (
            "&{ID:4350 FirstName:Philippa LastName:McAllister Email:p@corp.io City:Lyon}",
            "&{ID:4350 FirstName:[PERSON] LastName:[PERSON] Email:[EMAIL] City:Lyon}",
        ),
        (
            "-[ RECORD 1 ]-+-----\nid            | 7\nfirst_name    | Amandine\nlast_name     | McAllister\ndate_of_birth | 1990-03-04\n",
            "-[ RECORD 1 ]-+-----\nid            | 7\nfirst_name    | [PERSON]\nlast_name     | [PERSON]\ndate_of_birth | [DATE_OF_BIRTH]\n",
        ),
        (
            "<dl><dt>Date of birth</dt><dd>01/18/1998</dd></dl>",
            "<dl><dt>Date of birth</dt><dd>[DATE_OF_BIRTH]</dd></dl>",
        ),
        (
            "Customer(first_name='Ana', dob=datetime.date(1990, 3, 4), id=7)",
            "Customer(first_name='[PERSON]', dob=[DATE_OF_BIRTH], id=7)",
        ),
        ("7,+33636221859,2026-07-12T16:28:39.811Z", "7,[PHONE],2026-07-12T16:28:39.811Z"),
        // Near-misses
        ("&{Name:default Namespace:kube-system Kind:Pod}", "&{Name:default Namespace:kube-system Kind:Pod}"),
        ("first_name | last_name\n-----------+----------\n", "first_name | last_name\n-----------+----------\n"),
        ("password | string\n", "password | string\n"),
        ("<dt>Date of birth</dt><dd>The date in ISO form</dd>", "<dt>Date of birth</dt><dd>The date in ISO form</dd>"),
        ("<dt>name</dt><dd>The name of the bucket</dd>", "<dt>name</dt><dd>The name of the bucket</dd>"),
        ("rose by +33636221859,25 points", "rose by +33636221859,25 points"),
    ]);
}

/// Pairs under `k` and `v`, rows below columns, elements with a namespace, password files.
#[test]
fn pairs_in_other_forms_are_read() {
    each(&[
        (r#"{"k":"password","v":"m6d3HioZ9W4hny"}"#, r#"{"k":"password","v":"[PASSWORD]"}"#),
        (r#"{"key":"password","val":"m6d3HioZ9W4hny"}"#, r#"{"key":"password","val":"[PASSWORD]"}"#),
        (
            "INSERT INTO u (id, email, password) VALUES (1,'a@corp.io','Granite99x'),(2,'b@corp.io','copper_granite923');",
            "INSERT INTO u (id, email, password) VALUES (1,'[EMAIL]','[PASSWORD]'),(2,'[EMAIL]','[PASSWORD]');",
        ),
        ("username,password\nsvc,orchid_saddle312\n", "username,password\nsvc,[PASSWORD]\n"),
        (
            r#"<wsse:Password Type="http://docs.example.org/x#PasswordText">Granite2248</wsse:Password>"#,
            r#"<wsse:Password Type="http://docs.example.org/x#PasswordText">[PASSWORD]</wsse:Password>"#,
        ),
        (
            "$ cat ~/.pgpass\ndb:5432:crm:app:Granite8948\n*:*:*:app:Walnut7743\n",
            "$ cat ~/.pgpass\ndb:5432:crm:app:[PASSWORD]\n*:*:*:app:[PASSWORD]\n",
        ),
        (
            "echo db.internal:5432:crm:app:Granite8948 >> ~/.pgpass",
            "echo db.internal:5432:crm:app:[PASSWORD] >> ~/.pgpass",
        ),
        // Near-misses
        (r#"{"k":"password","v":"string"}"#, r#"{"k":"password","v":"string"}"#),
        (r#"{"key":"page","val":"m6d3HioZ9W4hny"}"#, r#"{"key":"page","val":"m6d3HioZ9W4hny"}"#),
        ("username,password\nsvc,not_set\n", "username,password\nsvc,not_set\n"),
        ("<xs:element name=\"password\" type=\"xs:string\"/>", "<xs:element name=\"password\" type=\"xs:string\"/>"),
        ("db:5432:crm:app:Granite8948", "db:5432:crm:app:Granite8948"),
        (
            "man pgpass: hostname:port:database:username:password",
            "man pgpass: hostname:port:database:username:password",
        ),
    ]);
}

/// Neither a line continuation within a word nor hex with a prefix hides a value.
#[test]
fn values_on_two_lines_and_in_hex_are_read() {
    let hex: String = "mail joan.hart@fastmail.com now, please".bytes().map(|byte| format!("{byte:02x}")).collect();
    each(&[
        ("to joan.ha\\\nrt@fastmail.com now", "to [EMAIL] now"),
        (&format!("data=0x{hex} end"), "data=0x[EMAIL] end"),
        // Near-misses
        ("SRC = main.c\\\nutil.c", "SRC = main.c\\\nutil.c"),
        (&format!("0xa9059cbb{}", "0".repeat(128)), &format!("0xa9059cbb{}", "0".repeat(128))),
    ]);
}
