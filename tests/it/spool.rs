//! Tests of `tollgate spool`, and of `validate` on the spool, as a user runs them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use otlp::Signal;
use serde_json::json;

use crate::client::{output, span, tollgate};
use crate::gateway;

/// Writes a configuration with its spool in `directory`.
fn config(folder: &Path, directory: &str) -> String {
    let path = folder.join("config.yaml");
    let text = format!(
        "receivers: {{ otlp: }}\nexporters: {{ debug: {{ trust: internal }} }}\nspool: {{ directory: {directory} }}\n\
         service: {{ pipelines: {{ logs: {{ receivers: [otlp], exporters: [debug] }} }} }}\n"
    );
    fs::write(&path, text).unwrap();
    format!("--config={}", path.display())
}

/// Listing a spool that does not exist creates neither a folder nor a key, and says what is missing.
#[test]
fn looking_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("data/spool");
    let config = config(folder.path(), &spool.display().to_string());
    for arguments in [&["spool", "list"][..], &["spool", "drop", "debug", "--yes"]] {
        let (code, _, said) = tollgate(&[arguments, &[&config]].concat());
        assert_eq!(code, Some(1), "{said}");
        let remedy = "pass the `--config` or `--data-dir` of the gateway that owns the spool";
        assert_eq!(said, format!("error: there is no spool in {}: {remedy}\n", spool.display()));
        assert!(!folder.path().join("data").exists());
    }
    fs::create_dir_all(&spool).unwrap();
    for arguments in [&["spool", "list"][..], &["spool", "drop", "debug", "--yes"]] {
        let (code, _, said) = tollgate(&[arguments, &[&config]].concat());
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("spool.key is missing"), "{said}");
        assert_eq!(fs::read_dir(folder.path().join("data")).unwrap().count(), 1, "no key was made");
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
    }
}

/// An unusable spool folder is a fault of the configuration: `run` exits with the same code as `validate`, and names
/// the setting instead of a key file.
#[test]
fn an_unusable_folder_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let config = config(folder.path(), &folder.path().join("file/spool").display().to_string());
    for command in ["validate", "run"] {
        let (code, _, said) = tollgate(&[command, &config]);
        assert_eq!(code, Some(78), "{command}: {said}");
        assert!(said.contains("spool.directory") && said.contains("is not a folder"), "{command}: {said}");
    }
}

/// A spool in memory does not survive a restart: `validate` warns, but still reports the file as valid.
#[test]
fn a_spool_in_memory_is_warned_of() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(at) = mounts.lines().find_map(|line| line.strip_prefix("tmpfs ")?.split(' ').next()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = tollgate(&["validate", &config(folder.path(), &format!("{at}/tollgate-not-here/spool"))]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("warning: the spool's folder ") && said.contains("in memory"), "{said}");
    assert!(!Path::new(at).join("tollgate-not-here").exists());
}

/// A port on which nothing listens.
fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A configuration whose traces wait for a dead back end, with a second exporter and an admin port; and its path.
fn with_dead_back_end(folder: &Path, extensions: &serde_json::Value) -> (String, String) {
    let changes = json!({
        "processors": null,
        "exporters": {
            "file": { "trust": "internal" },
            "otlp_http/dead": { "endpoint": format!("http://127.0.0.1:{}", unused_port()), "trust": "internal" },
        },
        "extensions": { "admin": extensions },
        "limits": { "shutdown": "1s" },
        "service": { "pipelines": {
            "traces": { "processors": null, "exporters": ["otlp_http/dead"] },
            "logs": { "processors": null },
        } },
    });
    let (text, path) = (gateway::configuration(folder, &changes), folder.join("config.yaml"));
    fs::write(&path, &text).unwrap();
    (text, format!("--config={}", path.display()))
}

fn post(otlp: SocketAddr, names: &[String]) {
    names.iter().for_each(|name| gateway::post(otlp, Signal::Traces, &span(name)));
}

/// How often the file has each name, once it has them all.
fn count_written(folder: &Path, names: &[String]) -> Vec<usize> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(folder.join("outbound.jsonl")).unwrap_or_default();
        let counts: Vec<usize> =
            names.iter().map(|name| text.matches(&format!("\"name\":\"{name}\"")).count()).collect();
        if counts.iter().all(|count| *count > 0) || began.elapsed() > Duration::from_secs(30) {
            return counts;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A running gateway moves what waits to another exporter, while it takes more: everything arrives once, without a
/// restart. `list` and `peek` work beside it, and unknown names are refused with those that exist. (Verified to fail
/// without the announcement of moves: nothing arrived.)
#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_moves_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let admin = json!({ "endpoint": format!("127.0.0.1:{}", unused_port()) });
    let (text, config) = with_dead_back_end(folder.path(), &admin);
    let app = gateway::start(&text, folder.path()).await;
    let names: Vec<String> = (0..60).map(|n| format!("span-{n}")).collect();
    let otlp = gateway::address(&app, "otlp http");
    post(otlp, &names[..30]);
    // The other exporter has passed the positions of what waits.
    let log = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "body": { "stringValue": "log" } }] }] }] });
    gateway::post(otlp, Signal::Logs, &otlp::json::decode(Signal::Logs, log.to_string().as_bytes()).unwrap());
    while !fs::read_to_string(folder.path().join("outbound.jsonl")).is_ok_and(|text| text.contains("resourceLogs")) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, shown, said) = tollgate(&["spool", "peek", "otlp_http/dead", "--json", "--limit", "50", &config]);
    assert!(code == Some(0) && shown.lines().count() == 30 && shown.contains("span-29"), "{said}{shown}");
    for (arguments, expected) in [
        (
            ["reassign", "otlp_http/dead", "nobody"],
            "`nobody` is not an exporter of the configuration that reads the spool",
        ),
        (["reassign", "file", "otlp_http/dead"], "no data is waiting for `file`; consumers with waiting data: "),
        (["drop", "otlp_http/none", "--yes"], "no data is waiting for `otlp_http/none`"),
    ] {
        let (code, _, said) = tollgate(&[&["spool"], &arguments[..], &[&config]].concat());
        assert!(code == Some(1) && said.contains(expected), "{arguments:?}: {said}");
    }
    let mut moved = 0;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| post(otlp, &names[30..]));
        while !sender.is_finished() || moved < names.len() {
            let (code, out, said) = tollgate(&["spool", "reassign", "otlp_http/dead", "file", &config]);
            match code {
                Some(0) => moved += out.split(' ').next().unwrap().parse::<usize>().unwrap(),
                _ => assert!(said.contains("no data is waiting for `otlp_http/dead`"), "{said}"),
            }
        }
    });
    assert_eq!((moved, count_written(folder.path(), &names)), (60, vec![1; 60]));
    let (code, out, _) = tollgate(&["spool", "replay", &config]);
    assert_eq!((code, out.as_str()), (Some(0), "0 records of `quarantine` moved\n"));
    post(otlp, &names[..1]);
    let (code, _, said) = tollgate(&["spool", "drop", "otlp_http/dead", &config]);
    assert!(code == Some(2) && said.contains("delete 1 record (") && said.contains("confirm with --yes"), "{said}");
    let (code, out, said) = tollgate(&["spool", "drop", "otlp_http/dead", "--yes", &config]);
    assert_eq!((code, out.as_str()), (Some(0), "1 record of `otlp_http/dead` deleted\n"), "{said}");
    assert_eq!(app.shutdown().await.records_left, 0);
}

/// What the new exporter had under its own name is copied, and the gateway's own committer commits the copies.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_copies_what_was_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let admin = json!({ "endpoint": format!("127.0.0.1:{}", unused_port()) });
    let (text, config) = with_dead_back_end(folder.path(), &admin);
    let text = text.replace("[\"otlp_http/dead\"]", "[\"otlp_http/dead\",\"file\"]");
    let app = gateway::start(&text, folder.path()).await;
    let names = ["one", "two", "three"].map(str::to_owned);
    post(gateway::address(&app, "otlp http"), &names);
    assert_eq!(count_written(folder.path(), &names), [1, 1, 1]);
    let (code, out, said) = tollgate(&["spool", "reassign", "otlp_http/dead", "file", &config]);
    assert_eq!((code, out.as_str()), (Some(0), "3 records of `otlp_http/dead` moved\n"), "{said}");
    assert_eq!(app.shutdown().await.records_left, 0);
    assert_eq!(count_written(folder.path(), &names), [2, 2, 2]);
}

/// What the new exporter will deliver anyway is not copied; `max_pending` of the new exporter stops a move instead of
/// expiring what was moved; an exporter with `ack: offered` reads no spool and can't be the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_respects_what_the_new_exporter_has_and_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let dead = |settings: serde_json::Value| {
        let mut exporter = json!({ "endpoint": format!("http://127.0.0.1:{}", unused_port()), "trust": "internal" });
        exporter.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        exporter
    };
    let changes = json!({
        "processors": null,
        "exporters": {
            "file": { "trust": "internal" },
            "otlp_http/a": dead(json!({})),
            "otlp_http/b": dead(json!({})),
            "otlp_http/small": dead(json!({ "max_pending": "2KiB", "on_full": "expire" })),
            "otlp_http/offered": dead(json!({ "ack": "offered" })),
        },
        "extensions": { "admin": { "endpoint": format!("127.0.0.1:{}", unused_port()) } },
        "limits": { "shutdown": "1s" },
        "service": { "pipelines": {
            "traces": { "processors": null, "exporters": ["otlp_http/a", "otlp_http/b"] },
            "logs": { "processors": null, "exporters": ["file", "otlp_http/small", "otlp_http/offered"] },
        } },
    });
    let (text, path) = (gateway::configuration(folder.path(), &changes), folder.path().join("config.yaml"));
    fs::write(&path, &text).unwrap();
    let config = format!("--config={}", path.display());
    let app = gateway::start(&text, folder.path()).await;
    let names: Vec<String> = (0..30).map(|n| format!("span-{n}")).collect();
    post(gateway::address(&app, "otlp http"), &names);
    let waiting = |consumer: &str| {
        let (_, listed, _) = tollgate(&["spool", "list", &config]);
        let line = listed.lines().find(|line| line.starts_with(&format!("{consumer} ")));
        line.map_or(0, |line| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap())
    };
    let (code, out, said) = tollgate(&["spool", "reassign", "otlp_http/a", "otlp_http/b", &config]);
    assert_eq!((code, out.as_str()), (Some(0), "30 records of `otlp_http/a` moved\n"), "{said}");
    assert_eq!((waiting("otlp_http/a"), waiting("otlp_http/b")), (0, 30), "no record was copied");
    let (code, _, said) = tollgate(&["spool", "reassign", "otlp_http/b", "otlp_http/small", &config]);
    assert!(
        code == Some(1) && said.contains("moved, then moving failed: ") && said.contains("`max_pending` of"),
        "{said}"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let small = waiting("otlp_http/small");
    assert!(small > 0 && small + waiting("otlp_http/b") == 30, "{small} moved, and none was expired");
    let (code, _, said) = tollgate(&["spool", "reassign", "otlp_http/b", "otlp_http/offered", &config]);
    assert!(
        code == Some(1) && said.contains("`otlp_http/offered` is not an exporter") && said.contains("`ack: offered`"),
        "{said}"
    );
    app.shutdown().await;
}

/// A record that is damaged while the gateway runs is skipped, and counted; those behind it move.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_does_not_hold_others() {
    let folder = tempfile::tempdir().unwrap();
    let admin = json!({ "endpoint": format!("127.0.0.1:{}", unused_port()) });
    let (text, config) = with_dead_back_end(folder.path(), &admin);
    let app = gateway::start(&text, folder.path()).await;
    let names = ["a", "b", "c"].map(|name| name.repeat(20_000));
    post(gateway::address(&app, "otlp http"), &names);
    let segments = fs::read_dir(app.spool().settings().directory.clone()).unwrap().map(|entry| entry.unwrap().path());
    let sizes = segments.filter_map(|path| Some((fs::read(&path).ok()?.iter().rposition(|byte| *byte != 0)?, path)));
    let (size, path) = sizes.max().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[size / 6] ^= 1;
    std::os::unix::fs::FileExt::write_all_at(
        &fs::File::options().write(true).open(&path).unwrap(),
        &bytes[size / 6..=size / 6],
        (size / 6) as u64,
    )
    .unwrap();
    let (code, out, said) = tollgate(&["spool", "reassign", "otlp_http/dead", "file", &config]);
    assert_eq!((code, out.as_str()), (Some(0), "2 records of `otlp_http/dead` moved\n"), "{said}");
    assert!(said.contains("1 record not moved: they are damaged"), "{said}");
    assert_eq!(count_written(folder.path(), &names[1..]), [1, 1]);
    app.shutdown().await;
}

/// A signal ends `spool deliver` while it still starts: here a command that prints the key takes long.
#[test]
fn a_signal_ends_a_delivery_that_starts() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("data/spool");
    fs::create_dir_all(&spool).unwrap();
    let config = config(folder.path(), &format!("{}, keys: [{{ command: [/bin/sleep, '20'] }}]", spool.display()));
    let mut deliver = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let mut deliver = deliver.args(["spool", "deliver", &config]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(Command::new("kill").args(["-TERM", &deliver.id().to_string()]).status().unwrap().success());
    let began = Instant::now();
    assert_eq!(deliver.wait().unwrap().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// Changes need the role `operator`, also with `--admin`, which needs no file; a gateway without an admin port can't be
/// asked, and then nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_not_changed_by_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = json!({ "viewer": ["token-of-viewers"], "operator": ["token-of-operators"] });
    let admin = json!({ "endpoint": format!("127.0.0.1:{}", unused_port()), "auth": { "tokens": tokens } });
    let (text, config) = with_dead_back_end(folder.path(), &admin);
    let app = gateway::start(&text, folder.path()).await;
    post(gateway::address(&app, "otlp http"), &["a".to_owned()]);
    let url = format!("http://{}", gateway::address(&app, "admin"));
    let reassign = |more: &[&str], token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.env_clear().env("TOLLGATE_ADMIN_TOKEN", token).args(["spool", "reassign", "otlp_http/dead", "file"]);
        output(command.args(more))
    };
    for more in [&["--admin", &url][..], &[&config]] {
        let (code, _, said) = reassign(more, "token-of-viewers");
        assert!(code == Some(1) && said.contains("needs the role `operator`"), "{said}");
    }
    let gone = format!("http://127.0.0.1:{}", unused_port());
    let (code, _, said) = reassign(&["--admin", &gone], "token-of-operators");
    assert!(code == Some(1) && said.contains("check that the gateway is running"), "{said}");
    let without = text.replace("\"extensions\":[\"admin\"],", "");
    assert_ne!(without, text);
    fs::write(folder.path().join("config.yaml"), without).unwrap();
    let (code, _, said) = reassign(&[&config], "token-of-operators");
    let expected = "error: another process uses the spool. If it is a gateway, it must make the change, but: ";
    assert!(code == Some(1) && said.starts_with(expected) && said.contains("no admin port"), "{said}");
    let (code, out, said) = reassign(&["--admin", &url], "token-of-operators");
    assert_eq!((code, out.as_str()), (Some(0), "1 record of `otlp_http/dead` moved\n"), "{said}");
    app.shutdown().await;
}

/// `spool deliver` opens no port, says what is left when its time is over, resumes after a kill, and ends once exporters
/// and vault have everything; data that no exporter may get is named. (Verified to fail with the ports open.)
#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_left_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let (port, listen) = (unused_port(), unused_port());
    let text = gateway::configuration(
        folder.path(),
        &json!({
            "receivers": { "otlp": { "protocols": { "http": { "endpoint": format!("127.0.0.1:{listen}") } } } },
            "exporters": {
                "file": null,
                "otlp_http/b": { "endpoint": format!("http://127.0.0.1:{port}"), "tls": { "insecure": true } },
            },
            "limits": { "shutdown": "1s" },
            "service": { "pipelines": {
                "traces": { "exporters": ["otlp_http/b"] }, "logs": { "exporters": ["otlp_http/b"] },
            } },
        }),
    );
    let path = folder.path().join("config.yaml");
    fs::write(&path, &text).unwrap();
    let config = format!("--config={}", path.display());
    let body = crate::client::span_with(
        "chat",
        &json!({ "gen_ai.operation.name": "chat", "gen_ai.input.messages": "[{\"role\": \"user\", \"content\": \"hi\"}]" }),
    );
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let mut gateway = gateway.env_clear().args(["run", &config]).spawn().unwrap();
    let otlp = format!("127.0.0.1:{listen}").parse().unwrap();
    let began = Instant::now();
    while std::net::TcpStream::connect(otlp).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
    crate::client::post_traces(otlp, &body);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    let (_, listed, _) = tollgate(&["spool", "list", &config]);
    assert!(listed.contains("otlp_http/b") && listed.contains("vault "), "{listed}");

    let taken = TcpListener::bind(("127.0.0.1", listen)).unwrap();
    let (code, out, said) = tollgate(&["spool", "deliver", "--timeout", "2s", &config]);
    assert!(code == Some(1) && out.is_empty(), "{out}{said}");
    assert!(
        said.contains("error: not everything is delivered: 1 record (") && said.contains("for `otlp_http/b`"),
        "{said}"
    );
    let mut killed = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let mut killed = killed.env_clear().args(["spool", "deliver", &config]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (_port, got) = crate::operations::taker(port);
    let (code, out, said) = tollgate(&["spool", "deliver", "--timeout", "1m", &config]);
    assert_eq!((code, out.as_str()), (Some(0), "everything is delivered: the spool is empty\n"), "{said}");
    assert!(!got.lock().unwrap().is_empty());
    drop(taken);
    assert!(tollgate(&["spool", "list", &config]).1.contains("no data is waiting"));

    let other = text.replace("otlp_http/b", "otlp_http/c");
    let app = gateway::start(&text.replace(&port.to_string(), &unused_port().to_string()), folder.path()).await;
    crate::client::post_traces(gateway::address(&app, "otlp http"), &body);
    app.shutdown().await;
    fs::write(&path, other).unwrap();
    let (code, _, said) = tollgate(&["spool", "deliver", "--timeout", "1m", &config]);
    assert!(
        code == Some(1) && said.contains("error: all else is delivered, but no configured exporter may get "),
        "{said}"
    );
}
