//! The self-check of the leak search: with sealing turned off it must find the canaries; a whole gateway with sealing
//! must leave none. `tests/peers/run.sh leak` searches every recording, including outbound data.

use crate::client::{JSON, PROTOBUF, ask};
use crate::gateway;
use crate::sources::root;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use config::env::OtherMachineLookup;
use tollgate::app::build::GatewayDeps;
use tollgate::app::{RunningGateway, assemble, resolve};
use tollgate::components::ProcessorSettings;
use vault::recipients::Audience;
use vault::seal::{NewSessionKey, SealFailed, SessionKeyGenerator};

const RECORDING: &str = "tests/recordings/claude-code";
const SESSION: &str = "plain";

/// The kinds of sealing that a test turns off.
#[derive(Clone, Copy, Default)]
struct Off {
    /// Fragments in the vault are not encrypted.
    vault: bool,
    /// Segments of the spool are not encrypted.
    spool: bool,
}

/// A sealer that does not encrypt.
struct Plain;

impl SessionKeyGenerator for Plain {
    fn new_session(&self, _: &Audience, _: &str) -> Result<NewSessionKey, SealFailed> {
        let seal = |plain: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(plain);
            Ok(())
        };
        let (id, object) = ("0".repeat(16), Bytes::from_static(b"no key\n"));
        Ok(NewSessionKey { id, seal: Box::new(seal), object })
    }
}

/// Canaries that occur in the session's traces and logs.
fn canaries() -> Vec<String> {
    let text = fs::read_to_string(root().join(RECORDING).join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let all = manifest["sessions"][SESSION]["canaries"].as_object().unwrap().values();
    let seen = all.filter(|one| ["traces", "logs"].iter().any(|signal| !one["seen"][signal].is_null()));
    seen.map(|one| one["value"].as_str().unwrap().to_owned()).collect()
}

/// Two branches: the output for a third party, and, for the spool, all data for an internal exporter that is down.
fn configuration(folder: &Path) -> String {
    let steps = ["normalize", "vault", "redact"];
    let changes = serde_json::json!({
        "processors": { "cost": null, "runs": null, "vault": { "object_age": "100ms", "index_interval": "100ms" } },
        "exporters": { "otlp_http/house": { "endpoint": "http://127.0.0.1:9", "trust": "internal" } },
        "limits": { "shutdown": "1s" },
        "service": { "pipelines": {
            "traces": { "processors": steps },
            "logs": { "processors": steps },
            "metrics": { "receivers": ["otlp"], "processors": ["redact"], "exporters": ["file"] },
            "traces/house": { "receivers": ["otlp"], "exporters": ["otlp_http/house"] },
        } },
    });
    gateway::configuration(folder, &changes)
}

async fn start(folder: &Path, off: Off) -> RunningGateway {
    let read = resolve::resolve_config("test", &configuration(folder), &OtherMachineLookup, folder);
    let (_, mut valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    if off.spool {
        valid.spool = valid.spool.unsealed_for_self_check();
    }
    for placed in &mut valid.processors {
        if let (true, ProcessorSettings::Vault(settings)) = (off.vault, &mut placed.value) {
            settings.sealer = Some(Arc::new(Plain));
        }
    }
    let seams = GatewayDeps::system();
    let blueprint = assemble::build_blueprint(valid, &seams).await.unwrap();
    RunningGateway::start(blueprint, seams).await.unwrap()
}

/// Replays the session and returns every byte that the gateway wrote or showed, with its origin.
async fn played(off: Off) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path(), off).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join(RECORDING).join(SESSION)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "pb"));
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let signal = name.split('-').nth(1).unwrap();
        let answer = ask(otlp, &format!("POST /v1/{signal}"), PROTOBUF, &fs::read(&path).unwrap());
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
    }
    let mut out: Vec<_> = ["/", "/gateway", "/runs", "/changes", "/report", "/metrics", "/readyz"]
        .map(|page| (page.to_owned(), ask(admin, &format!("GET {page}"), "", b"").into_bytes()))
        .into();
    collect(folder.path(), &mut out);
    app.shutdown().await;
    collect(folder.path(), &mut out);
    out
}

fn collect(folder: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, out);
        } else {
            match fs::read(&path) {
                Ok(bytes) => out.push((path.display().to_string(), bytes)),
                // the gateway replaced the file meanwhile; its new form is collected after the shutdown
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display()),
            }
        }
    }
}

/// The canaries in these bytes: plain, in hex, base64 (any alignment) or UTF-16, and inside compressed frames.
fn found(canaries: &[String], bytes: &[u8], depth: u32) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for canary in canaries {
        let tail = canary.get(canary.len() - 16..).unwrap();
        let wide: Vec<u8> = tail.bytes().flat_map(|byte| [byte, 0]).collect();
        let mut forms = vec![tail.as_bytes().to_vec(), kernel::hex::encode(tail.as_bytes()).into_bytes(), wide];
        for shift in 0..3 {
            let coded = STANDARD_NO_PAD.encode([&b"\0\0\0"[..shift], tail.as_bytes()].concat());
            forms.push(coded.as_bytes()[(shift * 8).div_ceil(6)..(shift + 16) * 8 / 6].to_vec());
        }
        if forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some()) {
            out.insert(canary.clone());
        }
    }
    if depth > 0 {
        for at in memchr::memmem::find_iter(bytes, b"\x28\xb5\x2f\xfd") {
            let mut inner = Vec::new();
            if let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) {
                // bytes after a frame cause an error, but the output before it counts
                drop(decoder.single_frame().take(64 << 20).read_to_end(&mut inner));
            }
            out.extend(found(canaries, &inner, depth - 1));
        }
        for at in memchr::memmem::find_iter(bytes, b"\x1f\x8b\x08") {
            let mut inner = Vec::new();
            drop(flate2::read::GzDecoder::new(&bytes[at..]).take(64 << 20).read_to_end(&mut inner));
            out.extend(found(canaries, &inner, depth - 1));
        }
    }
    out
}

/// The canaries found under paths that contain `part`.
fn search(seen: &[(String, Vec<u8>)], part: &str) -> BTreeSet<String> {
    let canaries = canaries();
    seen.iter().filter(|(path, _)| path.contains(part)).flat_map(|(_, bytes)| found(&canaries, bytes, 3)).collect()
}

/// With sealing, content must be nowhere: not in the spool, the store, the output or the pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_gateway_leaves_no_canary() {
    let seen = played(Off::default()).await;
    for part in ["/spool/", "/vault/", "outbound", "/metrics"] {
        assert!(seen.iter().any(|(path, bytes)| path.contains(part) && !bytes.is_empty()), "nothing to search: {part}");
    }
    assert_eq!(search(&seen, ""), BTreeSet::new());
}

/// With the vault's sealing off, the search must find every canary in the store and none in the output.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_what_an_unsealed_vault_leaves() {
    let seen = played(Off { vault: true, ..Off::default() }).await;
    assert_eq!(search(&seen, "/vault/"), canaries().into_iter().collect());
    assert_eq!(search(&seen, "outbound"), BTreeSet::new());
}

/// With the spool's sealing off, the search must find the data that waits for the internal exporter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_what_an_unsealed_spool_leaves() {
    let seen = played(Off { spool: true, ..Off::default() }).await;
    assert_ne!(search(&seen, "/spool/"), BTreeSet::new());
}

/// A back end that refuses requests and repeats them in its response.
fn parrot() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = vec![0; 1 << 20];
            let read = stream.read(&mut head).unwrap_or(0);
            let said = format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: {read}\r\n\r\n");
            let _ = stream.write_all(said.as_bytes());
            let _ = stream.write_all(&head[..read]);
        }
    });
    address
}

const TOKEN: &str = "canary-of-a-credential-4711";

/// A gateway process that accepts [`TOKEN`], logs everything, and sends to [`parrot`].
fn talkative(folder: &Path) -> std::process::Child {
    let mut config: serde_json::Value = serde_json::from_str(&configuration(folder)).unwrap();
    config["service"]["telemetry"] = serde_json::json!({ "logs": { "level": "debug" } });
    config["receivers"]["otlp"]["auth"] = serde_json::json!({ "tokens": { "acme": [TOKEN] } });
    config["exporters"]["otlp_http/house"]["endpoint"] = format!("http://{}", parrot()).into();
    let path = folder.join("config.yaml");
    fs::write(&path, config.to_string()).unwrap();
    std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg(format!("--config={}", path.display()))
        .env_clear()
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// The log of a whole process at debug level, for a replayed session, a back end that repeats what it refuses, and
/// requests that are invalid in every way, with canaries in each part. It may contain neither a canary nor a
/// credential.
#[test]
fn the_log_at_debug_holds_no_canary() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = talkative(folder.path());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut log = String::new();
    let mut address = |what: &str| loop {
        let line = lines.next().unwrap().unwrap();
        log.push_str(&line);
        log.push('\n');
        // lines printed before the log begins are not JSON
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if line["message"] == format!("listening: {what}") {
            break line["address"].as_str().unwrap().parse::<SocketAddr>().unwrap();
        }
    };
    let (otlp, admin) = (address("otlp http"), address("admin"));
    let canaries = canaries();
    let canary = canaries.first().unwrap();
    let known = format!("authorization: Bearer {TOKEN}\r\n");
    for entry in fs::read_dir(root().join(RECORDING).join(SESSION)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let Some(signal) = name.strip_suffix(".pb").and_then(|name| name.split('-').nth(1)) else { continue };
        let head = format!("{known}{PROTOBUF}");
        let answer = ask(otlp, &format!("POST /v1/{signal}"), &head, &fs::read(entry.path()).unwrap());
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
    }
    let body = canary.as_bytes();
    let traces = "POST /v1/traces".to_owned();
    for (target, head, status) in [
        (traces.clone(), format!("{known}{PROTOBUF}"), "400"),
        ("POST /v1/logs".to_owned(), format!("{known}{JSON}"), "400"),
        (traces.clone(), format!("{known}{JSON}content-encoding: gzip\r\n"), "400"),
        (traces.clone(), format!("{known}content-type: text/{TOKEN}\r\n"), "415"),
        (format!("POST /v1/{TOKEN}"), format!("{known}{JSON}"), "404"),
        (traces, format!("authorization: Bearer {TOKEN}-not\r\n{JSON}"), "401"),
    ] {
        let answer = ask(otlp, &target, &head, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target} {head}: {answer}");
    }
    let refused = "tollgate_exporter_quarantined_items_total{exporter=\"otlp_http/house\"} ";
    let is_told = |page: &str| page.lines().any(|line| line.strip_prefix(refused).is_some_and(|count| count != "0"));
    while !is_told(&ask(admin, "GET /metrics", &known, b"")) {}
    ask(admin, &format!("GET /api/runs/{TOKEN}?account={TOKEN}"), &known, b"");
    ask(admin, &format!("GET /{TOKEN}"), &known, b"");
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    log.extend(lines.map(|line| line.unwrap() + "\n"));
    assert!(child.wait().unwrap().success(), "{log}");
    assert!(
        log.contains("shutting down")
            && log.contains("the back end permanently refused items; they are in the spool's quarantine"),
        "what must be there: {log}"
    );
    assert_eq!(found(&canaries, log.as_bytes(), 1), BTreeSet::new(), "{log}");
    assert!(!log.contains("canary-of-a-credential"), "{log}");
}
