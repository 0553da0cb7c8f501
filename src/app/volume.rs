//! **What**: what kind of volume a folder is on. **Why**: an OK promises that the spool survives; memory does not
//! survive a restart. **Invariants**: looks only; a system that does not tell counts as fine. **Not here**: room
//! (`pipeline/disk`).

use std::path::Path;

use rustix::fs::Access;

/// `f_type` of file systems that lie in memory: tmpfs, ramfs.
const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];

/// `f_type` of what the kernel shows as files and nobody can make one in: proc, sysfs, cgroup (2 and 1), debugfs,
/// tracefs, securityfs, configfs, bpf, devpts, selinuxfs, efivarfs, pstore, mqueue's and binfmt_misc's.
const NO_VOLUME: [i128; 15] = [
    0x9fa0,
    0x6265_6572,
    0x6367_7270,
    0x0027_e0eb,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0xcafe_4a11,
    0x1cd1,
    0xf97c_ff8c,
    0xde5e_81e4,
    0x6165_676c,
    0x1980_0202,
    0x4249_4e4d,
];

/// A warning if `directory`, or the nearest folder above it that exists, lies in memory.
pub fn warning(directory: &Path) -> Option<String> {
    in_memory(directory).then(|| {
        format!(
            "the spool's folder {} lies in memory (tmpfs): what was accepted is lost when the machine or the pod restarts",
            directory.display()
        )
    })
}

/// Why files can't be made in `directory`, which may not be there yet; None where they can. Makes nothing.
pub fn unusable(directory: &Path) -> Option<String> {
    let here = |path: &Path| if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path.to_owned() };
    let nearest = directory.ancestors().map(here).find(|path| path.symlink_metadata().is_ok())?;
    if !nearest.is_dir() {
        return Some(format!("{} is no folder", nearest.display()));
    }
    // root may write there by its rights, and can't all the same
    if rustix::fs::statfs(&nearest).is_ok_and(|volume| NO_VOLUME.contains(&i128::from(volume.f_type))) {
        return Some(format!("{} is the kernel's: no file can be made there", nearest.display()));
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(&nearest, wanted).err().map(|error| format!("can't write in {}: {error}", nearest.display()))
}

/// Bytes that an ordinary user may still take on the volume of `directory`; None where the system does not tell.
pub fn free(directory: &Path) -> Option<u64> {
    let here = |path: &Path| if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path.to_owned() };
    let volume = directory.ancestors().find_map(|path| rustix::fs::statvfs(here(path)).ok())?;
    volume.f_bavail.checked_mul(volume.f_frsize)
}

/// How `free` bytes compare with `needed` ones, for a person.
pub fn too_small(free: u64, needed: u64) -> String {
    let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
    format!("the volume has {:.1} GiB free, and the spool may need {:.1} GiB more", gib(free), gib(needed))
}

/// Bytes of the files in `directory` itself.
pub fn taken(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(|found| found.is_file()).map(|found| found.len()).sum()
}

fn in_memory(directory: &Path) -> bool {
    // A relative path's last ancestor is the empty one.
    let here = |path: &Path| if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path.to_owned() };
    let volume = directory.ancestors().find_map(|path| rustix::fs::statfs(here(path)).ok());
    volume.is_some_and(|volume| IN_MEMORY.contains(&i128::from(volume.f_type)))
}
