//! A request that can't lead to an opening is not used up, and those who sign see what they sign.

use std::fs;

use clap::Parser;

use super::*;
use crate::cli::sessions::{SessionArgs, run_session};
use crate::cli::share::{ShareArgs, run_share};
use vault::keygen::{generate_auditor_key, generate_signing_key};

#[derive(Parser)]
struct ShareLine {
    #[command(flatten)]
    args: ShareArgs,
}

#[derive(Parser)]
struct SessionLine {
    #[command(flatten)]
    args: SessionArgs,
}

/// A folder with keys, an empty vault, and `request`: signed twice, for the session `s0`.
fn desk() -> (tempfile::TempDir, OpeningRequest) {
    let folder = tempfile::tempdir().expect("scratch");
    let at = |name: &str| folder.path().join(name);
    let signer = |name: &str| generate_signing_key(&at(name), name, &SystemRng).expect("a key");
    let openers = [signer("alice"), signer("bob")].join("\n");
    signer("openings");
    generate_auditor_key(&at("auditor")).expect("a key");
    fs::write(at("openers"), openers).expect("written");
    fs::create_dir(at("vault")).expect("a folder");
    let now = SystemClock::new().now();
    let request = OpeningRequest {
        v: OpeningRequest::VERSION,
        store: at("vault").display().to_string(),
        account: "acme".to_owned(),
        open_session: "s0".to_owned(),
        why: "incident 12".to_owned(),
        time: rfc3339(now),
        expires: rfc3339(now.plus(Duration::from_secs(3600))),
        nonce: "1".repeat(32),
    };
    fs::write(at("request"), sign_twice(folder.path(), &request)).expect("written");
    (folder, request)
}

fn sign_twice(folder: &Path, request: &OpeningRequest) -> String {
    ["alice", "bob"].iter().fold(request.text(), |text, name| {
        let key = read_signing_key(Some(&folder.join(name))).expect("a key");
        signed_request::sign::<OpeningRequest>(&text, &key).expect("signed")
    })
}

fn options(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let pairs =
        [("--store", "vault"), ("--openers", "openers"), ("--sign-with", "openings"), ("--identity", "auditor")];
    pairs.iter().flat_map(|(option, name)| [(*option).to_owned(), at(name)]).collect()
}

/// Why no share is written into a file of the folder for a request there.
fn share_fault(folder: &Path, request: &str, output: &str) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let line = ["share".to_owned(), at(request), "--output".to_owned(), at(output)];
    let parsed = ShareLine::try_parse_from(line.into_iter().chain(options(folder))).expect("parsed");
    run_share(&parsed.args).expect_err("nothing is shared").to_string()
}

/// A share that can't be written, or a request for another session than the one to open, does not use the request.
#[test]
fn a_request_is_not_burned() {
    let (folder, _) = desk();
    let at = |name: &str| folder.path().join(name);
    let is_recorded = || at("vault/chain").exists();
    std::os::unix::fs::symlink(at("nothing"), at("dangling")).expect("a link");
    let share = |output: &str| share_fault(folder.path(), "request", output);
    for output in ["missing/x", "dangling"] {
        let why = share(output);
        assert!((why.contains("can't write") || why.contains("exists already")) && !is_recorded(), "{why}");
    }
    for (session, account) in [("s1", "acme"), ("s0", "other")] {
        let line = ["replay", session, "--account", account, "--request"].map(str::to_owned);
        let line = line.into_iter().chain([at("request").display().to_string()]).chain(options(folder.path()));
        let parsed = SessionLine::try_parse_from(line).expect("parsed");
        let why = run_session(parsed.args, false, |_, _| Ok(Ok(()))).expect_err("another").to_string();
        assert!(why.contains("is for another session") && !is_recorded(), "{why}");
    }
    let why = share("new.share");
    assert!(why.contains("no key of session s0") && is_recorded(), "{why}");
    assert!(!at("new.share").exists(), "no empty file stays");
}

/// Private text in a request that was made by hand is neither signed nor recorded.
#[test]
fn private_text_is_refused() {
    let (folder, request) = desk();
    let path = folder.path().join("private");
    let request = OpeningRequest { why: "asked by bob.zorn@example.com".to_owned(), ..request };
    fs::write(&path, request.text()).expect("written");
    let approve = ApproveArgs { request: path.clone(), key: folder.path().join("alice"), yes: true };
    let why = run_approve(&approve).expect_err("private").to_string();
    assert!(why.contains("private text"), "{why}");
    let signed = sign_twice(folder.path(), &request);
    fs::write(&path, signed).expect("written");
    let why = share_fault(folder.path(), "private", "s");
    assert!(why.contains("private text") && !folder.path().join("vault/chain").exists(), "{why}");
}

/// A session's name that imitates the summary stays one quoted field.
#[test]
fn a_summary_shows_each_field() {
    let (_folder, request) = desk();
    let request = OpeningRequest { open_session: "s1\" of account acme\nuntil \u{202e}".to_owned(), ..request };
    let text = summarize_request(&request);
    assert!(text.starts_with("open the session   \"s1\\\" of account acme\\nuntil \\u202e\"\n"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
}
