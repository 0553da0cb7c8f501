//! A batch gets the same stamps from the part of a group that it needs as from the whole group.

use std::cell::Cell;

use proptest::prelude::*;

use crate::aggregation_context::AggregationContext;
use crate::observation::{
    BatchObservation, ObservedItem, ObservedKey, ObservedModelCall, ObservedToolCall, flag, key_kind, mark,
    price_quality, trouble,
};
use crate::read_quota::group_or_part;
use crate::stamp::{GroupCopies, ItemStamp, resolve_stamps};
use crate::store::{BatchGroup, GroupStore, KeyId, key_ids};
use otlp::OwnedValue;
use runs::RunOwner;

/// Numbers of the keys of all batches: sessions, traces, and runs of the first session.
const SESSIONS: [u32; 3] = [0, 1, 2];
const TRACES: [u32; 5] = [0, 3, 4, 5, 6];
const RUNS: [u32; 3] = [0, 7, 8];
const SESSION_OF_RUNS: u32 = 1;

fn observation(draws: Vec<Draw>) -> BatchObservation {
    let key = |number: u32| {
        let kind = match number {
            1..=2 => key_kind::SESSION,
            3..=6 => key_kind::TRACE,
            _ => key_kind::RUN,
        };
        ObservedKey {
            kind,
            text: format!("key-{number}").into(),
            session: if kind == key_kind::RUN { SESSION_OF_RUNS } else { 0 },
        }
    };
    BatchObservation {
        account: "default".into(),
        received: 1,
        keys: (1..=8).map(key).collect(),
        names: vec!["one".into(), "two".into()],
        items: draws.into_iter().map(item).collect(),
        ..BatchObservation::default()
    }
}

fn call(key: u64, failed: bool) -> ObservedModelCall {
    ObservedModelCall {
        key,
        model: 1 + (key % 2) as u32,
        price_quality: if failed { price_quality::UNPRICED } else { price_quality::PRICED },
        buckets: genai::CallTokenBuckets { input: 10 + key, output: key, ..Default::default() },
        atto: i128::from(key) << 20,
        trouble: if failed { trouble::RATE_LIMITED } else { trouble::NONE },
        ..ObservedModelCall::default()
    }
}

/// Session, trace and run; place, parent, start and length; kind; key.
type Draw = ((usize, usize, usize), (u64, u64, u64, u64), u8, u64);

/// Places and calls are chosen among few, so that items meet.
fn draw() -> impl Strategy<Value = Draw> {
    let trace = prop_oneof![1 => Just(0), 12 => 1..TRACES.len()];
    let run = prop_oneof![4 => Just(0), 1 => 1..RUNS.len()];
    ((0..SESSIONS.len(), trace, run), (0_u64..5, 0_u64..6, 0_u64..40, 0_u64..20), 0_u8..9, 1_u64..40)
}

fn item(((session, trace, run), (node, parent, start, length), kind, key): Draw) -> ObservedItem {
    let (trace, run) = (TRACES[trace], RUNS[run]);
    let place = |number: u64| if trace == 0 || number == 0 { 0 } else { u64::from(trace) * 1_000 + number };
    let (flags, mark) = match kind {
        0..=2 => (flag::SPAN | flag::ENDED, mark::AGENT),
        3 => (flag::SPAN | flag::ANSWERED | flag::USED_TOKENS, mark::NONE),
        4 => (flag::SPAN | flag::FAILED, mark::NONE),
        5 => (flag::SPAN | flag::TOOL_RAN | flag::IS_TOOL_CALL, mark::NONE),
        6 => (flag::ANSWERED | flag::USED_TOKENS, mark::NONE),
        7 => (flag::ENDED, if key % 8 == 0 { mark::SESSION_END } else { mark::TURN_END }),
        _ => (flag::SPAN, mark::NONE),
    };
    ObservedItem {
        trace,
        session: if run == 0 { SESSIONS[session] } else { SESSION_OF_RUNS },
        run,
        node: place(node),
        parent: if flags & flag::SPAN == 0 || parent == node { 0 } else { place(parent) },
        flags,
        start: 100 + start,
        end: 100 + start + length,
        mark,
        call: matches!(kind, 3 | 4 | 6).then(|| call(key, kind == 4)),
        tool: (kind == 5).then_some(ObservedToolCall { key, name: 1, args: 0, denial_source: 0 }),
        ..ObservedItem::default()
    }
}

/// The stamps of a batch as text.
fn stamps(mut store: GroupStore, observation: &BatchObservation, ids: &[KeyId]) -> Vec<String> {
    store.apply(observation, ids, (&RunOwner::Here, 0), &mut |_| {});
    let copies = GroupCopies { store, is_complete: true, context: AggregationContext::default() };
    let stamps = resolve_stamps(observation, ids, &copies);
    let text = |value: OwnedValue| match value {
        OwnedValue::Str(text) => text,
        OwnedValue::Int(number) => number.to_string(),
        OwnedValue::Double(number) => number.to_string(),
        _ => "other".to_owned(),
    };
    let show = |stamp: ItemStamp| {
        let attributes = stamp.attributes.into_iter().map(|(key, value)| format!(" {key}={}", text(value)));
        stamp.run.into_iter().chain(attributes).collect()
    };
    stamps.into_iter().map(show).collect()
}

#[test]
fn a_part_gives_the_same_stamps() {
    let (cases, parts) = (Cell::new(0), Cell::new(0));
    let earlier = prop::collection::vec(prop::collection::vec(draw(), 1..6), 1..5);
    let batches = (earlier, prop::collection::vec(draw(), 1..4));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) };
    proptest!(config, |((earlier, batch) in batches)| {
        let mut store = GroupStore::new(usize::MAX);
        for draws in earlier {
            let before = observation(draws);
            store.apply(&before, &key_ids(&before), (&RunOwner::Here, 0), &mut |_| {});
        }
        let batch = observation(batch);
        let ids = key_ids(&batch);
        let used = batch.items.iter().flat_map(|item| [item.trace, item.session, item.run]);
        let used: Vec<KeyId> = used.filter(|key| *key != 0).map(|key| ids[key as usize - 1]).collect();
        let (mut whole, mut part) = (GroupStore::new(usize::MAX), GroupStore::new(usize::MAX));
        let ids_of_batch: Vec<KeyId> = ids.iter().map(|id| if used.contains(id) { *id } else { [0; 16] }).collect();
        for BatchGroup { group, is_joined } in store.groups_of(&batch, &ids_of_batch) {
            cases.set(cases.get() + 1);
            whole.insert(group.clone());
            let separate = group_or_part(group.clone(), is_joined, &batch, &ids_of_batch);
            parts.set(parts.get() + usize::from(!std::sync::Arc::ptr_eq(&group, &separate)));
            part.insert(separate);
        }
        prop_assert_eq!(stamps(whole, &batch, &ids), stamps(part, &batch, &ids));
    });
    assert!(parts.get() * 10 > cases.get(), "{} parts of {} groups", parts.get(), cases.get());
}
