use std::net::TcpListener;
use std::path::Path;

use crate::testing::site::Site;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use fakes::sink::{Answer, Sink};
use kernel::rng::SystemRng;
use vault::chain::erasures::ErasureHead;
use vault::chain::note::VerifyKey;
use vault::keygen::generate_signing_key;

use super::*;
use crate::cli::erase::tests::NoConfig;
use crate::cli::erase::{EraseArgs, run_erase};
use command::error::ExitStatus;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    erase: EraseArgs,
}

/// The report of an erasure reaches the gateway as signed, or later by `--resume`; if no gateway answers, or it
/// refuses, the erasure itself is unaffected.
#[test]
fn an_erasure_is_reported_and_stands_without_a_gateway() {
    let (store, keys) = (tempfile::tempdir().expect("scratch"), tempfile::tempdir().expect("scratch"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Site::of_session(7, "text", 3)).write_to(store.path());
    let at = |name: &str| keys.path().join(name).display().to_string();
    let [alice, bob, erase] = ["alice", "bob", "erase"]
        .map(|name| generate_signing_key(Path::new(&at(name)), &format!("{name}.test"), &SystemRng).expect("a key"));
    let store = store.path().display().to_string();
    let run = |line: &[&str]| {
        let line = Line::parse_from(["erase"].iter().chain(line));
        run_erase(&NoConfig, &line.erase).map_err(|error| error.to_string())
    };
    let request = at("request");
    let made = ["s0", "--request", "--requested-by", "dpo", "--reason", "ticket 1", "--output", &request];
    let made = run(&[&made[..], &["--store", &store]].concat());
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
    let gateway = runtime.block_on(Sink::new(None, [Answer::http(403), Answer::http(200)]));
    let url = format!("http://{}", gateway.address);
    for answer in ["refused", "taken"] {
        let resume = [&["--resume", "--account", "default", "--admin", &url], &both[..]].concat();
        assert_eq!(run(&resume), Ok(ExitStatus::Success), "{answer}");
        let asked = gateway.seen().pop().expect("asked");
        assert_eq!((asked.method.as_str(), asked.uri.path()), ("POST", ErasureReport::PATH));
        let body: serde_json::Value = serde_json::from_slice(&asked.body).expect("JSON");
        let part = |name: &str| STANDARD.decode(body[name].as_str().expect("text")).expect("base64");
        let key = VerifyKey::parse(&erase).expect("a key");
        assert!(ErasureHead::verify(&part("digest"), &part("signature"), &[key]).is_ok());
        let digest: vault::chain::digest::ChainDigest = serde_json::from_slice(&part("digest")).expect("a digest");
        assert!(digest.last && digest.n == 1 && digest.writer == "eraser", "the one that says it is done");
        let runs: serde_json::Value = serde_json::from_str(body["runs"].as_str().expect("text")).expect("JSON");
        assert_eq!(runs, serde_json::json!({"account": "default", "users": [], "session": "s0"}));
    }
}
