use clap::Parser;

use super::*;

/// A command line with only these options.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    verify: VerifyArgs,
}

fn given(from: &str, to: &str) -> Option<VerifyArgs> {
    let line = ["verify", "--store", "/nowhere", "--key", "k", "--from", from, "--to", to];
    Line::try_parse_from(line).ok().map(|line| line.verify)
}

/// An invalid time would leave all payload unread and still print "verified".
#[test]
fn what_is_no_time_is_refused() {
    for text in ["nonsense", "7", "2026-13-01", "2026-11-40", "2026-11-20T25:00:00Z", "2026-11-20T08:00:00xZ", ""] {
        assert!(given(text, "1h").is_none() && given("9d", text).is_none(), "{text:?}");
    }
    for text in ["7d", "2026-01-20", "2026-01-20T08:00:00Z", "2026-01-20T08:00:00.123456789Z"] {
        let from = given(text, "1h").and_then(|given| given.from).expect(text);
        // the form that digests' times have
        assert!(from.starts_with("20"), "{text}");
    }
    assert!(run_verify(&given("1h", "7d").expect("parsed")).is_err(), "the wrong way round");
}
