//! Tests of `tollgate spool`, and of `validate` on the spool, as a user runs them.

use std::fs;
use std::path::Path;

use crate::client::tollgate;

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
