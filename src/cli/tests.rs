//! Tests of what the command line checks before it runs a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::refuse_keys;

/// A key in place of its file's path is wrong usage, and the error does not show it. (Shown to fail without the call of
/// `contains_key`.)
#[test]
fn keys_are_no_arguments() {
    let refused = |last: &[u8]| {
        let arguments = ["tollgate", "vault", "get"].map(OsString::from).into_iter();
        refuse_keys(arguments.chain([OsString::from_vec(last.to_vec())])).map_err(|error| error.to_string())
    };
    let age_key = format!("age-secret-key-1SECRET{}", "q".repeat(52));
    for key in [age_key.to_ascii_uppercase(), format!("--identity={age_key}"), "PRIVATE+KEY+x+SECRET".to_owned()] {
        let why = refused(key.as_bytes()).unwrap_err();
        assert!(why.contains("a secret key") && !why.contains("SECRET"), "{why}");
    }
    assert!(refused(b"\xff-----BEGIN PRIVATE KEY-----").is_err());
    for path in [
        "auditor.key",
        "--identity=/keys/private.key",
        "/keys/age-secret-key-auditor.txt",
        "age1recipient",
        "vault.example+00000000+AY",
    ] {
        assert_eq!(refused(path.as_bytes()), Ok(()));
    }
}
