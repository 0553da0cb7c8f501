//! Tests of what the command line checks before it runs a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::CommandFactory as _;

use super::{Cli, refuse_keys, vault};

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

/// Each subcommand of `vault` is below one heading of its help, so that none is missing there.
#[test]
fn every_subcommand_of_vault_has_a_heading() {
    let cli = Cli::command();
    let vault = cli.find_subcommand("vault").unwrap();
    let mut names: Vec<_> = vault.get_subcommands().map(clap::Command::get_name).collect();
    let mut listed: Vec<_> = vault::HEADINGS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, names);
}
