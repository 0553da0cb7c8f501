//! The manual's examples work as printed: blocks of `sh` run, configurations are valid, and shown output is what the
//! command prints. Pages whose commands need more than that have tests of their own ([`RUN_ELSEWHERE`]).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use config::env::SubstitutionLookup as _;
use fakes::tls::{Authority, pem_file};

use crate::config::Manual;
use crate::sources::{File, blocks, blocks_of, manual, root};

/// The kinds of blocks that docs/README.md explains, and those that hold no commands. `sh s3`: blocks of `sh` that only
/// a vault in S3 needs.
const KINDS: &[&str] = &["sh", "sh s3", "console", "text", "yaml", "json", "sql", "python"];

/// Pages whose blocks of `sh` another test runs.
const RUN_ELSEWHERE: &[(&str, &str)] =
    &[("docs/quickstart.md", "tests/it/quickstart.rs"), ("docs/auditors-guide.md", "tests/peers/parts/audit.py")];

/// A text that the blocks of a page print.
const PRINTED: &[(&str, &str)] = &[
    ("docs/concepts/batch.md", "normalize ▸ cost ▸ runs ▸ vault ▸ redact"),
    ("docs/concepts/vault.md", "✓  All checks passed."),
    ("docs/how-to/application-that-calls-a-model.md", "\n    order.status = \"awaiting approval\"\n"),
    (
        "docs/how-to/application-that-calls-a-model.md",
        "\n  ~ order.status = \"awaiting approval\"\n      → \"[CONTENT]\"\n",
    ),
    ("docs/how-to/application-that-calls-a-model.md", "\n      → \"[PERSON]\"\n"),
    ("docs/how-to/audit.md", "age1"),
    ("docs/how-to/forward.md", "age1"),
    ("docs/how-to/prices.md", "claude-sonnet-4-5"),
    ("docs/operations.md", "the embedded default is valid"),
    ("docs/redaction.md", "\"redacted\":\"call [EMAIL]\""),
    ("docs/how-to/redaction-rules.md", "2 passed, 0 failed"),
    ("docs/how-to/redaction-rules.md", "\"redacted\":\"[BADGE] at the door\""),
    ("docs/security/threat-model.md", "none of the 14 private texts"),
    ("docs/start/sdk.md", "row openai/gpt-5-mini"),
    ("docs/vault.md", "vault.example+"),
];

/// Runs a script in bash in this folder, which is also its home, with the built `tollgate` on its `PATH`.
pub(crate) fn run_script(script: &str, folder: &Path) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().unwrap().display().to_string();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).current_dir(folder).env_clear();
    shell.env("PATH", path).env("HOME", folder).env("TMPDIR", folder).output().unwrap()
}

/// A page's blocks of `sh` run in order, beside the repository's `tests` alone; no other kind of block hides commands. (It
/// fails for a wrong option, an unset variable, a missing file, and a block of `bash`.)
#[test]
fn offline_blocks_run() {
    let (mut ran, mut broken) = (BTreeSet::new(), Vec::new());
    for File { path, text } in manual() {
        let unknown = blocks(&text).into_iter().filter(|block| !KINDS.contains(&block.kind.as_str()));
        broken.extend(
            unknown.map(|block| format!("{path}: blocks of `{}` are not explained in docs/README.md", block.kind)),
        );
        let script = blocks_of("sh", &text).concat();
        if script.is_empty() || RUN_ELSEWHERE.iter().any(|(page, _)| *page == path) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        symlink(root().join("tests"), folder.path().join("tests")).unwrap();
        let output = run_script(&format!("set -euo pipefail\n{script}"), folder.path());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let missing = PRINTED.iter().filter(|(page, wanted)| *page == path && !out.contains(wanted));
        let missing: Vec<_> = missing.map(|(_, wanted)| wanted).collect();
        if !output.status.success() || !missing.is_empty() {
            broken.push(format!("{path}: {}, not printed: {missing:?}\n{out}{err}", output.status));
        }
        ran.insert(path);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // A row whose page has no such block would check nothing
    let gone: Vec<_> = PRINTED.iter().filter(|(page, _)| !ran.contains(*page)).collect();
    assert!(gone.is_empty() && ran.len() > 10, "no blocks of `sh`: {gone:?}; run: {ran:?}");
    for (page, test) in RUN_ELSEWHERE {
        assert!(File::read(test).text.contains(page.trim_start_matches("docs/")), "{test} runs {page}");
        assert!(!blocks_of("sh", &File::read(page).text).is_empty(), "{page}");
    }
}

/// `tollgate validate` accepts each block `# tollgate.yaml` as it is, beside the page's other files. (It fails without
/// `receivers`, which `config::the_manuals_configurations_load` adds where they are missing.)
#[test]
fn whole_configurations_are_valid() {
    let mut seen = 0;
    for File { path, text } in manual() {
        let folder = tempfile::tempdir().unwrap();
        write_secrets(&folder);
        let here = folder.path().display().to_string();
        let named = |block: &str| block.lines().next()?.strip_prefix("# ")?.strip_suffix(".yaml").map(str::to_owned);
        let yaml = blocks_of("yaml", &text).into_iter();
        let files = yaml.filter_map(|block| Some((named(&block)?, block.replace("/var/lib/tollgate", &here))));
        let files = files.map(|(name, block)| (name, block.replace("/etc/tollgate", &here)));
        let (whole, parts): (Vec<_>, Vec<_>) = files.partition(|(name, _)| name == "tollgate");
        for (name, part) in parts {
            fs::write(folder.path().join(name + ".yaml"), part).unwrap();
        }
        for (_, configuration) in whole {
            fs::write(folder.path().join("tollgate.yaml"), &configuration).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
            command.args(["validate", "--config", "tollgate.yaml"]).current_dir(&folder);
            command.env_clear().env("HOME", folder.path());
            let variables = configuration.split("${env:").skip(1).filter_map(|rest| rest.split('}').next());
            command.envs(variables.filter_map(|name| Some((name, Manual.var(name)?))));
            // the folder of a CI job
            let output = command.env("RUNNER_TEMP", folder.path()).output().unwrap();
            assert!(output.status.success(), "{path}: {}\n{configuration}", String::from_utf8_lossy(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

/// Writes the keys and certificates that configurations of the manual name.
fn write_secrets(folder: &tempfile::TempDir) {
    let authority = Authority::new();
    let server = authority.issue("tollgate.example");
    pem_file(folder, "tls.crt", "CERTIFICATE", &server.certificate);
    pem_file(folder, "tls.key", "PRIVATE KEY", &server.key);
    pem_file(folder, "clients-ca.crt", "CERTIFICATE", &authority.certificate);
    let secrets = folder.path().join("secrets");
    fs::create_dir_all(&secrets).unwrap();
    fs::write(secrets.join("spool-key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    fs::write(secrets.join("pseudonym-key"), "long enough a key").unwrap();
    let mut keygen = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    keygen.args(["vault", "keygen", "--signing", "--output", "signing.key"]).current_dir(folder);
    assert!(keygen.env_clear().output().unwrap().status.success());
    for file in [folder.path().join("tls.key"), secrets.join("spool-key"), secrets.join("pseudonym-key")] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Output that a page shows below `$ tollgate explain FILE` is what the command prints. (It fails if a number of the
/// output is another one.)
#[test]
fn shown_output_of_explain_is_printed() {
    let first = blocks_of("sh", &File::read("docs/quickstart.md").text).remove(0);
    let (_, call) = first.split_once("\nBEGAN=").unwrap();
    let (call, _) = call.split_once("\nEOF\n").unwrap();
    let mut seen = 0;
    for File { path, text } in manual() {
        // `tap::the_manuals_examples_run` runs these
        if path == "docs/operations.md" {
            continue;
        }
        for block in blocks_of("console", &text) {
            for (command, expected) in examples(&block) {
                if !command.starts_with("explain ") || expected.is_empty() {
                    continue;
                }
                let folder = tempfile::tempdir().unwrap();
                symlink(root().join("tests"), folder.path().join("tests")).unwrap();
                let script = format!("BEGAN={call}\nEOF\ntollgate {command}");
                let output = run_script(&script, folder.path());
                assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
                check_shown(command, &expected, &String::from_utf8(output.stdout).unwrap());
                seen += 1;
            }
        }
    }
    assert!(seen >= 2, "{seen}");
}

/// The commands of tollgate in a block of `console`, each with the lines shown below it.
pub(crate) fn examples(block: &str) -> Vec<(&str, Vec<&str>)> {
    let commands = block.split("$ tollgate ").skip(1);
    commands.filter_map(|example| Some((example.lines().next()?, example.lines().skip(1).collect()))).collect()
}

/// Checks that a command printed the expected lines in their order, and any others between them.
pub(crate) fn check_shown(command: &str, expected: &[&str], shown: &str) {
    let mut lines = shown.lines();
    for pattern in expected.iter().filter(|pattern| **pattern != "…") {
        assert!(lines.any(|line| matches(pattern, line)), "{command}: no line `{pattern}` in\n{shown}");
    }
}

/// Whether `line` matches `pattern`, in which `…` matches anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
