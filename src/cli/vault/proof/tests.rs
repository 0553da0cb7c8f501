use clap::Parser;

use super::*;
use audit::testing::site::Site;
use audit::verify::anchor;
use vault::chain::note::SigningKey;
use vault::testing::journal::signing_key;

#[derive(Parser)]
struct ProveLine {
    #[command(flatten)]
    prove: ProveArgs,
}

#[derive(Parser)]
struct CheckLine {
    #[command(flatten)]
    check: CheckProofArgs,
}

/// A vault in a folder, with a line in each epoch of the session `s0`; returns an anchor of it.
fn filled(folder: &std::path::Path, signer: &SigningKey) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let site = Site::of_two_epochs().await;
        for (name, bytes) in &*site.store.0.lock() {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        anchor::make(&site.audit().await.heads, "2026-11-20T12:00:00Z", signer)
    })
}

/// `prove --session` with a missing index object, and `check-proof --anchor-key` with an anchor that does not cover a
/// tree, exit with 1, because a caller relying on the exit code would hand over a partial proof or think it anchored.
#[test]
fn a_part_and_what_is_not_anchored_end_with_one() {
    let folder = tempfile::tempdir().expect("scratch");
    let generated = SigningKey::generate("anchor.test", &kernel::rng::SeededRng::new(9)).expect("key");
    let signer = SigningKey::from_secret(&generated).expect("key");
    let (store, at) = (folder.path().join("vault"), |name: &str| folder.path().join(name).display().to_string());
    std::fs::create_dir(&store).expect("made");
    std::fs::write(at("anchor"), filled(&store, &signer)).expect("written");
    let (key, anchor_key) = (signing_key().public().to_string(), signer.public().to_string());
    let store = store.display().to_string();
    let made = |output: &str, more: &[&str]| {
        let file = at(output);
        let line = ["prove", "--session", "s0", "--store", &store, "--key", &key, "--output", &file];
        run_prove(&ProveLine::parse_from(line.iter().chain(more)).prove).map_err(|error| error.to_string())
    };
    let checked = |file: &str, more: &[&str]| {
        let file = at(file);
        let line = ["check-proof", &file, "--key", &key];
        run_check(&CheckLine::parse_from(line.iter().chain(more)).check).map_err(|error| error.to_string())
    };
    assert_eq!(made("whole", &["--anchor", &at("anchor")]), Ok(ExitStatus::Success));
    assert_eq!(made("bare", &[]), Ok(ExitStatus::Success));
    assert_eq!(checked("whole", &[]), Ok(ExitStatus::Success), "nobody asked for the anchor");
    // The session has lines in two epochs, and the anchor names only the newest.
    assert_eq!(checked("whole", &["--anchor-key", &anchor_key]), Ok(ExitStatus::Failed));
    assert_eq!(checked("bare", &["--anchor-key", &anchor_key]), Ok(ExitStatus::Failed), "no anchor at all");
    let mut index = Vec::new();
    for day in std::fs::read_dir(folder.path().join("vault/index/v1/account=default")).expect("listed") {
        let day = day.expect("a day").path();
        index.extend(std::fs::read_dir(day).expect("listed").map(|file| file.expect("a file").path()));
    }
    let last =
        index.iter().filter(|path| path.display().to_string().contains("E0001")).max().expect("of the second epoch");
    std::fs::write(last, b"junk").expect("written");
    assert_eq!(made("part", &[]), Ok(ExitStatus::Failed));
    assert_eq!(checked("part", &[]), Ok(ExitStatus::Success), "what is in it holds");
}

/// `prove --session` accepts a line of `find --sessions` as printed, as `replay` and `export` do.
#[test]
fn a_line_of_find_names_what_is_proved() {
    let folder = tempfile::tempdir().expect("scratch");
    let generated = SigningKey::generate("anchor.test", &kernel::rng::SeededRng::new(9)).expect("key");
    let store = folder.path().join("vault");
    std::fs::create_dir(&store).expect("made");
    filled(&store, &SigningKey::from_secret(&generated).expect("key"));
    let (store, key) = (store.display().to_string(), signing_key().public().to_string());
    let made = |session: &str, output: &str| {
        let file = folder.path().join(output).display().to_string();
        let line = ["prove", "--session", session, "--store", &store, "--key", &key, "--output", &file];
        run_prove(&ProveLine::parse_from(line).prove).map_err(|error| error.to_string())
    };
    for (session, output) in [("s0", "a"), ("s0\tdefault", "b"), ("s0\tdefault\tUNSIGNED", "c")] {
        assert_eq!(made(session, output), Ok(ExitStatus::Success), "{session:?}");
    }
    assert!(made("s0\tteam", "d").is_err(), "the line's account counts");
}
