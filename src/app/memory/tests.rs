//! Tests of finding limits in cgroups and machines, and of the levels and shares that follow.

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

fn find(files: &[(&str, &str)]) -> Option<MemoryLimit> {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), files);
    let found = MemoryLimit::find_in(&folder.path().join("proc"), &folder.path().join("cgroup"));
    // Read before the folder is deleted.
    let used = found.as_ref().filter(|limit| limit.origin == LimitOrigin::Cgroup).map(|limit| limit.used().unwrap());
    if let Some(wanted) = files.iter().find(|(name, _)| *name == "wanted") {
        assert_eq!(used.map(|used| used.to_string()).as_deref(), Some(wanted.1), "used");
    }
    found
}

/// A percentage of a small limit does not go below what the gateway needs to run.
#[test]
fn a_part_has_a_floor() {
    let limit = |mib: u64| {
        let meminfo = format!("MemTotal: {} kB\n", mib << 10);
        find(&[("proc/meminfo", &meminfo)]).unwrap()
    };
    let part = |mib: u64, percent: u64| limit(mib).scaled_to(percent, 128 * MIB).bytes / MIB;
    assert_eq!([part(4096, 50), part(512, 10), part(100, 50), part(100, 100)], [2048, 128, 100, 100]);
}

/// Name, files, expected limit, its source.
type Case = (&'static str, &'static [(&'static str, &'static str)], u64, LimitOrigin);

const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");

const CASES: [Case; 8] = [
    (
        "v2, a limit above the own group",
        &[
            MACHINE,
            ("proc/self/cgroup", "0::/kubepods/pod1/c1\n"),
            ("cgroup/kubepods/memory.max", "max\n"),
            ("cgroup/kubepods/pod1/memory.max", "536870912\n"),
            ("cgroup/kubepods/pod1/memory.current", "400\n"),
            (
                "cgroup/kubepods/pod1/memory.stat",
                "anon 90\nfile 250\ninactive_file 100\nactive_file 50\nslab_reclaimable 7\nslab_reclaimable_x 9\n",
            ),
            ("cgroup/kubepods/pod1/c1/memory.max", "1073741824\n"),
            ("wanted", "243"),
        ],
        512 * MIB,
        LimitOrigin::Cgroup,
    ),
    (
        "v2 in a container: its own group is the root",
        &[
            MACHINE,
            ("proc/self/cgroup", "0::/\n"),
            ("cgroup/memory.max", "268435456\n"),
            ("cgroup/memory.high", "134217728\n"),
            ("cgroup/memory.current", "5"),
            ("wanted", "5"),
        ],
        128 * MIB,
        LimitOrigin::Cgroup,
    ),
    (
        "v2, the host's path in a container",
        &[
            MACHINE,
            ("proc/self/cgroup", "0::/../../docker/abc\n"),
            ("cgroup/memory.max", "268435456\n"),
            ("cgroup/memory.current", "5"),
        ],
        256 * MIB,
        LimitOrigin::Cgroup,
    ),
    (
        "v1",
        &[
            MACHINE,
            ("proc/self/cgroup", "12:pids:/a\n5:cpu,memory:/a/b\n1:name=systemd:/a\n0::/\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cgroup/memory/a/b/memory.limit_in_bytes", "314572800\n"),
            ("cgroup/memory/a/b/memory.usage_in_bytes", "1000\n"),
            ("cgroup/memory/a/b/memory.stat", "active_file 400\ntotal_inactive_file 300\ntotal_active_file 200\n"),
            ("wanted", "500"),
        ],
        300 * MIB,
        LimitOrigin::Cgroup,
    ),
    (
        "no limit",
        &[MACHINE, ("proc/self/cgroup", "0::/a\n"), ("cgroup/a/memory.max", "max\n")],
        16_384 * MIB,
        LimitOrigin::Machine,
    ),
    (
        "a limit that the machine does not have",
        &[MACHINE, ("proc/self/cgroup", "0::/a\n"), ("cgroup/a/memory.max", "1099511627776\n")],
        16_384 * MIB,
        LimitOrigin::Machine,
    ),
    ("no cgroups at all", &[MACHINE], 16_384 * MIB, LimitOrigin::Machine),
    (
        "nonsense",
        &[MACHINE, ("proc/self/cgroup", "\n::\nx\n0::/a:b\n"), ("cgroup/a:b/memory.max", "-1\n")],
        16_384 * MIB,
        LimitOrigin::Machine,
    ),
];

/// The tightest limit of the group and all groups above it counts, in both versions; reclaimable cache is not counted
/// as used.
#[test]
fn the_cgroups_limit_is_found() {
    for (what, files, bytes, origin) in CASES {
        let found = find(files).unwrap_or_else(|| panic!("{what}: none"));
        assert_eq!((found.bytes, found.origin), (bytes, origin), "{what}");
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
