//! Fetches newer rate tables while the gateway runs, without delaying the pricing of calls. If a check fails, the last
//! accepted table stays in use and the failure is logged. An accepted table is also saved on disk; the next start loads
//! it only if a pin is configured. Checks run one at a time; downloads are bounded in time, tables in size.
//! `rates/refresh` decides whether a table is accepted; settings are in `config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::watch;

use kernel::clock::UnixNanos;
use kernel::files;
use kernel::files::describe_io_error;
use net::client::{self, ClientError, HttpClient, read_response, upload_body};
use net::spawn::run_blocking;
use net::{TlsError, tls};
use rates::{AcceptedTable, FindingSeverity, RatesError, TablePin, TableRefresher};
use telemetry::names;

use super::{CostProcessor, CostSettings, RefreshSettings, RefreshSource};
use crate::spec::ProcessorDeps;

/// The largest table, in bytes.
const MAX_TABLE_BYTES: usize = 64 << 20;
/// The largest signature, in bytes.
const MAX_SIGNATURE_BYTES: usize = 4 << 10;
/// Time limit for one download.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a successful check for this long, an extra error is logged.
const STALE_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// The most lines that one list of errors or warnings adds to the log.
const MAX_LOG_LINES: usize = 20;
/// File beside the spool with the last accepted table.
const LAST_GOOD_FILE: &str = "rates-last-good";

#[derive(Clone)]
struct FetchedTable {
    table: Bytes,
    signature: Option<Bytes>,
    etag: Option<String>,
}

/// Why a check of the source failed.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    /// The table's file or address, and the fault.
    #[error("{0}: {1}")]
    Source(String, #[source] SourceError),
    /// The table was read and is refused.
    #[error(transparent)]
    Rates(#[from] RatesError),
    #[error("the check was interrupted")]
    Interrupted,
}

impl RefreshError {
    fn of_source(source: impl std::fmt::Display, why: SourceError) -> Self {
        Self::Source(source.to_string(), why)
    }
}

/// A fault of a rate table's source.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("{}", describe_io_error(*.0))]
    Unreadable(std::io::ErrorKind),
    #[error("too large")]
    TooLarge,
    #[error("is not a valid URL")]
    InvalidUrl,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("too large, or the connection was cut off")]
    CutOff,
    #[error("no answer in time")]
    TimedOut,
    #[error("{0}")]
    Pin(&'static str),
    #[error("is not UTF-8 text")]
    NotText,
}

pub(super) struct RatesRefreshTask {
    cost: Arc<CostProcessor>,
    refresh: RefreshSettings,
    settings: CostSettings,
    deps: ProcessorDeps,
    client: Option<HttpClient>,
    last_good_path: PathBuf,
    state: Mutex<RefreshState>,
}

#[derive(Default)]
struct RefreshState {
    refresher: Option<TableRefresher>,
    etag: Option<String>,
}

impl RatesRefreshTask {
    /// The task for a processor whose settings ask for refreshing; it saves the last accepted table in `folder`.
    ///
    /// # Errors
    /// There are no root certificates to verify the source with.
    pub(super) fn build(
        cost: Arc<CostProcessor>,
        settings: CostSettings,
        refresh: RefreshSettings,
        deps: &ProcessorDeps,
        folder: &Path,
    ) -> Result<Self, TlsError> {
        let client = match &refresh.from {
            RefreshSource::File(_) => None,
            RefreshSource::Url(url) => {
                let tls = url.starts_with("https://").then(tls::ClientTlsSettings::default);
                let settings = client::ClientSettings { tls, http2_only: false };
                Some(HttpClient::build(&settings, &deps.services)?)
            }
        };
        Ok(Self {
            cost,
            refresh,
            settings,
            deps: deps.clone(),
            client,
            last_good_path: folder.join(LAST_GOOD_FILE),
            state: Mutex::default(),
        })
    }

    fn now(&self) -> UnixNanos {
        self.deps.services.clock.now()
    }

    /// Checks the source once, and adopts a newer table.
    pub(super) async fn check_source(self: &Arc<Self>) {
        let meter = &self.deps.services.meter;
        let fetched = match &self.refresh.from {
            RefreshSource::File(path) => self.read_file(path.clone()).await,
            RefreshSource::Url(url) => self.fetch_url(url).await,
        };
        let result = match fetched {
            // Not modified since the last fetch.
            Ok(None) => Ok("same"),
            Err(why) => Err(why),
            Ok(Some(fetched)) => {
                let task = Arc::clone(self);
                let verified =
                    run_blocking(&*self.deps.services.tasks, "rates", move || task.verify_table(&fetched, true)).await;
                verified.unwrap_or(Err(RefreshError::Interrupted))
            }
        };
        let failed_gauge = meter.gauge(&names::RATES_REFRESH_FAILED, &[]);
        match result {
            Ok(outcome) => {
                failed_gauge.set(0.0);
                self.cost.confirm_tables(self.now());
                meter.counter(&names::RATES_REFRESHES, &[("outcome", outcome)]).increment(1);
            }
            Err(why) => {
                failed_gauge.set(1.0);
                meter.counter(&names::RATES_REFRESHES, &[("outcome", "refused")]).increment(1);
                self.log_failure(&why.to_string());
            }
        }
    }

    fn log_failure(&self, why: &str) {
        let table = self.cost.table();
        for line in why.lines().take(MAX_LOG_LINES) {
            tracing::warn!(in_use = &**table.stamp(), "no newer rate table is in use: {line}");
        }
        let age = self.cost.table_age(self.now());
        if age > STALE_AFTER {
            tracing::error!(
                days = age.as_secs() / 86_400,
                "no check of the rate table has succeeded for more than a week"
            );
        }
    }

    async fn read_file(&self, path: PathBuf) -> Result<Option<FetchedTable>, RefreshError> {
        let signed = self.refresh.pin.is_signed();
        let work = move || {
            let table = read_capped(&path, MAX_TABLE_BYTES)?;
            let signature = if signed { Some(read_capped(&signature_path(&path), MAX_SIGNATURE_BYTES)?) } else { None };
            Ok(Some(FetchedTable { table, signature, etag: None }))
        };
        run_blocking(&*self.deps.services.tasks, "rates", work).await.unwrap_or_else(|| Err(RefreshError::Interrupted))
    }

    async fn fetch_url(&self, url: &str) -> Result<Option<FetchedTable>, RefreshError> {
        let etag = self.state.lock().etag.clone();
        let Some((table, etag)) = self.fetch(url, MAX_TABLE_BYTES, etag.as_deref()).await? else { return Ok(None) };
        let signature = if self.refresh.pin.is_signed() {
            self.fetch(&format!("{url}.sig"), MAX_SIGNATURE_BYTES, None).await?.map(|(bytes, _)| bytes)
        } else {
            None
        };
        Ok(Some(FetchedTable { table, signature, etag }))
    }

    /// Fetches the body of `url` and its ETag; `None` if it was not modified since `etag`.
    async fn fetch(
        &self,
        url: &str,
        cap: usize,
        etag: Option<&str>,
    ) -> Result<Option<(Bytes, Option<String>)>, RefreshError> {
        let source_error = |why| RefreshError::of_source(url, why);
        let client = self.client.as_ref().ok_or(RefreshError::Interrupted)?;
        let mut request = Request::get(url).header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")));
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let request = request.body(upload_body([])).map_err(|_| source_error(SourceError::InvalidUrl))?;
        let fetch = async {
            let answer = client.send(request).await.map_err(|error| source_error(error.into()))?;
            let status = answer.status();
            let etag = answer.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            if status == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            if status != StatusCode::OK {
                return Err(source_error(SourceError::Status(status.as_u16())));
            }
            let (bytes, _) =
                read_response(answer.into_body(), cap).await.map_err(|_| source_error(SourceError::CutOff))?;
            Ok(Some((bytes, etag)))
        };
        tokio::time::timeout(FETCH_TIMEOUT, fetch).await.map_err(|_| source_error(SourceError::TimedOut))?
    }

    /// Verifies a table and adopts it if it is acceptable; with `save`, also saves it on disk.
    fn verify_table(&self, fetched: &FetchedTable, save: bool) -> Result<&'static str, RefreshError> {
        let name = match &self.refresh.from {
            RefreshSource::File(path) => path.display().to_string(),
            RefreshSource::Url(url) => url.clone(),
        };
        let source_error = |why| RefreshError::of_source(&name, why);
        let signature = fetched.signature.as_deref();
        self.refresh.pin.check(&fetched.table, signature).map_err(|why| source_error(SourceError::Pin(why)))?;
        let text = std::str::from_utf8(&fetched.table).map_err(|_| source_error(SourceError::NotText))?;
        let mut state = self.state.lock();
        let refresher = match &mut state.refresher {
            Some(refresher) => refresher,
            empty => empty.insert(TableRefresher::new(
                self.settings.load_base()?,
                self.settings.load_overlays()?,
                self.refresh.accept.clone(),
            )),
        };
        let outcome = refresher.offer_table(&name, text)?;
        state.etag.clone_from(&fetched.etag);
        drop(state);
        match outcome {
            None => Ok("same"),
            Some(accepted) => {
                self.adopt_table(accepted);
                if save {
                    self.save_table(fetched);
                }
                Ok("taken")
            }
        }
    }

    fn adopt_table(&self, accepted: AcceptedTable) {
        let changes = accepted.findings.iter().filter(|finding| finding.severity == FindingSeverity::Change).count();
        self.cost.replace_tables(accepted.rates, self.now());
        let table = self.cost.table();
        tracing::info!(rates = &**table.stamp(), changes, "a newer rate table is in use");
        self.cost.warnings().iter().take(MAX_LOG_LINES).for_each(|warning| tracing::warn!("price overlay: {warning}"));
        let warnings = accepted.findings.iter().filter(|finding| finding.severity == FindingSeverity::Warning);
        for warning in warnings.take(MAX_LOG_LINES) {
            tracing::warn!("rate table: {}: {}", warning.place, warning.description);
        }
        if !accepted.kept_models.is_empty() {
            tracing::warn!(
                models = accepted.kept_models.len(),
                "the newer rate table lacks some models; their previous entries are kept"
            );
        }
    }

    fn save_table(&self, fetched: &FetchedTable) {
        let save = || {
            files::replace_file(&self.last_good_path, &fetched.table)?;
            match &fetched.signature {
                Some(signature) => files::replace_file(&signature_path(&self.last_good_path), signature),
                None => Ok(()),
            }
        };
        if let Err(error) = save() {
            tracing::warn!(path = %self.last_good_path.display(), kind = %error.kind(), "the last good rate table can't be saved for the next start");
        }
    }

    /// The time until the next check: the configured interval plus up to a twentieth, to spread out replicas.
    fn next_pause(&self) -> Duration {
        let spread = u64::try_from(self.refresh.every.as_millis() / 20).unwrap_or(u64::MAX).max(1);
        self.refresh.every + Duration::from_millis(u64::from_le_bytes(self.random_bytes()) % spread)
    }

    fn random_bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.deps.services.rng.fill(&mut bytes);
        bytes
    }
}

impl RatesRefreshTask {
    /// Loads the last accepted table of an earlier run, if it satisfies the configured pin.
    pub(super) fn load_saved_table(&self) {
        // Without a pin, nothing shows that the saved table is unchanged, and `run` checks the source at once.
        if self.refresh.pin == TablePin::None {
            return;
        }
        let Ok(table) = read_capped(&self.last_good_path, MAX_TABLE_BYTES) else { return };
        let signature = read_capped(&signature_path(&self.last_good_path), MAX_SIGNATURE_BYTES).ok();
        if let Err(why) = self.verify_table(&FetchedTable { table, signature, etag: None }, false) {
            tracing::warn!(
                "the rate table of the last run is not used: {}",
                why.to_string().lines().next().unwrap_or_default()
            );
        }
    }

    /// Checks the source until `stop` turns true.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let stopped = tokio::select! {
                () = async { self.check_source().await; tokio::time::sleep(self.next_pause()).await } => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if stopped {
                return;
            }
        }
    }
}

fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn read_capped(path: &Path, cap: usize) -> Result<Bytes, RefreshError> {
    let source_error = |why| RefreshError::of_source(path.display(), why);
    let length = fs::metadata(path).map_err(|error| source_error(SourceError::Unreadable(error.kind())))?.len();
    if length > cap as u64 {
        return Err(source_error(SourceError::TooLarge));
    }
    fs::read(path).map(Bytes::from).map_err(|error| source_error(SourceError::Unreadable(error.kind())))
}
