//! What holds for every command: memory that nobody dumps, and an exit code that says whether it was written.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

fn tollgate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().env("TOLLGATE_DATA_DIR", folder.join("data")).stdin(Stdio::null());
    command
}

/// A command that waits for its key or its configuration must have switched off core dumps before it read any of it.
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
        // Opens when the command opens it, and not before.
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"], "{arguments:?}");
        drop(writer);
        assert!(!child.wait().unwrap().success(), "{arguments:?}");
    }
}

/// What could not be written is no success.
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

/// A spool whose key is gone must not get another by being looked at, and the gateway must refuse to start with 78.
#[test]
fn a_lost_key_stays_lost() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("spool")).unwrap();
    fs::write(data.join("spool/seg-0000000001.spool"), b"x").unwrap();
    for arguments in [&["spool", "list"][..], &["run"]] {
        let output = tollgate(folder.path()).args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {told}");
        assert!(told.contains("spool.key is missing"), "{arguments:?}: {told}");
        assert!(!data.join("spool.key").exists(), "{arguments:?}");
    }
}

/// A variable that is set to nothing, as `TOLLGATE_DATA_DIR=` in a unit or a compose file, is no directory and no wrong usage.
#[test]
fn an_empty_data_directory_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tollgate(folder.path());
    command.env("TOLLGATE_DATA_DIR", "").env("XDG_STATE_HOME", folder.path()).arg("validate");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whoever mends errors hears of warnings in the same round. (Shown to fail: with an error outside of the file its warnings were left out.)
#[test]
fn validate_tells_warnings_beside_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let text = "receivers: { otlp: { protocols: { http: { endpoint: '127.0.0.1:0' } } } }\n\
                exporters: { debug: { trust: internal } }\n\
                limits: { accounts: { nobody: { requests_per_second: 1 } } }\n\
                spool: { directory: /proc/nope, max_size: 64MiB }\n\
                service: { pipelines: { traces: { receivers: [otlp], exporters: [debug] } } }\n";
    fs::write(&path, text).unwrap();
    let output = tollgate(folder.path()).args(["validate", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains("limits.accounts.nobody") && said.contains("spool.directory"), "{said}");
}
