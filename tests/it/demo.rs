//! Tests of `tollgate demo` as a user runs it: piped, without HOME, with a reader that disconnects, until Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Starts the demo with only a temporary folder in its environment.
fn demo(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("demo")
        .args(arguments)
        .env_clear()
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(child: Child) -> (String, String, Option<i32>) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), status.code())
}

/// Runs a printed `tollgate` command in a shell.
fn run_printed(line: &str) -> Output {
    let command = line.trim().replacen("tollgate", env!("CARGO_BIN_EXE_tollgate"), 1);
    Command::new("sh").args(["-c", &command]).env_clear().output().unwrap()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// The demo exits with 0, prints the expected plain text, also when the usual ports are taken, and leaves nothing
/// behind.
#[test]
fn once_and_piped() {
    let folder = tempfile::tempdir().unwrap();
    // It does not matter which process holds these ports.
    let _taken: Vec<_> = [4317, 4318, 8888].map(|port| TcpListener::bind(("127.0.0.1", port))).into_iter().collect();
    let (out, err, code) = ended(demo(folder.path(), &["--once"]));
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert_eq!(err, "");
    assert!(!out.contains('\x1b'));
    assert!(out.lines().filter(|line| !line.contains("file:///")).all(|line| line.chars().count() <= 100), "{out}");
    for wanted in [
        "(the default ports are in use)",
        "Claude Code 2.1.328",
        "15 spans, 19 log records, 12 data points",
        "- prompt = Look at the notes for CANARY-prompt-",
        "+ prompt = ▸ vault, bytes=0000000000-",
        "+ exception.message = card [CREDIT_CARD] of [EMAIL] was declined",
        "[AWS_ACCESS_KEY]",
        "+ http.request.header.authorization = ▸ dropped",
        "(added by the demo)",
        "✓  0.02277435 USD, equal to the client's figure",
        "USD more for 2 calls of Codex on a subscription: API-equivalent, 0",
        "file:///default/acme/",
        "Look at the notes for CANARY-prompt-",
        "✓  none of",
        "✓  `npm test` was denied: This session has used $0.023 of $0.02 (budget demo-session)",
        "✓  `git commit` was allowed",
        "✓  All checks passed.",
        "What to do next.",
        "tollgate explain FILE",
    ] {
        assert!(out.contains(wanted), "{wanted} is missing:\n{out}");
    }
    assert!(!out.contains('✗') && !out.contains("127.0.0.1:4318") && !out.contains("{}"), "{out}");
    let steps = out.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!(steps, 8, "{out}");
    assert_eq!(entries(folder.path()), 0);
}

/// A reader that disconnects at once changes nothing: the demo ends with success and leaves nothing behind.
#[test]
fn a_reader_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--once"][..], &[]] {
        let mut child = demo(folder.path(), arguments);
        drop(child.stdout.take());
        let (_, err, code) = ended(child);
        assert_eq!((err.as_str(), code), ("", Some(0)), "{arguments:?}");
    }
    assert_eq!(entries(folder.path()), 0);
}

/// The demo serves until it gets a signal; the commands it printed work; the directory is removed afterwards.
#[test]
fn serves_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path(), &[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let seen: Vec<String> = lines.by_ref().take_while(|line| !line.trim().starts_with("http://127.0.0.1")).collect();
    let find = |what: &str| seen.iter().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {seen:#?}"));
    let endpoint =
        find("export OTEL_EXPORTER_OTLP_PROTOCOL").split("OTEL_EXPORTER_OTLP_ENDPOINT=http://").nth(1).unwrap();
    find("CLAUDE_CODE_ENABLE_TELEMETRY=1");
    assert!(std::net::TcpStream::connect(endpoint).is_ok(), "{endpoint}");
    // what is to pay and the API-equivalent stand apart on the overview: Codex's calls are on a subscription
    let page = find("page      http://").split("http://").nth(1).unwrap().trim_end_matches('/');
    let mut overview = std::net::TcpStream::connect(page).unwrap();
    write!(overview, "GET / HTTP/1.0\r\nhost: {page}\r\naccept: text/html\r\n\r\n").unwrap();
    let mut html = String::new();
    overview.read_to_string(&mut html).unwrap();
    let amounts = ["<strong>$0.023 to pay</strong>", "$0.067</span> API-equivalent"];
    assert!(amounts.iter().all(|amount| html.contains(amount)), "{amounts:?}: {html}");
    let replay = run_printed(find("tollgate vault replay"));
    let text = String::from_utf8(replay.stdout).unwrap();
    assert!(replay.status.success() && text.contains("Look at the notes for CANARY-prompt-"), "{text}");
    assert_eq!(entries(folder.path()), 1);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    lines.for_each(drop);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    assert_eq!(entries(folder.path()), 0);
}

/// `--keep` keeps the directory; a configuration is refused as wrong usage.
#[test]
fn options() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _, code) = ended(demo(folder.path(), &["--once", "--keep"]));
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(entries(folder.path()), 1);
    // the last printed command opens the kept data
    let replay = run_printed(out.lines().last().unwrap());
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let (_, err, code) = ended(demo(folder.path(), &["--config", "x.yaml"]));
    assert_eq!(code, Some(2), "{err}");
}
