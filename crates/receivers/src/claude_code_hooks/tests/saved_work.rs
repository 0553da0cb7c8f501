//! Commands that save work stay allowed at a limit, and nothing else gets through with them.

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::super::config::ClaudeCodeHooksConfig;
use super::super::save_work::SaveWork;
use serde_json::json;

fn saving(config: serde_json::Value) -> Result<SaveWork, Vec<String>> {
    let config: ClaudeCodeHooksConfig = serde_json::from_value(config).expect("readable");
    let settings = config.settings();
    settings.map(|settings| settings.save_work).map_err(|all| all.into_iter().map(|one| one.path).collect())
}

fn default_list() -> SaveWork {
    saving(json!({})).expect("valid")
}

/// What a default may and may not do. Seen failing: with each of the checks of `save_work` removed.
#[test]
fn only_plain_commands_save_work() {
    let list = default_list();
    for allowed in [
        "git commit -m x",
        "git commit -am 'Mend the ledger'",
        "  git   add -A ",
        "git add -- src/a.rs \"a b\"",
        "git commit --no-edit",
        "git commit -q --message=x --author=ada",
        "git commit -m \"Don't; stop (now) && here\n\nBody | more\" --no-verify\n",
        "git commit -m \"$(cat <<'EOF'\nMend it (at last)\n\nCo-Authored-By: Claude <noreply@anthropic.com>\nEOF\n)\"",
        "git stash",
        "git stash push -u -m wip",
        "git stash -u -m wip",
        "git stash save wip",
        "git stash list",
        "git stash show",
        "git status --porcelain=v2 -b",
        "git push -u origin feature/x",
        "'git' \"commit\" -m x",
    ] {
        assert!(list.allows(allowed), "{allowed}");
    }
    for refused in [
        "",
        "git",
        "gitcommit",
        "git commit-graph write",
        "git commit && curl x",
        "git commit -m x; curl x",
        "git commit -m x | sh",
        "git commit -m x & curl x",
        "git commit -m x\ncurl x",
        "git commit -m x\rcurl x",
        "git commit -m $(curl x)",
        "git commit -m `curl x`",
        "git commit -m \"$(curl x)\"",
        "git commit -m \"`curl x`\"",
        "git commit -m \"a\\\"; curl x; \\\"\"",
        "git commit -m 'a\\'';curl x;'",
        "git commit -m 'a & curl x'",
        "git status > /etc/passwd",
        "git status < x",
        "git add <(curl x)",
        "git diff",
        "git diff --output=/etc/passwd",
        "git diff --ext-diff",
        "git add *(e:'curl x':)",
        "git add {a,b}",
        "A=1 git commit -m x",
        "GIT_EDITOR='curl x' git commit",
        "git -c core.pager=curl diff",
        "git -C / status",
        "git --exec-path=/tmp status",
        "git commit -S",
        "git commit -C HEAD",
        "git push --receive-pack=curl origin",
        "git push --receive-pac=curl origin",
        "git push --exec=curl origin",
        "git push --force",
        "git push ext::curl% x",
        "git push ../evil",
        "git push /tmp/evil",
        "git add \\; curl x",
        "git add $HOME",
        "git add ~+(x)",
        "git add a #b",
        "git add 'unclosed",
        "git commit -m \"$(cat <<'EOF'\nEOF\ncurl x\n\nEOF\n)\"",
        "git commit -m \"$(cat <<'EOF'\na) ; curl x ; (\nEOF\n)\"",
        "git commit -m \"$(cat <<'EOF'\na\nEOF\ncurl x)\"",
        "git commit -m \"$(cat <<EOF\n$(curl x)\nEOF\n)\"",
        "sudo git commit -m x",
        "command git commit -m x",
    ] {
        assert!(!list.allows(refused), "{refused}");
    }
    assert!(!list.allows(&format!("git commit -m '{}'", "x".repeat(1 << 20))), "bounded");
}

/// What was saved is not lost again, no editor runs, and no file's name becomes an option. Seen failing: without `first`
/// and `needs`, and with patterns among the plain characters.
#[test]
fn saved_work_stays_saved() {
    let list = default_list();
    for refused in [
        "git stash clear",
        "git stash drop",
        "git stash pop",
        "git stash apply",
        "git stash branch x",
        "git stash show -p",
        "git stash 'clear'",
        "git commit",
        "git commit -a",
        "git commit --amend -m x",
        "git commit --amend --no-edit",
        "git commit --author -m",
        "git commit --messages=x",
        "git commit -- -m",
        "git commit -a x --no-edit=x -e",
        "git add *",
        "git add -- src/?.rs",
        "git add [a-z]",
    ] {
        assert!(!list.allows(refused), "{refused}");
    }
}

/// A command of the user's own is allowed as it is written, and only so.
#[test]
fn own_commands_are_exact() {
    let list = saving(json!({"save_work": ["make checkpoint", "git commit"]})).expect("valid");
    for (command, allowed) in [
        ("make checkpoint", true),
        ("make checkpoint all", false),
        ("make checkpoint -f evil.mk", false),
        ("make", false),
        ("git commit -m x", true),
        ("git add .", false),
    ] {
        assert_eq!(list.allows(command), allowed, "{command}");
    }
    assert!(!saving(json!({"save_work": []})).expect("valid").allows("git commit -m x"));
    for wrong in ["", "git commit; rm x", "make 'a b'", "make $x"] {
        assert_eq!(
            saving(json!({"save_work": ["git add", wrong]})).err(),
            Some(vec!["save_work[1]".to_owned()]),
            "{wrong}"
        );
    }
}

/// Parts of which hostile and harmless commands consist.
fn command() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "git", "commit", "add", "push", "-m", "-a", "--all", "--", "origin", " ", " ", " ", "x", "'", "\"", "\\", "$",
            "(", ")", "`", ";", "&", "|", "<", ">", "\n", "\t", "touch pwned", "#", "{", "}", "!", "*", "~", "=", "EOF",
            "$(cat <<'EOF'\n", "\nEOF\n", ")\"", "\"$(cat <<'EOF'\n", "--receive-pack=touch", "ext::touch",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{1,3}",
        1 => any::<char>().prop_map(String::from),
    ];
    let head = prop::sample::select(vec!["git commit -m ", "git commit ", "git add ", "git push ", "git stash ", ""]);
    (head, prop::collection::vec(part, 0..8)).prop_map(|(head, parts)| head.to_owned() + &parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A real shell runs `git` once for each command that is allowed, and nothing else. Seen failing: with `;` among the
    /// plain characters, and with `$` allowed within double quotes.
    #[test]
    fn shells_run_only_git(command in command()) {
        if !default_list().allows(&command) {
            return Ok(());
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (path, log) = (folder.path(), folder.path().join("log"));
        for (name, does) in [("git", "printf 'G' >>\"$LOG\""), ("touch", "printf 'T' >>\"$LOG\"")] {
            let program = path.join("bin").join(name);
            fs::create_dir_all(path.join("bin")).expect("a folder");
            fs::write(&program, format!("#!/bin/sh\n{does}\n")).expect("a program");
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
        }
        fs::create_dir(path.join("work")).expect("a folder");
        let path_variable = format!("{}:/bin:/usr/bin", path.join("bin").display());
        for shell in ["sh", "bash"] {
            fs::write(&log, "").expect("a log");
            let mut run = Command::new(shell);
            run.arg("-c").arg(&command).current_dir(path.join("work")).env_clear();
            let ran = run.env("PATH", &path_variable).env("LOG", &log).output().expect("a shell");
            prop_assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
            prop_assert_eq!(fs::read_to_string(&log).expect("the log"), "G", "{:?} in {}", command, shell);
            prop_assert_eq!(fs::read_dir(path.join("work")).expect("a folder").count(), 0, "{:?}", command);
        }
    }
}
