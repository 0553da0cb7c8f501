//! `tollgate vault serve`: opens a port on loopback, prints an address with a token, and verifies in the background. It
//! ends with Ctrl-C or SIGTERM. Only the log of openings is written.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::page::Verified;
use super::routes::{Audit, router};
use crate::app::listeners::serve_pages;
use crate::app::tasks::Tasks;
use crate::cli::error::{CommandError, Exit};
use crate::cli::moment::{Moment, moment};
use crate::cli::output;
use crate::cli::runtime::block_on;
use crate::cli::vault::keys::public_keys;
use crate::cli::vault::source::{Source, open};
use audit::read::Vault;
use audit::verify::{Options, Progress, verify};
use config::Endpoint;
use kernel::clock::{Clock, SystemClock};
use kernel::rng::{Rng, SystemRng};
use net::{Spawn, listen};
use telemetry::Meter;

/// How long a browser's connection may be idle.
const REST: Duration = Duration::from_secs(60);

/// Options of `vault serve`.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    from: Source,
    /// Public key of the writer's signer (`name+id+key`), or a file that contains it, with which the shown content is
    /// verified.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Content that arrived before this time, or longer ago than this, may be missing or hidden, because its retention
    /// has ended.
    #[arg(long, value_parser = moment, value_name = "TIME|DAYS")]
    expired: Option<Moment>,
    /// Port on 127.0.0.1; with 0 the system chooses one.
    #[arg(long, default_value_t = 8898)]
    port: u16,
}

/// Runs `vault serve` until it is stopped.
pub(crate) fn run_serve(options: &Serve) -> Result<Exit, CommandError> {
    block_on(async {
        let (vault, auditors, log) = open(&options.from).await?;
        let keys = public_keys(&options.key)?;
        let endpoint = Endpoint::parse(&format!("127.0.0.1:{}", options.port))?;
        let bound = listen::bind(&endpoint).await?;
        let port = bound.address().map_or(0, |at| at.port());
        let [token, cookie, path] = [(); 3].map(|()| kernel::hex::encode(&SystemRng.id()));
        let address = format!("http://127.0.0.1:{port}/{path}/?token={token}");
        if !keys.is_empty() {
            log.note("serve", "every fragment, to verify what is shown")?;
        }
        let audit = Arc::new(Audit::new(vault, auditors.clone(), log, keys.clone(), [token, cookie, path], port));
        let (meter, second) = (Meter::new(), options.from.vault()?);
        let tasks: Arc<dyn Spawn> = Tasks::new(&meter);
        let serving = serve_pages(bound, router(Arc::clone(&audit)), "audit", REST, &meter, tasks);
        output::print(&format!("{address}\nopen it in a browser on this machine; it works once. Ctrl-C ends.\n"))?;
        let verifying = async {
            if !keys.is_empty() {
                let now = SystemClock::new().now();
                let expired = options.expired.as_ref().map(|moment| moment.text(now));
                check(&audit, &second, Options { keys, auditors, now, expired, ..Options::default() }).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = verifying => {}
            ended = told_to_end() => ended?,
        }
        serving.drain(Duration::from_secs(1)).await;
        Ok(Exit::Fine)
    })
}

async fn told_to_end() -> Result<(), CommandError> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("can't wait for signals: {error}"))?;
    tokio::select! {
        ctrl_c = tokio::signal::ctrl_c() => Ok(ctrl_c.map_err(|error| format!("can't wait for signals: {error}"))?),
        _ = term.recv() => Ok(()),
    }
}

async fn check(audit: &Audit, vault: &Vault, options: Options) {
    *audit.verified.lock() = Verified::Running(0, 0);
    let mut told = |progress: Progress| *audit.verified.lock() = Verified::Running(progress.done, progress.all);
    let found = verify(vault, &options, &mut told).await;
    *audit.verified.lock() = match found {
        Ok(report) => Verified::Done(Box::new(report)),
        Err(why) => Verified::Failed(why.to_string()),
    };
}
