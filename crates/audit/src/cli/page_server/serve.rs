//! `tollgate vault serve`: opens a port on loopback and prints an address with a token, or serves people with roles
//! (`--access`), and verifies in the background. It ends with Ctrl-C or SIGTERM. Only the log of openings is written,
//! and the chain of openings with `--request`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use axum::Router;

use super::access::read_access;
use super::developers::DeveloperArgs;
use super::page::VerificationState;
use super::routes::{AuditState, LocalBrowser, local_router, shared_router};
use crate::cli::opening::RequestedOpenings;
use crate::cli::public_keys::read_public_keys;
use crate::cli::vault_args::GatewayConfig;
use crate::cli::vault_args::VaultArgs;
use crate::read::Vault;
use crate::verify::{VerifyOptions, VerifyProgress, verify};
use access::oidc::OidcClient;
use access::page_port::{serve_pages, watch_certificates};
use command::error::{CommandError, ExitStatus, Result};
use command::os::stop_signal;
use command::output;
use command::runtime::block_on;
use command::tasks::{Tasks, command_services};
use command::time_option::parse_time_option;
use config::{Endpoint, env};
use kernel::clock::{Clock, SystemClock};
use kernel::rng::{Rng, SystemRng};
use net::listen::{self, BoundPort};
use net::server_tls::ServerTlsSettings;
use net::{ProxyRules, ServerTls, SharedServices, Spawn};
use telemetry::{Meter, logging};

/// How long a browser's connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Options of `vault serve`.
#[derive(Args)]
pub struct ServeArgs {
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
    expired: Option<String>,
    /// Port on 127.0.0.1; with 0 the system chooses one.
    #[arg(long, default_value_t = 8898, value_parser = parse_port)]
    port: u16,
    /// Serves several people: a file with keys of the admin port (`auth`, `endpoint`, `tls`, `public_url`,
    /// `allowed_hosts`). Each role may search and see verification results; only `tapper` may open sessions.
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    #[command(flatten)]
    own: DeveloperArgs,
}

fn parse_port(text: &str) -> Result<u16> {
    text.parse().map_err(|_| CommandError::Usage("must be a number from 0 to 65535".to_owned()))
}

/// Runs `vault serve` until it is stopped.
pub(crate) fn run_serve(config: &dyn GatewayConfig, options: &ServeArgs) -> Result<ExitStatus> {
    block_on(async {
        let (vault, auditors, log) = options.vault.open().await?;
        let keys = read_public_keys(&options.key)?;
        let (meter, verified_vault) = (Meter::new(), Vault::from_location(&options.vault.location)?);
        let tasks: Arc<dyn Spawn> = Tasks::new(&meter);
        let developers = match options.own.developers {
            true => Some(options.own.read(config.redaction_rules()?)?),
            false => None,
        };
        let verifies = !keys.is_empty() && developers.is_none();
        if verifies {
            log.record_opening(None, "serve", "every fragment, to verify what is shown")?;
        }
        let audit = AuditState::new(vault, auditors.clone(), log, keys.clone());
        let audit = Arc::new(audit.with_developers(developers));
        let page = open_page(options, &audit, &tasks).await?;
        // last, because a request is used up
        audit.permit(options.requested.record(&options.vault, &auditors).await?);
        let serving = serve_pages(page.bound, page.router, "audit", IDLE_TIMEOUT, &meter, Arc::clone(&tasks));
        let _reload = page.tls.map(|tls| watch_certificates("audit", tls, &meter, &tasks));
        output::print(&page.greeting)?;
        let verifying = async {
            if verifies {
                let (now, expired) = (SystemClock::new().now(), options.expired.clone());
                let verify_options = VerifyOptions { keys, auditors, now, expired, ..VerifyOptions::default() };
                verify_vault(&audit, &verified_vault, verify_options).await;
            }
            std::future::pending::<()>().await;
        };
        let stopped = stop_signal()?;
        tokio::select! {
            () = verifying => {}
            () = stopped => {}
        }
        serving.drain(Duration::from_secs(1)).await;
        Ok(ExitStatus::Success)
    })
}

/// A page whose port is bound.
struct OpenPage {
    bound: BoundPort,
    router: Router,
    tls: Option<Arc<ServerTls>>,
    /// The text that tells the user where the page is.
    greeting: String,
}

async fn open_page(options: &ServeArgs, audit: &Arc<AuditState>, tasks: &Arc<dyn Spawn>) -> Result<OpenPage> {
    let local_endpoint = format!("127.0.0.1:{}", options.port);
    let Some(file) = &options.access else {
        let bound = listen::bind(&Endpoint::parse(&local_endpoint)?).await?;
        let port = bound.address().map_or(0, |at| at.port());
        let [token, cookie, path] = [(); 3].map(|()| kernel::hex::encode(&SystemRng.id()));
        let greeting = format!(
            "http://127.0.0.1:{port}/{path}/?token={token}\nopen this address in a browser on this machine; it works once. Press Ctrl-C to stop.\n"
        );
        let browser = Arc::new(LocalBrowser::new([token, cookie, path], port));
        return Ok(OpenPage { bound, router: local_router(Arc::clone(audit), browser), tls: None, greeting });
    };
    logging::init(logging::LogLevel::default());
    let settings = read_access(file, &local_endpoint)?;
    let is_secure = settings.is_secure();
    let auth = settings.auth.ok_or("the file of --access has no credential")?;
    if options.own.developers && !auth.names_people() {
        let text = "--developers needs credentials that name people: set `oidc`, `certificates` or `username` in the file of --access";
        return Err(CommandError::Config(text.to_owned()));
    }
    let proxies = ProxyRules::from_env(&env::var).map_err(|error| error.to_string())?;
    let services = SharedServices { tasks: Arc::clone(tasks), ..command_services(proxies) };
    let oidc = auth.oidc.clone().map(|oidc| OidcClient::build(oidc, services)).transpose()?.map(Arc::new);
    let tls = settings.tls.as_ref().map(|port| ServerTls::read(ServerTlsSettings::from(port)));
    let tls = tls.transpose()?.map(Arc::new);
    let bound = listen::bind(&settings.endpoint).await?.with_tls(tls.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = bound.address().map_or_else(|| settings.endpoint.to_string(), |at| format!("{scheme}://{at}/"));
    let greeting = format!("{address}\nopen to those who have a role in {}. Press Ctrl-C to stop.\n", file.display());
    let router = shared_router(Arc::clone(audit), auth, oidc, (is_secure, settings.allowed_hosts));
    Ok(OpenPage { bound, router, tls, greeting })
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
