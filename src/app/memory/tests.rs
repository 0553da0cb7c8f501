//! Tests of finding limits in cgroups and machines, and of the levels and shares that follow.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{LimitOrigin, MemoryLevel, MemoryLimit, RequestMemory};

const MIB: u64 = 1 << 20;

fn put(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// The limit, and what a cgroup's uses.
fn find(files: &[(&str, &str)]) -> Option<(MemoryLimit, Option<u64>)> {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), files);
    let found = MemoryLimit::find_in(&folder.path().join("proc"), &folder.path().join("cgroup"))?;
    let used = (found.origin == LimitOrigin::Cgroup).then(|| found.used().unwrap());
    Some((found, used))
}

/// A file of cases: what each is, the files of its machine, the limit in them and where it is from.
#[derive(serde::Deserialize)]
struct Case {
    what: String,
    files: BTreeMap<String, String>,
    mib: u64,
    #[serde(default)]
    is_machine: bool,
    used: Option<u64>,
}

/// A percentage of a small limit does not go below what the gateway needs to run.
#[test]
fn a_part_has_a_floor() {
    let limit = |mib: u64| {
        let meminfo = format!("MemTotal: {} kB\n", mib << 10);
        find(&[("proc/meminfo", &meminfo)]).unwrap().0
    };
    let part = |mib: u64, percent: u64| limit(mib).scaled_to(percent, 128 * MIB).bytes / MIB;
    assert_eq!([part(4096, 50), part(512, 10), part(100, 50), part(100, 100)], [2048, 128, 100, 100]);
}

/// The tightest limit of the group and all groups above it counts, in both versions; reclaimable cache is not counted
/// as used.
#[test]
fn the_cgroups_limit_is_found() {
    let cases = fs::read_to_string(fixtures::at("tests/cases/memory-limits.yaml")).unwrap();
    let cases: Vec<Case> = config::load::parse_data("memory-limits.yaml", &cases).ok().unwrap();
    assert_eq!(cases.len(), 8);
    for Case { what, files, mib, is_machine, used } in cases {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let found = find(&files).unwrap_or_else(|| panic!("{what}: none"));
        let origin = if is_machine { LimitOrigin::Machine } else { LimitOrigin::Cgroup };
        assert_eq!((found.0.bytes, found.0.origin), (mib * MIB, origin), "{what}");
        assert!(used.is_none() || found.1 == used, "{what}: {:?} used", found.1);
    }
    assert_eq!(find(&[]), None, "a system that tells nothing");
    let configured = MemoryLimit::with_configured(MemoryLimit::find(), Some(7)).unwrap();
    assert_eq!((configured.bytes, configured.origin), (7, LimitOrigin::Configured));
    assert!(configured.used().unwrap() > MIB, "this process");
    // A configured limit can't exceed that of a 2 MiB container.
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &[("proc/self/cgroup", "0::/a\n"), ("cgroup/a/memory.max", "2097152\n")]);
    let there = || MemoryLimit::find_in(&folder.path().join("proc"), &folder.path().join("cgroup"));
    let within = |bytes| MemoryLimit::with_configured(there(), Some(bytes)).unwrap();
    assert_eq!((within(4 * MIB).bytes, within(4 * MIB).origin), (2 * MIB, LimitOrigin::Cgroup));
    assert_eq!((within(MIB).bytes, within(MIB).origin), (MIB, LimitOrigin::Configured));
}

/// A level begins above the mark where it ends, so that it does not flicker; a figure exactly on the mark counts.
#[test]
fn levels_have_two_marks() {
    let limit = MemoryLimit::with_configured(MemoryLimit::find(), Some(1000)).unwrap();
    let path = [
        (799, MemoryLevel::Normal),
        (800, MemoryLevel::Short),
        (760, MemoryLevel::Short),
        (749, MemoryLevel::Normal),
        (760, MemoryLevel::Normal),
    ];
    let again = [
        (920, MemoryLevel::Critical),
        (890, MemoryLevel::Critical),
        (879, MemoryLevel::Short),
        (760, MemoryLevel::Short),
        (100, MemoryLevel::Normal),
    ];
    let mut level = MemoryLevel::Normal;
    for (used, wanted) in path.into_iter().chain(again) {
        level = limit.level(used, level);
        assert_eq!(level, wanted, "{used}");
    }
}

/// 40 % of the limit up to the default bound; a request of the largest size fits, and one more byte does not.
#[test]
fn a_share_of_the_limit() {
    let of =
        |mib: u64| RequestMemory::compute(MemoryLimit::with_configured(None, Some(mib * MIB)).as_ref(), None, None);
    assert_eq!(of(1000).in_flight, 400 * MIB, "40 %");
    assert_eq!(of(64_000).in_flight, 768 * MIB);
    assert_eq!(RequestMemory::compute(None, None, None).in_flight, 768 * MIB);
    assert_eq!(RequestMemory::compute(None, Some(900 * MIB), None).in_flight, 900 * MIB);
    // More than the available memory would end the process instead of refusing requests.
    let given = |mib: u64| RequestMemory::compute(None, Some(mib * MIB), Some(1000 * MIB));
    assert_eq!((given(500).in_flight, given(100_000).in_flight), (500 * MIB, 600 * MIB));
    assert!(of(64_000).largest >= 64 * MIB, "what receivers take by default");
    assert_eq!(of(10).largest, MIB, "the least");
    for mib in [100, 300, 512, 2000] {
        let RequestMemory { in_flight, largest } = of(mib);
        let takes = |bytes: u64| (bytes * 2 + super::INFLATE_BYTES) * super::WORKING_FACTOR as u64;
        assert!(takes(largest) <= in_flight && takes(largest + 1) + 6 > in_flight, "{mib}");
    }
}
