use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.collect()
}

/// A new file must be private and complete, an existing one must stay unchanged, and nothing else may be left behind.
#[test]
fn a_file_is_new_or_is_not_written() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("key");
    write_new(&path, b"one").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(write_new(&path, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!((fs::read(&path).unwrap(), names(scratch.path())), (b"one".to_vec(), vec!["key".to_owned()]));
    assert!(write_new(&scratch.path().join("no/folder"), b"x").is_err());
}

/// A dangling link counts as taken: its target must not be created.
#[test]
fn a_dangling_link_is_taken() {
    let scratch = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(scratch.path().join("elsewhere"), scratch.path().join("key")).unwrap();
    assert_eq!(write_new(&scratch.path().join("key"), b"x").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(names(scratch.path()), ["key"]);
}

/// If several threads write at the same moment, exactly one must win, and its bytes must be in the file.
#[test]
fn one_of_many_wins() {
    for _ in 0..20 {
        let scratch = tempfile::tempdir().unwrap();
        let (path, all) = (scratch.path().join("key"), Barrier::new(8));
        let won: Vec<u8> = std::thread::scope(|scope| {
            let write = |who: u8| {
                all.wait();
                write_new(&path, &[who; 64]).map(|()| who)
            };
            let threads: Vec<_> = (0..8).map(|who| scope.spawn(move || write(who))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
        });
        let [winner] = won[..] else { panic!("{} won", won.len()) };
        assert_eq!((fs::read(&path).unwrap(), names(scratch.path()).len()), (vec![winner; 64], 1));
    }
}

/// With every method, an existing name is kept and a free one is assigned.
#[test]
fn no_way_takes_a_name_over() {
    for way in [RenameMethod::Rename, RenameMethod::Link, RenameMethod::CheckThenRename] {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        assert_eq!(rename_by(way, &from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists, "{way:?}");
        assert_eq!(fs::read(&to).unwrap(), b"old", "{way:?}");
        fs::remove_file(&to).unwrap();
        rename_by(way, &from, &to).unwrap();
        assert_eq!((fs::read(&to).unwrap(), names(scratch.path()).len()), (b"new".to_vec(), 1), "{way:?}");
    }
}

/// The name of a temporary file must be recognised, so that a crashed writer's is erased and swept.
#[test]
fn temporary_names_are_recognised() {
    let scratch = tempfile::tempdir().unwrap();
    let (temporary, _) = create_temporary(&scratch.path().join("key.age")).unwrap();
    let name = temporary.file_name().unwrap().to_string_lossy();
    assert_eq!((final_name(&name), final_name("key.age")), (Some("key.age"), None), "{name}");
}

/// Missing folders must be created for their owner only; existing ones stay unchanged; the folder of a plain name is
/// `.`.
#[test]
fn folders_are_private() {
    let scratch = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::create_dir(scratch.path().join("there")).unwrap();
    fs::set_permissions(scratch.path().join("there"), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = scratch.path().join("there/a/b");
    make_folders(&folder).unwrap();
    make_folders(&folder).unwrap();
    assert_eq!(
        [mode(&folder), mode(folder.parent().unwrap()), mode(&scratch.path().join("there"))],
        [0o700, 0o700, 0o755]
    );
    fs::write(scratch.path().join("file"), b"x").unwrap();
    assert!(make_folders(&scratch.path().join("file/below")).is_err());
    assert_eq!((parent_folder(Path::new("spool")), parent_folder(Path::new("a/b"))), (Path::new("."), Path::new("a")));
    make_folders(Path::new("")).unwrap();
}

/// A replaced file keeps its mode and group from the moment it has its name, and a link's target stays as it is.
#[test]
fn a_replaced_file_keeps_its_rights() {
    let scratch = tempfile::tempdir().unwrap();
    let (path, other) = (scratch.path().join("settings"), scratch.path().join("other"));
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file to any group.
    if rustix::process::geteuid().is_root() {
        fchown(File::open(&path).unwrap(), None, Some(12345)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    replace_file_like(&before, &path, b"new").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mode() & 0o7777, after.gid(), fs::read(&path).unwrap()), (0o640, before.gid(), b"new".to_vec()));
    fs::write(&other, "kept").unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    replace_file_like(&before, &path, b"newer").unwrap();
    assert_eq!((fs::read(&other).unwrap(), fs::read(&path).unwrap()), (b"kept".to_vec(), b"newer".to_vec()));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
}
