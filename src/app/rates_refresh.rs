//! Fetches newer rate tables while the gateway runs, outside the path that prices calls. If anything fails, the last
//! good table stays in use and the failure is logged; that table is also kept on disk for the next start. Fetches run
//! one at a time, bounded in time and size. `rates/refresh` decides whether a table is accepted; settings are in
//! `processors/cost/config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::build::{BackgroundTask, GatewayDeps};
use crate::app::start_error::StartError;
use kernel::clock::UnixNanos;
use kernel::files;
use kernel::files::describe_io_error;
use net::client::{self, ClientError, HttpClient, read_response, upload_body};
use net::spawn::run_blocking;
use net::{ProxyRules, Spawn, TlsError, tls};
use processors::cost::{CostProcessor, CostSettings, RefreshSettings, RefreshSource};
use rates::{AcceptedTable, FindingSeverity, RatesError, RefreshOutcome, TablePin, TableRefresher};
use telemetry::names;

/// The largest table, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The largest signature, in bytes.
const MAX_SIGNATURE: usize = 4 << 10;
/// Time limit for one answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Without a successful check for this long, an extra error is logged.
const STALE_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// The most log lines about one refusal.
const MAX_LINES: usize = 20;
/// File beside the spool with the last good table.
const LAST_GOOD_FILE: &str = "rates-last-good";

/// A table and its signature as fetched.
#[derive(Clone)]
struct FetchedTable {
    table: Bytes,
    signature: Option<Bytes>,
    etag: Option<String>,
}

/// Why a newer rate table is not in use.
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
    fn at(source: impl std::fmt::Display, why: SourceError) -> Self {
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
    seams: GatewayDeps,
    tasks: Arc<dyn Spawn>,
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
    /// The task for a processor whose settings ask for refreshing. `beside` is the folder for the last good table.
    ///
    /// # Errors
    /// There are no root certificates to verify the source with.
    pub(super) fn build(
        cost: Arc<CostProcessor>,
        settings: CostSettings,
        refresh: RefreshSettings,
        (seams, tasks): (&GatewayDeps, &Arc<dyn Spawn>),
        proxies: Arc<ProxyRules>,
        beside: &Path,
    ) -> Result<Self, TlsError> {
        let client = match &refresh.from {
            RefreshSource::File(_) => None,
            RefreshSource::Url(url) => {
                let tls = url.starts_with("https://").then(tls::ClientTlsSettings::default);
                let settings = client::ClientSettings { tls, http2_only: false };
                Some(HttpClient::build(&settings, proxies, Arc::clone(tasks))?)
            }
        };
        let good = beside.join(LAST_GOOD_FILE);
        Ok(Self {
            cost,
            refresh,
            settings,
            seams: seams.clone(),
            tasks: Arc::clone(tasks),
            client,
            last_good_path: good,
            state: Mutex::default(),
        })
    }

    fn now(&self) -> UnixNanos {
        self.seams.clock.now()
    }

    /// Checks the source once, and takes a newer table.
    pub(super) async fn check_source(self: &Arc<Self>) {
        let meter = &self.seams.meter;
        let fetched = match &self.refresh.from {
            RefreshSource::File(path) => self.read_file(path.clone()).await,
            RefreshSource::Url(url) => self.fetch_url(url).await,
        };
        let outcome = match fetched {
            Ok(None) => Ok("same"),
            Err(why) => Err(why),
            Ok(Some(fetched)) => {
                let this = Arc::clone(self);
                let judged = run_blocking(&*self.tasks, "rates", move || this.verify_table(&fetched, true)).await;
                judged.unwrap_or(Err(RefreshError::Interrupted))
            }
        };
        let failed = meter.gauge(&names::RATES_REFRESH_FAILED, &[]);
        match outcome {
            Ok(word) => {
                failed.set(0.0);
                self.cost.confirm_tables(self.now());
                meter.counter(&names::RATES_REFRESHES, &[("outcome", word)]).increment(1);
            }
            Err(why) => {
                failed.set(1.0);
                meter.counter(&names::RATES_REFRESHES, &[("outcome", "refused")]).increment(1);
                self.log_failure(&why.to_string());
            }
        }
    }

    fn log_failure(&self, why: &str) {
        let table = self.cost.table();
        for line in why.lines().take(MAX_LINES) {
            tracing::warn!(in_use = &**table.stamp(), "the newer rate table is rejected: {line}");
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
            let table = read_capped(&path, MAX_BYTES)?;
            let signature = if signed { Some(read_capped(&signature_path(&path), MAX_SIGNATURE)?) } else { None };
            Ok(Some(FetchedTable { table, signature, etag: None }))
        };
        run_blocking(&*self.tasks, "rates", work).await.unwrap_or_else(|| Err(RefreshError::Interrupted))
    }

    async fn fetch_url(&self, url: &str) -> Result<Option<FetchedTable>, RefreshError> {
        let tag = self.state.lock().etag.clone();
        let Some((table, tag)) = self.fetch(url, MAX_BYTES, tag.as_deref()).await? else { return Ok(None) };
        let signature = if self.refresh.pin.is_signed() {
            self.fetch(&format!("{url}.sig"), MAX_SIGNATURE, None).await?.map(|(bytes, _)| bytes)
        } else {
            None
        };
        Ok(Some(FetchedTable { table, signature, etag: tag }))
    }

    /// Fetches `url`; `None` if it was not modified.
    async fn fetch(
        &self,
        url: &str,
        cap: usize,
        tag: Option<&str>,
    ) -> Result<Option<(Bytes, Option<String>)>, RefreshError> {
        let failed = |why| RefreshError::at(url, why);
        let client = self.client.as_ref().ok_or(RefreshError::Interrupted)?;
        let mut request = Request::get(url).header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")));
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request =
            request.body(upload_body(Bytes::new(), Bytes::new())).map_err(|_| failed(SourceError::InvalidUrl))?;
        let fetch = async {
            let answer = client.send(request).await.map_err(|error| failed(error.into()))?;
            let status = answer.status();
            let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            if status == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            if status != StatusCode::OK {
                return Err(failed(SourceError::Status(status.as_u16())));
            }
            let (bytes, _) = read_response(answer.into_body(), cap).await.map_err(|_| failed(SourceError::CutOff))?;
            Ok(Some((bytes, tag)))
        };
        tokio::time::timeout(FETCH_TIMEOUT, fetch).await.map_err(|_| failed(SourceError::TimedOut))?
    }

    /// Verifies a table and takes it if it is acceptable; with `keep`, also stores it on disk.
    fn verify_table(&self, fetched: &FetchedTable, keep: bool) -> Result<&'static str, RefreshError> {
        let name = match &self.refresh.from {
            RefreshSource::File(path) => path.display().to_string(),
            RefreshSource::Url(url) => url.clone(),
        };
        let failed = |why| RefreshError::at(&name, why);
        let signature = fetched.signature.as_deref();
        self.refresh.pin.check(&fetched.table, signature).map_err(|why| failed(SourceError::Pin(why)))?;
        let text = std::str::from_utf8(&fetched.table).map_err(|_| failed(SourceError::NotText))?;
        let mut state = self.state.lock();
        let refresher = match &mut state.refresher {
            Some(refresher) => refresher,
            none => none.insert(self.build_refresher()?),
        };
        let offer = refresher.offer_table(&name, text)?;
        state.etag.clone_from(&fetched.etag);
        drop(state);
        match offer {
            RefreshOutcome::Unchanged => Ok("same"),
            RefreshOutcome::Accepted(taken) => {
                self.adopt_table(*taken);
                if keep {
                    self.store_table(fetched);
                }
                Ok("taken")
            }
        }
    }

    fn build_refresher(&self) -> Result<TableRefresher, RatesError> {
        Ok(TableRefresher::new(self.settings.load_base()?, self.settings.load_overlays()?, self.refresh.accept.clone()))
    }

    fn adopt_table(&self, taken: AcceptedTable) {
        let changes = taken.findings.iter().filter(|finding| finding.severity == FindingSeverity::Change).count();
        self.cost.replace_tables(taken.rates, self.now());
        let table = self.cost.table();
        tracing::info!(rates = &**table.stamp(), changes, "a newer rate table is in use");
        self.cost.warnings().iter().take(MAX_LINES).for_each(|warning| tracing::warn!("price overlay: {warning}"));
        let warnings = taken.findings.iter().filter(|finding| finding.severity == FindingSeverity::Warning);
        for warning in warnings.take(MAX_LINES) {
            tracing::warn!("rate table: {}: {}", warning.place, warning.description);
        }
        if !taken.kept_models.is_empty() {
            tracing::warn!(
                models = taken.kept_models.len(),
                "the newer rate table lacks some models; their previous entries are kept"
            );
        }
    }

    fn store_table(&self, fetched: &FetchedTable) {
        let write = || {
            files::replace_file(&self.last_good_path, &fetched.table)?;
            match &fetched.signature {
                Some(signature) => files::replace_file(&signature_path(&self.last_good_path), signature),
                None => Ok(()),
            }
        };
        if let Err(error) = write() {
            tracing::warn!(path = %self.last_good_path.display(), kind = %error.kind(), "the last good rate table can't be saved for the next start");
        }
    }

    /// The time until the next check: the configured interval plus up to a twentieth, to spread out replicas.
    fn next_pause(&self) -> Duration {
        let spread = u64::try_from(self.refresh.every.as_millis() / 20).unwrap_or(u64::MAX).max(1);
        self.refresh.every + Duration::from_millis(u64::from_le_bytes(self.random_bytes()) % spread)
    }
}

impl RatesRefreshTask {
    fn random_bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.seams.rng.fill(&mut bytes);
        bytes
    }
}

impl BackgroundTask for RatesRefreshTask {
    fn name(&self) -> &'static str {
        "rates"
    }

    /// Loads the last good table of an earlier run, if it still satisfies the configured pin.
    fn prepare(&self) -> Result<(), StartError> {
        let Ok(table) = read_capped(&self.last_good_path, MAX_BYTES) else { return Ok(()) };
        let signature = read_capped(&signature_path(&self.last_good_path), MAX_SIGNATURE).ok();
        // An unpinned copy is no better than its source, which is checked first thing.
        if self.refresh.pin != TablePin::None
            && let Err(why) = self.verify_table(&FetchedTable { table, signature, etag: None }, false)
        {
            tracing::warn!(
                "the rate table of the last run is not used: {}",
                why.to_string().lines().next().unwrap_or_default()
            );
        }
        Ok(())
    }

    fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let stopped = tokio::select! {
                    () = async { self.check_source().await; tokio::time::sleep(self.next_pause()).await } => false,
                    _ = stop.wait_for(|stop| *stop) => true,
                };
                if stopped {
                    return;
                }
            }
        })
    }
}

fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn read_capped(path: &Path, cap: usize) -> Result<Bytes, RefreshError> {
    let failed = |why| RefreshError::at(path.display(), why);
    let length = fs::metadata(path).map_err(|error| failed(SourceError::Unreadable(error.kind())))?.len();
    if length > cap as u64 {
        return Err(failed(SourceError::TooLarge));
    }
    fs::read(path).map(Bytes::from).map_err(|error| failed(SourceError::Unreadable(error.kind())))
}
