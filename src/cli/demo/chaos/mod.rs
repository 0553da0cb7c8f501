//! `tollgate demo --chaos`: kills a gateway process, disconnects its back end and fills its disk while clients send,
//! then compares the ids sent with the ids delivered, for users who want to see failures handled before relying on the
//! gateway. An id counts as accepted once its request was answered with OK; the exit code is 0 only if every accepted
//! id was delivered and every delivered id had been sent. Only the scratch folder is written to, and the spool's size
//! is bounded. The child process ends with the demo. `tests/peers/run.sh` (`crash`, `faults`) tests the same at length
//! with real full volumes.

mod back_end;
mod clients;
mod gateway_process;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::options::{DemoArgs, POLL_INTERVAL};
use super::scratch::ScratchDir;
use super::screen::{StoryScreen, StyledText, TextRole};
use crate::app::build::GatewayDeps;
use crate::app::{process, tasks};
use crate::cli::error::{CommandError, ExitStatus};
use kernel::clock::{Clock, with_timeout};

use back_end::ChaosBackEnd;
use clients::ChaosClients;
use gateway_process::GatewayProcess;

/// How often the process is killed under load.
const KILLS: u32 = 5;
/// The longest wait for each step.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long the process runs under load before it is killed.
const TIME_BEFORE_KILL: Duration = Duration::from_millis(500);
/// The size of the spool; a full spool stands for a full disk.
const SPOOL_SIZE: &str = "24MiB";
/// The number of refusals after which the disk counts as full.
const FULL_AFTER_REFUSALS: u64 = 20;

/// Runs the demo until it ends or receives a signal.
pub(super) async fn run(
    options: &DemoArgs,
    scratch: &ScratchDir,
    deps: GatewayDeps,
) -> Result<ExitStatus, CommandError> {
    let stop = process::stop_signal().map_err(|error| format!("can't handle signals: {error}"))?;
    let mut screen = StoryScreen::stdout();
    let passed = tokio::select! {
        passed = run_chaos(&mut screen, scratch, &deps) => passed,
        () = stop => return Ok(ExitStatus::Failed),
    };
    if options.keep {
        screen.print_wrapped(0, &StyledText::plain(&format!("all files are kept in {}", scratch.path().display())));
    }
    Ok(if passed? { ExitStatus::Success } else { ExitStatus::Failed })
}

/// The participants of the demo.
struct ChaosDemo<'a> {
    screen: &'a mut StoryScreen,
    clock: Arc<dyn Clock>,
    back_end: ChaosBackEnd,
    child: GatewayProcess,
    clients: ChaosClients,
}

async fn run_chaos(screen: &mut StoryScreen, scratch: &ScratchDir, deps: &GatewayDeps) -> Result<bool, CommandError> {
    let title = format!("tollgate {} demo --chaos", env!("CARGO_PKG_VERSION"));
    screen.print_wrapped(0, &StyledText::styled(TextRole::Title, &title));
    let introduction = "While clients send data, a gateway in its own process is killed, cut off from its back end, and run out of disk space \
                to show that no data is lost. Nothing leaves the machine.";
    screen.print_wrapped(0, &StyledText::styled(TextRole::Dim, introduction));
    let spawn: Arc<dyn net::Spawn> = tasks::Tasks::new(&deps.meter);
    let back_end = ChaosBackEnd::start(&deps.meter, Arc::clone(&spawn)).await?;
    let child = GatewayProcess::new(scratch.path(), back_end.address(), SPOOL_SIZE)?;
    let clients = ChaosClients::start(child.http(), deps, spawn)?;
    let mut demo = ChaosDemo { screen, clock: Arc::clone(&deps.clock), back_end, child, clients };
    demo.run_normally().await?;
    demo.kill_under_load().await?;
    demo.fill_disk().await?;
    demo.restore_back_end().await?;
    demo.compare_ids()
}

impl ChaosDemo<'_> {
    fn show_step(&mut self, text: &str) {
        self.screen.print_blank_line();
        self.screen.print_wrapped(0, &StyledText::styled(TextRole::Title, text));
    }

    fn show_fact(&mut self, text: &str) {
        self.screen.print_wrapped(3, &StyledText::plain(text));
    }

    /// Waits until `condition` is true; `what` names it in the error.
    async fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) -> Result<(), CommandError> {
        let waiting = async {
            while !condition(self) {
                self.clock.sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(&*self.clock, MAX_WAIT, waiting)
            .await
            .ok_or_else(|| CommandError::Failed(format!("{what}: did not happen within {MAX_WAIT:?}")))
    }

    /// Starts the process; returns the time until it answers.
    async fn start(&mut self) -> Result<Duration, CommandError> {
        let began = self.clock.monotonic();
        self.child.start()?;
        let clients = &self.clients;
        let page = self.child.livez_url();
        let answering = async {
            while !clients.is_page_ok(&page).await {
                self.clock.sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(&*self.clock, MAX_WAIT, answering).await.ok_or("the gateway does not start")?;
        Ok(self.clock.monotonic().saturating_sub(began))
    }

    async fn run_normally(&mut self) -> Result<(), CommandError> {
        self.show_step("1  Normal operation");
        self.start().await?;
        self.clients.set_sending(true);
        self.wait_until("spans are delivered", |demo| demo.back_end.count() >= 500).await?;
        self.show_fact(&format!("{} spans answered OK, {} arrived", self.clients.count(), self.back_end.count()));
        Ok(())
    }

    async fn kill_under_load(&mut self) -> Result<(), CommandError> {
        self.show_step(&format!("2  SIGKILL under load, {KILLS} times"));
        for _ in 0..KILLS {
            self.clock.sleep(TIME_BEFORE_KILL).await;
            self.child.kill()?;
            let (answered, arrived) = (self.clients.count(), self.back_end.count());
            let took = self.start().await?;
            self.show_fact(&format!(
                "killed: {answered} answered OK, {arrived} arrived; answers again after {} ms",
                took.as_millis()
            ));
        }
        Ok(())
    }

    async fn fill_disk(&mut self) -> Result<(), CommandError> {
        self.show_step("3  The back end is cut off, the disk fills up");
        self.back_end.disconnect().await;
        let before = self.clients.refused();
        self.wait_until("the disk fills up", |demo| demo.clients.refused() >= before + FULL_AFTER_REFUSALS).await?;
        let waiting = self.clients.count().saturating_sub(self.back_end.count());
        let last_refusal = self.clients.last_refusal();
        self.show_fact(&format!(
            "the spool of {SPOOL_SIZE} is full: {waiting} spans wait, clients get: {last_refusal}"
        ));
        self.child.kill()?;
        self.show_fact("killed again while full");
        self.start().await?;
        let before = self.clients.refused();
        self.wait_until("refusals", |demo| demo.clients.refused() > before).await?;
        self.show_fact("restarted and still full: acknowledged spans are kept, new data is refused");
        Ok(())
    }

    async fn restore_back_end(&mut self) -> Result<(), CommandError> {
        self.show_step("4  The back end is reachable again");
        let (before, began) = (self.clients.count(), self.clock.monotonic());
        self.back_end.reconnect().await?;
        self.wait_until("data is accepted again", |demo| demo.clients.count() > before).await?;
        let took = self.clock.monotonic().saturating_sub(began);
        self.show_fact(&format!("data is accepted again after {:.1} s", took.as_secs_f64()));
        self.clients.set_sending(false);
        self.wait_until("every client has its answer", |demo| demo.clients.is_idle()).await?;
        self.wait_until("everything arrives", |demo| demo.clients.ids().is_subset(&demo.back_end.ids())).await?;
        let code = self.child.stop(&*self.clock, MAX_WAIT).await?;
        self.show_fact(&format!("SIGTERM: exit {code}"));
        if code == 0 { Ok(()) } else { Err("the gateway exited with an error".into()) }
    }

    fn compare_ids(&mut self) -> Result<bool, CommandError> {
        let (accepted, delivered, sent): (BTreeSet<u64>, _, _) =
            (self.clients.ids(), self.back_end.ids(), self.clients.ids_made());
        let (lost, unknown) = (accepted.difference(&delivered).count(), delivered.difference(&sent).count());
        self.screen.print_blank_line();
        let duplicates = self.back_end.count().saturating_sub(delivered.len() as u64);
        let (accepted_count, delivered_count) = (accepted.len(), delivered.intersection(&accepted).count());
        let passed = lost == 0 && unknown == 0 && accepted_count > 0;
        let sign = if passed { '=' } else { '≠' };
        let summary = format!(
            "ids in {accepted_count} {sign} ids out {delivered_count}    lost {lost}    delivered twice {duplicates}    unknown {unknown}"
        );
        let role = if passed { TextRole::Safe } else { TextRole::Wrong };
        self.screen
            .print_wrapped(0, &StyledText::styled(role, &format!("{} {summary}", if passed { '✓' } else { '✗' })));
        Ok(passed)
    }
}
