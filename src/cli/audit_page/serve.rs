//! `tollgate vault serve`: opens a port on loopback, prints an address with a token, and verifies in the background. It
//! ends with Ctrl-C or SIGTERM. Only the log of openings is written, and
//! the chain of openings with `--request`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::page::VerificationState;
use super::routes::{AuditState, router};
use crate::app::listeners::serve_pages;
use crate::app::tasks::Tasks;
use crate::cli::error::{CommandError, ExitStatus};
use crate::cli::output;
use crate::cli::runtime::block_on;
use crate::cli::time_option::{TimeOption, parse_time_option};
use crate::cli::vault::opening::RequestedOpenings;
use crate::cli::vault::public_keys::read_public_keys;
use crate::cli::vault::vault_args::{VaultArgs, open_with_auditors};
use audit::read::Vault;
use audit::verify::{VerifyOptions, VerifyProgress, verify};
use config::Endpoint;
use kernel::clock::{Clock, SystemClock};
use kernel::rng::{Rng, SystemRng};
use net::{Spawn, listen};
use telemetry::Meter;

/// How long a browser's connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Options of `vault serve`.
#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    requested: RequestedOpenings,
    #[command(flatten)]
    vault: VaultArgs,
    /// Public key of the writer's signer (`name+id+key`), or a file that contains it, with which the shown content is
    /// verified.
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Content that arrived before this time, or longer ago than this, may be missing or hidden, because its retention
    /// has ended.
    #[arg(long, value_parser = parse_time_option, value_name = "TIME|DAYS")]
    expired: Option<TimeOption>,
    /// Port on 127.0.0.1; with 0 the system chooses one.
    #[arg(long, default_value_t = 8898, value_parser = parse_port)]
    port: u16,
}

fn parse_port(text: &str) -> Result<u16, CommandError> {
    text.parse().map_err(|_| CommandError::Usage("must be a number from 0 to 65535".to_owned()))
}

/// Runs `vault serve` until it is stopped.
pub(crate) fn run_serve(options: &ServeArgs) -> Result<ExitStatus, CommandError> {
    block_on(async {
        let (vault, auditors, log) = open_with_auditors(&options.vault).await?;
        let keys = read_public_keys(&options.key)?;
        let endpoint = Endpoint::parse(&format!("127.0.0.1:{}", options.port))?;
        let bound = listen::bind(&endpoint).await?;
        let port = bound.address().map_or(0, |at| at.port());
        let [token, cookie, path] = [(); 3].map(|()| kernel::hex::encode(&SystemRng.id()));
        let address = format!("http://127.0.0.1:{port}/{path}/?token={token}");
        if !keys.is_empty() {
            log.record_opening("serve", "every fragment, to verify what is shown")?;
        }
        let openings = options.requested.record(&options.vault, &auditors).await?;
        let audit = AuditState::new(vault, auditors.clone(), log, keys.clone(), [token, cookie, path], port);
        let audit = Arc::new(audit.with_openings(openings));
        let (meter, verified_vault) = (Meter::new(), options.vault.open_vault()?);
        let tasks: Arc<dyn Spawn> = Tasks::new(&meter);
        let serving = serve_pages(bound, router(Arc::clone(&audit)), "audit", IDLE_TIMEOUT, &meter, tasks);
        output::print(&format!(
            "{address}\nopen this address in a browser on this machine; it works once. Press Ctrl-C to stop.\n"
        ))?;
        let verifying = async {
            if !keys.is_empty() {
                let now = SystemClock::new().now();
                let expired = options.expired.as_ref().map(|moment| moment.to_text(now));
                verify_vault(
                    &audit,
                    &verified_vault,
                    VerifyOptions { keys, auditors, now, expired, ..VerifyOptions::default() },
                )
                .await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = verifying => {}
            ended = wait_for_stop() => ended?,
        }
        serving.drain(Duration::from_secs(1)).await;
        Ok(ExitStatus::Success)
    })
}

async fn wait_for_stop() -> Result<(), CommandError> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("can't wait for signals: {error}"))?;
    tokio::select! {
        ctrl_c = tokio::signal::ctrl_c() => Ok(ctrl_c.map_err(|error| format!("can't wait for signals: {error}"))?),
        _ = term.recv() => Ok(()),
    }
}

async fn verify_vault(audit: &AuditState, vault: &Vault, options: VerifyOptions) {
    *audit.verified.lock() = VerificationState::Running { verified: 0, total: 0 };
    let mut show_progress = |VerifyProgress { done, all, .. }: VerifyProgress| {
        *audit.verified.lock() = VerificationState::Running { verified: done, total: all };
    };
    let result = verify(vault, &options, &mut show_progress).await;
    *audit.verified.lock() = match result {
        Ok(report) => VerificationState::Done(Box::new(report)),
        Err(why) => VerificationState::Failed(why.to_string()),
    };
}
