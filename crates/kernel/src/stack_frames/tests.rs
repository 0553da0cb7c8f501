use super::*;

/// A sentence is not a stack frame, even if it begins like one.
#[test]
fn frames_have_the_form_of_frames() {
    for frame in [
        "  File \"/a b/x.py\", line 3, in <module>",
        "    at fn (/a/b.js:1:2)",
        "    at async Object.<anonymous> (file:///a/b.mjs:10:20)",
        "    at /a/b.js:1:2",
        "\tat com.example.Name.method(Name.java:12)",
        "   at Name.Method(String a, Int32 b) in /a/b.cs:line 12",
        "\t/srv/main.go:12 +0x1d",
        "  12: core::panicking::panic_fmt",
        "             at /rustc/abc/library/core.rs:1:2",
    ] {
        assert!(is_frame(frame), "{frame}");
    }
    for text in [
        "at the end of the day the customer (Jane Doe) paid",
        "File \"the letter of Jane Doe to the bank\", line 3, in which she says",
        "at Jane's house: 12",
        "12: please tell Jane Doe",
        "at noon (see the plan of last week:12)",
    ] {
        assert!(!is_frame(text), "{text}");
    }
}
