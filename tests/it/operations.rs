//! Tests of an operator's commands: check, schema, and listing, showing and reassigning spooled data.

use crate::client::{output, read_request, span, tollgate};
use crate::sources::{check_generated, files, root};
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use config::tree::TreeNode;
use otlp::Signal;
use runs::AlertRule;
use tollgate::app::RunningGateway;
use tollgate::cli::schema;

use super::gateway;

/// `config/schema.json` is what the code generates, and contains every key of every example.
#[test]
fn the_schema_is_generated_and_knows_the_examples() {
    let (root, text) = (root(), schema::generate_schema());
    check_generated("config/schema.json", &text);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(root.join("config/examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root.join("config/default.yaml"));
    for file in files {
        let tree = config::load::parse_tree(&fs::read_to_string(&file).unwrap()).unwrap_or_else(|_| panic!("YAML"));
        let mut unknown = Vec::new();
        known(&schema, &schema, &tree, "", &mut unknown);
        assert!(unknown.is_empty(), "{}: {unknown:?}", file.display());
    }
    let typo = config::load::parse_tree("receivers: { otlp: { protocol: {} } }").unwrap_or_else(|_| panic!("YAML"));
    let mut unknown = Vec::new();
    known(&schema, &schema, &typo, "", &mut unknown);
    assert_eq!(unknown, [".receivers.otlp.protocol"]);
    assert_eq!(tollgate(&["schema"]).1, text);
}

/// Each rule that tollgate computes has one Prometheus alert of its own, with the severity that its webhooks say.
#[test]
fn each_computed_rule_has_an_alert_of_its_severity() {
    let mut all = Vec::new();
    files(&root().join("deploy/alerts/prometheus"), ".yaml", &mut all);
    let after = |text: &str, key: &str| {
        let (_, rest) = text.split_once(key)?;
        rest.split(|char: char| !char.is_ascii_lowercase() && char != '_').next().map(str::to_owned)
    };
    let alerts = all.iter().flat_map(|file| file.text.split("- alert: "));
    let mut alerts: Vec<_> = alerts
        .filter_map(|alert| {
            // it counts the runs that a limit ended instead, because it also has their feature
            let limit = alert.starts_with("AgentLimitHit\n").then(|| AlertRule::LimitHit.as_str().to_owned());
            Some((limit.or_else(|| after(alert, "{rule=\""))?, after(alert, "severity: ")?))
        })
        .collect();
    let mut rules: Vec<_> =
        AlertRule::rules().map(|rule| (rule.as_str().to_owned(), rule.severity().as_str().to_owned())).collect();
    alerts.sort();
    rules.sort();
    assert_eq!(alerts, rules);
}

/// Collects keys of `node` that no alternative of `schema` has.
fn known(root: &serde_json::Value, schema: &serde_json::Value, node: &TreeNode, path: &str, unknown: &mut Vec<String>) {
    if let Some(target) = schema.get("$ref").and_then(|target| target.as_str()) {
        return known(root, root.pointer(target.trim_start_matches('#')).unwrap(), node, path, unknown);
    }
    let members = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(key)?.as_array());
    if let Some(members) = members {
        // A node with keys can't be a text, a number or null.
        let is_map = |member: &&serde_json::Value| {
            node.entries().is_empty() || member.get("type").is_none_or(|kind| *kind == "object")
        };
        let each = members.iter().filter(is_map).map(|member| {
            let mut found = Vec::new();
            known(root, member, node, path, &mut found);
            found
        });
        return unknown.extend(each.min_by_key(Vec::len).unwrap_or_default());
    }
    for (key, value) in node.entries() {
        let inside = format!("{path}.{}", key.name);
        let property = schema.get("properties").and_then(|properties| properties.get(&key.name));
        let kind = key.name.split('/').next().unwrap_or_default();
        let names = |pattern: &str| pattern.trim_start_matches("^(").split(')').next().unwrap_or_default().to_owned();
        let pattern = schema.get("patternProperties").and_then(|all| all.as_object()).and_then(|all| {
            all.iter().find(|(pattern, _)| names(pattern).split('|').any(|name| name == kind)).map(|(_, schema)| schema)
        });
        let open = schema.get("additionalProperties").is_none_or(|more| *more != serde_json::Value::Bool(false));
        match property.or(pattern) {
            Some(schema) => known(root, schema, value, &inside, unknown),
            None if open => {}
            None => unknown.push(inside),
        }
    }
}

/// tollgate starts with the options that the Collector's operator and users pass: one file, given in either way, with
/// notes for feature gates. Options that would change the configuration besides the file, or a second file, are errors
/// instead of being ignored.
#[test]
fn it_starts_as_a_collector_does() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "debug: { trust: internal }");
    for arguments in [
        vec!["validate".to_owned(), format!("--config={config}")],
        vec![format!("--config=file:{config}"), "validate".to_owned()],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, shown, said) = tollgate(&arguments);
        assert!(code == Some(0) && shown.contains("is valid") && !said.contains("note"), "{shown}{said}");
    }
    let named = format!("--config={config}");
    for gates in ["--feature-gates=-component.UseLocalHostAsDefaultHost", "--feature-gates=a,b"] {
        let (code, _, said) = tollgate(&["validate", &named, gates]);
        assert!(
            code == Some(0)
                && said.contains("note: --feature-gates is an option of the Collector and has no effect in tollgate"),
            "{said}"
        );
    }
    for (wrong, why) in [
        ("--set=exporters.debug.verbosity=detailed", "is not supported: write the setting into the configuration file"),
        ("--config=other.yaml", "cannot be used multiple times"),
    ] {
        let (code, _, said) = tollgate(&["validate", &named, wrong]);
        assert!(code == Some(2) && said.contains(why), "{wrong}: {said}");
    }
    // as the operator passes the file of a sidecar
    let run = |name: &str, text: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let (code, shown, said) =
            output(command.args(["validate", &format!("--config=env:{name}")]).env("SIDECAR", text));
        (code, shown + &said)
    };
    let (code, said) = run("SIDECAR", &fs::read_to_string(&config).unwrap());
    assert!(code == Some(0) && said.contains("env:SIDECAR is valid"), "{said}");
    let (code, said) = run("NOT_SET", "");
    assert!(code == Some(78) && said.contains("the environment variable NOT_SET is not set"), "{said}");
    let (code, said) = run("SIDECAR", "receivers: [");
    assert!(code == Some(78) && said.contains("env:SIDECAR:1"), "{said}");
    let (code, _, said) = tollgate(&["validate", "--config=yaml:receivers: {}"]);
    assert!(code == Some(2), "{said}");
    assert!(said.contains("only files and variables are supported: write `FILE`, `file:FILE` or `env:NAME`"), "{said}");
}

fn configuration(folder: &Path, exporter: &str) -> String {
    let path = folder.join("config.yaml");
    fs::create_dir_all(folder.join("data")).unwrap();
    let http = "http: { endpoint: '127.0.0.1:0' }";
    fs::write(&path, gateway::plain(folder, http, exporter, "limits: { shutdown: 1s }")).unwrap();
    path.display().to_string()
}

/// A back end that answers every request with `status`.
fn back_end(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

/// `check` reports all failures at once, each with a remedy, and also the checks that passed.
#[test]
fn check_tries_for_real() {
    let folder = tempfile::tempdir().unwrap();
    let exporter =
        |port: u16| format!("otlp_http: {{ endpoint: 'http://127.0.0.1:{port}', trust: internal, timeout: 5s }}");
    let check = |port| {
        let config = format!("--config={}", configuration(folder.path(), &exporter(port)));
        tollgate(&["check", &config])
    };
    let (code, shown, said) = check(back_end("200 OK"));
    assert_eq!(code, Some(0), "{shown}{said}");
    assert!(shown.contains("√ `otlp_http` accepts traces"), "{shown}");
    assert!(shown.contains("√ the spool's folder "), "{shown}");
    assert!(shown.contains("the spool's volume syncs 4 KiB in "), "{shown}");
    assert!(!shown.contains("the clock agrees"), "who tells no date is not judged by: {shown}");
    assert!(!folder.path().join("data/spool").exists(), "nothing is made");
    let (code, shown, said) = check(back_end("401 Unauthorized"));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("× `otlp_http` accepts traces"), "{shown}");
    assert!(shown.contains("(HTTP 401)\n    check the credentials (`headers`)"), "{shown}");
    assert!(said.contains("1 of "), "{said}");
    let (code, shown, _) = check(back_end("400 Bad Request"));
    assert!(code == Some(0) && shown.contains("√ `otlp_http` answers traces, and refuses an empty"), "{shown}");
    // a proxy's login page, or a front end at the wrong path
    let (code, shown, _) = check(back_end("200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"));
    assert!(code == Some(1) && shown.contains("× `otlp_http` accepts traces"), "{shown}");
    let (code, shown, _) = check(back_end("200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(code == Some(1) && shown.contains("× the clock agrees with that of `otlp_http`"), "{shown}");
    assert!(shown.contains(" s ahead)") && shown.contains("NTP"), "{shown}");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, shown, _) = check(closed);
    assert_eq!(code, Some(1));
    assert!(shown.contains("(Connection refused ") && shown.contains("no server listens there"), "{shown}");
}

/// `check` shows the cause of each failure, since each needs another remedy.
#[test]
fn check_names_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let check = |url: &str| {
        let exporter = format!("otlp_http: {{ endpoint: '{url}', trust: internal, timeout: 5s }}");
        let config = format!("--config={}", configuration(folder.path(), &exporter));
        tollgate(&["check", &config]).1
    };
    let answering = |status| format!("http://127.0.0.1:{}", back_end(status));
    let plain = format!("https://127.0.0.1:{}", back_end("200 OK"));
    for (url, cause, remedy) in [
        (answering("301 Moved Permanently"), "(HTTP 301)", "set the final URL"),
        (answering("404 Not Found"), "(HTTP 404)", "there is no OTLP endpoint (usually `/v1/traces`)"),
        (answering("500 Internal Server Error"), "(HTTP 500)", "the back end has an internal error"),
        (plain, "(received corrupt message ", "the server does not speak TLS on this port"),
        ("http://no-such-host.invalid".to_owned(), "(failed to lookup ", "the host name can't be resolved"),
    ] {
        let shown = check(&url);
        assert!(shown.contains(cause) && shown.contains(remedy), "{url}: {shown}");
    }
}

async fn run(config: &str, folder: &Path) -> RunningGateway {
    gateway::start(&fs::read_to_string(config).unwrap(), folder).await
}

fn post(app: &RunningGateway, names: &[&str]) {
    names.iter().for_each(|name| gateway::post(app.addresses()[0].1, Signal::Traces, &span(name)));
}

/// Data that waits for a removed exporter is held, listed, shown on request, and delivered where the operator
/// reassigns it; items that a back end refused for good can be given to another. Nothing is redirected automatically.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_goes_where_its_owner_says() {
    let folder = tempfile::tempdir().unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let old = configuration(
        folder.path(),
        &format!("otlp_http/old: {{ endpoint: 'http://127.0.0.1:{dead}', trust: internal }}"),
    );
    let app = run(&old, folder.path()).await;
    post(&app, &["a", "b", "c"]);
    app.shutdown().await;
    let file = folder.path().join("out.jsonl");
    let new = configuration(folder.path(), &format!("file: {{ path: {}, trust: internal }}", file.display()));
    let app = run(&new, folder.path()).await;
    post(&app, &["d"]);
    app.shutdown().await;
    let sent = || fs::read_to_string(&file).unwrap_or_default();
    assert!(sent().contains("\"d\"") && !sent().contains("\"a\""), "orphans are never sent elsewhere");
    let config = format!("--config={new}");
    let (code, listed, _) = tollgate(&["spool", "list", &config]);
    assert!(code == Some(0) && listed.contains("otlp_http/old") && listed.contains(" 3 "), "{listed}");
    let (code, _, said) = tollgate(&["spool", "peek", "nope", &config]);
    assert!(code == Some(1) && said.contains("no data is waiting for `nope`; consumers with waiting data: "), "{said}");
    assert!(said.contains("otlp_http/old"), "{said}");
    let (_, shown, _) = tollgate(&["spool", "peek", "otlp_http/old", "--limit", "2", &config]);
    assert_eq!(shown.lines().filter(|line| line.contains("traces")).count(), 2, "{shown}");
    assert!(!shown.contains("eee19b7e"), "no telemetry unless asked");
    let (_, shown, _) = tollgate(&["spool", "peek", "otlp_http/old", "--json", &config]);
    assert!(shown.lines().count() == 3 && shown.contains("eee19b7ec3c1b174"), "{shown}");
    let (code, _, said) = tollgate(&["spool", "reassign", "otlp_http/old", "nobody", &config]);
    assert!(code == Some(1) && said.contains("`nobody` is not an") && said.contains("; exporters: file"), "{said}");
    let (code, moved, said) = tollgate(&["spool", "reassign", "otlp_http/old", "file", &config]);
    assert_eq!((code, moved.as_str()), (Some(0), "3 records of `otlp_http/old` moved\n"), "{said}");
    // An unknown name must not be reported as a success with zero records.
    for gone in [["reassign", "nope", "file"], ["reassign", "otlp_http/old", "file"], ["drop", "nope", "--yes"]] {
        let (code, moved, said) = tollgate(&["spool", gone[0], gone[1], gone[2], &config]);
        assert!(code == Some(1) && moved.is_empty(), "{gone:?}: {moved}{said}");
        let told = format!("no data is waiting for `{}`; consumers with waiting data: file", gone[1]);
        assert!(said.contains(&told), "{gone:?}: {said}");
    }
    run(&new, folder.path()).await.shutdown().await;
    for name in ["a", "b", "c", "d"] {
        assert_eq!(sent().matches(&format!("\"name\":\"{name}\"")).count(), 1, "{}", sent());
    }

    let port = back_end("400 Bad Request");
    let strict = configuration(
        folder.path(),
        &format!("otlp_http/strict: {{ endpoint: 'http://127.0.0.1:{port}', trust: internal }}"),
    );
    let app = run(&strict, folder.path()).await;
    post(&app, &["poison"]);
    let mut changed = app.spool().changed("quarantine");
    if app.spool().read("quarantine", None, 1 << 20, 10).unwrap().is_empty() {
        changed.changed().await.unwrap();
    }
    app.shutdown().await;
    let both = fs::read_to_string(&strict)
        .unwrap()
        .replace("exporters:\n", &format!("exporters:\n  file: {{ path: {}, trust: internal }}\n", file.display()));
    fs::write(&strict, both.replace("[otlp_http/strict]", "[otlp_http/strict, file]")).unwrap();
    let config = format!("--config={strict}");
    let (_, shown, _) = tollgate(&["spool", "peek", "quarantine", &config]);
    assert!(shown.contains("otlp_http/strict: bad_data"), "{shown}");
    let (code, moved, said) = tollgate(&["spool", "replay", "--to", "file", &config]);
    assert_eq!((code, moved.as_str()), (Some(0), "1 record of `quarantine` moved\n"), "{said}");
    run(&strict, folder.path()).await.shutdown().await;
    assert_eq!(sent().matches("\"name\":\"poison\"").count(), 1);
    assert!(tollgate(&["spool", "list", &config]).1.contains("no data is waiting"));
}

/// A back end that accepts everything, and the bytes it received.
pub(crate) fn taker(port: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (port, got) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let keeps = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            keeps.lock().unwrap().append(&mut read_request(&mut stream));
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (port, got)
}

/// How often this name was received.
fn count(got: &Mutex<Vec<u8>>, name: &str) -> usize {
    got.lock().unwrap().windows(name.len()).filter(|bytes| *bytes == name.as_bytes()).count()
}

/// Waits until this name was received `times` times.
fn arrived(got: &Mutex<Vec<u8>>, name: &str, times: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while count(got, name) < times {
        assert!(Instant::now() < until, "{name} did not arrive");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Data that waits for a back end does not follow the exporter's name to a new address: it is held and reported, and
/// is sent only if the configuration says so or the exporter points back. (Regression test: the new address got all of
/// it, silently.)
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_does_not_follow_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let pointed = |port: u16, more: &str| {
        let exporter = format!("endpoint: 'http://127.0.0.1:{port}', trust: internal, compression: none{more}");
        configuration(folder.path(), &format!("otlp_http/b: {{ {exporter} }}"))
    };
    let (new, at_new) = taker(0);
    let app = run(&pointed(dead, ""), folder.path()).await;
    post(&app, &["first-a", "first-b", "first-c"]);
    app.shutdown().await;

    let config = pointed(new, "");
    let named = format!("--config={config}");
    let (code, _, said) = tollgate(&["validate", &named]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("points to 127.0.0.1:{new}, but to 127.0.0.1:{dead} at its last run")), "{said}");
    let app = run(&config, folder.path()).await;
    post(&app, &["second"]);
    arrived(&at_new, "second", 1);
    app.shutdown().await;
    assert_eq!(count(&at_new, "first"), 0, "what waited for the former back end");
    let (_, listed, _) = tollgate(&["spool", "list", &named]);
    let holder = format!("held:otlp_http/b@127.0.0.1:{dead}");
    assert!(listed.contains(&format!("{holder} ")) && listed.contains(" 3 "), "{listed}");
    assert!(listed.contains("moved_from: ['127.0.0.1:"), "{listed}");
    assert!(listed.contains(&format!("spool reassign {holder} otlp_http/b")), "{listed}");
    let (_, _, said) = tollgate(&["validate", &named]);
    assert!(!said.contains("at its last run: data still waiting for"), "told once: {said}");

    let moved = pointed(new, &format!(", moved_from: ['127.0.0.1:{dead}']"));
    let app = run(&moved, folder.path()).await;
    ["first-a", "first-b", "first-c"].into_iter().for_each(|name| arrived(&at_new, name, 1));
    app.shutdown().await;
    assert_eq!(count(&at_new, "first"), 3, "each once");
    assert!(tollgate(&["spool", "list", &named]).1.contains("no data is waiting"));

    // held and back again: reverting a mistaken endpoint costs nothing
    let app = run(&pointed(dead, ""), folder.path()).await;
    post(&app, &["third"]);
    app.shutdown().await;
    run(&pointed(new, ""), folder.path()).await.shutdown().await;
    assert_eq!(count(&at_new, "third"), 0);
    let (_, at_old) = taker(dead);
    let app = run(&pointed(dead, ""), folder.path()).await;
    arrived(&at_old, "third", 1);
    app.shutdown().await;
    assert_eq!((count(&at_old, "third"), count(&at_new, "third")), (1, 0));
    let wrong = pointed(new, ", moved_from: ['http://old.example/v1']");
    let (code, _, said) = tollgate(&["validate", &format!("--config={wrong}")]);
    assert!(code == Some(78), "{said}");
    assert!(said.contains("must be `host:port`, as `spool list` prints it after the `@`"), "{said}");
}

/// `validate` names an exporter that was renamed while data waits for it: nobody sends that data any more. (Regression
/// test: only the log of the next start told it.)
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_exporter_leaves_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let named = |id: &str| {
        configuration(folder.path(), &format!("{id}: {{ endpoint: 'http://127.0.0.1:{dead}', trust: internal }}"))
    };
    let app = run(&named("otlp_http/before"), folder.path()).await;
    post(&app, &["first", "second"]);
    app.shutdown().await;
    let warned = |config: String| {
        let (code, _, said) = tollgate(&["validate", &format!("--config={config}")]);
        assert_eq!(code, Some(0), "{said}");
        said.contains("2 records").then_some(said)
    };
    assert_eq!(warned(named("otlp_http/before")), None);
    let said = warned(named("otlp_http/after")).expect("a warning");
    assert!(
        said.contains("warning: no pipeline uses it any more") && said.contains("exporters.otlp_http/before"),
        "{said}"
    );
    // without the key nothing is known
    fs::remove_file(folder.path().join("data/spool.key")).unwrap();
    let (_, _, said) = tollgate(&["validate", &format!("--config={}", named("otlp_http/after"))]);
    assert!(!said.contains("any more"), "{said}");
}

/// The summary counts problems that must be fixed; warnings are counted separately. (Regression test: "2 problems".)
#[test]
fn warnings_are_no_problems() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "debug: { trust: internal, verbosity: loud }");
    let text = fs::read_to_string(&config).unwrap().replace("exporters:\n", "exporters:\n  file: { path: /tmp/x }\n");
    fs::write(&config, text).unwrap();
    let (code, _, said) = tollgate(&["validate", "--config", &config]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.trim_end().ends_with(": 1 problem, 1 warning"), "{said}");
}

/// A file for another machine is checked without reading the files that it names by `${file:…}`: their absence is not
/// a fault, but faults elsewhere are. (Regression test: the missing file was an error.)
#[test]
fn a_file_alone_reads_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(
        folder.path(),
        "otlp_http: { endpoint: https://backend.test, headers: { authorization: '${file:/not/here}' }, trust: internal }",
    );
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("max_size: 64MiB", "max_size: 64MiB, keys: ['${file:/not/here/either}']");
    fs::write(&config, &text).unwrap();
    let (code, _, said) = tollgate(&["validate", "--config", &config]);
    assert!(code == Some(78) && said.contains("can't read `/not/here`"), "{said}");
    let (code, shown, said) = tollgate(&["validate", "--file-only", "--config", &config]);
    assert!(code == Some(0) && shown.contains("is valid"), "{shown}{said}");
    fs::write(&config, text.replace("https://backend.test", "https://backend.test:99999")).unwrap();
    let (code, _, said) = tollgate(&["validate", "--file-only", "--config", &config]);
    assert!(code == Some(78) && said.contains("`99999` is not a port"), "{said}");
}

/// Every file that the chart renders is accepted by `validate --file-only` without its secrets and variables, and so are
/// a fleet's files: a value that is on another machine is judged by no check. Faults beside it are found. (Regression
/// test: `keys` of Kafka were judged by the text of their `${file:…}`, and the edge's exporter was then a third party.)
#[test]
fn values_of_another_machine_are_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let named = format!("--config={}", path.display());
    let validate = |text: &str| {
        fs::write(&path, text).unwrap();
        tollgate(&["validate", "--file-only", &named])
    };
    let mut all = Vec::new();
    files(&root().join("deploy/helm/tollgate/ci"), "-golden.yaml", &mut all);
    let mut texts: Vec<String> = Vec::new();
    for golden in &all {
        for block in golden.text.split("  config.yaml: |\n").skip(1) {
            let lines = block.lines().map_while(|line| line.strip_prefix("    ").or((line.is_empty()).then_some("")));
            texts.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    assert!(texts.iter().any(|text| text.contains("kafka") && text.contains("keys:")), "a fleet's files");
    for name in ["fleet-edge", "fleet-worker"] {
        let text = fs::read_to_string(root().join(format!("config/examples/{name}.yaml"))).unwrap();
        texts.push(text.replace("${env:FLEET_KEY}", "${file:/not/here}"));
        texts.push(text);
    }
    for text in &texts {
        let (code, shown, said) = validate(text);
        assert!(code == Some(0) && shown.contains("is valid"), "{said}\n{text}");
        assert!(said.contains("note: values of `${…}` that are not on this machine were not checked"), "{said}");
    }
    let edge = texts.iter().find(|text| text.contains("exporters:\n  kafka")).expect("an edge");
    let (code, _, said) = validate(&edge.replace("brokers:", "timeout: 1ms\n    brokers:"));
    assert!(code == Some(78) && said.contains("must be at least 1s"), "{said}");
    let short = fs::read_to_string(root().join("config/examples/fleet-edge.yaml")).unwrap();
    let (code, _, said) = validate(&short.replace("${env:FLEET_KEY}", "short"));
    assert!(code == Some(78) && said.contains("must be 32 bytes, as base64 or hex"), "a value is judged: {said}");
}

/// Addresses on the command line are parsed like those of a configuration.
#[test]
fn addresses_of_commands_are_read_as_written() {
    for (address, why) in [
        ("http://127.0.0.1:99999", "`99999` is not a port"),
        ("127.0.0.1:8888", "must start with `http://` or `https://`, in lower case"),
    ] {
        let (code, _, said) = tollgate(&["top", "--once", "--admin", address]);
        assert!(code != Some(0) && said.contains(why), "{said}");
    }
    for option in ["--endpoint", "--kms-endpoint"] {
        let given =
            ["vault", "get", "x", "--store", "s3://b", "--identity-kms", "/k", option, "http://127.0.0.1:99999"];
        let (code, _, said) = tollgate(&given);
        assert!(code == Some(2) && said.contains("`99999` is not a port"), "{said}");
    }
}
