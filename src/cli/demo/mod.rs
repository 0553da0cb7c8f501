//! `tollgate demo`: plays a recorded session of a coding agent (`session`, `play`) into a real gateway (`gateway`,
//! `scratch`), shows and checks what came in and went out (`captured`, `check`, `private_text_search`, `costs`,
//! `opened_content`; printed by `story`, `screen`), then serves until Ctrl-C. With `--once` it checks a build on the
//! machine that will run it; `chaos` implements `--chaos`. It works offline, without a HOME, and all its files are in
//! one directory that is removed at the end. The exit code says whether all checks passed. The recording is from
//! `tests/recordings/claude-code`.

mod captured;
mod chaos;
mod check;
mod costs;
mod gateway;
mod opened_content;
mod options;
mod play;
mod private_text_search;
mod scratch;
mod screen;
mod session;
mod story;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::common::CommonArgs;
use super::error::{CommandError, ExitStatus};
use super::output::report_error;
use super::runtime::{EXIT_GRACE, runtime_threads};
use crate::app::build::GatewayDeps;
use crate::app::{RunningGateway, process, tasks};
use kernel::clock::with_timeout;
use telemetry::logging;

use captured::CapturedTelemetry;
use check::LeakSearch;
use costs::SessionCosts;
use gateway::DemoGateway;
use opened_content::OpenedContent;
pub(super) use options::DemoArgs;
use options::POLL_INTERVAL;
use play::RequestPlayer;
use scratch::ScratchDir;
use screen::StoryScreen;
use story::DemoStory;

/// The longest wait for an exporter or the vault.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Runs the demo.
pub(super) fn run(common: &CommonArgs, options: &DemoArgs) -> Result<ExitStatus, CommandError> {
    if common.config.is_some() {
        let why = "the demo always uses the default configuration: remove --config, or use `tollgate run`";
        return Err(CommandError::Usage(why.to_owned()));
    }
    logging::init(logging::LogLevel::Error);
    let deps = GatewayDeps::system();
    let scratch = ScratchDir::create(common.data_dir().as_deref(), options.keep, &*deps.rng)?;
    let runtime = tasks::build_runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?;
    // The result is reported before waiting for hanging threads.
    Ok(tasks::run_to_end(runtime, EXIT_GRACE, async {
        let result = if options.chaos {
            chaos::run(options, &scratch, deps).await
        } else {
            run_demo(options, &scratch, deps).await
        };
        result.unwrap_or_else(|error| report_error(&error))
    }))
}

async fn run_demo(options: &DemoArgs, scratch: &ScratchDir, deps: GatewayDeps) -> Result<ExitStatus, CommandError> {
    let (stop, second_signal, hangup) =
        match (process::stop_signal(), process::second_signal(), signal(SignalKind::hangup())) {
            (Ok(stop), Ok(second_signal), Ok(hangup)) => (stop, second_signal, hangup),
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
    let mut story = DemoStory::new(StoryScreen::stdout());
    story.show_title();
    let gateway = tokio::select! {
        started = gateway::start_gateway(scratch.path(), deps.clone()) => started?,
        () = &mut stop => return Ok(if options.once { ExitStatus::Failed } else { ExitStatus::Success }),
    };
    story.show_start(&gateway, scratch.path(), options.keep);
    let result: Option<Result<DemoResult, CommandError>> = tokio::select! {
        result = play_and_check(&mut story, &gateway, scratch, &deps) => Some(result),
        () = &mut stop => None,
    };
    let exit_status = match &result {
        Some(Ok(result)) if !result.passed => ExitStatus::Failed,
        // After an interrupt the result of the checks is unknown.
        None if options.once => ExitStatus::Failed,
        Some(Ok(_)) | None => ExitStatus::Success,
        Some(Err(error)) => report_error(error),
    };
    let keeps_serving = !options.once && matches!(result, Some(Ok(_)));
    if let Some(Ok(result)) = &result {
        story.show_overall_result(result.passed);
        if keeps_serving {
            story.show_own_setup(&gateway, scratch.path(), &result.session);
        } else if result.passed {
            story.show_next_steps(scratch.path(), options.keep.then_some(&*result.session));
        }
    }
    let DemoGateway { app, .. } = gateway;
    let ending = async {
        if keeps_serving && story.has_reader() {
            app.run_until(stop).await
        } else {
            RunningGateway::shutdown(app).await
        }
    };
    Ok(tokio::select! {
        ended = ending => if ended.failed.is_some() { ExitStatus::Failed } else { exit_status },
        signal = second_signal => ExitStatus::StoppedBySignal(signal),
    })
}

/// The result of the demo.
struct DemoResult {
    /// Whether all checks passed.
    passed: bool,
    /// Id of the session that was played.
    session: String,
}

/// Plays the session, waits for delivery, and shows and checks the results.
async fn play_and_check(
    story: &mut DemoStory,
    gateway: &DemoGateway,
    scratch: &ScratchDir,
    deps: &GatewayDeps,
) -> Result<DemoResult, CommandError> {
    let player = RequestPlayer::new(tasks::Tasks::new(&deps.meter), Arc::clone(&deps.clock))?;
    let requests = session::build_session(deps.clock.now(), &*deps.rng)?;
    let incoming = CapturedTelemetry::from_requests(&requests)?;
    let slowest = player.send_all(gateway.http, &requests).await?;
    story.show_sent(&incoming, requests.len(), slowest);

    wait_until_delivered(gateway, "file/demo", deps).await?;
    let outbound =
        || std::fs::read(&gateway.outbound).map_err(|error| format!("the exporter's file can't be read: {error}"));
    let outgoing = CapturedTelemetry::from_exported(&outbound()?)?;
    let missing = check::find_missing(&incoming, &outgoing);
    story.show_comparison(&incoming, &outgoing, &missing);
    let costs = SessionCosts::compare(&incoming, &outgoing);
    story.show_prices(&costs);

    wait_until_delivered(gateway, "vault", deps).await?;
    let opened = OpenedContent::open_references(&outgoing, &gateway.vault, &gateway.auditor).await?;
    story.show_vault(&opened, &gateway.auditor);

    let canaries = check::find_canaries(&requests);
    let search = check::build_search(&canaries)?;
    let mut leaks = LeakSearch::default();
    for page in ["/metrics", "/"] {
        leaks.search_bytes(&search, page, &player.read_page(&format!("http://{}{page}", gateway.admin)).await?);
    }
    leaks.search_files(&search, scratch.path())?;
    let canaries_found =
        search.find(&opened.documents_json).into_iter().filter(|text| canaries.contains(*text)).count();
    story.show_search_result(&leaks, search.len(), (canaries_found, canaries.len()));
    let passed = missing.is_empty()
        && costs.agrees()
        && leaks.found.is_empty()
        && check::has_all(canaries_found, canaries.len());
    let session = incoming.items().find_map(|item| item.text("session.id")).unwrap_or_default();
    Ok(DemoResult { passed, session })
}

/// Waits until the spool has no records left for `consumer`.
async fn wait_until_delivered(gateway: &DemoGateway, consumer: &str, deps: &GatewayDeps) -> Result<(), CommandError> {
    let records_left = || {
        let status = gateway.app.spool().status();
        status
            .consumers
            .iter()
            .filter(|status_entry| &*status_entry.name == consumer)
            .map(|status_entry| status_entry.records)
            .sum::<u64>()
    };
    let waiting = async {
        while records_left() > 0 {
            deps.clock.sleep(POLL_INTERVAL).await;
        }
    };
    let waited = with_timeout(&*deps.clock, MAX_WAIT, waiting).await;
    waited.ok_or_else(|| CommandError::Failed(format!("{} records are still waiting for `{consumer}`", records_left())))
}
