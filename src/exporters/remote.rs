//! **What**: what every exporter that speaks OTLP to another machine holds while it runs: its client, its compression,
//! the time that one attempt may take, and what it last complained about. **Why**: `otlp` and `otlp_http` differ in
//! framing only. **Invariants**: an attempt ends in time; a complaint never holds a back end's text.
//! **Not here**: what a user writes (`stanza`), framing (each exporter), statuses (`verdict`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::stanza::{Common, Compression};
use crate::clock::Clock;
use crate::net::client::{self, ClientError, Upload};
use crate::net::encoding::compress;
use crate::net::spawn::blocking;
use crate::net::{Encoding, Proxies, Renewed, Spawn};
use crate::otlp::Signal;
use crate::pipeline::{Outcome, Reason};

/// Bodies over this are compressed off the reactor.
const INLINE: usize = 64 * 1024;

/// What exporters are built with.
#[derive(Clone)]
pub struct Deps {
    /// Connections and compression run as its tasks.
    pub tasks: Arc<dyn Spawn>,
    /// For dates in Retry-After.
    pub clock: Arc<dyn Clock>,
    /// Ways out.
    pub proxies: Arc<Proxies>,
}

/// What both exporters hold while running.
pub struct Remote {
    /// Component id.
    pub id: Arc<str>,
    /// Their settings.
    pub common: Common,
    /// The way out.
    client: Arc<Renewed>,
    /// What they were built with.
    pub deps: Deps,
    encoding: AtomicU8,
    complaint: Mutex<String>,
}

impl Remote {
    /// Opens the client for `destinations`.
    ///
    /// # Errors
    /// One line about a TLS file or missing roots.
    pub fn build(
        id: Arc<str>,
        common: Common,
        http2_only: bool,
        destinations: &[&Uri],
        deps: Deps,
    ) -> Result<Self, String> {
        let encrypted = destinations.iter().any(|uri| uri.scheme() == Some(&Scheme::HTTPS));
        let settings = client::Settings { tls: encrypted.then(|| common.tls.clone()), http2_only };
        let (proxies, tasks, clock) = (Arc::clone(&deps.proxies), Arc::clone(&deps.tasks), Arc::clone(&deps.clock));
        let client = Arc::new(Renewed::build(settings, proxies, tasks, clock)?);
        let first = match (common.compression, common.zstd) {
            (Compression::Zstd, _) | (Compression::Auto, true) => Encoding::Zstd,
            (Compression::Gzip, _) | (Compression::Auto, false) => Encoding::Gzip,
            (Compression::None, _) => Encoding::Identity,
        };
        let encoding = AtomicU8::new(rank(first));
        Ok(Self { id, common, client, deps, encoding, complaint: Mutex::default() })
    }

    /// Sends one request; its URI is absolute.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, ClientError> {
        self.client.client(&self.id).await.send(request).await
    }

    /// `attempt` within the exporter's `timeout`.
    pub async fn timed(&self, attempt: impl Future<Output = Outcome>) -> Outcome {
        match tokio::time::timeout(self.common.timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.complain(Some("no answer in time".to_owned()));
                Outcome::Retry { after: None, reason: Reason::TimedOut }
            }
        }
    }

    /// The encoding to use now.
    pub fn encoding(&self) -> Encoding {
        match self.encoding.load(Ordering::Relaxed) {
            2 => Encoding::Zstd,
            1 => Encoding::Gzip,
            _ => Encoding::Identity,
        }
    }

    /// The back end refused `used`: true if another encoding will be tried (only with `compression: auto`).
    pub fn step_down(&self, used: Encoding) -> bool {
        if self.common.compression != Compression::Auto || used == Encoding::Identity {
            return false;
        }
        let (from, to) = (rank(used), rank(used).saturating_sub(1));
        let _ = self.encoding.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        true
    }

    /// The back end said what it takes.
    pub fn advertised(&self, headers: &HeaderMap, name: &str) {
        let auto = self.common.compression == Compression::Auto && self.encoding() == Encoding::Gzip;
        let takes = |value: &str| value.split(',').any(|token| Encoding::parse(token) == Some(Encoding::Zstd));
        if auto && headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(takes) {
            self.encoding.store(rank(Encoding::Zstd), Ordering::Relaxed);
        }
    }

    /// `body` in `encoding`, away from the sockets if it is large. None: it could not be done.
    pub async fn compress(&self, encoding: Encoding, body: &Bytes) -> Option<Bytes> {
        if encoding == Encoding::Identity {
            return Some(body.clone());
        }
        if body.len() <= INLINE {
            return compress(encoding, body).ok();
        }
        let body = body.clone();
        blocking(&*self.deps.tasks, "compress", move || compress(encoding, &body).ok()).await.flatten()
    }

    /// Adds the headers that were asked for.
    pub fn headers(&self, signal: Signal, account: &str, to: &mut HeaderMap) {
        to.insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        let all = self.common.headers.iter().filter(|(_, _, only)| only.is_none_or(|only| only == signal));
        let all = all.map(|(name, secret, _)| (name, secret));
        let own = self.common.account_headers.get(account).into_iter().flatten().map(|(name, secret)| (name, secret));
        for (name, secret) in all.chain(own) {
            if let Ok(mut value) = HeaderValue::from_str(secret.expose()) {
                value.set_sensitive(true);
                to.insert(name.clone(), value);
            }
        }
    }

    /// Complains if `outcome` is a failure; `status` is a number or a code.
    pub fn report(&self, outcome: &Outcome, status: String) {
        let failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Refused { .. });
        self.complain(failed.then_some(status));
    }

    /// Says once why deliveries fail, until they fail for another reason or succeed. `what` is ours: a status or a
    /// connection error, never a back end's text.
    pub fn complain(&self, what: Option<String>) {
        let what = what.unwrap_or_default();
        let mut last = self.complaint.lock();
        if *last != what {
            if !what.is_empty() {
                tracing::warn!(exporter = &*self.id, reason = what, "the back end does not take requests");
            }
            *last = what;
        }
    }
}

fn rank(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Zstd => 2,
        Encoding::Gzip => 1,
        Encoding::Identity | Encoding::Deflate => 0,
    }
}
