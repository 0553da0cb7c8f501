use super::*;

/// Must not regress: the parts that differ between two failures of one kind are blanked, words stay.
#[test]
fn templates() {
    let cases = [
        ("could not read 'maria.txt' of user 4711", "could not read '…' of user #"),
        ("timeout after 30s (request req_01ab)", "timeout after # (request #)"),
        ("mail to ada@example.com bounced", "mail to # bounced"),
        ("it's gone", "it's gone"),
        ("übergröße «x» 7", "übergröße «x» #"),
        ("", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(make_template(text), expected, "{text}");
    }
    assert!(make_template(&"word ".repeat(10_000)).len() <= MAX_MESSAGE_BYTES + 4);
    assert!(make_template(&"\u{1F600}".repeat(10_000)).len() <= MAX_MESSAGE_BYTES + 4);
}

/// Must not regress: a bucket reveals the order of magnitude and no more.
#[test]
fn buckets() {
    let cases =
        [(0, 0), (1, 1), (4, 2), (47, 20), (99, 50), (1043, 1000), (-7, -5), (i64::MIN, -5_000_000_000_000_000_000)];
    for (number, expected) in cases {
        assert_eq!(bucket(number), expected, "{number}");
    }
}
