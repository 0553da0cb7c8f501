//! Checks a folder's volume: whether it can be written, has space, and survives a restart, as an OK to a client
//! promises. It only reads; if the system doesn't answer, the volume counts as fine. While the gateway runs,
//! `watch_volumes` shows the space, and `pipeline/disk` handles that of the spool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use net::Spawn;
use net::spawn::run_blocking;
use rustix::fs::Access;
use telemetry::{Meter, names};

#[cfg(test)]
mod tests;

/// Interval at which the space of volumes is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

/// `f_type` of file systems in memory: tmpfs, ramfs.
const MEMORY_FILE_SYSTEMS: [i128; 2] = [0x0102_1994, 0x8584_58f6];

/// `f_type` of kernel file systems in which no file can be created: proc, sysfs, cgroup (2 and 1), debugfs, tracefs,
/// securityfs, configfs, bpf, devpts, selinuxfs, efivarfs, pstore, mqueue and binfmt_misc.
const KERNEL_FILE_SYSTEMS: [i128; 15] = [
    0x9fa0, 0x62656572, 0x63677270, 0x27e0eb, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0xcafe4a11, 0x1cd1,
    0xf97cff8c, 0xde5e81e4, 0x6165676c, 0x19800202, 0x42494e4d,
];

/// A warning if `directory`, or its nearest existing ancestor, is in memory.
pub fn warn_if_in_memory(directory: &Path) -> Option<String> {
    let volume = ancestors(directory).find_map(|path| rustix::fs::statfs(path).ok())?;
    MEMORY_FILE_SYSTEMS.contains(&i128::from(volume.f_type)).then(|| {
        format!(
            "the spool's folder {} is in memory (tmpfs): accepted data is lost when the machine or the pod restarts",
            directory.display()
        )
    })
}

/// Why files can't be created in `directory`, which need not exist yet; `None` if they can. Creates nothing.
pub fn find_write_problem(directory: &Path) -> Option<String> {
    let nearest = ancestors(directory).find(|path| path.symlink_metadata().is_ok())?;
    if !nearest.is_dir() {
        return Some(format!("{} is not a folder", nearest.display()));
    }
    // For root the access check succeeds, but creating a file fails all the same.
    if rustix::fs::statfs(nearest).is_ok_and(|volume| KERNEL_FILE_SYSTEMS.contains(&i128::from(volume.f_type))) {
        return Some(format!("{} is a kernel file system, in which no file can be created", nearest.display()));
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(nearest, wanted).err().map(|error| format!("can't write in {}: {error}", nearest.display()))
}

/// Bytes free for an ordinary user on the volume of `directory`; `None` if the system doesn't report it.
pub fn free_bytes(directory: &Path) -> Option<u64> {
    Some(space(directory)?.0)
}

/// Bytes free for an ordinary user on the volume of `directory`, and the volume's size.
fn space(directory: &Path) -> Option<(u64, u64)> {
    let volume = ancestors(directory).find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some((volume.f_bavail.checked_mul(volume.f_frsize)?, volume.f_blocks.checked_mul(volume.f_frsize)?))
}

/// Shows the space of these folders' volumes as metrics, under the folders' labels.
pub(super) async fn watch_volumes(folders: Vec<(String, PathBuf)>, tasks: Arc<dyn Spawn>, meter: Meter) {
    // An earlier configuration may have had another vault.
    meter.clear(&names::VOLUME_FREE_BYTES);
    meter.clear(&names::VOLUME_SIZE_BYTES);
    loop {
        for (label, folder) in &folders {
            let folder = folder.clone();
            // On a thread: a file system of the network may hang.
            let measured = run_blocking(&*tasks, "volume", move || space(&folder)).await.flatten();
            let Some((free, size)) = measured.filter(|(_, size)| *size > 0) else { continue };
            meter.gauge(&names::VOLUME_FREE_BYTES, &[("volume", label)]).set(free as f64);
            meter.gauge(&names::VOLUME_SIZE_BYTES, &[("volume", label)]).set(size as f64);
        }
        tokio::time::sleep(MEASURE_INTERVAL).await;
    }
}

/// A message that compares `free` bytes with the `needed` ones.
pub fn describe_shortage(free: u64, needed: u64) -> String {
    let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
    format!("the volume has {:.1} GiB free, and the spool may need {:.1} GiB more", gib(free), gib(needed))
}

/// Total size of the files directly in `directory`, in bytes.
pub fn used_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(|metadata| metadata.is_file())
        .map(|metadata| metadata.len())
        .sum()
}

/// The folder and all folders above it. The last one of a relative path is `.`, not the empty path.
fn ancestors(directory: &Path) -> impl Iterator<Item = &Path> {
    directory.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path })
}
