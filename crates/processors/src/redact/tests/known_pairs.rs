//! An attribute that the processor may skip comes out as one that is seen for the first time.

use super::*;

/// Keys of every treatment, and texts that stay, change, or stay under some keys only.
const KEYS: [&str; 16] = [
    "http.route",
    "url.query",
    "url.full",
    "user.id",
    "user.email",
    "session.id",
    "customer.name",
    "note",
    "line",
    "error.message",
    "exception.message",
    "db.query.text",
    "service.version",
    "password",
    "tenant.id",
    "code.filepath",
];
const TEXTS: [&str; 16] = [
    "/v1/ledgers/{id}",
    "GET",
    "page=3&email=anna.berg@example.com",
    "anna.berg@example.com",
    "u-17",
    "4477120983",
    "Adaeze Okonkwo",
    "1.2.3.4",
    "10.2.3.4",
    "password=Winter4Sun19x",
    "Winter4Sun19x",
    r#"{"user_id": 4711}"#,
    "/home/anna/src/main.rs",
    "SELECT 1",
    "card 4111 1111 1111 1111",
    "sk-ant-api03-9fQ2mXw7Zr4LtB8vKc1NdE5hJs6GyPaU",
];

/// One request, after a pass: with the pairs of earlier requests or without.
fn after(redact: &RedactProcessor, account: &str, wire: &[u8], with_pairs: bool) -> Vec<u8> {
    let mut batch = batch(Payload::parse(Signal::Traces, Bytes::copy_from_slice(wire)).expect("payload"));
    batch.origin = Arc::new(pipeline::BatchOrigin { account: account.into(), ..crate::testing::origin() });
    if with_pairs {
        batch.payload.find_pairs(&redact.vocabulary.pair_verdicts);
    }
    redact.process(&mut batch).expect("processed");
    batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes
}

/// Requests in which every text occurs under every key, three times and for two accounts, come out as from a processor
/// that saw nothing before.
#[test]
fn a_known_pair_is_redacted_like_a_new_one() {
    let settings = RedactConfig::default().settings().expect("valid");
    let own = || Arc::new(genai::Vocabulary::builtin().expect("vocabulary"));
    let new =
        |vocabulary| RedactProcessor::new("r".into(), settings.clone(), vocabulary, Arc::new(ids()), &Meter::new());
    let (warm, mut skipped) = (new(own()), 0);
    for round in 0..3 {
        let cold = new(Arc::clone(&warm.vocabulary));
        for (first, key) in KEYS.iter().enumerate() {
            // one text a span: values found in one text are removed from the item's other texts
            let spans: Vec<Vec<u8>> = TEXTS.iter().map(|value| span_with(vec![text(key, value)])).collect();
            for (second, wire) in spans.iter().enumerate() {
                let account = ["a", "b"][(first + second + round) % 2];
                let payload = Payload::parse(Signal::Traces, Bytes::copy_from_slice(wire)).expect("payload");
                payload.find_pairs(&warm.vocabulary.pair_verdicts);
                let stays = warm.stays_verdict(&payload).expect("a verdict");
                let attributes = payload.nodes().flat_map(|node| payload.attributes(node));
                skipped += attributes.filter(|attribute| payload.has_verdict(attribute.id, stays)).count();
                let expected = after(&cold, account, wire, false);
                assert_eq!(after(&warm, account, wire, true), expected, "{key} {} {round}", TEXTS[second]);
            }
        }
    }
    assert!(skipped > 50, "the test must reach known pairs: {skipped}");
}

/// A text that stayed before is replaced if it repeats content of this request.
#[test]
fn a_known_text_that_repeats_content_is_replaced() {
    let redact = with("{}");
    let line =
        "the quarterly ledger of the northern branch does not balance because nobody booked the invoices of June";
    let wire = span_with(vec![text("line", line)]);
    for _ in 0..3 {
        assert_eq!(after(&redact, "a", &wire, true), wire);
    }
    let mut batch = batch(Payload::parse(Signal::Traces, Bytes::copy_from_slice(&wire)).expect("payload"));
    batch.payload.find_pairs(&redact.vocabulary.pair_verdicts);
    let (memory, mut prints) =
        (echoes::FingerprintCache::new(&kernel::rng::SystemRng), echoes::ContentFingerprints::default());
    prints.add(memory.key(), line);
    let echoes = echoes::EchoReplacements::find(memory.key(), &[line], &[], prints.texts());
    assert!(!echoes.is_empty());
    batch.echoes = Some(Arc::new(crate::removed_texts::RemovedTexts { echoes, values: Vec::new() }));
    redact.process(&mut batch).expect("processed");
    let bytes = batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes;
    assert!(!String::from_utf8_lossy(&bytes).contains(line));
}

/// A text that names a user and then nests more brackets than are read is judged alike each time, and so are the other
/// texts of its item.
#[test]
fn a_text_that_is_too_deep_is_judged_alike_each_time() {
    let redact = with("{}");
    for note in [
        r#"{"user_name":["Okonkwo, Adaeze"]} "#,
        "{'user.name':('Okonkwo, Adaeze')} ",
        r#"{"user.email":"okonkwo adaeze"} "#,
    ] {
        let note = format!("{note}{}", "[".repeat(70));
        let wire =
            span_with(vec![text("note", &note), text("memo", "Okonkwo, Adaeze: ok"), text("line", "by Okonkwo")]);
        let first = after(&redact, "a", &wire, true);
        assert!(!String::from_utf8_lossy(&first).to_lowercase().contains("adaeze\""), "{note}");
        for _ in 0..5 {
            assert_eq!(after(&redact, "a", &wire, true), first, "{note}");
        }
    }
}
