//! **What**: words between keys and values, and around values. **Invariants**: in small letters. **Not here**: words of keys (`secrets::keys`).

/// What prose writes between a key and its value, the longer ones first.
pub(super) const IS: [&[u8]; 16] = [
    b"is set to ",
    b"is now ",
    b"was changed to ",
    b"was reset to ",
    b"was set to ",
    b"has been changed to ",
    b"has been reset to ",
    b"changed to ",
    b"reset to ",
    b"is ",
    b"was ",
    b"are ",
    b"by ",
    b"to ",
    b"is: ",
    b"is:",
];

/// Functions that only wrap a string.
pub(super) const WRAPPERS: &[&[u8]] = &[
    b"string",
    b"secret",
    b"secretstr",
    b"byte",
    b"bytes",
    b"b64decode",
    b"buffer.from",
    b"quote",
    b"some",
    b"literal",
    b"str",
    b"tostring",
];
