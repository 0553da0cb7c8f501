//! The memory limit of this process ([`Limit`]), its use, and the task that watches it. A process over its cgroup's
//! limit is killed without notice; one that refuses requests early can ask clients to retry. Page cache that the system
//! can reclaim does not count as used. A figure that can't be read changes nothing. Requests are refused in
//! `pipeline/inlet`; a request's budget is in `pipeline/plan`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::plan::{INFLATING, WORKING_FACTOR};
use pipeline::{Level, Pressure};
use telemetry::names;

use super::process;
use super::seams::Seams;

#[cfg(test)]
mod tests;

/// Time between two measurements. Requests can't take much more than the byte budget within it.
const LOOK: Duration = Duration::from_millis(100);
/// The least time between two log lines.
const QUIET: Duration = Duration::from_secs(10);
/// The default share of the limit for requests in flight, in percent.
const SHARE: u64 = 40;
/// The largest share that can be configured, in percent; the gateway itself needs the rest.
const MOST_SHARE: u64 = 60;
/// The default upper bound for requests in flight, in bytes.
const MOST_IN_FLIGHT: u64 = 768 << 20;
/// A request of this size, in bytes, always fits into the share.
const LEAST_REQUEST: u64 = 1 << 20;
/// Percent of the limit at which memory becomes short, and below which it is no longer short.
pub(super) const SHORT: (u64, u64) = (80, 75);
/// The same pair for the critical level, just before the system kills the process.
const CRITICAL: (u64, u64) = (92, 88);
/// A limit of cgroup v1 from this value on means no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The source of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Configured,
    /// The cgroup, version 2 or 1.
    Cgroup,
    /// The size of the machine's memory.
    Machine,
}

impl Origin {
    /// The text for the log.
    pub fn text(self) -> &'static str {
        match self {
            Self::Configured => "limits.memory",
            Self::Cgroup => "the cgroup",
            Self::Machine => "the machine",
        }
    }
}

/// The source of the figure that is compared with the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Used {
    /// This process's resident memory.
    Resident,
    /// A folder of cgroup v2.
    V2(PathBuf),
    /// A folder of cgroup v1's memory controller.
    V1(PathBuf),
}

/// A memory limit, and the source of the figure to compare with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in bytes.
    pub bytes: u64,
    /// The source of the limit.
    pub origin: Origin,
    used: Used,
}

impl Limit {
    /// The tightest limit of this process's cgroups, or else the machine's memory. `None` if neither can be read.
    pub fn find() -> Option<Self> {
        Self::find_in(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    /// The configured limit, unless the system's (`given`) is lower, in which case the kernel would kill the process
    /// first. Without a configured limit, the system's.
    pub fn of(given: Option<Self>, configured: Option<u64>) -> Option<Self> {
        let Some(bytes) = configured else { return given };
        if let Some(given) = given.filter(|given| given.bytes < bytes) {
            let (set_by, limit) = (given.origin.text(), given.bytes);
            tracing::warn!(configured = bytes, limit, set_by, "`limits.memory` is more than there is; the limit holds");
            return Some(given);
        }
        Some(Self { bytes, origin: Origin::Configured, used: Used::Resident })
    }

    fn find_in(proc: &Path, cgroups: &Path) -> Option<Self> {
        let machine = total(&fs::read_to_string(proc.join("meminfo")).unwrap_or_default());
        let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let groups = own.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            match controllers {
                "" => Some((Vec::from([cgroups.to_owned(), cgroups.join("unified")]), path, true)),
                _ if controllers.split(',').any(|one| one == "memory") => {
                    Some((vec![cgroups.join("memory")], path, false))
                }
                _ => None,
            }
        });
        let tightest = groups
            .flat_map(|(roots, path, second)| roots.into_iter().flat_map(move |root| levels(&root, path, second)))
            .min_by_key(|(bytes, _)| *bytes);
        match (tightest, machine) {
            (Some((bytes, used)), machine) if machine.is_none_or(|machine| bytes < machine) => {
                Some(Self { bytes, origin: Origin::Cgroup, used })
            }
            (_, machine) => Some(Self { bytes: machine?, origin: Origin::Machine, used: Used::Resident }),
        }
    }

    /// `percent` of the limit, but at least `least` bytes (as far as the limit allows), because with less the memory
    /// would always be short.
    #[must_use]
    pub fn part(self, percent: u64, least: u64) -> Self {
        let (wanted, least) = (part(self.bytes, percent), least.min(self.bytes));
        if wanted < least {
            let set_by = self.origin.text();
            tracing::warn!(
                percent,
                of = self.bytes,
                set_by,
                least,
                "so little of the memory can't hold the gateway; more is taken"
            );
        }
        Self { bytes: wanted.max(least), ..self }
    }

    /// Bytes in use that the system can't reclaim.
    pub fn used(&self) -> Option<u64> {
        let (folder, now, cached) = match &self.used {
            Used::Resident => return process::resident_bytes(),
            Used::V2(folder) => (folder, "memory.current", ["inactive_file", "active_file", "slab_reclaimable"]),
            Used::V1(folder) => (folder, "memory.usage_in_bytes", ["total_inactive_file", "total_active_file", ""]),
        };
        let taken = number(&folder.join(now))?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let of = |name: &&str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let cached: u64 = cached.iter().filter(|name| !name.is_empty()).map(of).sum();
        Some(taken.saturating_sub(cached))
    }

    /// The level for `used` bytes; the previous level decides which threshold applies.
    fn level(&self, used: u64, before: Level) -> Level {
        let at = |percent: u64| used >= part(self.bytes, percent);
        let critical = if before == Level::Critical { CRITICAL.1 } else { CRITICAL.0 };
        let short = if before == Level::Fine { SHORT.0 } else { SHORT.1 };
        if at(critical) {
            Level::Critical
        } else if at(short) {
            Level::Short
        } else {
            Level::Fine
        }
    }
}

fn part(bytes: u64, percent: u64) -> u64 {
    let whole = u128::from(bytes) * u128::from(percent) / 100;
    u64::try_from(whole).unwrap_or(u64::MAX)
}

/// Limits of the group at `path` and all groups above it. In a container the process's own group is often mounted as
/// the root, under another path than the kernel reports; folders that do not exist are skipped.
fn levels(root: &Path, path: &str, second: bool) -> Vec<(u64, Used)> {
    let inside: PathBuf = path.split('/').filter(|name| !name.is_empty() && *name != "..").collect();
    let folder = root.join(inside);
    let all = folder.ancestors().take_while(|folder| folder.starts_with(root));
    let found = all.filter_map(|folder| {
        let of = |name: &str| number(&folder.join(name));
        let (limit, used) = if second {
            // Above `memory.high` the kernel slows all processes down until memory is freed.
            ([of("memory.max"), of("memory.high")].into_iter().flatten().min()?, Used::V2(folder.to_owned()))
        } else {
            (of("memory.limit_in_bytes")?, Used::V1(folder.to_owned()))
        };
        (limit < NO_LIMIT).then_some((limit, used))
    });
    found.collect()
}

/// Reads a file with one number; `None` for `max`.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The share of a limit for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Memory of all requests in flight, in bytes.
    pub in_flight: u64,
    /// The largest request that fits into `in_flight`, as sent or inflated, in bytes.
    pub largest: u64,
}

impl Share {
    /// 40 % of the limit, or the configured value up to 60 % of the system's memory (`given`). A request needs twice
    /// its size (as received and as parsed) and the overhead of inflating, times the working factor.
    pub fn of(limit: Option<&Limit>, configured: Option<u64>, given: Option<u64>) -> Self {
        let factor = WORKING_FACTOR as u64;
        let least = (LEAST_REQUEST * 2 + INFLATING) * factor;
        let usual = limit.map_or(MOST_IN_FLIGHT, |limit| part(limit.bytes, SHARE).min(MOST_IN_FLIGHT));
        // A larger share would only get the process killed.
        let most = given.map_or(u64::MAX, |given| part(given, MOST_SHARE));
        let in_flight = configured.map_or(usual, |configured| configured.min(most)).max(least);
        Self { in_flight, largest: (in_flight / factor).saturating_sub(INFLATING) / 2 }
    }
}

/// Measures memory forever and publishes the level to `pressure`, metrics, log and readiness.
pub(super) async fn watch(limit: Limit, pressure: Arc<Pressure>, seams: Seams) {
    let (used, short) = (seams.meter.gauge(&names::MEMORY_USED, &[]), seams.meter.gauge(&names::MEMORY_PRESSURE, &[]));
    seams.meter.gauge(&names::MEMORY_LIMIT, &[]).set(limit.bytes as f64);
    let mut told: Option<Duration> = None;
    loop {
        if let Some(bytes) = limit.used() {
            let before = pressure.level();
            let now = limit.level(bytes, before);
            pressure.set(now);
            used.set(bytes as f64);
            short.set(f64::from(now as u8));
            if now != before {
                seams.health.set("memory", (now == Level::Critical).then_some("memory is short"));
                let at = seams.clock.monotonic();
                if told.is_none_or(|last| at.saturating_sub(last) >= QUIET) || now == Level::Fine {
                    told = Some(at);
                    say(&limit, bytes, now);
                }
            }
        }
        seams.clock.sleep(LOOK).await;
    }
}

fn say(limit: &Limit, used: u64, level: Level) {
    let (limit, set_by) = (limit.bytes, limit.origin.text());
    match level {
        Level::Fine => tracing::info!(used, limit, set_by, "memory is not short any more"),
        Level::Short => tracing::warn!(used, limit, set_by, "memory is short: new requests are told to come again"),
        Level::Critical => {
            tracing::error!(used, limit, set_by, "memory is very short: requests are worked on one at a time");
        }
    }
}
