//! Tests of views: what each kind finds, that maps are true, and that what they must not touch stays.

use super::super::tests::{detector, redact};

/// Each way of writing hides no value, and what surrounds it stays byte for byte.
#[test]
fn hidden_values_are_found() {
    let detector = detector();
    let cases = [
        // JSON, C, JavaScript
        (r"mail bob\u0040example\u002ecom now", "mail [EMAIL] now"),
        (r"mail bob\x40example.com now", "mail [EMAIL] now"),
        (r"mail bob\u{40}example.com now", "mail [EMAIL] now"),
        (r"line\nbob\u0040example.com\nnext", r"line\n[EMAIL]\nnext"),
        (r#"{"a":"{\"b\":\"x \\u0040 bob\\u0040example.com\"}"}"#, r#"{"a":"{\"b\":\"x \\u0040 [EMAIL]\"}"}"#),
        (r"john\_doe@example.com", "[EMAIL]"),
        // HTML
        ("to bob&#64;example&#x2e;com.", "to [EMAIL]."),
        ("to bob&commat;example&period;com.", "to [EMAIL]."),
        ("<p>bob@example.com&nbsp;</p>", "<p>[EMAIL]&nbsp;</p>"),
        // percent and forms
        ("/u?to=bob%40example.com&x=1", "/u?to=[EMAIL]&x=1"),
        ("/u?to=bob%2540example.com&x=1", "/u?to=[EMAIL]&x=1"),
        ("q=call+%2B44+20+7946+0958+now", "q=call+[PHONE]+now"),
        // quoted-printable
        ("To: bob=40example.com, you", "To: [EMAIL], you"),
        (
            "Content-Transfer-Encoding: quoted-printable\n\nto bob=40exam=\nple.com",
            "Content-Transfer-Encoding: quoted-printable\n\nto [EMAIL]",
        ),
        // characters
        ("ＳＳＮ ５３６-９０-４３９９ given", "ＳＳＮ [SSN] given"),
        ("b\u{200b}o\u{200b}b@exam\u{ad}ple.com\u{feff}", "[EMAIL]\u{feff}"),
        ("bob＠example．com", "[EMAIL]"),
        ("b\u{43e}b@ex\u{430}mple.com", "[EMAIL]"),
        ("ssn 536–90–4399", "ssn [SSN]"),
        ("رقم ٥٣٦-٩٠-٤٣٩٩", "رقم [SSN]"),
        ("𝐛𝐨𝐛@example.com", "[EMAIL]"),
        // terminals, Markdown
        ("\u{1b}[31mbob\u{1b}[0m@example.com\u{1b}[0m", "\u{1b}[31m[EMAIL]\u{1b}[0m"),
        (r"\u001b[31mbob\u001b[0m@example.com", r"\u001b[31m[EMAIL]"),
        ("**bob**@example.com", "**[EMAIL]"),
    ];
    for (text, wanted) in cases {
        let got = redact(&detector, text);
        assert_eq!(got, wanted);
        assert_eq!(redact(&detector, &got), got);
    }
}
