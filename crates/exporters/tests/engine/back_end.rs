//! [`BackEnd`]: a simulated back end that is healthy, slow, refusing or unreachable, as the seed decides. The
//! exporters' own `outcome` interprets its responses. Whole engines run against it in simulated time, thousands of
//! times.
//! It records the items that it accepted and refused, and how often it accepted an item without the gateway learning
//! of it.

#![allow(missing_docs, reason = "test support")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;

use exporters::outcome::{self, UNAVAILABLE};
use kernel::clock::{Clock, ManualClock, with_timeout};
use kernel::rng::SeededRng;
use net::client::ResponseReadError;
use otlp::Signal;
use otlp::status::{GrpcCode, PartialSuccess, RpcStatus, response_to_protobuf};
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

use pipeline::testing::engine::{REFERENCE, names_with};

/// Timeout of one attempt, as in a real exporter.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any simulation.
const EVER: Duration = Duration::from_secs(1 << 30);

/// How the back end behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weather {
    Well,
    /// The response may come after the exporter's timeout.
    Slow,
    /// Accepts only a part of the items.
    Partial,
    /// 429, with or without a retry delay.
    Limits,
    /// 503 with or without a retry delay, 502, 504.
    Unavailable,
    /// 401, 403.
    Denies,
    /// The connection is reset before anything was read.
    Resets,
    /// Everything was accepted, then the connection is reset.
    ResetsAfter,
    /// Everything is accepted, and no response is sent.
    Hangs,
    /// Nothing arrives, and no response is sent.
    HalfOpen,
    /// Everything is accepted, and the response is cut off.
    Cuts,
    /// Refuses connections for hours.
    Dead,
}

impl Weather {
    pub(crate) const ALL: [Self; 12] = [
        Self::Well,
        Self::Slow,
        Self::Partial,
        Self::Limits,
        Self::Unavailable,
        Self::Denies,
        Self::Resets,
        Self::ResetsAfter,
        Self::Hangs,
        Self::HalfOpen,
        Self::Cuts,
        Self::Dead,
    ];
}

/// The back end's response.
enum Reply {
    Taken,
    /// Accepted, except for so many items.
    Partly(u64),
    /// A retryable status, with an optional Retry-After.
    Later(u16, Option<String>),
    /// A final status.
    Never(u16),
    /// The connection ended without a response.
    Lost,
    /// The response was cut off.
    Cut,
    /// No response.
    Silence,
}

/// What happened to one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub taken: u64,
    /// How often the item was refused by a partial success.
    pub refused: u64,
    /// How often the item was accepted without the gateway learning of it.
    pub unheard: u64,
}

/// A simulated back end; see the module.
pub(crate) struct BackEnd {
    id: Arc<str>,
    grpc: bool,
    limit: usize,
    /// Maximum number of items in one request; a larger one is answered with 413.
    most: usize,
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
    /// A signal that is answered with 404 until the back end is healed.
    without: OnceLock<Signal>,
    /// The back end stays healthy from now on.
    healed: AtomicBool,
    state: Mutex<State>,
    under_way: AtomicUsize,
    /// Highest number of concurrent requests so far.
    pub peak: AtomicUsize,
}

#[derive(Default)]
struct State {
    weather: Option<(Weather, Duration)>,
    fates: BTreeMap<String, Fate>,
    references: BTreeSet<(String, String)>,
    seen: BTreeMap<Weather, u64>,
}

impl BackEnd {
    pub(crate) fn new(id: &str, grpc: bool, clock: &Arc<ManualClock>, rng: &Arc<SeededRng>) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            grpc,
            limit: 300 + usize::try_from(rng.next() % 4_000).unwrap(),
            most: 3 + usize::try_from(rng.next() % 20).unwrap(),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            without: OnceLock::new(),
            healed: AtomicBool::new(false),
            state: Mutex::default(),
            under_way: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    /// Makes the back end healthy for good.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    /// Answers this signal with 404 until the back end is healed.
    pub(crate) fn refuse(&self, signal: Signal) {
        let _ = self.without.set(signal);
    }

    /// Sets the weather for a time span.
    pub(crate) fn set(&self, weather: Weather, span: Duration) {
        self.state.lock().weather = Some((weather, self.clock.monotonic() + span));
    }

    pub(crate) fn fate(&self, item: &str) -> Fate {
        self.state.lock().fates.get(item).copied().unwrap_or_default()
    }

    /// Every item that arrived in any weather, with its vault reference.
    pub(crate) fn references(&self) -> BTreeSet<(String, String)> {
        self.state.lock().references.clone()
    }

    /// Number of requests by weather.
    pub(crate) fn seen(&self) -> BTreeMap<Weather, u64> {
        self.state.lock().seen.clone()
    }

    fn pick(&self, below: u64) -> u64 {
        self.rng.next() % below
    }

    fn weather(&self) -> Weather {
        if self.healed.load(Ordering::SeqCst) {
            return Weather::Well;
        }
        let mut state = self.state.lock();
        let now = self.clock.monotonic();
        let weather = match state.weather {
            Some((weather, until)) if now < until => weather,
            _ => {
                let kind = usize::try_from(self.pick(2 * Weather::ALL.len() as u64)).unwrap();
                let weather = Weather::ALL.get(kind).copied().unwrap_or(Weather::Well);
                let span = if weather == Weather::Dead { self.pick(4 * 3_600) } else { self.pick(90) };
                state.weather = Some((weather, now + Duration::from_secs(span)));
                weather
            }
        };
        *state.seen.entry(weather).or_default() += 1;
        weather
    }

    /// The time until the request has arrived, and from then until the response.
    fn delays(&self, weather: Weather) -> (Duration, Duration) {
        let most = if weather == Weather::Slow { 8_000 } else { 400 };
        (Duration::from_millis(self.pick(most)), Duration::from_millis(self.pick(most)))
    }

    /// Chooses the response to these items.
    fn reply(&self, weather: Weather, items: &[(String, String)]) -> Reply {
        let when = |this: &Self| match this.pick(4) {
            0 => None,
            1 => Some("Wed, 15 Nov 2023 08:00:00 GMT".to_owned()),
            _ => Some(this.pick(100).to_string()),
        };
        let has = |kind: &str| items.iter().any(|(name, _)| name.starts_with(kind));
        match weather {
            Weather::Dead | Weather::Resets => Reply::Lost,
            Weather::HalfOpen => Reply::Silence,
            Weather::Limits => Reply::Later(429, when(self)),
            Weather::Unavailable => Reply::Later([503, 502, 504][usize::try_from(self.pick(3)).unwrap()], when(self)),
            Weather::Denies => Reply::Later([401, 403][usize::try_from(self.pick(2)).unwrap()], None),
            _ if has("sour") => Reply::Never(400),
            _ if has("fat") || items.len() > self.most => Reply::Never(413),
            Weather::Partial => Reply::Partly(1 + self.pick(items.len() as u64)),
            Weather::ResetsAfter => Reply::Lost,
            Weather::Hangs => Reply::Silence,
            Weather::Cuts => Reply::Cut,
            Weather::Well | Weather::Slow => Reply::Taken,
        }
    }

    /// Records what happened to these items.
    fn remember(&self, weather: Weather, reply: &Reply, heard: bool, items: Vec<(String, String)>) {
        let mut state = self.state.lock();
        let lost = matches!(weather, Weather::ResetsAfter | Weather::Hangs | Weather::Cuts);
        let refused = if let Reply::Partly(refused) = reply { *refused } else { 0 };
        for (at, (name, reference)) in items.into_iter().enumerate() {
            let fate = state.fates.entry(name.clone()).or_default();
            match reply {
                Reply::Partly(_) if (at as u64) < refused => fate.refused += 1,
                Reply::Taken | Reply::Partly(_) => fate.taken += 1,
                Reply::Lost | Reply::Silence | Reply::Cut if lost => fate.taken += 1,
                _ => {}
            }
            let taken = matches!(reply, Reply::Taken | Reply::Partly(_));
            fate.unheard += u64::from((lost && !matches!(reply, Reply::Never(_))) || (taken && !heard));
            state.references.insert((name, reference));
        }
    }

    async fn attempt(&self, request: &ExportRequest) -> Outcome {
        let weather = self.weather();
        let (there, back) = self.delays(weather);
        self.clock.sleep(there).await;
        let items = names_with(&request.body.joined(), REFERENCE);
        assert_eq!(items.len() as u64, request.items, "what is counted is what is sent");
        let refuses = self.without.get() == Some(&request.signal) && !self.healed.load(Ordering::SeqCst);
        let reply = if refuses { Reply::Later(404, None) } else { self.reply(weather, &items) };
        self.remember(weather, &reply, there + back < TIMEOUT, items);
        self.clock.sleep(if matches!(reply, Reply::Silence) { EVER } else { back }).await;
        if self.grpc { Self::grpc(&reply) } else { self.http(&reply) }
    }

    /// The outcome of the response on an HTTP connection.
    fn http(&self, reply: &Reply) -> Outcome {
        let mut headers = HeaderMap::new();
        let mut body = Ok(Vec::new());
        let status = match reply {
            Reply::Taken => 200,
            Reply::Partly(refused) => {
                body = Ok(partial(*refused));
                200
            }
            Reply::Later(status, when) => {
                if let Some(when) = when {
                    headers.insert(header::RETRY_AFTER, HeaderValue::from_str(when).unwrap());
                }
                *status
            }
            Reply::Never(status) => *status,
            Reply::Cut => {
                body = Err(ResponseReadError::Truncated);
                200
            }
            Reply::Lost | Reply::Silence => return UNAVAILABLE,
        };
        let body = body.as_ref().map(Vec::as_slice).map_err(|error| *error);
        outcome::http_outcome(StatusCode::from_u16(status).unwrap(), &headers, body, true, self.clock.now())
    }

    /// The outcome of the response on a gRPC connection.
    fn grpc(reply: &Reply) -> Outcome {
        let end = |code: tonic::Code, retry_after: Option<Duration>| {
            let details = RpcStatus {
                code: GrpcCode::from_number(code.into()),
                message: String::new(),
                retry_after,
                violation: None,
            };
            tonic::Status::with_details(code, "", details.to_protobuf().into())
        };
        let (end, body) = match reply {
            Reply::Taken => (end(tonic::Code::Ok, None), Ok(Vec::new())),
            Reply::Partly(refused) => (end(tonic::Code::Ok, None), Ok(partial(*refused))),
            Reply::Later(status, when) => {
                let when = when.as_ref().and_then(|when| when.parse().ok()).map(Duration::from_secs);
                let code = match (status, when) {
                    (401, _) => tonic::Code::Unauthenticated,
                    (403, _) => tonic::Code::PermissionDenied,
                    (404, _) => tonic::Code::Unimplemented,
                    // without a retry delay this code is final
                    (429, Some(_)) => tonic::Code::ResourceExhausted,
                    _ => tonic::Code::Unavailable,
                };
                (end(code, when), Ok(Vec::new()))
            }
            Reply::Never(400) => (end(tonic::Code::InvalidArgument, None), Ok(Vec::new())),
            Reply::Never(_) => (end(tonic::Code::ResourceExhausted, None), Ok(Vec::new())),
            Reply::Cut => return outcome::grpc_outcome(StatusCode::OK, None, Err(ResponseReadError::Truncated)),
            Reply::Lost | Reply::Silence => return UNAVAILABLE,
        };
        outcome::grpc_outcome(
            StatusCode::OK,
            Some(&end),
            body.as_ref().map(Vec::as_slice).map_err(|error: &ResponseReadError| *error),
        )
    }
}

fn partial(refused: u64) -> Vec<u8> {
    let rejected = i64::try_from(refused).unwrap();
    response_to_protobuf(Some(&PartialSuccess { rejected, message: "no".to_owned() }))
}

/// Counts concurrent requests, including those that are cancelled.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Exporter for BackEnd {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn trust(&self) -> Trust {
        Trust::ThirdParty
    }

    fn max_request_bytes(&self) -> usize {
        self.limit
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            let _under_way = UnderWay(&self.under_way);
            self.peak.fetch_max(now, Ordering::SeqCst);
            let answer = with_timeout(&*self.clock, TIMEOUT, self.attempt(request)).await;
            answer.unwrap_or(Outcome::Retry { after: None, reason: Reason::TimedOut })
        })
    }
}
