//! The memory limit of this process ([`MemoryLimit`]), its use, and the task that watches it. A process over its
//! cgroup's limit is killed without notice; one that refuses requests early can ask clients to retry. Page cache that
//! the system can reclaim does not count as used. A figure that can't be read changes nothing. Requests are refused in
//! `pipeline/inlet`; a request's budget is in `pipeline/plan`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::plan::{INFLATE_BYTES, WORKING_FACTOR};
use pipeline::{MemoryLevel, MemoryPressure};
use telemetry::names;

use super::gateway_deps::GatewayDeps;
use command::os;

#[cfg(test)]
mod tests;

/// Time between two measurements. Requests can't take much more than the byte budget within it.
const MEASURE_INTERVAL: Duration = Duration::from_millis(100);
/// The least time between two log lines; a return to normal is always logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The default share of the limit for requests in flight, in percent.
const DEFAULT_SHARE_PERCENT: u64 = 40;
/// The largest share that can be configured, in percent; the gateway itself needs the rest.
const MAX_SHARE_PERCENT: u64 = 60;
/// The default upper bound for requests in flight, in bytes.
const MAX_IN_FLIGHT_BYTES: u64 = 768 << 20;
/// A request of this size, in bytes, always fits into the share.
const MIN_REQUEST_BYTES: u64 = 1 << 20;
/// Percent of the limit at which memory becomes short, and below which it is no longer short.
pub(super) const SHORT_PERCENT: (u64, u64) = (80, 75);
/// The same pair for the critical level, just before the system kills the process.
const CRITICAL_PERCENT: (u64, u64) = (92, 88);
/// A limit of cgroup v1 from this value on means no limit.
const NO_LIMIT: u64 = 1 << 60;

kernel::word_enum! {
    /// What sets a limit, in words for the log.
    pub LimitOrigin {
        Configured = "limits.memory",
        /// The cgroup, version 2 or 1.
        Cgroup = "the cgroup",
        /// The size of the machine's memory.
        Machine = "the machine",
    }
}

/// The source of the figure that is compared with the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UsageSource {
    /// This process's resident memory.
    Resident,
    /// A folder of cgroup v2.
    V2(PathBuf),
    /// A folder of cgroup v1's memory controller.
    V1(PathBuf),
}

/// A memory limit, and the source of the figure to compare with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The limit in bytes.
    pub bytes: u64,
    pub origin: LimitOrigin,
    usage_source: UsageSource,
}

impl MemoryLimit {
    /// The tightest limit of this process's cgroups, or else the machine's memory. `None` if neither can be read.
    pub fn find() -> Option<Self> {
        Self::find_in(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    /// The configured limit, unless the `system`'s is lower, in which case the kernel would kill the process first.
    /// Without a configured limit, the system's.
    pub fn with_configured(system: Option<Self>, configured: Option<u64>) -> Option<Self> {
        let Some(bytes) = configured else { return system };
        if let Some(system) = system.filter(|system| system.bytes < bytes) {
            let (set_by, limit) = (system.origin.as_str(), system.bytes);
            tracing::warn!(
                configured = bytes,
                limit,
                set_by,
                "`limits.memory` exceeds the available memory; the lower limit is used"
            );
            return Some(system);
        }
        Some(Self { bytes, origin: LimitOrigin::Configured, usage_source: UsageSource::Resident })
    }

    fn find_in(proc: &Path, cgroups: &Path) -> Option<Self> {
        let machine = parse_total_memory(&fs::read_to_string(proc.join("meminfo")).unwrap_or_default());
        let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let groups = own.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            match controllers {
                "" => Some((Vec::from([cgroups.to_owned(), cgroups.join("unified")]), path, true)),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    Some((vec![cgroups.join("memory")], path, false))
                }
                _ => None,
            }
        });
        let tightest = groups
            .flat_map(|(roots, path, is_v2)| {
                roots.into_iter().flat_map(move |root| read_group_limits(&root, path, is_v2))
            })
            .min_by_key(|(bytes, _)| *bytes);
        match (tightest, machine) {
            (Some((bytes, usage_source)), machine) if machine.is_none_or(|machine| bytes < machine) => {
                Some(Self { bytes, origin: LimitOrigin::Cgroup, usage_source })
            }
            (_, machine) => {
                Some(Self { bytes: machine?, origin: LimitOrigin::Machine, usage_source: UsageSource::Resident })
            }
        }
    }

    /// `percent` of the limit, but at least `least` bytes (as far as the limit allows), because with less the memory
    /// would always be short.
    #[must_use]
    pub fn scaled_to(self, percent: u64, least: u64) -> Self {
        let (wanted, least) = (percent_of(self.bytes, percent), least.min(self.bytes));
        if wanted < least {
            let set_by = self.origin.as_str();
            tracing::warn!(
                percent,
                of = self.bytes,
                set_by,
                least,
                "this share of the memory is too small for the gateway; a larger limit is used"
            );
        }
        Self { bytes: wanted.max(least), ..self }
    }

    /// Bytes in use that the system can't reclaim.
    pub fn used(&self) -> Option<u64> {
        let (folder, usage_file, cache_names) = match &self.usage_source {
            UsageSource::Resident => return os::resident_bytes(),
            UsageSource::V2(folder) => (folder, "memory.current", ["inactive_file", "active_file", "slab_reclaimable"]),
            UsageSource::V1(folder) => {
                (folder, "memory.usage_in_bytes", ["total_inactive_file", "total_active_file", ""])
            }
        };
        let in_use = read_number(&folder.join(usage_file))?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let reclaimable = |name: &&str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let reclaimable_bytes: u64 = cache_names.iter().filter(|name| !name.is_empty()).map(reclaimable).sum();
        Some(in_use.saturating_sub(reclaimable_bytes))
    }

    /// The level for `used` bytes; the previous level decides which threshold applies.
    fn level(&self, used: u64, previous: MemoryLevel) -> MemoryLevel {
        let reaches = |percent: u64| used >= percent_of(self.bytes, percent);
        let critical = if previous == MemoryLevel::Critical { CRITICAL_PERCENT.1 } else { CRITICAL_PERCENT.0 };
        let short = if previous == MemoryLevel::Normal { SHORT_PERCENT.0 } else { SHORT_PERCENT.1 };
        if reaches(critical) {
            MemoryLevel::Critical
        } else if reaches(short) {
            MemoryLevel::Short
        } else {
            MemoryLevel::Normal
        }
    }
}

fn percent_of(bytes: u64, percent: u64) -> u64 {
    let result = u128::from(bytes) * u128::from(percent) / 100;
    u64::try_from(result).unwrap_or(u64::MAX)
}

/// Limits of the group at `path` and all groups above it. In a container the process's own group is often mounted as
/// the root, under another path than the kernel reports; folders that do not exist are skipped.
fn read_group_limits(root: &Path, path: &str, is_v2: bool) -> Vec<(u64, UsageSource)> {
    let inside: PathBuf = path.split('/').filter(|name| !name.is_empty() && *name != "..").collect();
    let folder = root.join(inside);
    let folders = folder.ancestors().take_while(|folder| folder.starts_with(root));
    let limits = folders.filter_map(|folder| {
        let read = |name: &str| read_number(&folder.join(name));
        let (limit, usage_source) = if is_v2 {
            // Above `memory.high` the kernel slows all processes down until memory is freed.
            ([read("memory.max"), read("memory.high")].into_iter().flatten().min()?, UsageSource::V2(folder.to_owned()))
        } else {
            (read("memory.limit_in_bytes")?, UsageSource::V1(folder.to_owned()))
        };
        (limit < NO_LIMIT).then_some((limit, usage_source))
    });
    limits.collect()
}

/// Reads a file with one number; `None` for `max`.
fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn parse_total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The share of a limit for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMemory {
    /// Memory of all requests in flight, in bytes.
    pub in_flight: u64,
    /// The largest request that fits into `in_flight`, as sent or inflated, in bytes.
    pub largest: u64,
}

impl RequestMemory {
    /// 40 % of the limit up to 768 MiB, or the configured value up to 60 % of the system's memory (`system_bytes`), but
    /// enough for a request of 1 MiB. A request needs twice its size (as received and as parsed) and the overhead of
    /// inflating, times the working factor.
    pub fn compute(limit: Option<&MemoryLimit>, configured: Option<u64>, system_bytes: Option<u64>) -> Self {
        let factor = WORKING_FACTOR as u64;
        let minimum = (MIN_REQUEST_BYTES * 2 + INFLATE_BYTES) * factor;
        let default = limit.map_or(MAX_IN_FLIGHT_BYTES, |limit| {
            percent_of(limit.bytes, DEFAULT_SHARE_PERCENT).min(MAX_IN_FLIGHT_BYTES)
        });
        // A larger share would only get the process killed.
        let maximum = system_bytes.map_or(u64::MAX, |system_bytes| percent_of(system_bytes, MAX_SHARE_PERCENT));
        let in_flight = configured.map_or(default, |configured| configured.min(maximum)).max(minimum);
        Self { in_flight, largest: (in_flight / factor).saturating_sub(INFLATE_BYTES) / 2 }
    }
}

/// Measures memory forever and publishes the level to `pressure`, metrics, log and readiness.
pub(super) async fn watch_memory(limit: MemoryLimit, pressure: Arc<MemoryPressure>, deps: GatewayDeps) {
    let (used_gauge, pressure_gauge) =
        (deps.meter.gauge(&names::MEMORY_USED, &[]), deps.meter.gauge(&names::MEMORY_PRESSURE, &[]));
    deps.meter.gauge(&names::MEMORY_LIMIT, &[]).set(limit.bytes as f64);
    let mut last_logged: Option<Duration> = None;
    loop {
        if let Some(bytes) = limit.used() {
            let previous = pressure.level();
            let level = limit.level(bytes, previous);
            pressure.set(level);
            used_gauge.set(bytes as f64);
            pressure_gauge.set(f64::from(level as u8));
            if level != previous {
                deps.health.set("memory", (level == MemoryLevel::Critical).then_some("memory is short"));
                let time = deps.clock.monotonic();
                if last_logged.is_none_or(|logged| time.saturating_sub(logged) >= LOG_INTERVAL)
                    || level == MemoryLevel::Normal
                {
                    last_logged = Some(time);
                    log_memory_level(&limit, bytes, level);
                }
            }
        }
        deps.clock.sleep(MEASURE_INTERVAL).await;
    }
}

fn log_memory_level(limit: &MemoryLimit, used: u64, level: MemoryLevel) {
    let (limit, set_by) = (limit.bytes, limit.origin.as_str());
    match level {
        MemoryLevel::Normal => tracing::info!(used, limit, set_by, "memory is no longer short"),
        MemoryLevel::Short => {
            tracing::warn!(used, limit, set_by, "memory is short: clients of new requests are asked to retry")
        }
        MemoryLevel::Critical => {
            tracing::error!(used, limit, set_by, "memory is very short: requests are processed one at a time");
        }
    }
}
