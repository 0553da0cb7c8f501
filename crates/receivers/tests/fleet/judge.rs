//! Compares a fleet with one instance that read the same records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value as Json};

use kafka::{RecordId, RecordOpener};
use rates::Usd;
use runs::{RunOwner, RunSource as _, RunView};

use crate::store::{Outside, VolumeId};
use crate::worker::Worker;
use crate::world::World;

/// Columns of an index line that depend on when, where and by whom an item was stored.
const PLACE: [&str; 17] = [
    "leaf",
    "object_key",
    "off",
    "len",
    "item",
    "of",
    "ingest_ts",
    "writer",
    "epoch",
    "fragment",
    "bases",
    "ct_sha256",
    "key_id",
    "key_sha256",
    "commitment",
    "repeat",
    // the run that was known when the item passed
    "run_id",
];
/// Columns about the price.
const PRICE: [&str; 10] = [
    "cost_status",
    "cost_usd",
    "billing",
    "covered_usd",
    "cache_savings_usd",
    "uncounted_cost_usd",
    "rates",
    "rate",
    "basis",
    "buckets",
];

/// Columns that identify an item, together with the record that brought it.
const ITEM: [&str; 6] = ["kind", "signal", "trace_id", "span_id", "ts", "call"];

/// What lines say of one item.
#[derive(Default)]
struct IndexedItem {
    /// Each form of the other columns, as text.
    forms: BTreeSet<String>,
    /// Lines by the offset of the record and the volume.
    lines: BTreeMap<(String, VolumeId), u32>,
}

/// The index by item. Lines of an item that two workers stored are one.
struct Index {
    items: BTreeMap<String, IndexedItem>,
    /// The sum of the amounts of all lines.
    usd: Usd,
}

impl Index {
    fn read(outside: &Outside, records: &HashMap<String, RecordId>) -> Self {
        let (mut items, mut sum) = (BTreeMap::<String, IndexedItem>::new(), Usd::ZERO);
        for (volume, text) in outside.lines() {
            // Equal items of one request are told apart by their order.
            let mut equal = BTreeMap::<String, u32>::new();
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let mut line: Map<String, Json> = serde_json::from_slice(line).unwrap();
                let origin = line.remove("source_record").unwrap().as_str().unwrap().to_owned();
                let record = records[&origin];
                PLACE.iter().for_each(|column| drop(line.remove(*column)));
                let [status, usd, ..] = PRICE.map(|column| line.remove(column).unwrap_or_default());
                if matches!(status.as_str(), Some("priced" | "correction")) {
                    sum = sum.plus(Usd::parse(usd.as_str().unwrap()).unwrap()).unwrap();
                }
                // an item that is no call has a line only because it carries a correction
                if status == "correction" && line["call"] == "other" && line["kind"] == "action" {
                    continue;
                }
                let named = ITEM.map(|column| line.remove(column).unwrap_or_default().to_string());
                let name = format!("{} {}", record.0, named.join(" "));
                let nth = equal.entry(name.clone()).or_default();
                *nth += 1;
                let item = items.entry(format!("{name} {nth}")).or_default();
                let form: BTreeMap<_, _> = line.into_iter().collect();
                item.forms.insert(serde_json::to_string(&form).unwrap());
                *item.lines.entry((origin, volume)).or_default() += 1;
            }
        }
        Self { items, usd: sum }
    }

    /// What is stored more often than it may be, and how many items are stored by several workers.
    fn repeats(&self, world: &World) -> (Vec<String>, u64) {
        let (mut wrong, mut several) = (Vec::new(), 0);
        for (name, item) in &self.items {
            if item.lines.values().any(|lines| *lines > 1) {
                wrong.push(format!("index: {name} is stored twice on one volume: {:?}", item.lines));
            }
            let origins: BTreeSet<&String> = item.lines.keys().map(|(origin, _)| origin).collect();
            if item.lines.len() > origins.len() {
                several += 1;
                if world.is_gentle {
                    wrong.push(format!("index: {name} is stored by several workers: {:?}", item.lines));
                }
            }
        }
        (wrong, several)
    }

    /// Where another index differs, up to the prices.
    fn differences(&self, other: &Self) -> Vec<String> {
        let names = |index: &Self| index.items.keys().cloned().collect::<BTreeSet<String>>();
        let mut wrong = differences("index", &names(self), &names(other));
        for (name, item) in &self.items {
            let Some(expected) = other.items.get(name) else { continue };
            let others: Vec<&String> = item.forms.difference(&expected.forms).collect();
            if !others.is_empty() {
                wrong.push(format!("index: {name}: {others:?} instead of {:?}", expected.forms));
            }
        }
        wrong
    }
}

/// All runs that a worker knows, in a fixed order, and who counts each.
fn runs(worker: &Worker) -> (Vec<RunView>, Vec<String>) {
    let tracker = &worker.process.as_ref().unwrap().tracker;
    let mut keys = Vec::new();
    tracker.visit_runs(&mut |key, run| keys.extend(run.map(|_| key)));
    let mut views: Vec<RunView> = tracker.find_runs(&keys).into_iter().map(|(_, run)| run.view).collect();
    views.sort_by(|a, b| (&a.session, &a.run).cmp(&(&b.session, &b.run)));
    let owners = views.iter().map(|view| view.owner.replica().unwrap_or(worker.volume.0).to_owned()).collect();
    views.iter_mut().for_each(|view| view.owner = RunOwner::Here);
    (views, owners)
}

fn describe(view: &RunView) -> String {
    let (totals, usd) = (&view.totals, Usd(view.totals.atto_usd()));
    format!(
        "{} / {} {} {}..{} {} calls, {usd} USD, {:?}, {} tools, unpriced {}, iterations {}, failed {}",
        view.session,
        view.run,
        view.state.as_str(),
        view.start,
        view.last,
        totals.calls(),
        totals.tokens(),
        totals.tools.len(),
        totals.unpriced(),
        totals.iterations,
        view.failed,
    )
}

/// At most ten of the members that only one of two sets has.
fn differences(what: &str, fleet: &BTreeSet<String>, single: &BTreeSet<String>) -> Vec<String> {
    let missing = single.difference(fleet).map(|item| format!("{what}: the fleet lacks {item}"));
    missing.chain(fleet.difference(single).map(|item| format!("{what}: only the fleet has {item}"))).take(10).collect()
}

/// What the fleet has that the single instance has not, and the reverse; and how many items several workers stored.
pub(super) fn judge(world: &World, (single, outside): (&Worker, &Outside)) -> (Vec<String>, u64) {
    let mut wrong = Vec::new();
    let records: HashMap<String, RecordId> = (world.site.broker.records("in").iter())
        .map(|record| {
            let origin = format!("{}/{}/{}", record.partition.topic, record.partition.number, record.offset);
            (origin, RecordOpener::id_of(record).unwrap())
        })
        .collect();
    let [index, expected] = [&*world.site.outside, outside].map(|outside| Index::read(outside, &records));
    assert!(!expected.items.is_empty(), "the recordings give lines");
    let (repeats, several) = index.repeats(world);
    wrong.extend(repeats.into_iter().chain(index.differences(&expected)));
    // with a volume, lines are lost, and what a worker knew that owed a correction
    if index.usd != expected.usd && !world.has_lost_volume {
        wrong.push(format!("the lines of the index have {} instead of {} USD", index.usd, expected.usd));
    }
    wrong.extend(differences("sink", &world.site.outside.items(), &outside.items()));
    let (expected, _) = runs(single);
    let mut owners = Vec::new();
    for worker in &world.workers {
        let (views, owned_by) = runs(worker);
        owners.push(owned_by);
        if views != expected {
            let text = |views: &[RunView]| views.iter().map(describe).collect::<Vec<_>>().join("\n  ");
            wrong.push(format!(
                "{} has the runs\n  {}\ninstead of\n  {}",
                worker.volume.0,
                text(&views),
                text(&expected)
            ));
        }
    }
    if owners.iter().any(|other| *other != owners[0]) {
        wrong.push(format!("the workers differ about who counts: {owners:?}"));
    }
    if world.site.broker.record_count("dead") > 0 {
        wrong.push("a record is in the dead topic".to_owned());
    }
    wrong.extend(world.workers.iter().flat_map(|worker| worker.disk.rule_breaks()));
    assert!(!expected.is_empty(), "the recordings give runs");
    (wrong, several)
}
