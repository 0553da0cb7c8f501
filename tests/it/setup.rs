//! `tollgate setup` as a user runs it: golden folders (tests/cases/setup/README.md), and files that a setup must not
//! change. Also the scripts of docs/how-to/ci.md.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use crate::sources::{File, blocks_of, root};

/// Marks a backup in its name.
const BACKUP: &str = ".tollgate-backup-";

/// Runs `tollgate setup` with a home folder, which is also the working folder.
fn setup(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("setup").args(arguments).current_dir(home).env_clear().env("HOME", home);
    command.env("ACME_TOKEN", "a-secret-that-nothing-prints").output().unwrap()
}

/// The output of a run, with its exit code. The home folder and the time of a backup are replaced.
fn printed(home: &Path, output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let text = format!("{out}---\n{err}---\nexit code {}\n", output.status.code().unwrap());
    let text = text.replace(&home.display().to_string(), "~");
    let mut parts = text.split(BACKUP);
    let first = parts.next().unwrap().to_owned();
    let rest = parts.map(|part| format!("{BACKUP}TIME{}", &part[part.find('Z').unwrap() + 1..]));
    first + &rest.collect::<String>()
}

/// The files below a folder, by their path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap_or_default());
        }
    }
    found
}

fn write_files(folder: &Path, contents: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in contents {
        fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        fs::write(folder.join(path), bytes).unwrap();
    }
}

/// Splits the files of a home folder into settings and backups.
fn split_backups(home: &Path) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>) {
    files(home).into_iter().partition(|(path, _)| !path.contains(BACKUP))
}

/// Runs one case, and returns what is wrong with it.
fn check_case(folder: &Path) -> Vec<String> {
    let (home, is_update) = (tempfile::tempdir().unwrap(), std::env::var_os("TOLLGATE_UPDATE").is_some());
    let home = home.path();
    let mut before = files(&folder.join("before"));
    before.extend(files(folder).into_iter().filter(|(path, _)| path == "tollgate.yaml"));
    write_files(home, &before);
    let command = fs::read_to_string(folder.join("command")).unwrap();
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let output = setup(home, &arguments);
    let (after, backups) = split_backups(home);
    let shown = printed(home, &output);
    let mut expected = files(&folder.join("after"));
    let changed: BTreeMap<_, _> = after
        .iter()
        .filter(|(path, _)| *path != "tollgate.yaml")
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect();
    if is_update {
        drop(fs::remove_dir_all(folder.join("after")));
        write_files(&folder.join("after"), &changed);
        fs::write(folder.join("printed"), &shown).unwrap();
        expected = files(&folder.join("after"));
    }
    let mut wrong = Vec::new();
    if fs::read_to_string(folder.join("printed")).unwrap_or_default() != shown {
        wrong.push(format!("printed:\n{shown}"));
    }
    if expected != changed {
        let texts = changed.iter().map(|(path, bytes)| format!("{path}:\n{}", String::from_utf8_lossy(bytes)));
        wrong.push(format!("files:\n{}", texts.collect::<String>()));
    }
    if shown.contains("a-secret-that") {
        wrong.push("a secret is printed".to_owned());
    }
    // Each changed file has one copy of what it was, which its owner alone may read.
    let replaced: Vec<_> = before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes)).collect();
    let copies: Vec<_> = backups.iter().map(|(path, bytes)| (path.split(BACKUP).next().unwrap(), bytes)).collect();
    if copies != replaced.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect::<Vec<_>>() {
        wrong.push(format!("backups: {:?}", backups.keys()));
    }
    let modes = backups.keys().map(|path| fs::metadata(home.join(path)).unwrap().permissions().mode() & 0o777);
    wrong.extend(modes.filter(|mode| *mode != 0o600).map(|mode| format!("a backup has mode {mode:o}")));
    let again = setup(home, &arguments);
    if split_backups(home) != (after, backups) {
        wrong.push("a second run changes files".to_owned());
    }
    let is_written = output.status.success() && arguments.contains(&"--write");
    if is_written && !String::from_utf8_lossy(&again.stdout).contains(": already set, nothing was written") {
        wrong.push(format!("a second run says {}", String::from_utf8_lossy(&again.stdout)));
    }
    wrong
}

/// Every case prints and writes what its folder says, keeps a copy, and does nothing the second time. (It fails if a
/// file in `after/` or a line of `printed` is edited.)
#[test]
fn cases_are_as_written() {
    let mut wrong = Vec::new();
    let mut names = Vec::new();
    for case in fs::read_dir(root().join("tests/cases/setup")).unwrap().map(|entry| entry.unwrap().path()) {
        if case.is_dir() {
            let name = case.file_name().unwrap().to_str().unwrap().to_owned();
            wrong.extend(check_case(&case).into_iter().map(|what| format!("{name}: {what}")));
            names.push(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let clients = clients();
    assert!(clients.len() >= 9, "{clients:?}");
    for client in clients {
        assert!(names.contains(&format!("print-{client}")), "no case prints the settings of {client}");
    }
}

/// The names of the clients in the table.
fn clients() -> Vec<String> {
    let table = File::read("config/clients.yaml").text;
    table.lines().filter_map(|line| line.strip_prefix("  - name: ")).map(str::to_owned).collect()
}

/// The help, the list without a name, and the error for an unknown name have every client of the table. Nothing can be
/// written without a name.
#[test]
fn help_names_every_client() {
    let home = tempfile::tempdir().unwrap();
    let help = setup(home.path(), &["--help"]);
    let unknown = setup(home.path(), &["no-client"]);
    let list = setup(home.path(), &[]);
    assert_eq!((list.status.code(), setup(home.path(), &["--write"]).status.code()), (Some(0), Some(2)));
    for client in clients() {
        assert!(String::from_utf8_lossy(&help.stdout).contains(&client), "{client}");
        assert!(String::from_utf8_lossy(&unknown.stderr).contains(&client), "{client}");
        let shown = String::from_utf8_lossy(&list.stdout);
        assert!(shown.lines().any(|line| line.starts_with(&format!("{client} "))), "{client}: {shown}");
    }
}

/// Files that are not a user's own settings stay as they are, and the error says why.
#[test]
fn surprising_files_stay() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let at = |name: &str| home.join(name).display().to_string();
    symlink(home.join("nowhere"), home.join("dangling")).unwrap();
    fs::create_dir(home.join("folder")).unwrap();
    symlink(home.join("folder"), home.join("to-folder")).unwrap();
    fs::write(home.join("latin1"), b"{\"a\": \"\xe9\"}").unwrap();
    fs::write(home.join("huge"), " ".repeat((4 << 20) + 1)).unwrap();
    fs::write(home.join("read-only"), "{}").unwrap();
    fs::set_permissions(home.join("read-only"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::write(home.join("deep"), "[".repeat(1 << 20)).unwrap();
    let before = files(&home.join("."));
    for (name, why) in [
        ("dangling", "is a link to a file that does not exist"),
        ("folder", "is not a regular file"),
        ("to-folder", "is not a regular file"),
        ("/dev/null", "is not a regular file"),
        ("latin1", "is not text in UTF-8"),
        ("huge", "is larger than 4 MiB"),
        ("read-only", "is read-only"),
        ("deep", "recursion limit exceeded"),
        ("latin1/below", "nothing was changed"),
    ] {
        let output = setup(home, &["claude-code", "--write", "--file", &at(name)]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains(why) && told.contains("nothing was changed"), "{name}: {told}");
    }
    assert!(files(home) == before, "files were changed");
}

/// A file of another user stays, even if a link to it lies in the user's folder. (Only root can make such a file.)
#[test]
fn a_file_of_another_user_stays() {
    let home = tempfile::tempdir().unwrap();
    let foreign = home.path().join("foreign.json");
    fs::write(&foreign, "{}").unwrap();
    if std::os::unix::fs::chown(&foreign, Some(12_345), None).is_err() {
        return;
    }
    symlink(&foreign, home.path().join("link.json")).unwrap();
    for name in ["foreign.json", "link.json"] {
        let output = setup(home.path(), &["claude-code", "--write", "--file", name]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("belongs to another user"), "{name}");
    }
    assert_eq!(fs::read_to_string(foreign).unwrap(), "{}");
}

/// A link to the user's own file, as managers of dotfiles make them, stays a link; the file keeps its mode.
#[test]
fn a_link_stays_a_link() {
    let home = tempfile::tempdir().unwrap();
    let (file, link) = (home.path().join("dotfiles.json"), home.path().join("settings.json"));
    fs::write(&file, "{\"a\": 1}").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    let output = setup(home.path(), &["claude-code", "--write", "--file", "settings.json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().contains("\"a\": 1,\n  \"env\""));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(String::from_utf8_lossy(&output.stdout).contains("it is a link: "));
}

/// Users who moved a client's folder get the file there.
#[test]
fn a_moved_folder_is_found() {
    let home = tempfile::tempdir().unwrap();
    for (client, variable, file) in
        [("claude-code", "CLAUDE_CONFIG_DIR", "settings.json"), ("codex", "CODEX_HOME", "config.toml")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["setup", client, "--write"]).env_clear().env("HOME", home.path());
        let output = command.env(variable, home.path().join(client)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(home.path().join(client).join(file).is_file(), "{client}");
    }
}

/// The attributes that the script of docs/how-to/ci.md exports for a branch, decoded as the specification says.
fn attributes_of(branch: &str, locale: &str) -> BTreeMap<String, String> {
    let script = blocks_of("sh", &File::read("docs/how-to/ci.md").text).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("set -euo pipefail\n{script}\nprintf %s \"$OTEL_RESOURCE_ATTRIBUTES\"")]);
    shell.current_dir(&folder).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", locale);
    shell.env("GITHUB_HEAD_REF", branch).env("GITHUB_SHA", "c0ffee").env("OTEL_RESOURCE_ATTRIBUTES", "tenant.id=acme");
    let output = shell.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{branch:?}: {output:?}");
    assert!(fs::read_dir(&folder).unwrap().next().is_none(), "{branch:?} ran as a command");
    let text = String::from_utf8(output.stdout).unwrap();
    // W3C baggage allows no other characters without encoding, and Claude Code accepts no blanks.
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\;".contains(&byte)), "{text}");
    let pairs = text.split(',').map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("{branch:?}: {text}")));
    let pairs: Vec<_> = pairs
        .map(|(key, value)| (key.to_owned(), percent_decode_str(value).decode_utf8().unwrap().into_owned()))
        .collect();
    let attributes: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(attributes.len(), pairs.len(), "{branch:?}: {text}");
    attributes
}

/// Any branch name arrives as one attribute, and brings no other attribute or command with it; the issue is found where
/// the name has one. (It fails without the encoding: a comma began another attribute.)
#[test]
fn branches_of_any_form_reach_the_telemetry() {
    for (branch, issue) in [
        ("ABC-123-short-title", Some("ABC-123")),
        ("feature/TOLL-7", Some("TOLL-7")),
        ("A-1,B-2", Some("A-1")),
        ("abc-123", None),
        ("main", None),
        ("X-", None),
        ("tenant.id=evil,OPS-9", Some("OPS-9")),
        ("a,b=c%2C;d e", None),
        ("100%-done", None),
        ("line\nOPS-9\r\ttab", Some("OPS-9")),
        ("$(touch x)`touch x`'\"\\ && touch x; *?[a-z]{a,b}~ !!", None),
        ("\u{e9}\u{2603}/\u{c4}\u{d6}-12", None),
        ("-n", None),
    ] {
        for locale in ["C", "C.UTF-8"] {
            let mut expected = BTreeMap::from([
                ("tenant.id", "acme"),
                ("build.commit_sha", "c0ffee"),
                ("deployment.environment.name", "ci"),
                ("vcs.ref.head.name", branch),
            ]);
            expected.extend(issue.map(|issue| ("work_tracker.issue_id", issue)));
            let expected: BTreeMap<String, String> =
                expected.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(attributes_of(branch, locale), expected, "{branch:?}");
        }
    }
    assert!(!attributes_of("", "C").contains_key("vcs.ref.head.name"));
}

/// The job of docs/how-to/ci.md is YAML, its scripts are bash, and bash is not given text of a pull request.
#[test]
fn the_ci_job_is_well_formed() {
    let page = File::read("docs/how-to/ci.md").text;
    let job = blocks_of("text", &page).into_iter().find(|block| block.starts_with("# .github/workflows/")).unwrap();
    let job: Json = config::load::parse_data("agent.yml", &job).unwrap_or_else(|problem| panic!("{problem}"));
    let scripts: Vec<&str> =
        job["jobs"]["agent"]["steps"].as_array().unwrap().iter().filter_map(|step| step["run"].as_str()).collect();
    assert!(scripts.len() >= 5, "{scripts:?}");
    for script in scripts {
        assert!(!script.contains("${{"), "{script}");
        let output = Command::new("bash").args(["-n", "-c", script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{script}: {output:?}");
    }
}
