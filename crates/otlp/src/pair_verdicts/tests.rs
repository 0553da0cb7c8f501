//! Pairs that are remembered, and that a verdict never reaches another pair.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use crate::pair_table::{JudgeId, MAX_PAIRS, PairVerdicts};
use crate::tests::strategies::{key, text};
use crate::{AttrId, OwnedValue, Payload, Signal, TextEdit, TextPlaceKind};

fn request(attributes: &[(String, String)]) -> Payload {
    let attribute = |(key, text): &(String, String)| KeyValue {
        key: key.clone(),
        value: Some(AnyValue { value: Some(Any::StringValue(text.clone())) }),
        ..KeyValue::default()
    };
    let span = Span { attributes: attributes.iter().map(attribute).collect(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    Payload::parse(Signal::Traces, bytes.into()).expect("a good request")
}

fn pairs(attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    attributes.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

/// The attributes of a request that have the judge's verdict, by number.
fn with_verdict(payload: &Payload, judge: JudgeId) -> Vec<u32> {
    let Some(verdict) = payload.verdict_bit(judge) else { return Vec::new() };
    let ids = payload.items().flat_map(|span| payload.attributes(span)).map(|attribute| attribute.id);
    ids.filter(|id| payload.has_verdict(*id, verdict)).map(|id| id.0).collect()
}

fn give(payload: &Payload, number: u32, judge: JudgeId) {
    payload.give_verdict(AttrId(number), payload.verdict_bit(judge).expect("a verdict"));
}

/// The attributes, read until their pairs are remembered.
fn remembered(verdicts: &PairVerdicts, attributes: &[(String, String)]) -> Payload {
    for _ in 0..2 {
        request(attributes).find_pairs(verdicts);
    }
    let payload = request(attributes);
    payload.find_pairs(verdicts);
    payload
}

/// A verdict that is given at the second occurrence is read from the third on, by the same step only.
#[test]
fn a_verdict_is_about_one_pair() {
    let verdicts = PairVerdicts::default();
    let [stays, other] = [(); 2].map(|()| JudgeId::unique());
    let attributes = pairs(&[("http.route", "/v1"), ("http.method", "GET")]);
    for occurrence in 0..3 {
        let payload = request(&attributes);
        payload.find_pairs(&verdicts);
        assert_eq!(with_verdict(&payload, stays), if occurrence < 2 { vec![] } else { vec![0] }, "{occurrence}");
        give(&payload, 0, stays);
        assert!(with_verdict(&payload, other).is_empty());
    }
    let payload = request(&pairs(&[("http.method", "/v1"), ("http.route", "/v2"), ("http.route", "/v1")]));
    payload.find_pairs(&verdicts);
    assert_eq!(with_verdict(&payload, stays), [2]);
    // without the search there are no pairs
    assert!(request(&attributes).verdict_bit(stays).is_none());
    // a verdict about pairs of others means nothing here
    let elsewhere = remembered(&PairVerdicts::default(), &attributes);
    let [first, of_others] = [&payload, &elsewhere].map(|payload| payload.verdict_bit(stays).expect("a verdict"));
    elsewhere.give_verdict(AttrId(0), first);
    payload.give_verdict(AttrId(0), of_others);
    assert!(with_verdict(&elsewhere, stays).is_empty());
    assert_eq!(with_verdict(&payload, stays), [2]);
}

/// An attribute that an edit changed or added has no pair, also if its text is as before.
#[test]
fn an_edited_attribute_has_no_verdict() {
    let verdicts = PairVerdicts::default();
    let stays = JudgeId::unique();
    let mut payload = remembered(&verdicts, &pairs(&[("a", "x"), ("b", "x"), ("c", "x")]));
    (0..3).for_each(|number| give(&payload, number, stays));
    let span = payload.items().next().expect("a span");
    payload.set(span, "a", OwnedValue::Str("secret".into()));
    payload.set(span, "d", OwnedValue::Str("x".into()));
    payload.remove_attribute(AttrId(1));
    assert_eq!(with_verdict(&payload, stays), [2]);
    give(&payload, 0, stays);
    payload.set(span, "c", OwnedValue::Str("x".into()));
    assert!(with_verdict(&payload, stays).is_empty());
}

/// A visit passes over attributes whose key and text it always keeps, and over no others.
#[test]
fn a_visit_passes_over_what_always_stays() {
    let verdicts = PairVerdicts::default();
    let stays = JudgeId::unique();
    let attributes = pairs(&[("a", "always"), ("b", "now"), ("c", "never")]);
    remembered(&verdicts, &attributes);
    let visited = || {
        let (mut payload, mut visited) = (request(&attributes), Vec::new());
        payload.find_pairs(&verdicts);
        payload.edit_text_skipping(payload.verdict_bit(stays), |place, text| {
            visited.push(text.to_owned());
            match (place.kind, text) {
                (TextPlaceKind::Key, _) | (_, "always") => TextEdit::KeepAlways,
                (_, "now") => TextEdit::Keep,
                _ => TextEdit::Replace("x".to_owned()),
            }
        });
        visited
    };
    assert_eq!(visited(), ["a", "always", "b", "now", "c", "never"]);
    assert_eq!(visited(), ["b", "now", "c", "never"]);
}

/// More pairs than a table holds take no more memory: the table is replaced, and pairs are only judged again.
#[test]
fn a_full_table_is_replaced() {
    let verdicts = PairVerdicts::default();
    let stays = JudgeId::unique();
    let few = pairs(&[("http.method", "GET")]);
    give(&remembered(&verdicts, &few), 0, stays);
    assert_eq!(with_verdict(&remembered(&verdicts, &few), stays), [0]);
    // of pairs that were seen once, some are taken for each other, and are not remembered
    for set in 0..4 {
        let many: Vec<(String, String)> = (0..MAX_PAIRS).map(|at| ("k".to_owned(), format!("{set} {at}"))).collect();
        let payload = remembered(&verdicts, &many);
        assert!(payload.pairs.get().expect("found").table.pairs.read().hashes.len() <= MAX_PAIRS);
    }
    assert!(with_verdict(&remembered(&verdicts, &few), stays).is_empty());
}

/// A table has 64 verdicts, and each is another one. The next judge gets one in the next table.
#[test]
fn a_table_has_64_verdicts() {
    let verdicts = PairVerdicts::default();
    let attributes = pairs(&[("http.method", "GET")]);
    let payload = remembered(&verdicts, &attributes);
    let bits: Vec<u32> =
        (0..64).map(|rules| payload.verdict_bit((JudgeId(7), rules)).expect("a verdict").bit).collect();
    assert_eq!(bits, (0..64).collect::<Vec<u32>>());
    assert_eq!(payload.verdict_bit((JudgeId(7), 3)).expect("a verdict").bit, 3);
    assert!(payload.verdict_bit((JudgeId(7), 64)).is_none());
    assert_eq!(remembered(&verdicts, &attributes).verdict_bit((JudgeId(7), 64)).expect("a verdict").bit, 0);
}

proptest! {
    /// Whatever came before, and in whichever order: a pair has a verdict only if it was given to an equal pair.
    #[test]
    fn a_verdict_reaches_equal_pairs_only(requests in vec(vec((key(), text()), 1..6), 1..12)) {
        let verdicts = PairVerdicts::default();
        let stays = JudgeId::unique();
        let mut given = Vec::new();
        for attributes in requests {
            let payload = request(&attributes);
            payload.find_pairs(&verdicts);
            for number in with_verdict(&payload, stays) {
                prop_assert!(given.contains(&attributes[number as usize]));
            }
            give(&payload, 0, stays);
            given.push(attributes[0].clone());
        }
    }
}
