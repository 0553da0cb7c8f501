//! `tollgate demo`: plays a recorded session of a coding agent (`session`) into a real gateway (`gateway`), shows and
//! checks what came in and went out (`items`, `costs`, `opened_content`, `leak_search`; printed by `story`), then
//! serves until Ctrl-C. It works offline, without a HOME, and all its files are in one directory that is removed at the
//! end. The exit code says whether all checks passed, so that `--once` checks a build on the machine that will run it.

mod budget;
mod costs;
mod gateway;
mod items;
mod leak_search;
mod opened_content;
mod session;
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::future::LocalBoxFuture;
use rust_decimal::Decimal;

use command::admin_client::AdminClient;
use command::error::{CommandError, ExitStatus};
use command::keyfile::TRYOUT_KEY;
use command::os;
use command::output::{report_error, use_colour_on_stdout};
use command::runtime::serve;
use kernel::clock::{Clock, SystemClock};
use kernel::rng::SystemRng;
use kernel::terminal::format_bytes;
use net::ProxyRules;
use telemetry::logging;

pub use budget::BUDGETS;
use costs::BilledCall;
pub use gateway::{DemoGateway, EXPORTED, EXPORTER};
use gateway::{PlayedGateway, ScratchDir, VAULT};
use leak_search::LeakSearch;
use opened_content::OpenedContent;
use story::DemoStory;

#[derive(Args)]
pub struct DemoArgs {
    /// Exits after the session; with an error unless all checks pass: leaks, losses, prices, the vault's content.
    #[arg(long)]
    once: bool,
    /// Keeps the directory with vault, keys and exported data.
    #[arg(long)]
    keep: bool,
}

/// Starts a gateway whose data is in the folder.
pub type StartGateway<'s> =
    &'s dyn for<'d> Fn(&'d Path) -> LocalBoxFuture<'d, Result<Box<dyn DemoGateway>, CommandError>>;

/// Runs `demo`; the folder for its data is made in `parent`, or else in the system's temporary directory.
pub fn run(options: &DemoArgs, parent: Option<PathBuf>, start: StartGateway<'_>) -> Result<ExitStatus, CommandError> {
    logging::init(logging::LogLevel::Error);
    let scratch = ScratchDir::create(parent, options.keep, &SystemRng)?;
    serve(run_demo(options, &scratch.path, start))
}

async fn run_demo(options: &DemoArgs, directory: &Path, start: StartGateway<'_>) -> Result<ExitStatus, CommandError> {
    let (first_signal, second_signal, mut hangup) = (os::stop_signal()?, os::second_signal()?, os::hangup_signal()?);
    let mut stop = Box::pin(async {
        tokio::select! {
            () = first_signal => {}
            _ = hangup.recv() => {}
        }
    });
    let mut story = DemoStory::new(Box::new(std::io::stdout()), use_colour_on_stdout());
    story.show("title", &[&env!("CARGO_PKG_VERSION")]);
    let gateway = PlayedGateway::new(start(directory).await?, directory)?;
    let kept = if options.keep { "kept" } else { "removed at the end" };
    let ports = if gateway.http.port() == 4318 { "the default ports" } else { "the default ports are in use" };
    story.show("start", &[&directory.display(), &kept, &gateway.http, &gateway.grpc, &ports, &gateway.admin]);
    let result = tokio::select! {
        result = play_and_check(&mut story, &gateway) => Some(result),
        () = &mut stop => None,
    };
    let exit_status = match &result {
        Some(Ok((passed, session))) => {
            show_end(&mut story, &gateway, *passed, session, options);
            if *passed { ExitStatus::Success } else { ExitStatus::Failed }
        }
        Some(Err(error)) => report_error(error),
        // After an interrupt the result of the checks is unknown.
        None if options.once => ExitStatus::Failed,
        None => ExitStatus::Success,
    };
    let keeps_serving = !options.once && matches!(result, Some(Ok(_))) && story.has_reader;
    let stop = if keeps_serving { stop as LocalBoxFuture<'_, ()> } else { Box::pin(std::future::ready(())) };
    let ending = gateway.gateway.run_until(stop);
    Ok(tokio::select! {
        failed = ending => if failed { ExitStatus::Failed } else { exit_status },
        signal = second_signal => ExitStatus::StoppedBySignal(signal),
    })
}

fn show_end(story: &mut DemoStory, gateway: &PlayedGateway, passed: bool, session: &str, options: &DemoArgs) {
    story.show(if passed { "passed" } else { "failed" }, &[]);
    let PlayedGateway { http, admin, directory, .. } = gateway;
    let quote = |name: &str| format!("'{}'", directory.join(name).to_string_lossy().replace('\'', r"'\''"));
    let (outbound, vault, auditor) = (quote(EXPORTED), quote(VAULT), quote(TRYOUT_KEY));
    if !options.once {
        story.show("own telemetry", &[http, http, &outbound, &session, &vault, &auditor, admin]);
    } else if passed {
        story.show("next steps", &[]);
    }
    if options.once && options.keep {
        story.show("kept", &[&session, &vault, &auditor]);
    }
}

/// Plays the session, and shows and checks the results; returns whether all checks passed, and the session's id.
async fn play_and_check(story: &mut DemoStory, gateway: &PlayedGateway) -> Result<(bool, String), CommandError> {
    let (clock, directory) = (SystemClock::new(), &gateway.directory);
    let requests = session::build_session(clock.now())?;
    let client = AdminClient::new(&format!("http://{}", gateway.http), None, ProxyRules::direct())?;
    let mut slowest = Duration::ZERO;
    for (signal, request) in &requests {
        let began = clock.monotonic();
        let answer = client.post(&format!("/v1/{}", signal.as_str()), request.clone()).await?;
        slowest = slowest.max(clock.monotonic().saturating_sub(began));
        if answer != "{}" {
            return Err("the gateway accepted only a part of a request".into());
        }
    }
    let incoming = items::read_items(requests.iter().map(|(_, request)| &**request))?;
    let count = |kind: &str| incoming.iter().filter(|item| item.kind == kind).count();
    let (spans, logs, points) = (count("span"), count("log"), count("point"));
    story.show("sent", &[&session::CLIENT, &requests.len(), &spans, &logs, &points, &slowest.as_millis()]);
    gateway.wait_until_delivered(EXPORTER).await?;
    let exported = std::fs::read_to_string(directory.join(EXPORTED));
    let exported = exported.map_err(|error| format!("the exporter's file can't be read: {error}"))?;
    let outgoing = items::read_items(exported.lines())?;
    story.show_comparison(&incoming, &outgoing);
    let missing = items::find_missing(&incoming, &outgoing);
    if !missing.is_empty() {
        story.show("missing", &[&missing.len(), &missing.join(", ")]);
    }
    let rates = outgoing.iter().find_map(|item| item.text("tollgate.cost.rates")).unwrap_or("none");
    let is_priced = story.show_prices(&BilledCall::compare(&incoming, &outgoing), rates);
    let (covered_calls, [equivalent, payable]) = costs::covered_calls(&outgoing);
    let is_covered = equivalent > Decimal::ZERO && payable == Decimal::ZERO;
    story.show(if is_covered { "covered" } else { "not covered" }, &[&equivalent, &covered_calls, &payable]);
    gateway.wait_until_delivered("vault").await?;
    let opened = OpenedContent::open(&outgoing, &directory.join(VAULT), &directory.join(TRYOUT_KEY)).await?;
    show_vault(story, &opened);
    let search = LeakSearch::new(requests.iter().map(|(_, request)| &**request))?;
    let is_private = show_search(story, gateway, search, &opened.documents).await?;
    let session = incoming.iter().find_map(|item| item.text("session.id")).unwrap_or_default().to_owned();
    let is_stopped = budget::show_budget(story, gateway, &session).await?;
    Ok((missing.is_empty() && is_priced && is_covered && is_private && is_stopped, session))
}

fn show_vault(story: &mut DemoStory, opened: &OpenedContent) {
    story.show("vault", &[]);
    for uri in opened.references.iter().map(|(uri, _)| uri).collect::<BTreeSet<_>>() {
        story.show("object", &[uri]);
    }
    let keys: Vec<String> = opened.keys.iter().cloned().collect();
    story.show("opened", &[&keys.join(" "), &opened.references.len(), &opened.documents.len()]);
    for key in ["prompt", "full_command", "output", "response"] {
        story.show_content(key, &opened.content(key).unwrap_or_default());
    }
}

/// Searches all output for private texts, which must only be in the documents that the auditor opened.
async fn show_search(
    story: &mut DemoStory,
    gateway: &PlayedGateway,
    mut search: LeakSearch,
    documents: &[u8],
) -> Result<bool, CommandError> {
    story.show("search", &[]);
    let admin = AdminClient::new(&format!("http://{}", gateway.admin), None, ProxyRules::direct())?;
    for page in ["/metrics", "/"] {
        search.search_bytes(page, admin.get(page, "*/*").await?.as_bytes());
    }
    search.search_files(&gateway.directory).map_err(|error| format!("the output can't be searched: {error}"))?;
    search.leaks.iter().for_each(|(place, texts)| story.show("leak", &[texts, place]));
    if search.leaks.is_empty() {
        story.show("no leak", &[&search.texts.len(), &format_bytes(search.searched_bytes)]);
    }
    let (found, total) = (search.count_canaries(documents), search.canaries.len());
    // If there are no canaries, nothing is proved.
    let has_all = total > 0 && found == total;
    story.show(if has_all { "canaries found" } else { "canaries missing" }, &[&found, &total]);
    Ok(search.leaks.is_empty() && has_all)
}
