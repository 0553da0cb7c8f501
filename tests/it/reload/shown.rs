//! What a gateway shows of its configuration and of its end: a file that can't be used, and readiness before the ports
//! close.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::hex;
use kernel::sha256::Sha256;

use super::files::request;
use super::sockets::connect;
use super::{Running, configuration, place};
use crate::client::span;

/// The answer of the admin port.
fn ask(admin: SocketAddr, path: &str) -> String {
    let mut stream = connect(admin).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the metrics have this line.
fn until(admin: SocketAddr, line: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !ask(admin, "/metrics").contains(&format!("\n{line}\n")) {
        let shown = ask(admin, "/metrics");
        let shown: Vec<_> = shown.lines().filter(|line| line.starts_with("tollgate_config")).collect();
        assert!(Instant::now() < end, "{line}: {shown:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..4])
}

/// The hashes of what runs and of the file.
fn info(loaded: &str, file: &str) -> String {
    format!(r#"tollgate_config_hash_info{{role="gateway",loaded="{}",file="{file}"}} 1"#, hash(loaded))
}

/// Whether page and JSON say that an older configuration runs, while data flows.
fn says_so(admin: SocketAddr) -> bool {
    let json = ask(admin, "/api/gateway");
    assert!(json.contains(r#""ready":true"#), "{json}");
    assert!(ask(admin, "/readyz").ends_with("ok\n"));
    let says = |text: &str| text.contains("runs an older configuration than the file");
    let said = [says(&json), says(&ask(admin, "/")), says(&ask(admin, "/gateway"))];
    assert!(said == [said[0]; 3], "{said:?}");
    said[0]
}

const SUCCESS: &str = "tollgate_config_last_reload_success";

/// A configuration that `--watch` refused is shown until the file is mended, and the hash follows the file meanwhile.
/// (Regression test: the log alone told it, and the next restart ended with 78.)
#[test]
fn a_refused_configuration_is_shown_until_it_is_mended() {
    let (folder, config) = place();
    let good = configuration(folder.path(), "one.jsonl", false);
    fs::write(&config, &good).unwrap();
    let gateway = Running::start(&config, &["--watch"]);
    let admin = gateway.address("admin");
    until(admin, &info(&good, &hash(&good)));
    until(admin, &format!("{SUCCESS} 1"));
    assert!(!says_so(admin));
    for broken in ["receivers: nonsense", "receivers: other nonsense"] {
        fs::write(&config, broken).unwrap();
        until(admin, &format!("{SUCCESS} 0"));
        until(admin, &info(&good, &hash(broken)));
        assert!(says_so(admin));
    }
    fs::remove_file(&config).unwrap();
    until(admin, &info(&good, "unreadable"));
    assert!(says_so(admin));
    let mended = good.replace("one.jsonl", "two.jsonl");
    fs::write(&config, &mended).unwrap();
    until(admin, &format!("{SUCCESS} 1"));
    until(admin, &info(&mended, &hash(&mended)));
    assert!(!says_so(admin));
    assert_eq!(gateway.end(), Some(0));
}

/// Without `--watch` the hash follows the file, too; a refused reload is shown until the file holds again what runs.
#[test]
fn without_watch_the_file_is_followed() {
    let (folder, config) = place();
    let good = configuration(folder.path(), "one.jsonl", false);
    fs::write(&config, &good).unwrap();
    let gateway = Running::start(&config, &[]);
    let admin = gateway.address("admin");
    fs::write(&config, "receivers: nonsense").unwrap();
    until(admin, &info(&good, &hash("receivers: nonsense")));
    assert!(!says_so(admin), "nobody asked for a reload");
    gateway.signal("HUP");
    until(admin, &format!("{SUCCESS} 0"));
    assert!(says_so(admin));
    fs::write(&config, &good).unwrap();
    until(admin, &format!("{SUCCESS} 1"));
    until(admin, &info(&good, &hash(&good)));
    assert!(!says_so(admin));
    assert_eq!(gateway.end(), Some(0));
}

/// Starts a gateway that accepts for a while after it was told to end.
fn delayed(folder: &Path, config: &Path, delay: &str) -> (Running, SocketAddr, SocketAddr) {
    let text = configuration(folder, "one.jsonl", false);
    fs::write(config, text + &format!("limits: {{ shutdown: 1s, shutdown_delay: {delay} }}\n")).unwrap();
    let gateway = Running::start(config, &[]);
    let (http, admin) = (gateway.address("otlp http"), gateway.address("admin"));
    (gateway, http, admin)
}

/// On SIGTERM readiness fails first, and for `shutdown_delay` requests on new connections are still answered. A reload
/// does not wait. (Regression test: the ports closed at once, and clients of a load balancer were refused.)
#[test]
fn readiness_fails_before_the_ports_close() {
    let (folder, config) = place();
    let (mut gateway, http, admin) = delayed(folder.path(), &config, "4s");
    let began = Instant::now();
    gateway.signal("HUP");
    gateway.line("listening: otlp http");
    assert!(began.elapsed() < Duration::from_secs(4), "a reload does not wait");
    gateway.signal("TERM");
    gateway.line("requests are still accepted");
    assert!(ask(admin, "/readyz").starts_with("HTTP/1.1 503"));
    let mut stream = connect(http).unwrap();
    stream.write_all(&request("POST /v1/traces", &span("late"))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(http).is_err());
    assert!(fs::read_to_string(folder.path().join("one.jsonl")).unwrap().contains("late"));
}

/// A second signal ends the wait at once.
#[test]
fn a_second_signal_ends_the_delay() {
    let (folder, config) = place();
    let (mut gateway, ..) = delayed(folder.path(), &config, "1h");
    gateway.signal("TERM");
    gateway.line("requests are still accepted");
    gateway.signal("TERM");
    assert_eq!(gateway.child.wait().unwrap().code(), Some(143));
}
