//! Which values leave at once under a key that nobody listed.

use super::is_opaque;

/// Numbers, dates, versions, hashes and generated ids are nobody's words.
#[test]
fn numbers_and_ids_pass() {
    for text in [
        "12",
        "-3.5e7",
        "1.5ms",
        "1h30m",
        "87%",
        "$2.025",
        "1,234,567.89",
        "4096MiB",
        "3/4",
        "10-20",
        "12:30",
        "2026-11-25",
        "2026-11-25T08:00:00Z",
        "2026-11-25T08:00:00.123456789+01:00",
        "20261125T080000Z",
        "1764000000123",
        "1.2.3",
        "v2",
        "v1.2.3-rc1",
        "1.0.0-beta.2",
        "2.0.0.dev5",
        "10.0.0.1",
        "550e8400-e29b-41d4-a716-446655440000",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "a1b2c3d4",
        "3f2a9c0b7d",
        "0x1f4e9a",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "toolu_01A09q90qw90lq917835lq9",
        "chatcmpl-9fZ1x2Yw3Qv4Ru5T",
        "run-12",
        "step_3",
        "req_011CQ8iZ4bW5kD2mX",
        "msg:17",
        "V1StGXR8_Z5jdHi6B",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "true",
        "None",
        "ok",
        "[CONTENT]",
        "",
    ] {
        assert!(is_opaque(text), "{text} has to repeat");
    }
}

/// A name with a number, text in another alphabet and lists of letters' codes have to repeat.
#[test]
fn names_with_numbers_repeat() {
    for text in [
        "Maria",
        "Maria_1985",
        "Huber-4711",
        "HIV:1",
        "1985Ann",
        "1985-Ann",
        "MariaHuber85",
        "JohnDoe12345",
        "HUBERMARIA85",
        "maria.huber",
        "Ada19850",
        "ada-1985",
        "Bea-1985-abe",
        "PIN4829x",
        "user_4711",
        "45f",
        // hexadecimal and base64 of text; 6865… is made of digits alone
        "4d61726961204875626572",
        "4D61726961",
        "686168616861",
        "id_4d61726961204875626572",
        "TWFyaWEgSHViZXIgaGF0IEhJVg",
        "TWFyaWEgSHViZXIgaGF0IEhJVg==",
        "cGxlYXNlIGhlbHAgbWUgd2l0aCBteSBkaXZvcmNl",
        "msg_TWFyaWEgSHViZXIgaGF0IDE5ODU",
        // codes of letters
        "77,97,114,105,97",
        "77.97.114.105.97",
        "77-97-114-105-97",
        "77:97:114:105",
        "12 tablets",
        "1.5 mg",
        "2026-11-25 Maria",
        "v1.2.3-maria",
        "3f2a9c0b-Maria",
    ] {
        assert!(!is_opaque(text), "{text} leaves at once");
    }
}
