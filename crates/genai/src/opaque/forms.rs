//! The written forms of opaque values. `tests/cases/opaque.yaml` has examples and near misses of each.

/// The kind of an opaque value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpaqueKind {
    /// A switch or an outcome.
    Word,
    /// A number, date, version or address. The exact value may identify a person.
    Number,
    /// A generated id, which identifies nothing by itself.
    Id,
}

/// A number with optional fraction, exponent and thousands groups. More than 39 digits (the length of a 128-bit number)
/// or more than five groups may encode letters.
macro_rules! quantity {
    () => {
        r"(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,39})(?:\.\d{1,39})?(?:[eE][-+]?\d{1,4})?"
    };
}
macro_rules! unit {
    () => {
        "(?i:%|b|d|eur|gb|ghz|gib|h|hz|k|kb|khz|kib|m|mb|mhz|mi|mib|min|ms|ns|px|s|sec|tb|tib|tok|us|usd|w|x)"
    };
}
macro_rules! time {
    () => {
        r"\d\d:\d\d(?::\d{1,2}(?:[.,]\d{1,9})?)?(?:[zZ]| ?[-+]\d\d(?::?\d\d)?)?"
    };
}
macro_rules! month {
    () => {
        "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    };
}

/// The forms: kind, and the pattern that the whole text must match.
pub(super) const FORMS: &[(OpaqueKind, &str)] = &[
    (OpaqueKind::Word, "(?i:true|false|null|none|yes|no|on|off|ok|error|nan|[-+]?inf(?:inity)?)"),
    // `-3.5e7`, `$2.025`, `1h30m`, `99.9 %`
    (OpaqueKind::Number, concat!(r"[-+]?\$?", quantity!(), "(?:", unit!(), quantity!(), "){0,3}(?: ?", unit!(), ")?")),
    // `PT5M` (ISO 8601)
    (OpaqueKind::Number, r"P(?:\d{1,6}[YMWD]){0,4}(?:T(?:\d{1,9}(?:\.\d{1,9})?[HMS]){1,3})?"),
    // `2026-11-25T08:00:00Z` (RFC 3339) and its neighbours
    (OpaqueKind::Number, concat!(r"\d{4}[-/]\d\d[-/]\d\d(?:[zZ]|[tT_ ]", time!(), ")?")),
    (OpaqueKind::Number, time!()),
    (OpaqueKind::Number, r"\d{8}[tT]\d{6}[zZ]?"),
    // `25/Nov/2026:08:00:00 +0000` of access logs, `Wed, 25 Nov 2026 08:00:00 GMT` (RFC 9110)
    (OpaqueKind::Number, concat!(r"\d\d/", month!(), r"/\d{4}:", time!())),
    (OpaqueKind::Number, concat!(r"[A-Z][a-z]{2}, \d{1,2} ", month!(), r" \d{4} ", time!(), "(?: GMT| UTC)?")),
    // `v2`, `1.2.3-rc.1`, `1.2.3+build.7`
    (
        OpaqueKind::Number,
        concat!(
            r"(?:v\d{1,39}(?:\.\d{1,39}){0,3}|\d{1,39}(?:\.\d{1,39}){1,3})",
            r"(?:[-+.]?(?:a|alpha|b|beta|dev|post|pre|preview|rc)[-.]?\d{0,39})?",
            r"(?:\+(?:build\.?\d{1,12}|g?[0-9a-f]{7,40}))?"
        ),
    ),
    // `3/4`, `10-20`, `16:9`
    (OpaqueKind::Number, r"\d{1,39}[-/:]\d{1,39}"),
    (OpaqueKind::Number, "0x[0-9a-fA-F]{1,64}"),
    // `10.0.0.0/8`, `10.0.0.1:8080`
    (OpaqueKind::Number, r"\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5}|/\d{1,2})?"),
    // UUIDs (RFC 9562), trace contexts (W3C), X-Ray's trace ids
    (OpaqueKind::Id, r"(?:urn:uuid:)?\{?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?"),
    (OpaqueKind::Id, "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    (OpaqueKind::Id, r"(?:Root=)?1-[0-9a-f]{8}-[0-9a-f]{24}(?:;Parent=[0-9a-f]{16})?(?:;Sampled=[01?])?"),
    // ULIDs
    (OpaqueKind::Id, "0(?:[0-9A-HJKMNP-TV-Z]{25}|[0-9a-hjkmnp-tv-z]{25})"),
    // Hexadecimal in which letters and digits change at least twice: `Ada19850` is a word and a number.
    (OpaqueKind::Id, r"(?:sha\d{1,3}:)?(?:[a-fA-F]+\d+[a-fA-F]|\d+[a-fA-F]+\d)[0-9a-fA-F]{4,}"),
];

/// Words that may precede an id or a number and name its kind.
pub(super) const PREFIXES: [&str; 48] = [
    "asst", "attempt", "batch", "build", "call", "chatcmpl", "chunk", "cmpl", "conv", "dep", "doc", "emb", "event",
    "evt", "fc", "file", "ft", "gen", "id", "item", "job", "msg", "node", "page", "part", "pod", "r", "release", "req",
    "resp", "rev", "rs", "run", "sess", "session", "sha", "sha256", "shard", "span", "step", "task", "thread",
    "ticket", "toolu", "trace", "ver", "version", "worker",
];
