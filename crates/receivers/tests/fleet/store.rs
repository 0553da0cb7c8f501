//! [`Outside`]: the back end and the vault's store, which outlive all workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use kernel::clock::{Clock, ManualClock};
use kernel::rng::SeededRng;
use otlp::{Payload, TextField};
use pipeline::spool::{RecordKind, RecordSeq, Spool};
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};
use vault::spool_record::{LeafHeader, unpack};

/// Id of the vault's step, and its name as a consumer of the spool.
pub(super) const VAULT: &str = "vault";
/// Id of the exporter.
pub(super) const SINK: &str = "sink";

/// A worker's name, and how many volumes it had lost before this one.
pub(super) type VolumeId = (&'static str, u32);

/// What reached the back end and the vault's store.
#[derive(Default)]
pub(super) struct Outside {
    /// Ids of the items that the back end took.
    items: Mutex<BTreeSet<String>>,
    /// Index lines. A worker that was killed may upload a record again, under the same name.
    lines: Mutex<BTreeMap<(VolumeId, RecordSeq), Bytes>>,
}

impl Outside {
    pub(super) fn items(&self) -> BTreeSet<String> {
        self.items.lock().clone()
    }

    /// Index lines of each record, with the volume that it was on.
    pub(super) fn lines(&self) -> Vec<(VolumeId, Bytes)> {
        self.lines.lock().iter().map(|((volume, _), lines)| (*volume, lines.clone())).collect()
    }

    /// Takes the index lines that wait in a worker's spool, as its uploader would. Keys and content are dropped.
    pub(super) fn upload(&self, volume: VolumeId, spool: &Spool) {
        let Ok(waiting) = spool.read(VAULT, None, 1 << 20, 64) else { return };
        for record in waiting.iter().filter(|record| record.kind == RecordKind::Leaf) {
            let (_, lines) = unpack::<LeafHeader>(&record.body).expect("index lines");
            self.lines.lock().insert((volume, record.seq), lines);
        }
        spool.mark_done(VAULT, &waiting.iter().map(|record| record.seq).collect::<Vec<_>>());
    }
}

/// A worker's exporter to the back end, which is slow and refuses some requests for the moment.
pub(super) struct Sink {
    pub(super) id: Arc<str>,
    pub(super) outside: Arc<Outside>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) rng: SeededRng,
}

impl Exporter for Sink {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn trust(&self) -> Trust {
        Trust::Internal
    }

    fn max_request_bytes(&self) -> usize {
        4 << 20
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        let [before, after, fate] = [0, 1, 2].map(|_| self.rng.next());
        Box::pin(async move {
            self.clock.sleep(Duration::from_millis(before % 30)).await;
            if fate.is_multiple_of(6) {
                return Reason::Overloaded.outcome();
            }
            let payload = Payload::parse(request.signal, request.body.joined()).expect("OTLP");
            self.outside.items.lock().extend(payload.items().map(|item| {
                let [trace, span] = [payload.trace_id(item), payload.span_id(item)].map(kernel::hex::encode);
                let field = if request.signal == otlp::Signal::Logs { TextField::EventName } else { TextField::Name };
                format!("{trace} {span} {} {}", payload.time(item), payload.text(item, field))
            }));
            // An answer that a killed worker never hears.
            self.clock.sleep(Duration::from_millis(after % 30)).await;
            Outcome::Accepted
        })
    }
}
