//! Tests of the gateway's keys in real processes: keys from commands and a KMS, their rotation while clients send, and
//! how starts fail without a key. No key may appear in any output.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{output, post_traces, span_with};
use crate::gateway;
use crate::kms::CREDENTIALS;
use crate::reload::Running;
use crate::reload::sockets::{Clients, connect, each_once};
use fakes::fake_kms::{FakeKms, KEY, Mood, seal};
use kernel::secret::Secret;
use pipeline::spool::SpoolKey;

/// Two keys of the spool, and their public ids.
const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// Two keys of pseudonyms.
const FIRST: &str = "the first key of pseudonyms";
const SECOND: &str = "the second key of pseudonyms";

struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data")).unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, contents: &str) -> String {
        fs::write(self.at(name), contents).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o600)).unwrap();
        self.at(name)
    }

    /// The source of a key that a script prints, after it noted that it ran.
    fn command(&self, script: &str) -> String {
        format!("{{ command: [/bin/sh, -c, 'echo ran >> {}; {script}'] }}", self.at("ran"))
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.at("ran")).unwrap_or_default().lines().count()
    }

    /// `keys` of the spool, more lines, and the exporter's stanza.
    fn config_with(&self, keys: &[&str], more: &str, exporter: &str) -> PathBuf {
        let path = self.folder.path().join("config.yaml");
        let more = format!("processors: {{ redact: }}\n{more}");
        let text = gateway::plain(self.folder.path(), "http: { endpoint: 'localhost:0' }", exporter, &more)
            .replace("max_size: 64MiB", &format!("max_size: 64MiB, keys: [{}]", keys.join(", ")))
            .replace("receivers: [otlp]", "receivers: [otlp], processors: [redact]");
        fs::write(&path, text).unwrap();
        path
    }

    fn config(&self, keys: &[&str], more: &str) -> PathBuf {
        self.config_with(keys, more, &format!("file: {{ path: '{}', trust: internal }}", self.at("out.jsonl")))
    }

    /// A configuration whose back end does not answer, so that data waits.
    fn config_stuck(&self, keys: &[&str]) -> PathBuf {
        self.config_with(keys, "", "otlp_http: { endpoint: 'http://127.0.0.1:9', trust: internal }")
    }

    /// Exit code, standard output and standard error of a command, which shows no key.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let config = format!("--config={}", self.at("config.yaml"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args([words, &[config.as_str()]].concat()).env_clear().envs(CREDENTIALS);
        let (code, shown, said) = output(command.env("PSEUDONYM_KEY", FIRST));
        for key in [OLD, NEW, FIRST, SECOND] {
            assert!(!shown.contains(key) && !said.contains(key), "{words:?} shows a key: {shown}{said}");
        }
        (code, shown, said)
    }

    /// A start that fails: its exit code and message.
    fn refused(&self) -> (Option<i32>, String) {
        let mut gateway = Running::start_in(&CREDENTIALS, &self.folder.path().join("config.yaml"), &[]);
        let said = gateway.line("error: ");
        (gateway.child.wait().unwrap().code(), said)
    }
}

/// Sends a span of a user; it must be accepted.
fn send(to: SocketAddr, name: &str) {
    post_traces(to, &span_with(name, &serde_json::json!({ "user.id": "ada" })));
}

/// While clients send, the spool gets a new key and later loses the old one: everything that was accepted is forwarded
/// once. The new key comes from a command, which each reading of the configuration runs once.
#[test]
fn the_spools_key_rotates_under_load() {
    let site = Site::new();
    let (old, new) = (format!("'${{file:{}}}'", site.file("old", OLD)), site.command(&format!("echo {NEW}")));
    let gateway = Running::start_in(&CREDENTIALS, &site.config(&[&old], ""), &[]);
    let http = gateway.address("otlp http");
    let clients = Clients::start(move || connect(http));
    clients.some_more();
    site.config(&[&new, &old], "");
    gateway.signal("HUP");
    gateway.address("otlp http");
    assert_eq!(site.runs(), 1, "the start uses what the rehearsal opened");
    clients.some_more();
    site.config(&[&new], "");
    gateway.signal("HUP");
    gateway.address("otlp http");
    clients.some_more();
    let count = clients.end();
    assert_eq!(gateway.end(), Some(0));
    assert_eq!(site.runs(), 2);
    each_once(site.folder.path(), &["out.jsonl"], count);
    // Nothing needs the old key any more.
    let (code, _, said) = site.run(&["spool", "list"]);
    assert_eq!(code, Some(0), "{said}");
}

/// A key's file that is another one under the same name, as with a rotated Secret or a credential of systemd, is read
/// with each reload: the text of the configuration does not change.
#[test]
fn a_rotated_file_is_read_with_a_reload() {
    const THIRD: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let site = Site::new();
    for (version, first, second) in [("v1", OLD, NEW), ("v2", THIRD, OLD)] {
        fs::create_dir(site.at(version)).unwrap();
        site.file(&format!("{version}/first"), first);
        site.file(&format!("{version}/second"), second);
    }
    symlink("v1", site.at("secrets")).unwrap();
    let [first, second] = ["first", "second"].map(|name| format!("'${{file:{}/{name}}}'", site.at("secrets")));
    let gateway = Running::start_in(&CREDENTIALS, &site.config(&[&first, &second], ""), &[]);
    send(gateway.address("otlp http"), "r0");
    let id = SpoolKey::from_secret(&Secret::new(THIRD.to_owned())).unwrap().id();
    let is_used = || fs::read_to_string(site.at("data/keys-seen.json")).unwrap_or_default().contains(&id);
    assert!(!is_used());
    symlink("v2", site.at("next")).unwrap();
    fs::rename(site.at("next"), site.at("secrets")).unwrap();
    gateway.signal("HUP");
    send(gateway.address("otlp http"), "r1");
    assert!(is_used());
    assert_eq!(gateway.end(), Some(0));
}

/// Without the key of data that waits, a start is refused and a reload changes nothing; both name the key. With both
/// keys the data is there, and a command about the spool opens the keys as a start does.
#[test]
fn a_key_of_waiting_data_is_missed() {
    let site = Site::new();
    let (old, new) = (site.command(&format!("echo {OLD}")), format!("'{NEW}'"));
    let gateway = Running::start_in(&CREDENTIALS, &site.config_stuck(&[&old]), &[]);
    let http = gateway.address("otlp http");
    send(http, "r0");
    site.config_stuck(&[&new]);
    gateway.signal("HUP");
    let line = gateway.line("the new configuration can't be started; restarting the previous one");
    assert!(line.contains("is sealed with key") && line.contains("add that key to spool.keys"), "{line}");
    gateway.address("otlp http");
    send(http, "r1");
    assert_eq!(gateway.end(), Some(0));
    let (code, said) = site.refused();
    assert!(code == Some(78) && said.contains("is sealed with key"), "{code:?} {said}");
    site.config_stuck(&[&new, &old]);
    let (_, listed, said) = site.run(&["spool", "list"]);
    assert!(listed.contains("otlp_http"), "{listed}{said}");
}

/// A command that gives no key ends a start: with 78 if someone must change something, with 1 if the fault may pass.
/// `validate` runs nothing and says so; `check` runs it, and shows the key's id and age, not the key.
#[test]
fn a_start_needs_the_commands_key() {
    let site = Site::new();
    for (script, code, says) in [
        ("exit 3", 1, "failed (exit status: 3)"),
        ("printf \"\"", 78, "printed nothing"),
        ("echo CANARY", 78, "must be 32 bytes, as base64 or hex"),
    ] {
        site.config(&[&site.command(script)], "");
        let (exit, said) = site.refused();
        assert!(exit == Some(code) && said.contains(says), "{script}: {exit:?} {said}");
        assert!(said.contains("spool.keys[0]"), "{script}: {exit:?} {said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
    let ran = site.runs();
    for (wrong, says) in [
        ("{ command: [vault, read] }", "whole path"),
        ("{ command: [/bin/true], kms: { file: /x, region: y } }", "spool.keys[0]"),
        ("{ comand: [/bin/true] }", "spool.keys[0]"),
        ("{ kms: { file: /x } }", "spool.keys[0]"),
    ] {
        site.config(&[wrong], "");
        let (code, _, said) = site.run(&["validate"]);
        assert!(code == Some(78) && said.contains(says), "{said}");
    }
    let file = site.file("pseudonyms", FIRST);
    let more = format!("pseudonyms: {{ key: '${{file:{file}}}' }}");
    site.config(&[&site.command(&format!("echo {NEW}"))], &more);
    let (code, _, said) = site.run(&["validate"]);
    assert!(code == Some(0) && said.contains("spool.keys[0]: its command was not run"), "{said}");
    assert_eq!(site.runs(), ran);
    let (code, shown, _) = site.run(&["check"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("√ the command /bin/sh prints the key `spool.keys[0]`: id "), "{shown}");
    let beside = format!("! the key `pseudonyms.key` comes from ${{file:{file}}}: id ");
    assert!(shown.contains(&beside) && shown.contains("file changed 0 days ago"), "{shown}");
    assert!(shown.contains("it lies on the spool's volume"), "{shown}");
    assert_eq!(site.runs(), ran + 1);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (_, shown, _) = site.run(&["check"]);
    assert!(shown.contains("every user of this machine may access"), "{shown}");
    site.config(&[&site.command("exit 3")], "pseudonyms: { key: '${env:PSEUDONYM_KEY}' }");
    let (code, shown, _) = site.run(&["check"]);
    assert!(code != Some(0) && shown.contains("× the command /bin/sh prints the key `spool.keys[0]`"), "{shown}");
    assert!(shown.contains("√ the key `pseudonyms.key` comes from ${env:PSEUDONYM_KEY}: id "), "{shown}");
}

/// Keys of the spool and of pseudonyms come from a KMS; while it refuses, no gateway starts (`kms` tests all
/// faults).
#[test]
fn a_kms_opens_keys_of_spool_and_pseudonyms() {
    let (site, kms) = (Site::new(), FakeKms::start());
    let source = |name: &str, key: &str| {
        fs::write(site.at(name), seal(&[("purpose", "keys")], key.as_bytes())).unwrap();
        let (file, url) = (site.at(name), kms.url());
        format!(
            "{{ kms: {{ file: '{file}', region: eu-central-1, endpoint: '{url}', key_id: '{KEY}', encryption_context: {{ purpose: keys }} }} }}"
        )
    };
    let (spool, pseudonyms) = (source("spool.kms", NEW), source("pseudonyms.kms", FIRST));
    let config = site.config(&[&spool], &format!("pseudonyms: {{ key: {pseudonyms} }}"));
    kms.set(Mood::Says(400, "AccessDeniedException"));
    let (code, said) = site.refused();
    assert!(code == Some(78) && said.contains("kms:Decrypt") && said.contains("spool.keys[0]"), "{code:?} {said}");
    assert!(!fs::exists(site.at("data/spool.key")).unwrap(), "no other key is made");
    kms.set(Mood::Works);
    let before = kms.count();
    let gateway = Running::start_in(&CREDENTIALS, &config, &[]);
    send(gateway.address("otlp http"), "r0");
    assert_eq!(gateway.end(), Some(0));
    assert_eq!(kms.count(), before + 2, "each key is asked for once");
    assert!(kms.state().wrong.is_empty(), "{:?}", kms.state().wrong);
    each_once(site.folder.path(), &["out.jsonl"], 1);
    let (_, shown, _) = site.run(&["check"]);
    assert!(shown.contains("√ KMS decrypts the key `pseudonyms.key` in "), "{shown}");
    assert!(shown.contains(", used here since 2"), "{shown}");
}

/// After a rotation with the next epoch, pseudonyms name it and the start says so once; without it, the start warns.
#[test]
fn pseudonyms_name_their_epoch() {
    let site = Site::new();
    let start = |key: &str, epoch: u8| {
        let config = site.config(&[&format!("'{NEW}'")], &format!("pseudonyms: {{ key: {key}, epoch: {epoch} }}"));
        Running::start_in(&CREDENTIALS, &config, &[])
    };
    let gateway = start(&format!("'{FIRST}'"), 1);
    send(gateway.address("otlp http"), "r0");
    assert_eq!(gateway.end(), Some(0));
    let second = site.command(&format!("echo {SECOND}"));
    let gateway = start(&second, 2);
    gateway.line("pseudonyms have a new epoch");
    send(gateway.address("otlp http"), "r1");
    assert_eq!(gateway.end(), Some(0));
    let gateway = start(&second, 2);
    gateway.silent("pseudonym", Duration::from_secs(1));
    assert_eq!(gateway.end(), Some(0));
    let gateway = start(&format!("'{FIRST}'"), 2);
    gateway.line("pseudonyms.epoch is not higher than before");
    assert_eq!(gateway.end(), Some(0));
    let out = fs::read_to_string(site.at("out.jsonl")).unwrap();
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let users: Vec<&str> = out.split("\"h-").skip(1).collect();
    assert_eq!(users.iter().map(|user| digits(user)).collect::<Vec<_>>(), [32, 34], "{out}");
    assert!(users[1].starts_with("02") && !out.contains("ada"), "{out}");
    site.config(&[&format!("'{NEW}'")], "pseudonyms: { epoch: 0 }");
    assert_eq!(site.run(&["validate"]).0, Some(78));
}
