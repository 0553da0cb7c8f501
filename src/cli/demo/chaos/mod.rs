//! `tollgate demo --chaos`: kills a gateway process, disconnects its back end and fills its disk while clients send,
//! then compares the ids sent with the ids delivered, for users who want to see failures handled before relying on the
//! gateway. An id counts as accepted once its request was answered with OK; the exit code is 0 only if exactly those
//! were delivered. Only the scratch folder is written to, and the spool's size is bounded. The child process ends with
//! the demo. `tests/peers/run.sh` (`crash`, `faults`) tests the same at length with real full volumes.

mod back_end;
mod child;
mod clients;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::options::{LOOK, Options};
use super::scratch::Scratch;
use super::screen::{Paint, Screen, Text};
use crate::app::build::Seams;
use crate::app::{process, tasks};
use crate::cli::error::{CommandError, Exit};
use kernel::clock::{Clock, within};

use back_end::BackEnd;
use child::Child;
use clients::Clients;

/// How often the process is killed under load.
const KILLS: u32 = 5;
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the process runs under load before it is killed.
const LIFE: Duration = Duration::from_millis(500);
/// The size of the spool, in place of a full disk.
const ROOM: &str = "24MiB";
/// The number of refusals after which the disk counts as full.
const REFUSALS: u64 = 20;

/// Runs the demo until it ends or a signal comes.
pub(super) async fn run(options: &Options, scratch: &Scratch, seams: Seams) -> Result<Exit, CommandError> {
    let stop = process::stop_signal().map_err(|error| format!("can't handle signals: {error}"))?;
    let mut screen = Screen::stdout();
    let told = tokio::select! {
        told = chaos(&mut screen, scratch, &seams) => told,
        () = stop => return Ok(Exit::Failed),
    };
    if options.keep {
        screen.say(0, &Text::plain(&format!("everything is kept in {}", scratch.path().display())));
    }
    Ok(if told? { Exit::Fine } else { Exit::Failed })
}

/// The participants of the demo.
struct Stage<'a> {
    screen: &'a mut Screen,
    clock: Arc<dyn Clock>,
    back_end: BackEnd,
    child: Child,
    clients: Clients,
}

async fn chaos(screen: &mut Screen, scratch: &Scratch, seams: &Seams) -> Result<bool, CommandError> {
    let title = format!("tollgate {} demo --chaos", env!("CARGO_PKG_VERSION"));
    screen.say(0, &Text::of(Paint::Title, &title));
    let what = "A gateway in a process of its own is killed, cut off from its back end and run out of room while clients \
                send. Nothing leaves the machine.";
    screen.say(0, &Text::of(Paint::Dim, what));
    let spawn: Arc<dyn net::Spawn> = tasks::Tasks::new(&seams.meter);
    let back_end = BackEnd::start(&seams.meter, Arc::clone(&spawn)).await?;
    let child = Child::new(scratch.path(), back_end.address(), ROOM)?;
    let clients = Clients::start(child.http(), seams, spawn)?;
    let mut stage = Stage { screen, clock: Arc::clone(&seams.clock), back_end, child, clients };
    stage.well().await?;
    stage.killed().await?;
    stage.full().await?;
    stage.mended().await?;
    stage.counted()
}

impl Stage<'_> {
    fn step(&mut self, text: &str) {
        self.screen.gap();
        self.screen.say(0, &Text::of(Paint::Title, text));
    }

    fn fact(&mut self, text: &str) {
        self.screen.say(3, &Text::plain(text));
    }

    /// Waits until `holds` is true.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), CommandError> {
        let waiting = async {
            while !holds(self) {
                self.clock.sleep(LOOK).await;
            }
        };
        within(&*self.clock, PATIENCE, waiting)
            .await
            .ok_or_else(|| CommandError::Failed(format!("{what}: not within {PATIENCE:?}")))
    }

    /// Starts the process; returns the time until it answers.
    async fn start(&mut self) -> Result<Duration, CommandError> {
        let began = self.clock.monotonic();
        self.child.start()?;
        let clients = &self.clients;
        let page = self.child.alive_at();
        let answering = async {
            while !clients.answers(&page).await {
                self.clock.sleep(LOOK).await;
            }
        };
        within(&*self.clock, PATIENCE, answering).await.ok_or("the gateway does not start")?;
        Ok(self.clock.monotonic().saturating_sub(began))
    }

    async fn well(&mut self) -> Result<(), CommandError> {
        self.step("1  All is well");
        self.start().await?;
        self.clients.go(true);
        self.until("spans are delivered", |stage| stage.back_end.count() >= 500).await?;
        self.fact(&format!("{} spans answered OK, {} arrived", self.clients.count(), self.back_end.count()));
        Ok(())
    }

    async fn killed(&mut self) -> Result<(), CommandError> {
        self.step(&format!("2  SIGKILL under load, {KILLS} times"));
        for _ in 0..KILLS {
            self.clock.sleep(LIFE).await;
            self.child.kill()?;
            let (answered, arrived) = (self.clients.count(), self.back_end.count());
            let took = self.start().await?;
            self.fact(&format!(
                "killed: {answered} answered OK, {arrived} arrived; answers again after {} ms",
                took.as_millis()
            ));
        }
        Ok(())
    }

    async fn full(&mut self) -> Result<(), CommandError> {
        self.step("3  The back end is cut off, the disk fills up");
        self.back_end.cut().await;
        let before = self.clients.refused();
        self.until("the disk fills up", |stage| stage.clients.refused() >= before + REFUSALS).await?;
        let waiting = self.clients.count().saturating_sub(self.back_end.count());
        let said = self.clients.last_refusal();
        self.fact(&format!("{ROOM} are full: {waiting} spans wait, clients are told: {said}"));
        self.child.kill()?;
        self.fact("killed there, too");
        self.start().await?;
        let before = self.clients.refused();
        self.until("refusals", |stage| stage.clients.refused() > before).await?;
        self.fact("alive, and still full: what was answered OK is kept, new data is refused");
        Ok(())
    }

    async fn mended(&mut self) -> Result<(), CommandError> {
        self.step("4  The back end is back");
        let (before, began) = (self.clients.count(), self.clock.monotonic());
        self.back_end.mend().await?;
        self.until("data is taken again", |stage| stage.clients.count() > before).await?;
        let took = self.clock.monotonic().saturating_sub(began);
        self.fact(&format!("data is taken again after {:.1} s", took.as_secs_f64()));
        self.clients.go(false);
        self.until("every client has its answer", |stage| stage.clients.idle()).await?;
        self.until("everything arrives", |stage| stage.clients.ids().is_subset(&stage.back_end.ids())).await?;
        let code = self.child.stop(&*self.clock, PATIENCE).await?;
        self.fact(&format!("SIGTERM: exit {code}"));
        if code == 0 { Ok(()) } else { Err("the gateway did not end in good order".into()) }
    }

    fn counted(&mut self) -> Result<bool, CommandError> {
        let (in_, out, made): (BTreeSet<u64>, _, _) =
            (self.clients.ids(), self.back_end.ids(), self.clients.ids_made());
        let (lost, strange) = (in_.difference(&out).count(), out.difference(&made).count());
        self.screen.gap();
        let again = self.back_end.count().saturating_sub(out.len() as u64);
        let (taken, arrived) = (in_.len(), out.intersection(&in_).count());
        let fine = lost == 0 && strange == 0 && taken > 0;
        let sign = if fine { '=' } else { '≠' };
        let line = format!(
            "ids in {taken} {sign} ids out {arrived}    lost {lost}    delivered again {again}    unknown {strange}"
        );
        let paint = if fine { Paint::Safe } else { Paint::Wrong };
        self.screen.say(0, &Text::of(paint, &format!("{} {line}", if fine { '✓' } else { '✗' })));
        Ok(fine)
    }
}
