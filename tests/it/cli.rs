//! Tests of every command: no core dumps, and an exit code that reports failed writes.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use otlp::Signal;

use crate::client;
use crate::gateway::post;
use crate::reload::Running;

fn tollgate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().env("TOLLGATE_DATA_DIR", folder.join("data")).stdin(Stdio::null());
    command
}

/// A command that waits for its key or its configuration must have disabled core dumps before it reads any of it.
#[test]
fn no_command_reads_before_it_is_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (fifo, store) = (path.to_str().unwrap(), folder.path().to_str().unwrap());
    for arguments in [
        &["vault", "get", "file:///a/b", "--store", store, "--identity", fifo][..],
        &["vault", "replay", "s", "--store", store, "--identity", fifo],
        &["spool", "list", "--config", fifo],
        &["run", "--config", fifo],
        &["validate", "--config", fifo],
    ] {
        let mut command = tollgate(folder.path());
        let mut child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A fifo opens for writing only when the command opens it for reading.
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"], "{arguments:?}");
        drop(writer);
        assert!(!child.wait().unwrap().success(), "{arguments:?}");
    }
}

/// A failed write must not exit with success.
#[test]
fn a_full_disk_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("auditor.key");
    let (config, spool) = (folder.path().join("c.yaml"), folder.path().join("spool"));
    fs::create_dir(&spool).unwrap();
    fs::write(folder.path().join("spool.key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let text = format!(
        "{{receivers: {{otlp: }}, exporters: {{debug: {{trust: internal}}}}, spool: {{directory: '{}'}},
          service: {{pipelines: {{logs: {{receivers: [otlp], exporters: [debug]}}}}}}}}",
        spool.display()
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    for arguments in [
        &["components"][..],
        &["print-config"],
        &["validate"],
        &["spool", "list", "--config", config],
        &["vault", "keygen", "--output", key.to_str().unwrap()],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = tollgate(folder.path()).args(arguments).stdout(full).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("can't write"), "{arguments:?}: {told}");
    }
}

/// A variable that is set to the empty string, such as `TOLLGATE_DATA_DIR=` in a unit or a compose file, counts as not
/// set. `validate` says which privacy profile is in force.
#[test]
fn an_empty_data_directory_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tollgate(folder.path());
    command.env("TOLLGATE_DATA_DIR", "").env("XDG_STATE_HOME", folder.path()).arg("validate");
    let (code, shown, said) = client::output(&mut command);
    assert!(code == Some(0) && shown.contains("vault: privacy `standard`\n"), "{shown}{said}");
}

/// A usable file with a warning, whose spool can't be used.
const WITH_WARNING: &str = "receivers: { otlp: { protocols: { http: { endpoint: '127.0.0.1:0' } } } }\n\
    exporters: { debug: { trust: internal } }\n\
    limits: { accounts: { nobody: { requests_per_second: 1 } } }\n\
    spool: { directory: /proc/nope, max_size: 64MiB }\n\
    service: { pipelines: { traces: { receivers: [otlp], exporters: [debug] } } }\n";

/// `validate` and a gateway's start print the warnings of a configuration, and no other command that reads it does.
/// (Shown to fail: each of them printed all warnings.)
#[test]
fn warnings_come_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, WITH_WARNING).unwrap();
    let has_warning = |arguments: &[&str]| {
        let output = tollgate(folder.path()).args(arguments).arg("--config").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        said.contains("limits.accounts.nobody")
    };
    for arguments in [&["run"][..], &["validate", "--file-only"], &["validate"]] {
        assert!(has_warning(arguments), "{arguments:?}");
    }
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/semconv/openai/004-traces.pb");
    for arguments in [&["print-config"][..], &["explain", recorded], &["rates", "show"], &["check"], &["top", "--once"]]
    {
        assert!(!has_warning(arguments), "{arguments:?}");
    }
}

/// Warnings are reported together with errors. (Regression test: an error outside of the file suppressed its
/// warnings.)
#[test]
fn validate_tells_warnings_beside_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, WITH_WARNING).unwrap();
    let output = tollgate(folder.path()).args(["validate", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains("limits.accounts.nobody") && said.contains("spool.directory"), "{said}");
}

/// A refused request is answered with a reason, and one log line gives the reason and the origin but quotes nothing of
/// the request.
#[test]
fn a_refusal_is_answered_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Running::spawn(tollgate(folder.path()).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::null()));
    let http = gateway.address("otlp http");
    for _ in 0..3 {
        let answer = client::ask(http, "POST /v1/traces?CANARY", "", b"CANARY");
        assert!(answer.starts_with("HTTP/1.1 415 "));
        assert!(answer.contains(r#""message":"the content type must be application/x-protobuf or application/json"#));
    }
    let line = gateway.line("a request was refused");
    for wanted in ["content_type", "415", "application/json", "loopback"] {
        assert!(line.contains(wanted), "{wanted}: {line}");
    }
    let rest = gateway.rest();
    assert!(!rest.contains("a request was refused") && !(line + &rest).contains("CANARY"), "{rest}");
}

/// A command's help shows the global options only if they act there; completions offer no hidden option.
#[test]
fn help_shows_options_that_act() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |arguments: &[&str]| {
        let output = tollgate(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let global = ["--config", "--data-dir", "--listen"];
    for (command, acting) in [
        (&["run"][..], &global[..]),
        (&["top"], &global),
        (&["explain"], &["--config", "--data-dir"]),
        (&["demo"], &["--data-dir"]),
        (&["budgets"], &global),
        (&["fleet", "drain"], &global),
        (&["fleet", "status"], &["--config"]),
        (&["rates", "show"], &["--config", "--data-dir"]),
        (&["vault", "doctor"], &["--config", "--data-dir"]),
        (&["bill", "focus"], &["--config"]),
        (&["vault", "keygen"], &[]),
        (&["completions"], &[]),
    ] {
        let help = shown(&[command, &["--help"]].concat());
        for option in global {
            let listed = help.lines().any(|line| line.trim_start().starts_with(option));
            assert_eq!(listed, acting.contains(&option), "{command:?} {option}: {help}");
        }
    }
    assert!(shown(&["help"]).contains("Usage: tollgate"));
    assert!(shown(&["schema", "--config", "x.yaml"]).starts_with('{'), "accepted without effect");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = shown(&["completions", shell]);
        assert!(script.contains("keygen") && script.contains("print-config") && script.contains("data-dir"), "{shell}");
        assert!(!script.contains("feature-gates"), "{shell}");
    }
    assert_eq!(tollgate(folder.path()).args(["completions", "cmd"]).output().unwrap().status.code(), Some(2));
}

/// A wrong call and a failed command exit with their code and say what to set; a malformed value is wrong usage, also
/// where the gateway would check it. `--listen` means the same ports in every command that has it.
#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let ports = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap());
    // the embedded default takes the two ports behind it, too
    let taken = ports.take(100).find(|taken| taken.local_addr().unwrap().port() < 65_534).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let in_use = [at.as_str(), "the port is in use", "receivers.otlp.protocols", "`endpoint`", "--listen HOST:PORT"];
    let no_gateway = [
        "http://127.0.0.1:3: ",
        ": check that the gateway is running with `admin` in `service.extensions`; for another admin port",
        "`--admin URL`",
        "`--listen HOST:PORT`",
    ];
    let (no_effect, no_option) = (["embedded default"], ["did you mean `--config x.yaml`?"]);
    for (arguments, code, wanted) in [
        (&["--listen", &at][..], 1, &in_use[..]),
        (&["run", "--listen", &at], 1, &in_use),
        (&["tap", "--listen", "127.0.0.1:1"], 1, &no_gateway),
        (&["report", "--listen", "127.0.0.1:1"], 1, &no_gateway),
        (&["top", "--once", "--listen", "127.0.0.1:1"], 1, &no_gateway),
        (&["run", "--listen", "127.0.0.1:0", "--config", "x.yaml"], 2, &no_effect),
        (&["--listen", "127.0.0.1:0", "schema"], 2, &no_effect),
        (&["validate", "x.yaml"], 2, &no_option),
        (&["check", "x.yaml"], 2, &no_option),
        (&["print-config", "x.yaml"], 2, &no_option),
        (&["run", "x.yaml"], 2, &no_option),
        (&["report", "--since", "5x"], 2, &[]),
        (&["report", "--limit", "0"], 2, &[]),
        (&["top", "--interval", "5x"], 2, &[]),
        (&["vault", "serve", "--port", "80x"], 2, &[]),
    ] {
        let (exit, _, told) = client::output(tollgate(folder.path()).args(arguments));
        assert_eq!(exit, Some(code), "{arguments:?}: {told}");
        assert!(wanted.iter().all(|part| told.contains(part)) && !told.contains("invalid digit"), "{wanted:?}: {told}");
    }
    let (_, text, _) = client::output(tollgate(folder.path()).args(["print-config", "--listen", "127.0.0.1:14317"]));
    assert!(["14317", "14318", "14319"].iter().all(|port| text.contains(&format!("127.0.0.1:{port}"))), "{text}");
}

/// A new user's first span is printed with the command that opens its content, is found in the vault within seconds,
/// and opens. Until then an empty result says that objects are still waiting.
#[test]
fn the_first_span_is_shown_found_and_opened() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("data/vault");
    let find = || {
        let mut command = tollgate(folder.path());
        command.args(["vault", "find", "--store"]).arg(&vault);
        let output = command.output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let mut command = tollgate(folder.path());
    let mut gateway = Running::spawn(command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()));
    let line: serde_json::Value = serde_json::from_str(&gateway.line("\"vault_key\"")).unwrap();
    let (key, http) = (line["vault_key"].as_str().unwrap(), gateway.address("otlp http"));
    let (out, err) = find();
    assert!(out.is_empty() && err.contains("`object_age`"), "{out} {err}");
    let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"chat","traceId":"00000000000000000000000000000001",
        "spanId":"0000000000000002","startTimeUnixNano":"1764000000000000000","endTimeUnixNano":"1764000001500000000","attributes":[
        {"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},{"key":"gen_ai.input.messages","value":{"stringValue":
        "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"CANARY first words\"}]}]"}}]}]}]}]}"#;
    post(http, Signal::Traces, &otlp::json::decode(Signal::Traces, text.as_bytes()).unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let lines = BufReader::new(gateway.child.stdout.take().unwrap()).lines().map(Result::unwrap);
    std::thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
    let mut seen: Vec<String> = Vec::new();
    while !seen.last().is_some_and(|line| line.contains("tollgate vault get")) {
        let line = told.recv_timeout(Duration::from_secs(20));
        seen.push(line.unwrap_or_else(|_| panic!("only this was shown: {}", seen.join("\n"))));
    }
    let shown = seen.join("\n");
    assert!(shown.contains("  chat  1.500 s") && !shown.contains("CANARY"), "{shown}");
    let end = Instant::now() + Duration::from_secs(20);
    while find().0.is_empty() {
        assert!(Instant::now() < end, "nothing is found");
        std::thread::sleep(Duration::from_millis(200));
    }
    let paste = seen.last().unwrap().trim().strip_prefix("content: tollgate ").unwrap();
    let line = format!("{} {paste}", env!("CARGO_BIN_EXE_tollgate"));
    let opened = Command::new("sh").args(["-c", &line]).output().unwrap();
    let text = String::from_utf8_lossy(&opened.stdout);
    assert!(text.contains("CANARY first words"), "{text} {}", String::from_utf8_lossy(&opened.stderr));
    // the guide uses the same name for the key as the start log
    let guide = fs::read_to_string(fixtures::at("docs/auditors-guide.md")).unwrap();
    assert!(guide.contains("`vault_key` in its"), "the guide says where the key is told");
    let verified = tollgate(folder.path()).args(["vault", "verify", "--key", key, "--store"]).arg(&vault).output();
    let verified = verified.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// The output of `print-config` is a usable file: without a try-out key, the vault gets a recipient from a variable
/// instead of one whose secret key exists nowhere. (Regression test: nobody could open such a vault.)
#[test]
fn a_printed_default_names_no_lost_key() {
    let folder = tempfile::tempdir().unwrap();
    let print = || String::from_utf8(tollgate(folder.path()).arg("print-config").output().unwrap().stdout).unwrap();
    let text = print();
    assert!(text.starts_with("# Set AUDITOR_PUBLIC_KEY"), "{text}");
    assert!(text.contains("recipients: [\"${env:AUDITOR_PUBLIC_KEY}\"]") && !text.contains("age1"), "{text}");
    let (config, key) = (folder.path().join("tollgate.yaml"), folder.path().join("auditor.key"));
    fs::write(&config, &text).unwrap();
    let made = tollgate(folder.path()).args(["vault", "keygen", "--output"]).arg(&key).output().unwrap();
    let public = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let mut validate = tollgate(folder.path());
    validate.env("AUDITOR_PUBLIC_KEY", &public).args(["validate", "--config"]).arg(&config);
    let output = validate.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // An existing try-out key is used.
    let secret = fs::read_to_string(&key).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    fs::write(&key, secret).unwrap();
    fs::create_dir_all(folder.path().join("data")).unwrap();
    fs::rename(&key, folder.path().join("data/auditor.key")).unwrap();
    assert!(print().contains(&public) && !print().contains("AUDITOR_PUBLIC_KEY"), "{}", print());
}

/// `print-config` keeps the reference of a secret. A secret that is written in the file is replaced by a mark that no
/// command accepts. (Regression test: the mark was sent as a credential.)
#[test]
fn printed_secrets_are_references_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.yaml");
    let write = |key: &str| {
        let text = format!(
            "{{ receivers: {{ otlp: }}, exporters: {{ otlp: {{ endpoint: 'https://b.test:1', trust: internal, headers: {{ x-a: 'Bearer ${{env:TOKEN}}', x-b: {key} }} }} }},
               service: {{ pipelines: {{ logs: {{ receivers: [otlp], exporters: [otlp] }} }} }} }}"
        );
        fs::write(&config, text).unwrap();
    };
    let run = |command: &str| {
        let mut asked = tollgate(folder.path());
        let output = asked.env("TOKEN", "s3cr3t-1").args([command, "--config"]).arg(&config).output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), texts.concat())
    };
    write("'${env:TOKEN}'");
    let (_, text) = run("print-config");
    assert!(text.contains("x-a: \"Bearer ${env:TOKEN}\"") && text.contains("x-b: \"${env:TOKEN}\""), "{text}");
    assert!(!text.contains("s3cr3t") && !text.contains("redacted"), "{text}");
    write("'${env:OTHER:-s3cr3t-2}'");
    let (_, text) = run("print-config");
    assert!(text.starts_with("# Each `[redacted]` is in place of a secret") && !text.contains("s3cr3t"), "{text}");
    fs::write(&config, &text).unwrap();
    let (code, text) = run("validate");
    assert!(code == Some(78) && text.contains("`[redacted]` is what `print-config` writes"), "{text}");
}
