//! `tollgate demo`: plays a recorded session of a coding agent (`session`, `play`) into a real gateway (`gateway`,
//! `scratch`), shows and checks what came in and went out (`seen`, `check`, `search`, `costs`, `opened`; printed by
//! `story`, `screen`), then serves until Ctrl-C. With `--once` it checks a build on the machine that will run it;
//! `chaos` implements `--chaos`. It works offline and needs only the binary, without a HOME. All files are in one
//! directory that is removed at the end. A reader that goes away ends it in order. The exit code says whether all
//! checks passed. The recording is from `tests/recordings/claude-code`.

mod chaos;
mod check;
mod costs;
mod gateway;
mod opened;
mod options;
mod play;
mod scratch;
mod screen;
mod search;
mod seen;
mod session;
mod story;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::report;
use super::runtime::{GRACE, runtime_threads};
use crate::app::build::Seams;
use crate::app::{App, process, tasks};
use kernel::clock::within;
use telemetry::logging;

use check::Leaks;
use costs::Bill;
use gateway::Gateway;
use opened::Opened;
use options::LOOK;
pub(super) use options::Options;
use play::Player;
use scratch::Scratch;
use screen::Screen;
use seen::Seen;
use story::Story;

/// The longest wait for an exporter or the vault.
const PATIENCE: Duration = Duration::from_secs(30);
/// Runs the demo.
pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    if common.config.is_some() {
        let why = "the demo runs the default configuration; --config is for `tollgate run`";
        return Err(CommandError::Usage(why.to_owned()));
    }
    logging::init(logging::Level::Error);
    let seams = Seams::real();
    let scratch = Scratch::make(common.data_dir().as_deref(), options.keep, &*seams.rng)?;
    let runtime = tasks::runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?;
    // The result is reported before waiting for hanging threads.
    Ok(tasks::run_to_end(runtime, GRACE, async {
        let ended = if options.chaos {
            chaos::run(options, &scratch, seams).await
        } else {
            demo(options, &scratch, seams).await
        };
        ended.unwrap_or_else(|error| report(&error))
    }))
}

async fn demo(options: &Options, scratch: &Scratch, seams: Seams) -> Result<Exit, CommandError> {
    let (stop, now, hangup) = match (process::stop_signal(), process::second_signal(), signal(SignalKind::hangup())) {
        (Ok(stop), Ok(now), Ok(hangup)) => (stop, now, hangup),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            return Err(CommandError::Failed(format!("can't handle signals: {error}")));
        }
    };
    let mut hangup = hangup;
    let stop = async move {
        tokio::select! {
            () = stop => {}
            _ = hangup.recv() => {}
        }
    };
    let mut stop = std::pin::pin!(stop);
    let mut story = Story::new(Screen::stdout());
    story.begin();
    let gateway = tokio::select! {
        started = gateway::start(scratch.path(), seams.clone()) => started?,
        () = &mut stop => return Ok(if options.once { Exit::Failed } else { Exit::Fine }),
    };
    story.started(&gateway, scratch.path(), options.keep);
    let told: Option<Result<Told, CommandError>> = tokio::select! {
        told = tell(&mut story, &gateway, scratch, &seams) => Some(told),
        () = &mut stop => None,
    };
    let exit = match &told {
        Some(Ok(told)) if !told.fine => Exit::Failed,
        // After an interrupt the result of the checks is unknown.
        None if options.once => Exit::Failed,
        Some(Ok(_)) | None => Exit::Fine,
        Some(Err(error)) => report(error),
    };
    let serves = !options.once && matches!(told, Some(Ok(_)));
    if let Some(Ok(told)) = &told {
        story.end(told.fine);
        if serves {
            story.yours(&gateway, scratch.path(), &told.session);
        } else if told.fine {
            story.next(scratch.path(), options.keep.then_some(&*told.session));
        }
    }
    let Gateway { app, .. } = gateway;
    let end = async { if serves && story.is_read() { app.wait(stop).await } else { App::shutdown(app).await } };
    Ok(tokio::select! {
        ended = end => if ended.failed.is_some() { Exit::Failed } else { exit },
        by = now => Exit::Cut(by),
    })
}

/// The result of the demo.
struct Told {
    /// Whether all checks passed.
    fine: bool,
    /// Id of the session that was played.
    session: String,
}

/// Plays the session, waits for delivery, and shows and checks the results.
async fn tell(story: &mut Story, gateway: &Gateway, scratch: &Scratch, seams: &Seams) -> Result<Told, CommandError> {
    let player = Player::new(tasks::Tasks::new(&seams.meter), Arc::clone(&seams.clock))?;
    let requests = session::session(seams.clock.now(), &*seams.rng)?;
    let came = Seen::sent(&requests)?;
    let slowest = player.play(gateway.http, &requests).await?;
    story.played(&came, requests.len(), slowest);

    done(gateway, "file/demo", seams).await?;
    let outbound = || std::fs::read(&gateway.outbound).map_err(|error| format!("what went out can't be read: {error}"));
    let went = Seen::exported(&outbound()?)?;
    let missing = check::missing(&came, &went);
    story.compared(&came, &went, &missing);
    let bill = Bill::of(&came, &went);
    story.priced(&bill);

    done(gateway, "vault", seams).await?;
    let opened = Opened::follow(&went, &gateway.vault, &gateway.auditor).await?;
    story.vaulted(&opened, &gateway.auditor);

    let canaries = check::canaries(&requests);
    let search = check::search(&canaries)?;
    let mut leaks = Leaks::default();
    for page in ["/metrics", "/"] {
        leaks.look(&search, page, &player.read(&format!("http://{}{page}", gateway.page)).await?);
    }
    leaks.look_below(&search, scratch.path())?;
    let kept = search.find(&opened.plain).into_iter().filter(|text| canaries.contains(*text)).count();
    story.searched(&leaks, search.len(), (kept, canaries.len()));
    let fine = missing.is_empty() && bill.agrees() && leaks.found.is_empty() && check::kept(kept, canaries.len());
    let session = came.items().find_map(|item| item.text("session.id")).unwrap_or_default();
    Ok(Told { fine, session })
}

/// Waits until the spool has no records left for `consumer`.
async fn done(gateway: &Gateway, consumer: &str, seams: &Seams) -> Result<(), CommandError> {
    let left = || {
        let status = gateway.app.spool().status();
        status.consumers.iter().filter(|other| &*other.name == consumer).map(|other| other.records).sum::<u64>()
    };
    let waiting = async {
        while left() > 0 {
            seams.clock.sleep(LOOK).await;
        }
    };
    let waited = within(&*seams.clock, PATIENCE, waiting).await;
    waited.ok_or_else(|| CommandError::Failed(format!("{} records still wait for `{consumer}`", left())))
}
