use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::testing::site::Site;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use kernel::rng::SystemRng;
use vault::chain::erasures::ErasureHead;
use vault::chain::note::VerifyKey;
use vault::keygen::generate_signing_key;

use super::*;
use crate::cli::erase::{EraseArgs, run_erase};
use crate::cli::gateway_config::NoConfig;
use command::error::ExitStatus;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    erase: EraseArgs,
}

/// A vault with one session.
fn filled(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let site = Site::of_session(7, "text", 3).await;
        site.write_to(folder);
    });
}

/// An admin port that answers one request; the thread returns the request.
#[allow(clippy::disallowed_methods, reason = "the command blocks this thread")]
fn admin(status: &'static str) -> (String, thread::JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut bytes = Vec::new();
        let (head, body) = loop {
            let mut more = [0; 4096];
            let read = stream.read(&mut more).expect("bytes");
            bytes.extend_from_slice(more.get(..read).expect("read"));
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next().and_then(|number| number.trim().parse::<usize>().ok()));
            if body.len() >= length.expect("a length") {
                break (head.to_owned(), body.to_owned());
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\nconnection: close\r\n\r\nso\n");
        stream.write_all(answer.as_bytes()).expect("answered");
        (head, body)
    });
    (url, asked)
}

/// The report of an erasure reaches the gateway as signed, or later by `--resume`; if no gateway answers, or it
/// refuses, the erasure itself is unaffected.
#[test]
fn an_erasure_is_reported_and_stands_without_a_gateway() {
    let (store, keys) = (tempfile::tempdir().expect("scratch"), tempfile::tempdir().expect("scratch"));
    filled(store.path());
    let at = |name: &str| keys.path().join(name).display().to_string();
    let [alice, bob, erase] = ["alice", "bob", "erase"]
        .map(|name| generate_signing_key(Path::new(&at(name)), &format!("{name}.test"), &SystemRng).expect("a key"));
    let store = store.path().display().to_string();
    let run = |line: &[&str]| {
        let line = Line::parse_from(["erase"].iter().chain(line));
        run_erase(&NoConfig, &line.erase).map_err(|error| error.to_string())
    };
    let request = at("request");
    let made = run(&[
        "s0",
        "--request",
        "--requested-by",
        "dpo",
        "--reason",
        "ticket 1",
        "--output",
        &request,
        "--store",
        &store,
    ]);
    assert_eq!(made, Ok(ExitStatus::Success));
    for key in [at("alice"), at("bob")] {
        assert_eq!(run(&["--sign", &request, "--yes", "--key", &key]), Ok(ExitStatus::Success));
    }
    let signer = at("erase");
    let both = ["--erasers", &alice, "--erasers", &bob, "--sign-with", &signer, "--store", &store];
    let dead = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let dead = format!("http://{dead}");
    let execute = [&["--execute", &request, "--admin", &dead], &both[..]].concat();
    assert_eq!(run(&execute), Ok(ExitStatus::Success), "no gateway answers");
    assert!(run(&execute).expect_err("it was executed").contains("already executed"));
    for status in ["403 Forbidden", "200 OK"] {
        let (url, asked) = admin(status);
        let resume = [&["--resume", "--account", "default", "--admin", &url], &both[..]].concat();
        assert_eq!(run(&resume), Ok(ExitStatus::Success), "{status}");
        let (head, body) = asked.join().expect("asked");
        assert!(head.starts_with(&format!("POST {} ", ErasureReport::PATH)), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let part = |name: &str| STANDARD.decode(body[name].as_str().expect("text")).expect("base64");
        let key = VerifyKey::parse(&erase).expect("a key");
        assert!(ErasureHead::verify(&part("digest"), &part("signature"), &[key]).is_ok());
        let digest: vault::chain::digest::ChainDigest = serde_json::from_slice(&part("digest")).expect("a digest");
        assert!(digest.last && digest.n == 1 && digest.writer == "eraser", "the one that says it is done");
    }
}

/// The warning says what is valid, what is missing, and which command to run.
#[test]
fn the_warning_says_what_to_do() {
    let text = unreported_warning(
        &CommandError::Failed("http://127.0.0.1:8888: no response within `timeout`".to_owned()),
        "team",
    );
    for part in [
        "no response within `timeout`",
        "The erasure itself is complete",
        "tollgate vault erase --resume --account team --admin URL",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
