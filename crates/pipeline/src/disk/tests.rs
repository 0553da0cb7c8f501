use super::*;

/// Files must be private, locks exclusive, names flat.
#[test]
fn real_disk_keeps_files_private() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a/b");
    let directory = RealDisk.directory(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let (file, _) = directory.create("one", 1 << 16).unwrap();
    assert_eq!(fs::metadata(path.join("one")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.write_at(3, b"abc").unwrap(), 3);
    file.sync_data().unwrap();
    directory.sync().unwrap();
    assert!(directory.create("one", 0).is_err(), "an existing name is not taken over");
    assert!(directory.create("../one", 0).is_err());
    let mut out = [9; 6];
    read_exact_at(&*directory.open("one").unwrap(), 0, &mut out).unwrap();
    assert_eq!(&out, b"\0\0\0abc");
    directory.rename("one", "two").unwrap();
    assert_eq!(directory.list().unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>(), ["two"]);
    assert!(directory.free_space().unwrap().bytes > 0);
    let lock = directory.lock("lock").unwrap();
    assert!(lock.is_some());
    assert!(directory.lock("lock").unwrap().is_none());
    drop(lock);
    assert!(directory.lock("lock").unwrap().is_some());
}
