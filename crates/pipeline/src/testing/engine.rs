//! Fakes for tests of the engine: small requests whose items are identified by name, and scripted processors and
//! exporters.

#![allow(missing_docs, reason = "test support")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use prost::Message;

use crate::spool::{RecordKind, SpoolRecord};
use crate::{
    Batch, BatchOrigin, Clearance, ClientIdentity, ContentState, Effect, ExportRequest, Exporter, Outcome, Processor,
    Reason, RecordDraft, TextState, TicketResult, Ticketer, Trust,
};
use kernel::clock::{Clock, UnixNanos};
use otlp::{OwnedValue, Payload, Signal, SlotId, TextField};

/// A trace request with one span for each name.
pub fn spans<S: AsRef<str>>(names: &[S]) -> Bytes {
    padded(names, 0)
}

/// As [`spans`], with an attribute of `attribute_bytes` on each span.
pub fn padded<S: AsRef<str>>(names: &[S], attribute_bytes: usize) -> Bytes {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    let padding = (attribute_bytes > 0).then(|| KeyValue {
        key: "pad".to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue("x".repeat(attribute_bytes))) }),
        ..Default::default()
    });
    let spans = names
        .iter()
        .map(|name| Span {
            name: name.as_ref().to_owned(),
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            attributes: padding.clone().into_iter().collect(),
            ..Default::default()
        })
        .collect();
    let scope = ScopeSpans { spans, ..Default::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..Default::default() }],
    };
    request.encode_to_vec().into()
}

/// A trace request with one span, and a field that is not in the schema.
pub fn with_unknown_field(name: &str) -> Bytes {
    let mut bytes = spans(&[name]).to_vec();
    // Field 1000, length-delimited, "?".
    bytes.extend_from_slice(&[0xc2, 0x3e, 1, b'?']);
    bytes.into()
}

/// A logs request with one record for each name.
pub fn logs<S: AsRef<str>>(names: &[S]) -> Bytes {
    let record =
        |name: &S| LogRecord { event_name: name.as_ref().to_owned(), observed_time_unix_nano: 1, ..Default::default() };
    let scope = ScopeLogs { log_records: names.iter().map(record).collect(), ..Default::default() };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..Default::default() }],
    };
    request.encode_to_vec().into()
}

/// Names of the items of a request made by [`spans`] or [`logs`]. The signal is found by decoding: a request of one
/// signal is invalid for the other's decoder.
pub fn names(request: &[u8]) -> Vec<String> {
    names_with(request, "").into_iter().map(|(name, _)| name).collect()
}

/// As [`names`], each with the text of the attribute `key`.
pub fn names_with(request: &[u8], key: &str) -> Vec<(String, String)> {
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
    let text = |attributes: Vec<KeyValue>| {
        let value = attributes.into_iter().find(|pair| pair.key == key)?.value?.value?;
        if let Value::StringValue(text) = value { Some(text) } else { None }
    };
    if let Ok(request) = ExportTraceServiceRequest::decode(request) {
        let spans = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        let spans = spans.flat_map(|scope| scope.spans);
        return spans.map(|span| (span.name, text(span.attributes).unwrap_or_default())).collect();
    }
    let request = ExportLogsServiceRequest::decode(request).unwrap();
    let records = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let records = records.flat_map(|scope| scope.log_records);
    records.map(|record| (record.event_name, text(record.attributes).unwrap_or_default())).collect()
}

/// The names in alphabetical order.
pub fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The attributes of the first span.
pub fn attributes(request: &[u8]) -> BTreeMap<String, String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let request = ExportTraceServiceRequest::decode(request).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    let text = |value: &Option<Value>| match value {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    let pairs = span.attributes.iter();
    pairs.map(|pair| (pair.key.clone(), text(&pair.value.as_ref().unwrap().value))).collect()
}

/// Names of the items of a payload.
pub fn item_names(payload: &Payload) -> Vec<String> {
    let field = if payload.signal() == Signal::Logs { TextField::EventName } else { TextField::Name };
    payload.items().map(|item| payload.text(item, field).to_owned()).collect()
}

/// Origin of test batches.
pub fn origin() -> Arc<BatchOrigin> {
    Arc::new(BatchOrigin {
        account: "default".into(),
        identity: ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        received: UnixNanos(1),
        id: [7; 16],
        repeat: false,
        source_record: None,
    })
}

/// The closure of a [`Step`].
type StepAction = Box<dyn Fn(&mut Batch) -> Result<(), Reason> + Send + Sync>;

/// A processor made from a closure; counts its calls.
pub struct Step {
    id: Arc<str>,
    action: StepAction,
    pub runs: AtomicUsize,
    pub applied: AtomicUsize,
    pub discarded: AtomicUsize,
}

impl Step {
    pub fn new(id: &str, action: impl Fn(&mut Batch) -> Result<(), Reason> + Send + Sync + 'static) -> Arc<Self> {
        let [runs, applied, discarded] = [0; 3].map(AtomicUsize::new);
        Arc::new(Self { id: id.into(), action: Box::new(action), runs, applied, discarded })
    }

    /// A step that sets the attribute `mark.ID` on every item, where `ID` is its id.
    pub fn mark(id: &str) -> Arc<Self> {
        let key = format!("mark.{id}");
        Self::new(id, move |batch| {
            for item in batch.payload.items().collect::<Vec<_>>() {
                batch.payload.set(item, &key, OwnedValue::Str("1".to_owned()));
            }
            Ok(())
        })
    }

    /// A step that declares content stripped and text redacted.
    pub fn clear(id: &str) -> Arc<Self> {
        Self::new(id, |batch| {
            batch.clearance = Clearance { content: ContentState::Stripped, text: TextState::Redacted };
            Ok(())
        })
    }

    /// A step that panics if an item's name starts with `poison`, and keeps the batch back if one starts with `keep`.
    pub fn picky(id: &str) -> Arc<Self> {
        Self::new(id, |batch| {
            let names = item_names(&batch.payload);
            if names.iter().any(|name| name.starts_with("poison")) {
                // Unwinds like any panic, but without the hook that writes a backtrace: simulations do this thousands
                // of times.
                std::panic::resume_unwind(Box::new("poison"));
            }
            if names.iter().any(|name| name.starts_with("keep")) { Err(Reason::SpoolFull) } else { Ok(()) }
        })
    }

    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Processor for Step {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.action)(batch)
    }

    fn apply(&self, _: &Effect) {
        self.applied.fetch_add(1, Ordering::SeqCst);
    }

    fn discard(&self, _: &[u8; 16]) {
        self.discarded.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts each item once by name, as a pricing processor does: claims, effects, a checkpoint.
pub struct Tally {
    id: Arc<str>,
    /// By name: the batch in flight that counts it; `None` once it is counted.
    claims: Mutex<BTreeMap<String, Option<[u8; 16]>>>,
    counted: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Self { id: id.into(), claims: Mutex::default(), counted: Mutex::default() })
    }

    /// Number of times each name was counted.
    pub fn counted(&self) -> BTreeMap<String, u64> {
        self.counted.lock().clone()
    }
}

impl Processor for Tally {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let mut body = batch.origin.id.to_vec();
        let mut claims = self.claims.lock();
        for name in item_names(&batch.payload) {
            if let Entry::Vacant(unclaimed) = claims.entry(name) {
                body.push(u8::try_from(unclaimed.key().len()).unwrap());
                body.extend_from_slice(unclaimed.key().as_bytes());
                unclaimed.insert(Some(batch.origin.id));
            }
        }
        batch.effects.push(Effect::new(Arc::clone(&self.id), body));
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let (batch, mut rest) = effect.body.split_first_chunk::<16>().unwrap();
        while let Some((&length, after)) = rest.split_first() {
            let (name, after) = after.split_at(usize::from(length));
            rest = after;
            let name = String::from_utf8(name.to_vec()).unwrap();
            self.claims.lock().insert(name.clone(), None);
            *self.counted.lock().entry(name).or_default() += 1;
        }
        self.discard(batch);
    }

    fn discard(&self, batch: &[u8; 16]) {
        self.claims.lock().retain(|_, holder| *holder != Some(*batch));
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        checkpoint
            .extend(self.counted.lock().iter().flat_map(|(name, count)| format!("{name}={count}\n").into_bytes()));
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        // A name with a line feed stands for a state of a newer version.
        let read_line =
            |line: &str| line.split_once('=').map(|(name, count)| (name.to_owned(), count.parse().unwrap()));
        let counts: Option<BTreeMap<String, u64>> =
            std::str::from_utf8(checkpoint).unwrap().lines().map(read_line).collect();
        let Some(counts) = counts else { return false };
        self.claims.lock().extend(counts.keys().map(|name| (name.clone(), None)));
        *self.counted.lock() = counts;
        true
    }
}

/// Makes one draft per batch, and sets a reference of ten bytes on every item, as the vault does.
pub struct Drafter {
    id: Arc<str>,
    last_number: Arc<Mutex<u64>>,
}

/// Attribute that a [`Drafter`] sets.
pub const REFERENCE: &str = "reference";

impl Drafter {
    pub fn new(id: &str) -> Arc<Self> {
        Self::after(id, 0)
    }

    /// A drafter whose numbers continue after `last`.
    pub fn after(id: &str, last: u64) -> Arc<Self> {
        Arc::new(Self { id: id.into(), last_number: Arc::new(Mutex::new(last)) })
    }
}

impl Processor for Drafter {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        for item in batch.payload.items().collect::<Vec<_>>() {
            batch.payload.set_slot(item, REFERENCE, SlotId(1), 10);
        }
        let body: Vec<u8> = item_names(&batch.payload).join(",").into_bytes();
        batch.clearance.content = ContentState::Stripped;
        batch.drafts.push(RecordDraft {
            processor: Arc::clone(&self.id),
            bytes: body.len() as u64 + 64,
            body: Box::new(body),
        });
        Ok(())
    }

    fn ticketer(&self) -> Option<Box<Ticketer>> {
        let (holders, last_number): (Arc<[Arc<str>]>, _) =
            (Arc::new([Arc::clone(&self.id)]), Arc::clone(&self.last_number));
        Some(Box::new(move |draft| {
            let body = *draft.downcast::<Vec<u8>>().unwrap();
            let mut number = last_number.lock();
            *number += 1;
            let mut record = format!("{number:010}:").into_bytes();
            record.extend_from_slice(&body);
            let (kind, holders) = (RecordKind::Fragment, Arc::clone(&holders));
            TicketResult {
                records: vec![SpoolRecord { kind, holders, body: record.into() }],
                slots: vec![(SlotId(1), format!("{number:010}"))],
            }
        }))
    }

    fn seals_quarantine(&self) -> bool {
        true
    }

    /// Seals the names of the items.
    fn quarantine(&self, _: &BatchOrigin, _: Signal, request: &Bytes, items: u64) -> Option<RecordDraft> {
        let body = format!("quarantine {items}: {}", names(request).join(",")).into_bytes();
        Some(RecordDraft { processor: Arc::clone(&self.id), bytes: body.len() as u64 + 64, body: Box::new(body) })
    }
}

/// The scripted answer of a [`Sink`]: after which time, and the outcome.
type Answer = Box<dyn Fn(&ExportRequest) -> (Duration, Outcome) + Send + Sync>;

/// An exporter that records its requests.
pub struct Sink {
    id: Arc<str>,
    trust: Trust,
    max_request_bytes: usize,
    /// Largest request with an item that can't be split, if it differs from `max_request_bytes`.
    pub max_item_bytes: OnceLock<usize>,
    answer: Answer,
    /// Item names of each accepted request.
    pub accepted: Mutex<Vec<Vec<String>>>,
    /// Every request, accepted or not.
    pub requests: Mutex<Vec<ExportRequest>>,
    /// Time of each request, if there is a clock.
    pub request_times: Mutex<Vec<Duration>>,
    /// Needed by answers that take time.
    pub clock: OnceLock<Arc<dyn Clock>>,
    /// Results of the next calls of `check_back_end`, the last first; then it succeeds.
    pub refusals: Mutex<Vec<Reason>>,
}

impl Sink {
    pub fn new(
        id: &str,
        trust: Trust,
        max_request_bytes: usize,
        answer: impl Fn(&ExportRequest) -> (Duration, Outcome) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let answer: Answer = Box::new(answer);
        Arc::new(Self {
            id: id.into(),
            trust,
            max_request_bytes,
            max_item_bytes: OnceLock::new(),
            answer,
            accepted: Mutex::default(),
            requests: Mutex::default(),
            request_times: Mutex::default(),
            clock: OnceLock::new(),
            refusals: Mutex::default(),
        })
    }

    /// An exporter that accepts everything.
    pub fn open(id: &str, trust: Trust) -> Arc<Self> {
        Self::new(id, trust, 1 << 20, |_| (Duration::ZERO, Outcome::Accepted))
    }

    /// Names of all accepted items, in order.
    pub fn all(&self) -> Vec<String> {
        self.accepted.lock().concat()
    }

    /// A sink that gives these answers in turn, repeating the last one.
    pub fn scripted(answers: Vec<Outcome>) -> Arc<Self> {
        let asked = AtomicUsize::new(0);
        Self::new("x", Trust::ThirdParty, 1 << 20, move |_| {
            let asked = asked.fetch_add(1, Ordering::SeqCst);
            (Duration::ZERO, answers[asked.min(answers.len() - 1)].clone())
        })
    }
}

impl Exporter for Sink {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn trust(&self) -> Trust {
        self.trust
    }

    fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    fn max_item_bytes(&self) -> usize {
        self.max_item_bytes.get().copied().unwrap_or(self.max_request_bytes)
    }

    fn check_back_end(&self) -> BoxFuture<'_, Result<(), Reason>> {
        let refusal = self.refusals.lock().pop();
        Box::pin(async move { refusal.map_or(Ok(()), Err) })
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        async move {
            self.requests.lock().push(request.clone());
            self.request_times.lock().extend(self.clock.get().map(|clock| clock.monotonic()));
            let (wait, outcome) = (self.answer)(request);
            if !wait.is_zero() {
                self.clock.get().unwrap().sleep(wait).await;
            }
            if matches!(outcome, Outcome::Accepted | Outcome::Partial { .. }) {
                self.accepted.lock().push(names(&request.body.joined()));
            }
            outcome
        }
        .boxed()
    }
}
