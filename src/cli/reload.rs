//! [`ReloadWatcher`]: decides when a running gateway reloads its configuration (SIGHUP, a changed file, the admin
//! port), and loads it. A configuration that has problems, or whose certificates, keys, tokens or tables can't be used,
//! is reported and counted, and the present one runs on; `config_state` shows it until the file is mended. A changed
//! file, or a file named by `${file:…}`, is loaded only after two checks in a row found the same contents, because a
//! copy may be half done. Each change is loaded once, and a change back to the running text does nothing. If the files
//! named by a refused configuration are repaired, that configuration is loaded as soon as it is usable. `run` applies
//! the result.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tracing::subscriber::{NoSubscriber, with_default};

use super::common::CommonArgs;
use super::config_loading::{
    ConfigMessages, ConfigSnapshot, FileAccess, LoadedConfig, load_with_messages, read_snapshot,
};
use super::config_state::ConfigState;
use crate::app::build::GatewayDeps;
use crate::app::resolve::ValidSettings;
use crate::app::start_checks;
use crate::app::start_checks::finding::MachineContext;
use command::error::CommandError;
use command::os;
use command::output::print_to_stderr;
use command::tasks::Tasks;
use kernel::clock::{Clock, UnixNanos};
use net::spawn::run_blocking;
use telemetry::{Counter, names};

/// How often a watched file is checked, unless checking takes long.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the file is read without `--watch`, only to show what it holds.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(5);
/// Of the checks of a refused configuration, one in this many may send network requests, which may be recorded or
/// billed.
const NETWORK_CHECK_EVERY: u32 = 10;

/// Waits for reloads of one gateway.
pub(super) struct ReloadWatcher {
    common: CommonArgs,
    watch: bool,
    sighup: Signal,
    reload_requested: Arc<Notify>,
    /// The configuration as last read, even if it was unusable. `None` if it could not be read, or was never read.
    last_read: Option<ConfigSnapshot>,
    /// A configuration that was refused because of files it names.
    refused: Option<Arc<LoadedConfig>>,
    clock: Arc<dyn Clock>,
    /// Runs file access on threads, where a hanging volume blocks nothing else.
    tasks: Arc<Tasks>,
    failures: Counter,
    state: Arc<ConfigState>,
}

impl ReloadWatcher {
    /// Starts to listen for reasons to reload. Call it in a runtime.
    ///
    /// # Errors
    /// The operating system refuses the signal handler.
    pub(super) fn new(common: CommonArgs, watch: bool, deps: &GatewayDeps) -> Result<Self, CommandError> {
        let (sighup, reload_requested) = (os::hangup_signal()?, Arc::default());
        let (clock, failures) = (Arc::clone(&deps.clock), deps.meter.counter(&names::CONFIG_RELOAD_FAILURES, &[]));
        let (tasks, state) = (Tasks::new(&deps.meter), Arc::new(ConfigState::new(&deps.meter)));
        Ok(Self {
            common,
            watch,
            sighup,
            reload_requested,
            last_read: None,
            refused: None,
            clock,
            tasks,
            failures,
            state,
        })
    }

    /// Counts a configuration that could not be run.
    pub(super) fn count_failure(&self) {
        self.failures.increment(1);
        self.state.set_success(false);
    }

    /// Notified when the admin port gets a request to reload.
    pub(super) fn reload_requested(&self) -> Arc<Notify> {
        Arc::clone(&self.reload_requested)
    }

    /// Completes with the next usable configuration; `running` is the present one, of a gateway in this role.
    pub(super) async fn next(&mut self, role: &str, running: &ConfigSnapshot) -> LoadedConfig {
        let last_read = self.last_read.as_ref().unwrap_or(running);
        self.state.set_running(role, &running.short_hash(), &last_read.short_hash());
        if last_read == running {
            self.state.set_success(true);
        }
        loop {
            let check = ChangeCheck {
                common: self.common.clone(),
                running: running.clone(),
                last_read: self.last_read.as_ref().unwrap_or(running).clone(),
                refused: self.refused.clone(),
                watch: self.watch,
                state: Arc::clone(&self.state),
                clock: Arc::clone(&self.clock),
            };
            let change = wait_for_change(check, &self.tasks);
            tokio::select! {
                _ = self.sighup.recv() => tracing::info!("SIGHUP received: reloading the configuration"),
                () = self.reload_requested.notified() => tracing::info!("reload requested through the admin port: reloading the configuration"),
                found = change => match found {
                    ConfigChange::Changed(snapshot) if snapshot == *running => {
                        (self.last_read, self.refused) = (Some(snapshot), None);
                        self.state.set_success(true);
                        tracing::info!("the file matches the running configuration again: nothing to reload");
                        continue;
                    }
                    ConfigChange::Changed(_) => tracing::info!("the configuration file changed: reloading the configuration"),
                    ConfigChange::BecameUsable => {
                        tracing::info!("the files named by the refused configuration are usable now: reloading the configuration");
                    }
                }
            }
            if let Some(loaded) = self.load_usable().await {
                return loaded;
            }
            self.count_failure();
        }
    }

    /// Loads the configuration, if it can be used.
    async fn load_usable(&mut self) -> Option<LoadedConfig> {
        let (common, clock) = (self.common.clone(), Arc::clone(&self.clock));
        let read = move || {
            let snapshot = read_snapshot(&common).ok();
            let (loaded, faults) = match load_with_messages(&common, FileAccess::Create) {
                Ok((loaded, warnings)) => {
                    print_problems(&warnings);
                    warnings
                        .lines
                        .iter()
                        .for_each(|why| tracing::warn!(why, "warning about the reloaded configuration"));
                    let faults = start_checks::find_start_faults(machine_context(&loaded, clock.now()));
                    if faults.is_empty() {
                        warn_expiring_certificates(&loaded.valid, clock.now());
                    }
                    (Some(loaded), faults)
                }
                Err(problems) => {
                    print_problems(&problems);
                    (None, problems.lines)
                }
            };
            (snapshot, loaded, faults)
        };
        let (snapshot, loaded, faults) = run_blocking(&*self.tasks, "reload", read).await.unwrap_or_default();
        self.state.set_file(snapshot.as_ref().map(ConfigSnapshot::short_hash).as_deref());
        (self.last_read, self.refused) = (snapshot, None);
        if faults.is_empty() && loaded.is_some() {
            return loaded;
        }
        tracing::error!(why = faults.join("; "), "the new configuration can't be used; the previous one keeps running");
        self.refused = loaded.filter(|_| self.watch).map(Arc::new);
        None
    }
}

fn machine_context(loaded: &LoadedConfig, now: UnixNanos) -> MachineContext<'_> {
    MachineContext { file: &loaded.typed.file, valid: &loaded.valid, now, embedded: loaded.embedded }
}

/// Prints problems with their positions to a terminal. Otherwise they are only logged, so that the log stays one JSON
/// object per line.
fn print_problems(messages: &ConfigMessages) {
    if io::stderr().is_terminal() && !messages.rendered.is_empty() {
        print_to_stderr(&messages.rendered);
    }
}

/// The result of a check.
#[derive(PartialEq)]
enum ConfigChange {
    /// The file, or a file that it names by `${file:…}`, changed to this.
    Changed(ConfigSnapshot),
    /// The refused configuration can be used now.
    BecameUsable,
}

#[derive(Clone)]
struct ChangeCheck {
    common: CommonArgs,
    running: ConfigSnapshot,
    last_read: ConfigSnapshot,
    refused: Option<Arc<LoadedConfig>>,
    /// Without it, a change is only shown, and only the return to the running text is a result.
    watch: bool,
    state: Arc<ConfigState>,
    clock: Arc<dyn Clock>,
}

impl ChangeCheck {
    fn find_change(&self, allow_network: bool) -> Option<ConfigChange> {
        let snapshot = read_snapshot(&self.common).ok();
        self.state.set_file(snapshot.as_ref().map(ConfigSnapshot::short_hash).as_deref());
        let snapshot = snapshot?;
        if !self.watch && snapshot != self.running {
            return None;
        }
        if snapshot != self.last_read {
            return Some(ConfigChange::Changed(snapshot));
        }
        let may_check = |refused: &&Arc<LoadedConfig>| allow_network || !start_checks::needs_network(&refused.valid);
        let context = machine_context(self.refused.as_ref().filter(may_check)?, self.clock.now());
        // The faults were logged when the configuration was refused; don't repeat them every second.
        let faults = with_default(NoSubscriber::default(), || start_checks::find_start_faults(context));
        faults.is_empty().then_some(ConfigChange::BecameUsable)
    }
}

/// Completes when two checks in a row find the same change.
async fn wait_for_change(check: ChangeCheck, tasks: &Tasks) -> ConfigChange {
    let interval = if check.watch { CHECK_INTERVAL } else { FOLLOW_INTERVAL };
    let (mut previous, mut pause, mut check_count, clock) = (None, interval, 0, Arc::clone(&check.clock));
    loop {
        tokio::time::sleep(pause).await;
        check_count += 1;
        let (check, began, allow_network) = (check.clone(), clock.monotonic(), check_count % NETWORK_CHECK_EVERY == 0);
        let found = run_blocking(tasks, "reload", move || check.find_change(allow_network)).await.flatten();
        // With large tables or slow volumes checks are expensive, and a configuration may stay refused for days.
        pause = interval.max(clock.monotonic().saturating_sub(began) * 20);
        if allow_network {
            // A hanging KMS must not delay the next check for long, because the file itself may be corrected meanwhile.
            pause = pause.min(CHECK_INTERVAL * NETWORK_CHECK_EVERY);
        }
        match (found, previous) {
            (Some(found), Some(previous)) if found == previous => return found,
            (found, _) => previous = found,
        }
    }
}

/// Warns about certificates that have expired or soon will, since otherwise only refusing peers would show it.
pub(super) fn warn_expiring_certificates(valid: &ValidSettings, now: UnixNanos) {
    for why in start_checks::find_expiring_certificates(valid, now) {
        tracing::warn!(why, "a certificate has expired or expires soon: renew it");
    }
}
