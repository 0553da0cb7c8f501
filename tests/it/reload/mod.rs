//! Tests of reloading the configuration while clients send: no request is lost, a port that stays is never closed, and
//! a configuration that can't be used changes nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use otlp::Signal;

use crate::{client, gateway};
use sockets::{Clients, connect, each_once};

mod files;
mod shown;
pub(crate) mod sockets;

/// A gateway process, and its log line by line.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(config: &Path, more: &[&str]) -> Self {
        Self::start_in(&[], config, more)
    }

    /// Starts a gateway with only these environment variables.
    pub(crate) fn start_in(variables: &[(&str, &str)], config: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("run").arg(format!("--config={}", config.display())).args(more);
        Self::spawn(command.env_clear().envs(variables.iter().copied()).stdout(Stdio::null()))
    }

    /// Starts a gateway by this command.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Self { child, lines }
    }

    /// Waits for the next line that contains `text`.
    pub(crate) fn line(&self, text: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("no line with {text}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Returns the line after the next one that contains `first`; it must contain `text`.
    pub(crate) fn next_line(&self, first: &str, text: &str) -> String {
        self.line(first);
        let line = self.lines.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(line.contains(text), "{line}");
        line
    }

    /// Checks that no line contains `text` for `time`.
    pub(crate) fn silent(&self, text: &str, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            assert!(!line.contains(text), "{line}");
        }
    }

    pub(crate) fn address(&self, what: &str) -> SocketAddr {
        let line: serde_json::Value = serde_json::from_str(&self.line(&format!("listening: {what}"))).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Ends the gateway, and returns the rest of its log.
    pub(crate) fn rest(self) -> String {
        self.signal("TERM");
        self.lines.iter().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn end(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// The log line of a reload that begins.
const RESTARTS: &str = "reloading: the gateway restarts with the new configuration; ports stay open";

/// `out` is the output file of the pipeline; `grpc`: whether the configuration has a gRPC port.
fn configuration(folder: &Path, out: &str, grpc: bool) -> String {
    let grpc = if grpc { "grpc: { endpoint: '127.0.0.1:0' }, " } else { "" };
    let exporter = format!("file: {{ path: '{}', trust: internal }}", folder.join(out).display());
    let admin = "extensions: { admin: { endpoint: '127.0.0.2:0' } }";
    gateway::plain(folder, &format!("{grpc}http: {{ endpoint: 'localhost:0' }}"), &exporter, admin)
}

/// A folder with a data directory, and the path of the configuration in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let config = folder.path().join("config.yaml");
    (folder, config)
}

/// Sends one request, which must be accepted.
fn send(to: SocketAddr, name: &str) {
    gateway::post(to, Signal::Traces, &client::span(name));
}

fn names(folder: &Path, out: &str) -> Vec<String> {
    let lines = fs::read_to_string(folder.join(out)).unwrap_or_default();
    let names = lines.split("\"name\":\"r").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    names.collect()
}

/// Clients send all the time while the configuration is reloaded three times (by signal, by the admin port, and once
/// with an invalid one): each request is accepted and forwarded once, into the file configured at that time.
#[test]
fn no_request_is_lost_while_the_configuration_changes() {
    let (folder, config) = place();
    let write = |text: String| fs::write(&config, text).unwrap();
    write(configuration(folder.path(), "one.jsonl", false));
    let gateway = Running::start(&config, &[]);
    let (http, admin) = (gateway.address("otlp http"), gateway.address("admin"));
    let clients = Clients::start(move || connect(http));
    clients.some_more();
    write(configuration(folder.path(), "two.jsonl", true));
    gateway.signal("HUP");
    assert_eq!(gateway.address("otlp http"), http, "the same port");
    clients.some_more();
    write("receivers: { otlp: { protocol: {} } }\n".to_owned());
    gateway.signal("HUP");
    // the reasons are in the log itself: bare text between its lines is lost where logs are read as JSON
    let refused: serde_json::Value =
        serde_json::from_str(&gateway.next_line("reloading the configuration", "can't be used")).unwrap();
    assert_eq!(refused["level"], "ERROR");
    assert!(refused["why"].as_str().unwrap().contains("protocol"), "{refused}");
    assert!(!refused["why"].as_str().unwrap().contains('\n'), "{refused}");
    clients.some_more();
    write(configuration(folder.path(), "three.jsonl", false));
    let request_reload = |authorization: &str| client::ask(admin, "POST /-/reload", authorization, b"");
    let token = fs::read_to_string(folder.path().join("data/admin.token")).unwrap();
    let refused = request_reload("");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let answer = request_reload(&format!("authorization: Bearer {}\r\n", token.trim()));
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(gateway.address("otlp http"), http);
    clients.some_more();
    let count = clients.end();
    assert_eq!(gateway.end(), Some(0));
    let files = ["one.jsonl", "two.jsonl", "three.jsonl"];
    let counts = files.map(|file| names(folder.path(), file).len());
    assert!(counts.iter().all(|count| *count >= 30), "{counts:?}");
    each_once(folder.path(), &files, count);
}

/// A second reload before the first one's round is ready: the gateway continues. (Regression test: a round that was
/// ended before it was ready kept the spool's lock, the next one found it taken, and the process exited with 1.)
#[test]
fn reloads_in_a_burst_end_nothing() {
    let (folder, config) = place();
    fs::write(&config, configuration(folder.path(), "one.jsonl", false)).unwrap();
    let gateway = Running::start(&config, &[]);
    let http = gateway.address("otlp http");
    for burst in 0..12 {
        gateway.signal("HUP");
        gateway.line(RESTARTS);
        gateway.signal("HUP");
        gateway.signal("HUP");
        send(http, &format!("r{burst}"));
    }
    assert_eq!(gateway.end(), Some(0));
    assert_eq!(names(folder.path(), "one.jsonl").len(), 12);
}

/// While a reload waits for a request in progress, the health port reports that the gateway runs: an operator that
/// uses it for liveness must not kill the process.
#[test]
fn a_reload_is_no_end_of_life() {
    let (folder, config) = place();
    let text = configuration(folder.path(), "one.jsonl", false);
    let text = text.replace("extensions: { admin:", "extensions: { health_check: { endpoint: '127.0.0.1:0' }, admin:");
    let text = text.replace("extensions: [admin]", "extensions: [admin, health_check]");
    fs::write(&config, text + "limits: { shutdown: 30s }\n").unwrap();
    let gateway = Running::start(&config, &[]);
    let (http, health) = (gateway.address("otlp http"), gateway.address("health_check"));
    let ask = || client::ask(health, "GET /", "", b"");
    assert!(ask().starts_with("HTTP/1.1 200"));
    let mut waits = TcpStream::connect(http).unwrap();
    waits.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    waits.write_all(head.as_bytes()).unwrap();
    // the round must not end before it has read the head
    send(http, "r1");
    gateway.signal("HUP");
    gateway.line(RESTARTS);
    for _ in 0..20 {
        let answer = ask();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    waits.write_all(b"}").unwrap();
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(gateway.address("otlp http"), http);
    assert!(ask().starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.end(), Some(0));
}

/// A ConfigMap's folder is swapped by changing links: the change is detected, and an invalid file changes nothing.
#[test]
fn a_watched_file_is_followed_through_links() {
    let (folder, config) = place();
    let version = |name: &str, text: &str| {
        let at = folder.path().join(name);
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("config.yaml"), text).unwrap();
        // As the kubelet does it: a new link is moved over the old one.
        let fresh = folder.path().join("..data_tmp");
        symlink(&at, &fresh).unwrap();
        fs::rename(&fresh, folder.path().join("..data")).unwrap();
    };
    version("v1", &configuration(folder.path(), "one.jsonl", false));
    symlink("..data/config.yaml", &config).unwrap();
    let gateway = Running::start(&config, &["--watch"]);
    let http = gateway.address("otlp http");
    send(http, "r1");
    version("v2", &configuration(folder.path(), "two.jsonl", false));
    gateway.line("the configuration file changed: reloading the configuration");
    assert_eq!(gateway.address("otlp http"), http);
    send(http, "r2");
    version("v3", "receivers: nonsense\n");
    gateway.line("the new configuration can't be used; the previous one keeps running");
    send(http, "r3");
    version("v4", &configuration(folder.path(), "four.jsonl", false));
    assert_eq!(gateway.address("otlp http"), http);
    send(http, "r4");
    assert_eq!(gateway.end(), Some(0));
    let files = ["one.jsonl", "two.jsonl", "four.jsonl"].map(|file| names(folder.path(), file));
    assert_eq!(files, [vec!["1"], vec!["2", "3"], vec!["4"]]);
}

/// A file that the configuration names is watched like the configuration: a changed key is used, one that is missing
/// for a while changes nothing, and its text appears in no log. (Regression test: the old value was used until the
/// next reload.)
#[test]
fn a_named_file_is_watched_too() {
    let (folder, config) = place();
    let named = folder.path().join("where");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = configuration(folder.path(), "one.jsonl", false);
    fs::write(&config, text.replace(&at("one.jsonl"), &format!("${{file:{}}}", named.display()))).unwrap();
    fs::write(&named, at("CANARY-one.jsonl")).unwrap();
    let gateway = Running::start(&config, &["--watch"]);
    let http = gateway.address("otlp http");
    send(http, "r1");
    fs::remove_file(&named).unwrap();
    gateway.line("the new configuration can't be used; the previous one keeps running");
    send(http, "r2");
    fs::write(&named, at("CANARY-one.jsonl")).unwrap();
    gateway.line("the file matches the running configuration again: nothing to reload");
    fs::write(&named, at("CANARY-two.jsonl")).unwrap();
    let line = gateway.line("reloading the configuration");
    assert!(!line.contains("CANARY"), "{line}");
    assert_eq!(gateway.address("otlp http"), http);
    send(http, "r3");
    gateway.silent("CANARY", Duration::from_secs(1));
    assert_eq!(gateway.end(), Some(0));
    let files = ["CANARY-one.jsonl", "CANARY-two.jsonl"].map(|file| names(folder.path(), file));
    assert_eq!(files, [vec!["1", "2"], vec!["3"]]);
}

/// A watched file with a valid configuration that can't be run is tried once, not repeatedly, and restoring the
/// running configuration's text does not start a new round. (Regression test: a round ended and began every two
/// seconds.)
#[test]
fn a_watched_file_that_cannot_be_run_is_tried_once() {
    let (folder, config) = place();
    let good = configuration(folder.path(), "one.jsonl", false);
    fs::write(&config, &good).unwrap();
    let gateway = Running::start(&config, &["--watch"]);
    let http = gateway.address("otlp http");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    fs::write(&config, configuration(folder.path(), "two.jsonl", true).replace("127.0.0.1:0", &at)).unwrap();
    gateway.line("the new configuration can't be started; restarting the previous one");
    assert_eq!(gateway.address("otlp http"), http);
    gateway.silent(RESTARTS, Duration::from_secs(5));
    send(http, "r1");
    fs::write(&config, &good).unwrap();
    gateway.line("the file matches the running configuration again: nothing to reload");
    gateway.silent(RESTARTS, Duration::from_secs(3));
    fs::write(&config, "receivers: nonsense\n").unwrap();
    gateway.line("the new configuration can't be used; the previous one keeps running");
    fs::write(&config, &good).unwrap();
    gateway.silent(RESTARTS, Duration::from_secs(4));
    send(http, "r2");
    fs::write(&config, configuration(folder.path(), "three.jsonl", false)).unwrap();
    assert_eq!(gateway.address("otlp http"), http);
    send(http, "r3");
    assert_eq!(gateway.end(), Some(0));
    let files = ["one.jsonl", "three.jsonl"].map(|file| names(folder.path(), file));
    assert_eq!(files, [vec!["1", "2"], vec!["3"]]);
}

/// The log of a reload must not read like a shutdown; a gateway that gets a second signal exits with that signal's
/// shell code. (Regression test: SIGHUP logged "shutting down", two SIGTERMs exited with 1.)
#[test]
fn a_reload_is_no_end_and_a_second_word_is_told_by_the_code() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut gateway, silent) = files::waiting(folder.path(), "http");
        let http = gateway.address("otlp http");
        gateway.signal("HUP");
        let mut line = String::new();
        while !line.contains("listening: otlp http") {
            line = gateway.line("");
            assert!(!line.contains("shutting down"), "{line}");
        }
        let mut stream = TcpStream::connect(http).unwrap();
        stream.write_all(&files::request("POST /v1/traces", &client::span("r"))).unwrap();
        let back_end = silent.accept().unwrap();
        gateway.signal("TERM");
        gateway.line("shutting down");
        gateway.signal(second);
        assert_eq!(gateway.child.wait().unwrap().code(), Some(code));
        drop(back_end);
    }
}
