//! Commands that print a key, and every way in which one does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use kernel::clock::{Clock as _, SystemClock};

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

async fn run(command: &[String]) -> Result<String, KeyCommandError> {
    read_key_within(command, Duration::from_secs(5)).await.map(|key| key.expose().to_owned())
}

/// The key is the output without the white space around it; arguments pass no shell.
#[tokio::test]
async fn the_output_is_the_key() {
    assert_eq!(run(&shell("printf 'KEY\\n'")).await.expect("a key"), "KEY");
    assert_eq!(run(&shell("printf '  KEY'")).await.expect("a key"), "KEY");
    assert_eq!(run(&shell("printf '%4096s' KEY")).await.expect("a key"), "KEY");
    let echo = ["/bin/echo", "$HOME; *"].map(str::to_owned);
    assert_eq!(run(&echo).await.expect("a key"), "$HOME; *");
    // The input is empty, and error output is nobody's.
    assert_eq!(run(&shell("cat; echo CANARY >&2; echo KEY")).await.expect("a key"), "KEY");
}

/// Each failure says what to do and nothing of the output. (Without the limits the second half would hang or read on.)
#[tokio::test]
async fn a_command_without_a_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    fs::write(&plain, "CANARY").expect("written");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).expect("a mode");
    let plain = vec![plain.display().to_string()];
    let missing = vec!["/nowhere/CANARY-not".to_owned()];
    for (command, says, may_pass) in [
        (shell("echo CANARY; exit 1"), "failed (exit status: 1)", true),
        (shell("echo CANARY; kill -9 $$"), "failed (signal: 9", true),
        (shell("exit 0"), "printed nothing", false),
        (shell("printf ' \\n'"), "printed nothing", false),
        (shell("printf 'CANARY\\377'"), "not text", false),
        (shell("head -c 1048576 /dev/zero"), "more than 4096 bytes", false),
        (shell("while :; do echo CANARY; done"), "more than 4096 bytes", false),
        (missing, "can't be run: no such file", false),
        (plain, "can't be run: permission denied", false),
        (vec!["vault".to_owned()], "whole path", false),
        (Vec::new(), "names no program", false),
    ] {
        let error = run(&command).await.expect_err("no key");
        let text = format!("{error} {error:?}");
        assert!(text.contains(says) && !text.contains("CANARY"), "{command:?}: {text}");
        assert_eq!(error.may_pass, may_pass, "{command:?}");
    }
}

/// A command that hangs ends in time, with its children, also one that closed its output or left a child behind.
#[tokio::test]
async fn a_command_that_hangs_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid_file = folder.path().join("pid");
    let hang = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    for script in [hang.as_str(), "exec >&-; sleep 600", "echo KEY; sleep 600 &"] {
        let clock = SystemClock::new();
        let began = clock.monotonic();
        let error = read_key_within(&shell(script), Duration::from_millis(500)).await.expect_err("no key");
        assert!(error.text.starts_with("did not end within") && error.may_pass, "{script}: {error}");
        assert!(clock.monotonic() - began < Duration::from_secs(5), "{script}");
    }
    let pid = fs::read_to_string(&pid_file).expect("a child");
    let is_gone =
        || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "));
    fixtures::until::until(is_gone).await;
}
