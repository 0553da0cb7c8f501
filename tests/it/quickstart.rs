//! Runs the quickstart page word for word, with the binary alone.

use std::fs;
use std::net::TcpListener;

use crate::manual::run_script;
use crate::sources::{File, blocks_of};

/// A free port with two more free ones above it.
fn ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let first = |_| {
        let taken = free(0).ok()?;
        let port = taken.local_addr().ok()?.port();
        let above = [port.checked_add(1)?, port.checked_add(2)?].map(free);
        above.iter().all(Result::is_ok).then_some(port)
    };
    (0..100).find_map(first).expect("three free ports in a row")
}

/// Each block does what the page says, on other ports. The test takes the seconds that the page waits for the vault.
#[test]
fn the_page_for_newcomers_works() {
    let blocks = blocks_of("sh", &File::read("docs/quickstart.md").text);
    assert_eq!(blocks.len(), 4);
    let (folder, port) = (tempfile::tempdir().unwrap(), ports());
    let script = blocks.concat().replace("127.0.0.1:4318", &format!("127.0.0.1:{}", port + 1));
    let script =
        script.replace("tollgate --data-dir data >", &format!("tollgate --data-dir data --listen 127.0.0.1:{port} >"));
    let script = script.replace(
        "tollgate --data-dir data print-config",
        &format!("tollgate --data-dir data --listen 127.0.0.1:{port} print-config"),
    );
    let script = format!("trap 'kill $GATEWAY 2> /dev/null' EXIT\n{script}");
    // the page's telemetry must be current: old telemetry raises an alarm
    assert!(script.contains("BEGAN=$(($(date +%s) - 2))") && !script.contains("UnixNano\": \"1"), "{script}");
    let run = run_script(&script, folder.path());
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    for wanted in [
        "traces: 1 span, ",
        "    error.message: could not reach [EMAIL] about badge B1234\n",
        "  chat gpt-4o  1.500 s  tokens 1000 in, 100 out  0.0035 USD  1 redacted\n",
        "    content: tollgate vault get file:///default/unattributed/first/",
        "  my-agent  chat gpt-4o  ok  0.0035 USD\n",
        "  user        Who has badge B1234?\n",
        "  price    priced 0.0035 USD · row openai/gpt-4o",
        "input              1000 × 2.5 USD/million = 0.0025",
        "→ \"could not reach [EMAIL] about badge [BADGE]\"",
        "    error.message: could not reach [EMAIL] about badge [BADGE]\n",
    ] {
        assert!(out.contains(wanted), "{wanted} is missing:\n{out}\n{err}");
    }
    let log = fs::read_to_string(folder.path().join("gateway.log")).unwrap();
    assert!(log.contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1"), "{log}");
    assert!(log.contains("tollgate vault find --store"), "{log}");
}
