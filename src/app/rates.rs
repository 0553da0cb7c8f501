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

use crate::app::build::{Companion, Seams};
use crate::app::start_error::StartError;
use kernel::clock::UnixNanos;
use kernel::files;
use net::client::{self, Client, ClientError, read, upload};
use net::spawn::blocking;
use net::{Proxies, Spawn, TlsError, tls};
use processors::cost::{Cost, RefreshFrom, RefreshSettings, Settings};
use rates::{Gravity, Offer, Pin, RatesError, Refresher, Taken};
use telemetry::names;

/// The largest table, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The largest signature, in bytes.
const MAX_SIGNATURE: usize = 4 << 10;
/// Time limit for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Without a successful check for this long, an extra error is logged.
const STALE: Duration = Duration::from_secs(7 * 86_400);
/// The most log lines about one refusal.
const MAX_LINES: usize = 20;
/// File beside the spool with the last good table.
const GOOD: &str = "rates-last-good";

/// A table and its signature as fetched.
#[derive(Clone)]
struct Fetched {
    table: Bytes,
    signature: Option<Bytes>,
    tag: Option<String>,
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
    #[error("{0}")]
    Unreadable(std::io::ErrorKind),
    #[error("too large")]
    TooLarge,
    #[error("is not a URL")]
    NotAnAddress,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("too large, or cut off")]
    CutOff,
    #[error("no answer in time")]
    TimedOut,
    #[error("{0}")]
    Pin(&'static str),
    #[error("is no text")]
    NotText,
}

pub(super) struct RatesTask {
    cost: Arc<Cost>,
    refresh: RefreshSettings,
    settings: Settings,
    seams: Seams,
    tasks: Arc<dyn Spawn>,
    client: Option<Client>,
    good: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    refresher: Option<Refresher>,
    tag: Option<String>,
}

impl RatesTask {
    /// The task for a processor whose settings ask for refreshing. `beside` is the folder for the last good table.
    ///
    /// # Errors
    /// There are no root certificates to verify the source with.
    pub(super) fn build(
        cost: Arc<Cost>,
        settings: Settings,
        refresh: RefreshSettings,
        (seams, tasks): (&Seams, &Arc<dyn Spawn>),
        proxies: Arc<Proxies>,
        beside: &Path,
    ) -> Result<Self, TlsError> {
        let client = match &refresh.from {
            RefreshFrom::File(_) => None,
            RefreshFrom::Url(url) => {
                let tls = url.starts_with("https://").then(tls::Settings::default);
                let settings = client::Settings { tls, http2_only: false };
                Some(Client::build(&settings, proxies, Arc::clone(tasks))?)
            }
        };
        let good = beside.join(GOOD);
        Ok(Self {
            cost,
            refresh,
            settings,
            seams: seams.clone(),
            tasks: Arc::clone(tasks),
            client,
            good,
            state: Mutex::default(),
        })
    }

    fn now(&self) -> UnixNanos {
        self.seams.clock.now()
    }

    /// Checks the source once, and takes a newer table.
    pub(super) async fn look(self: &Arc<Self>) {
        let meter = &self.seams.meter;
        let fetched = match &self.refresh.from {
            RefreshFrom::File(path) => self.read_file(path.clone()).await,
            RefreshFrom::Url(url) => self.fetch_url(url).await,
        };
        let outcome = match fetched {
            Ok(None) => Ok("same"),
            Err(why) => Err(why),
            Ok(Some(fetched)) => {
                let this = Arc::clone(self);
                let judged = blocking(&*self.tasks, "rates", move || this.judge(&fetched, true)).await;
                judged.unwrap_or(Err(RefreshError::Interrupted))
            }
        };
        let failed = meter.gauge(&names::RATES_REFRESH_FAILED, &[]);
        match outcome {
            Ok(word) => {
                failed.set(0.0);
                self.cost.confirm(self.now());
                meter.counter(&names::RATES_REFRESHES, &[("outcome", word)]).increment(1);
            }
            Err(why) => {
                failed.set(1.0);
                meter.counter(&names::RATES_REFRESHES, &[("outcome", "refused")]).increment(1);
                self.complain(&why.to_string());
            }
        }
    }

    fn complain(&self, why: &str) {
        let table = self.cost.table();
        for line in why.lines().take(MAX_LINES) {
            tracing::warn!(in_use = &**table.stamp(), "the newer rate table is not taken: {line}");
        }
        let age = self.cost.age(self.now());
        if age > STALE {
            tracing::error!(days = age.as_secs() / 86_400, "the rate table was not confirmed for more than a week");
        }
    }

    async fn read_file(&self, path: PathBuf) -> Result<Option<Fetched>, RefreshError> {
        let signed = self.refresh.pin.is_signed();
        let work = move || {
            let table = capped(&path, MAX_BYTES)?;
            let signature = if signed { Some(capped(&beside(&path), MAX_SIGNATURE)?) } else { None };
            Ok(Some(Fetched { table, signature, tag: None }))
        };
        blocking(&*self.tasks, "rates", work).await.unwrap_or_else(|| Err(RefreshError::Interrupted))
    }

    async fn fetch_url(&self, url: &str) -> Result<Option<Fetched>, RefreshError> {
        let tag = self.state.lock().tag.clone();
        let Some((table, tag)) = self.get(url, MAX_BYTES, tag.as_deref()).await? else { return Ok(None) };
        let signature = if self.refresh.pin.is_signed() {
            self.get(&format!("{url}.sig"), MAX_SIGNATURE, None).await?.map(|(bytes, _)| bytes)
        } else {
            None
        };
        Ok(Some(Fetched { table, signature, tag }))
    }

    /// Fetches `url`; `None` if it was not modified.
    async fn get(
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
            request.body(upload(Bytes::new(), Bytes::new())).map_err(|_| failed(SourceError::NotAnAddress))?;
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
            let (bytes, _) = read(answer.into_body(), cap).await.map_err(|_| failed(SourceError::CutOff))?;
            Ok(Some((bytes, tag)))
        };
        tokio::time::timeout(TIMEOUT, fetch).await.map_err(|_| failed(SourceError::TimedOut))?
    }

    /// Verifies a table and takes it if it is acceptable; with `keep`, also stores it on disk.
    fn judge(&self, fetched: &Fetched, keep: bool) -> Result<&'static str, RefreshError> {
        let name = match &self.refresh.from {
            RefreshFrom::File(path) => path.display().to_string(),
            RefreshFrom::Url(url) => url.clone(),
        };
        let failed = |why| RefreshError::at(&name, why);
        let signature = fetched.signature.as_deref();
        self.refresh.pin.check(&fetched.table, signature).map_err(|why| failed(SourceError::Pin(why)))?;
        let text = std::str::from_utf8(&fetched.table).map_err(|_| failed(SourceError::NotText))?;
        let mut state = self.state.lock();
        let refresher = match &mut state.refresher {
            Some(refresher) => refresher,
            none => none.insert(self.refresher()?),
        };
        let offer = refresher.offer(&name, text)?;
        state.tag.clone_from(&fetched.tag);
        drop(state);
        match offer {
            Offer::Same => Ok("same"),
            Offer::Taken(taken) => {
                self.take(*taken);
                if keep {
                    self.store(fetched);
                }
                Ok("taken")
            }
        }
    }

    fn refresher(&self) -> Result<Refresher, RatesError> {
        Ok(Refresher::new(self.settings.base()?, self.settings.overlays()?, self.refresh.accept.clone()))
    }

    fn take(&self, taken: Taken) {
        let changes = taken.findings.iter().filter(|finding| finding.gravity == Gravity::Change).count();
        self.cost.adopt(taken.rates, self.now());
        let table = self.cost.table();
        tracing::info!(rates = &**table.stamp(), changes, "a newer rate table is in use");
        self.cost.warnings().iter().take(MAX_LINES).for_each(|warning| tracing::warn!("price overlay: {warning}"));
        let warnings = taken.findings.iter().filter(|finding| finding.gravity == Gravity::Warning);
        for warning in warnings.take(MAX_LINES) {
            tracing::warn!("rate table: {}: {}", warning.place, warning.what);
        }
        if !taken.kept.is_empty() {
            tracing::warn!(models = taken.kept.len(), "the newer rate table lost models; their old entries are kept");
        }
    }

    fn store(&self, fetched: &Fetched) {
        let write = || {
            files::replace(&self.good, &fetched.table)?;
            match &fetched.signature {
                Some(signature) => files::replace(&beside(&self.good), signature),
                None => Ok(()),
            }
        };
        if let Err(error) = write() {
            tracing::warn!(path = %self.good.display(), kind = %error.kind(), "the last good rate table can't be kept");
        }
    }

    /// The time until the next check: the configured interval plus up to a twentieth, to spread out replicas.
    fn pause(&self) -> Duration {
        let spread = u64::try_from(self.refresh.every.as_millis() / 20).unwrap_or(u64::MAX).max(1);
        self.refresh.every + Duration::from_millis(u64::from_le_bytes(self.random()) % spread)
    }
}

impl RatesTask {
    fn random(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.seams.rng.fill(&mut bytes);
        bytes
    }
}

impl Companion for RatesTask {
    fn name(&self) -> &'static str {
        "rates"
    }

    /// Loads the last good table of an earlier run, if it still satisfies the configured pin.
    fn prepare(&self) -> Result<(), StartError> {
        let Ok(table) = capped(&self.good, MAX_BYTES) else { return Ok(()) };
        let signature = capped(&beside(&self.good), MAX_SIGNATURE).ok();
        // An unpinned copy is no better than its source, which is checked first thing.
        if self.refresh.pin != Pin::None
            && let Err(why) = self.judge(&Fetched { table, signature, tag: None }, false)
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
                    () = async { self.look().await; tokio::time::sleep(self.pause()).await } => false,
                    _ = stop.wait_for(|stop| *stop) => true,
                };
                if stopped {
                    return;
                }
            }
        })
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn capped(path: &Path, cap: usize) -> Result<Bytes, RefreshError> {
    let failed = |why| RefreshError::at(path.display(), why);
    let length = fs::metadata(path).map_err(|error| failed(SourceError::Unreadable(error.kind())))?.len();
    if length > cap as u64 {
        return Err(failed(SourceError::TooLarge));
    }
    fs::read(path).map(Bytes::from).map_err(|error| failed(SourceError::Unreadable(error.kind())))
}
