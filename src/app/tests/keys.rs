//! Keys that were not configured: when they are generated, and when that would lose waiting data.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::sync::Barrier;

use super::super::gateway_keys::{
    GatewayKeys, find_key_problems, read_existing_spool_keys, read_pseudonymizer, read_spool_keys,
};
use super::*;
use command::keyfile;
use config::env::ProcessLookup;
use kernel::secret::Secret;

fn valid(spool: &Path) -> resolve::ValidSettings {
    let text = format!(
        "{{receivers: {{otlp: }}, exporters: {{debug: {{trust: internal}}}}, spool: {{directory: '{}'}},
          service: {{pipelines: {{logs: {{receivers: [otlp], exporters: [debug]}}}}}}}}",
        spool.display()
    );
    let read = resolve::resolve_config("t.yaml", &text, &ProcessLookup, Path::new("/nowhere"));
    let Ok((_, valid)) = read.result else { panic!("not valid") };
    valid
}

fn failure<T>(result: Result<T, StartError>) -> (String, StartFault) {
    let error = result.err().expect("must not be made");
    (error.text, error.fault)
}

/// A first start must generate both keys, and the next start must find them.
#[test]
fn keys_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let valid = valid(&folder.path().join("spool"));
    let first = read_spool_keys(&valid, &SystemRng).unwrap()[0].id();
    assert_eq!(read_spool_keys(&valid, &SystemRng).unwrap()[0].id(), first);
    assert_eq!(read_existing_spool_keys(&valid).unwrap()[0].id(), first);
    read_pseudonymizer(&valid, &SystemRng).unwrap();
    assert!(folder.path().join("pseudonym.key").exists());
}

/// A pipe or a folder in place of a key file is refused; reading a pipe would hang the start. (Shown to fail without the
/// check of the kind.)
#[test]
fn a_key_file_is_a_regular_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.token");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for path in [&path, folder.path()] {
        let text = keyfile::read_or_create(path, || Secret::new("key".to_owned())).err().unwrap().to_string();
        assert!(text.contains("is not a regular file"), "{text}");
    }
}

/// Nobody else may have put the admin token there, because that user knows it. (Shown to fail without the check of the
/// owner. Only root can give a file away; any other user sees that its own is accepted.)
#[test]
fn an_admin_token_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let mut valid = valid(&folder.path().join("spool"));
    let admin = telemetry::admin::AdminConfig::default().settings().unwrap();
    let value = crate::components::ExtensionSettings::Admin(admin);
    valid.extensions.push(resolve::ConfiguredComponent { id: config::ComponentId::parse("admin").unwrap(), value });
    let path = folder.path().join("admin.token");
    std::fs::write(&path, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(find_key_problems(&valid).is_empty());
    if chown(&path, Some(12_345), None).is_ok() {
        let problems = find_key_problems(&valid);
        assert!(matches!(&*problems, [("extensions.admin", why)] if why.contains("another user")), "{problems:?}");
    }
}

/// A missing key beside a used spool must stop the start: a new key opens none of its data, and would hide the loss.
/// The same holds for a spool that is empty again, because pseudonyms would change.
#[test]
fn a_lost_key_is_not_replaced() {
    for file in ["seg-0000000001.spool", "progress"] {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        let valid = valid(&spool);
        std::fs::write(spool.join(file), b"x").unwrap();
        let (text, fault) = failure(read_spool_keys(&valid, &SystemRng));
        assert!(
            fault == StartFault::Configuration && text.contains("spool.keys") && text.contains("spool.key is missing"),
            "{text}"
        );
        let (text, fault) = failure(read_pseudonymizer(&valid, &SystemRng));
        assert!(fault == StartFault::Configuration && text.contains("pseudonyms.key"), "{text}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
        std::fs::remove_file(spool.join(file)).unwrap();
        assert!(read_spool_keys(&valid, &SystemRng).is_ok(), "a folder that was only made is no used spool");
    }
}

/// A key file without a valid key is a fault of the configuration, as in `validate`, since restarts don't help.
#[test]
fn garbage_in_a_key_file_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let valid = valid(&folder.path().join("spool"));
    for garbage in [b"no key".as_slice(), b"\xff\xfe", b""] {
        std::fs::write(folder.path().join("spool.key"), garbage).unwrap();
        let (text, fault) = failure(read_spool_keys(&valid, &SystemRng));
        assert!(fault == StartFault::Configuration && text.contains("spool.key"), "{text}");
        assert!(find_key_problems(&valid).iter().any(|(setting, _)| *setting == "spool.keys"));
    }
}

/// No key may be generated beside a spool that is a volume of its own, because the next container would start without
/// it.
#[test]
fn no_key_is_made_on_another_volume() {
    // /proc is a volume of its own on every Linux, and holds no spool.
    let (text, fault) = failure(read_spool_keys(&valid(Path::new("/proc")), &SystemRng));
    assert!(
        fault == StartFault::Configuration && text.contains("spool's volume") && text.contains("set spool.keys"),
        "{text}"
    );
    assert!(!Path::new("/spool.key").exists());
}

/// Many first starts at once must all use the same key, the one in the file.
#[test]
fn all_first_starts_agree() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let (path, all) = (folder.path().join("spool.key"), Barrier::new(8));
        let made: Vec<(String, bool)> = std::thread::scope(|scope| {
            let make = |who: u8| {
                all.wait();
                let file = keyfile::read_or_create(&path, || Secret::new(format!("key {who}"))).unwrap();
                (file.key.expose().to_owned(), file.created)
            };
            let threads: Vec<_> = (0..8).map(|who| scope.spawn(move || make(who))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let there = std::fs::read_to_string(&path).unwrap();
        assert!(made.iter().all(|(key, _)| key == there.trim()), "{made:?}");
        assert_eq!(made.iter().filter(|(_, created)| *created).count(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// A plain relative name is in the working directory.
#[test]
fn a_plain_spool_name_is_fine() {
    let valid = valid(Path::new("no-such-spool-of-tollgate"));
    let text = read_existing_spool_keys(&valid).err().unwrap().text;
    assert!(text.contains("./spool.key is missing"), "{text}");
}

/// Reading keys notes nothing, because the start may still fail; a gateway that runs notes them.
#[tokio::test]
async fn keys_are_noted_when_a_gateway_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (valid, deps) = (valid(&folder.path().join("spool")), GatewayDeps::system());
    let keys = GatewayKeys::read(&valid, &deps).await.unwrap();
    assert!(folder.path().join("spool.key").exists() && !folder.path().join("keys-seen.json").exists());
    keys.note_use(&valid.spool.directory, deps.clock.now());
    let noted = std::fs::read_to_string(folder.path().join("keys-seen.json")).unwrap();
    assert!(noted.contains(&keys.spool[0].id()), "{noted}");
}
