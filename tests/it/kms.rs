//! Tests of keys stored as KMS ciphertext, in real processes: which KMS requests are sent, when and how often, and how
//! a gateway behaves while KMS refuses or is unavailable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::client::{output, post_traces, span_with};
use crate::reload::Running;
use fakes::fake_kms::{FakeKms, KEY, Mood, seal};

/// Credentials for the standard provider chain, and nothing from this machine.
pub(crate) const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_EC2_METADATA_DISABLED", "true")];

struct Site {
    folder: TempDir,
    kms: FakeKms,
    /// Public keys, by file name.
    public: Vec<(&'static str, String)>,
}

/// Exit code, standard output and standard error of a command.
fn tollgate(command: &[&str]) -> (Option<i32>, String, String) {
    output(Command::new(env!("CARGO_BIN_EXE_tollgate")).args(command).env_clear().envs(CREDENTIALS))
}

/// The output of a command that succeeds.
fn done(command: &[&str]) -> String {
    let (code, shown, said) = tollgate(command);
    assert_eq!(code, Some(0), "{command:?}: {shown}{said}");
    shown
}

impl Site {
    /// Two signing keys and an auditor's key, stored as ciphertext only.
    fn new() -> Self {
        let (folder, kms) = (tempfile::tempdir().unwrap(), FakeKms::start());
        fs::create_dir_all(folder.path().join("data")).unwrap();
        let mut site = Self { folder, kms, public: Vec::new() };
        for (name, signing) in [("one", true), ("two", true), ("auditor", false)] {
            let plain = site.at(&format!("{name}.key"));
            let mut command = vec!["vault", "keygen", "--output", &plain];
            if signing {
                command.extend(["--signing", "--name", "gw.example"]);
            }
            site.public.push((name, done(&command).trim().to_owned()));
            let sealed = seal(&[("purpose", "vault")], &fs::read(&plain).unwrap());
            fs::write(site.at(&format!("{name}.kms")), sealed).unwrap();
            fs::remove_file(plain).unwrap();
        }
        site
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn public(&self, name: &str) -> &str {
        &self.public.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn config(&self, key: &str) -> PathBuf {
        let path = self.folder.path().join("config.yaml");
        let text = format!(
            "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: 'localhost:0' }} }} }} }}\n\
             processors:\n  vault:\n    recipients: ['{}']\n    store: {{ directory: '{}' }}\n    writer: gw\n    signing_key: '{}'\n    \
             signing_key_kms: {{ region: eu-central-1, endpoint: '{}', key_id: '{KEY}', encryption_context: {{ purpose: vault }} }}\n\
             exporters: {{ file: {{ path: '{}', trust: internal }} }}\n\
             spool: {{ directory: '{}', max_size: 64MiB }}\n\
             service: {{ pipelines: {{ traces: {{ receivers: [otlp], processors: [vault], exporters: [file] }} }} }}\n",
            self.public("auditor"),
            self.at("vault"),
            self.at(key),
            self.kms.url(),
            self.at("out.jsonl"),
            self.at("data/spool"),
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, key: &str, more: &[&str]) -> Running {
        Running::start_in(&CREDENTIALS, &self.config(key), more)
    }

    /// A start that fails: its error output and exit code.
    fn refused(&self, key: &str) -> (String, Option<i32>) {
        let config = format!("--config={}", self.config(key).display());
        let (code, _, said) = tollgate(&["run", &config]);
        (said, code)
    }

    fn command(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let config = format!("--config={}", self.config("one.kms").display());
        tollgate(&[words, &[config.as_str()]].concat())
    }
}

/// Sends an agent's span with a prompt; it must be accepted.
fn send(to: std::net::SocketAddr, prompt: &str) {
    let messages = format!(r#"[{{"role":"user","parts":[{{"type":"text","content":"{prompt}"}}]}}]"#);
    let chat = json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.conversation.id": "s-1", "gen_ai.input.messages": messages });
    post_traces(to, &span_with("chat", &chat));
}

fn keys_in_plain_text(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(keys_in_plain_text(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
            if holds(b"AGE-SECRET-KEY-1") || holds(b"PRIVATE+KEY+gw.example") {
                found.push(path);
            }
        }
    }
    found
}

/// A gateway signs with a key stored as ciphertext, and an auditor opens with one: both stay in memory, neither is
/// written to disk, and each needs one KMS request.
#[test]
fn sealed_keys_sign_and_open() {
    let site = Site::new();
    let gateway = site.start("one.kms", &[]);
    assert!(gateway.line("digests of the vault are signed").contains(site.public("one")));
    send(gateway.address("otlp http"), "what is 6 times 7?");
    assert_eq!(gateway.end(), Some(0));
    assert_eq!(site.kms.count(), 1, "a start asks once");
    let (store, key, auditor, url) = (site.at("vault"), site.public("one"), site.at("auditor.kms"), site.kms.url());
    let sealed = [
        "--store",
        &store,
        "--identity-kms",
        &auditor,
        "--kms-region",
        "eu-central-1",
        "--kms-endpoint",
        &url,
        "--kms-encryption-context",
        "purpose=vault",
    ];
    let vault = |words: &[&str]| done(&[&["vault"], words, &sealed[..]].concat());
    assert!(vault(&["replay", "s-1", "--key", key]).contains("6 times 7"));
    assert!(Path::new(&format!("{auditor}.openings.jsonl")).is_file(), "an opening is noted");
    vault(&["verify", "--key", key, "--log", "none"]);
    for words in [&["export", "s-1", "--format", "jsonl"][..], &["get", "--trace", "5b8efff798038103d269b633813fc60c"]]
    {
        assert!(vault(words).contains("6 times 7"), "{words:?}");
    }
    let copier = tempfile::tempdir().expect("scratch");
    let copier = copier.path().join("rewrap.key").display().to_string();
    done(&["vault", "keygen", "--signing", "--name", "rewrap.example", "--output", &copier]);
    vault(&["rewrap", "--recipient", site.public("auditor"), "--sign-with", &copier]);
    assert_eq!(site.kms.count(), 6, "each command asks once");
    assert!(site.kms.state().wrong.is_empty(), "{:?}", site.kms.state().wrong);
    assert_eq!(keys_in_plain_text(site.folder.path()), Vec::<PathBuf>::new());
    let (code, ..) = tollgate(&["vault", "replay", "s-1", "--store", &store]);
    assert_eq!(code, Some(2), "one of both kinds of keys is needed");
    // the encryption context is needed for decryption
    let (code, _, said) = tollgate(&[&["vault", "replay", "s-1"], &sealed[..8]].concat());
    assert!(code != Some(0) && said.contains("InvalidCiphertextException") && said.contains("auditor.kms"), "{said}");
}

/// A failed start exits with 78 if someone must change something and with 1 if the fault may pass; it never hangs, and
/// a file that is not ciphertext is not sent to KMS.
#[test]
fn a_start_without_the_key_ends_and_says_why() {
    let site = Site::new();
    site.kms.set(Mood::Says(400, "AccessDeniedException"));
    let (said, exit) = site.refused("one.kms");
    assert!(exit == Some(78) && said.contains("AccessDeniedException"), "{exit:?} {said}");
    assert!(said.contains("kms:Decrypt"), "{exit:?} {said}");
    site.kms.set(Mood::Says(500, "KMSInternalException"));
    let (said, exit) = site.refused("one.kms");
    assert!(exit == Some(1) && said.contains("KMS is not available: 500"), "{exit:?} {said}");
    site.kms.set(Mood::Works);
    let before = site.kms.count();
    done(&["vault", "keygen", "--signing", "--output", &site.at("plain")]);
    let (said, exit) = site.refused("plain");
    assert!(exit == Some(78) && said.contains("plaintext") && !said.contains("PRIVATE"), "{exit:?} {said}");
    let (said, exit) = site.refused("missing");
    assert!(exit == Some(78) && said.contains("can't be read"), "{exit:?} {said}");
    assert_eq!(site.kms.count(), before, "nothing was sent");
    // an auditor's key is not a signing key: the decrypted key is never shown
    let (said, exit) = site.refused("auditor.kms");
    assert!(
        exit == Some(78) && said.contains("contains no signing key (expected `PRIVATE+KEY+name+id+…`; create one with `tollgate vault keygen --signing`)") && !said.contains("AGE-SECRET"),
        "{exit:?} {said}"
    );
}

/// A KMS that hangs does not prevent ending the gateway.
#[test]
fn a_start_that_waits_for_a_kms_can_be_ended() {
    let site = Site::new();
    site.kms.set(Mood::Hangs);
    let gateway = site.start("one.kms", &[]);
    let end = Instant::now() + Duration::from_secs(30);
    while site.kms.count() == 0 {
        assert!(Instant::now() < end, "it asks");
        std::thread::sleep(Duration::from_millis(10));
    }
    let began = Instant::now();
    assert_eq!(gateway.end(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A reload switches to another key with one KMS request, made while the previous gateway still serves; a key that KMS
/// does not decrypt changes nothing. (Regression test: without the key kept from the rehearsal, the new round asked
/// again while nothing was served.)
#[test]
fn a_signing_key_is_rotated_without_a_gap() {
    let site = Site::new();
    let gateway = site.start("one.kms", &[]);
    let http = gateway.address("otlp http");
    send(http, "with the first key");
    site.config("two.kms");
    site.kms.set(Mood::Says(400, "AccessDeniedException"));
    gateway.signal("HUP");
    let line = gateway.line("the new configuration can't be used; the previous one keeps running");
    assert!(line.contains("AccessDeniedException") && line.contains("signing_key"), "{line}");
    site.kms.set(Mood::Hangs);
    gateway.signal("HUP");
    gateway.line("reloading the configuration");
    // during and after the wait for KMS
    send(http, "still with the first key");
    assert!(
        gateway
            .line("the new configuration can't be used; the previous one keeps running")
            .contains("KMS is not available")
    );
    send(http, "once more with the first key");
    site.kms.set(Mood::Works);
    let before = site.kms.count();
    gateway.signal("HUP");
    assert!(gateway.line("digests of the vault are signed").contains(site.public("two")));
    assert_eq!(gateway.address("otlp http"), http);
    send(http, "with the second key");
    assert_eq!(site.kms.count(), before + 1, "what was opened before the round is not asked for again in the gap");
    assert_eq!(gateway.end(), Some(0));
    let store = site.at("vault");
    let verify = |keys: &[&str]| {
        let keys: Vec<&str> = keys.iter().flat_map(|name| ["--key", site.public(name)]).collect();
        tollgate(&[&["vault", "verify", "--store", &store], &keys[..]].concat()).0 == Some(0)
    };
    assert!(verify(&["one", "two"]) && !verify(&["one"]) && !verify(&["two"]));
}

/// `--watch` does not retry a key at KMS every second, because KMS logs and charges each request. (Regression test:
/// five requests in six seconds.)
#[test]
fn a_watch_asks_a_kms_seldom() {
    let site = Site::new();
    let gateway = site.start("one.kms", &["--watch"]);
    gateway.address("otlp http");
    site.kms.set(Mood::Says(400, "AccessDeniedException"));
    site.config("two.kms");
    gateway.line("the new configuration can't be used; the previous one keeps running");
    let before = site.kms.count();
    gateway.silent("usable now", Duration::from_secs(6));
    assert!(site.kms.count() <= before + 1, "{} requests in 6 seconds", site.kms.count() - before);
    site.kms.set(Mood::Works);
    gateway.line("usable now");
    assert!(gateway.line("digests of the vault are signed").contains(site.public("two")));
    gateway.address("otlp http");
    assert_eq!(gateway.end(), Some(0));
}

/// `validate` does not ask KMS and says so; `check` and `vault doctor` do. `check` also shows when KMS' own key was
/// created; without the right to ask, it says so and passes.
#[test]
fn validate_asks_nobody_and_check_asks() {
    let site = Site::new();
    let (code, _, said) = site.command(&["validate"]);
    assert!(code == Some(0) && said.contains("decryption by KMS was not tried; `tollgate check` tries it"), "{said}");
    assert_eq!(site.kms.count(), 0);
    for (words, line) in [
        (&["check"][..], "KMS decrypts the key `processors.vault.signing_key`"),
        (&["vault", "doctor"], "KMS decrypts the signing key"),
    ] {
        site.kms.set(Mood::Works);
        let (code, shown, _) = site.command(words);
        assert!(code == Some(0) && shown.contains(&format!("√ {line}")), "{words:?}: {shown}");
        site.kms.set(Mood::Says(400, "AccessDeniedException"));
        let (code, shown, _) = site.command(words);
        assert!(code != Some(0) && shown.contains(&format!("× {line}")), "{words:?}: {shown}");
        assert!(shown.contains("kms:Decrypt"), "{words:?}: {shown}");
    }
    for (mood, shown) in [
        (Mood::Works, ", KMS key created 2023-11-14 ("),
        (
            Mood::Describes(400, "{\"__type\": \"AccessDeniedException\"}"),
            ", age of the KMS key unknown: kms:DescribeKey is not allowed",
        ),
    ] {
        site.kms.set(mood);
        let (code, out, _) = site.command(&["check"]);
        assert!(code == Some(0) && out.contains(shown), "{out}");
    }
    assert!(site.kms.state().wrong.is_empty(), "{:?}", site.kms.state().wrong);
    let fault = "contains no KMS ciphertext (expected the output of `aws kms encrypt --query CiphertextBlob`, as base64 or raw bytes)";
    fs::write(site.at("one.kms"), fault).unwrap();
    let (code, _, said) = site.command(&["validate"]);
    assert!(code == Some(78) && said.contains(fault), "{said}");
}
