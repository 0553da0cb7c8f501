use super::*;
use kernel::secret::Secret;
use otlp::json;

fn partitioner(key: &str) -> SessionPartitioner {
    let hasher = Pseudonymizer::new(&Secret::new(key.to_owned()));
    SessionPartitioner::new(["session.id".to_owned(), "gen_ai.conversation.id".to_owned()], hasher)
}

/// One span: trace, session, service.
type SpanCase<'a> = (u8, Option<&'a str>, &'a str);

/// A request of these spans, each with a resource of its own.
fn request(spans: &[SpanCase<'_>]) -> Bytes {
    let resources: Vec<serde_json::Value> = (spans.iter().enumerate())
        .map(|(number, (trace, session, service))| {
            let attribute = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
            let attributes: Vec<_> = session.iter().map(|session| attribute("session.id", session)).collect();
            let trace = if *trace == 0 { String::new() } else { format!("{trace:032x}") };
            serde_json::json!({
                "resource": {"attributes": [attribute("service.name", service)]},
                "scopeSpans": [{"spans": [{
                    "traceId": trace, "spanId": format!("{:016x}", number + 1), "name": format!("span {number}"),
                    "attributes": attributes,
                }]}],
            })
        })
        .collect();
    let text = serde_json::json!({"resourceSpans": resources}).to_string();
    json::decode(Signal::Traces, text.as_bytes()).unwrap().into()
}

/// The partition of each span, by its name.
fn partitions(spans: &[SpanCase<'_>], count: i32) -> Vec<i32> {
    let parts = partitioner("a key").split("acme", Signal::Traces, &request(spans), count).unwrap();
    let mut found = vec![-1; spans.len()];
    let mut items = 0;
    for (partition, body) in parts {
        let payload = Payload::parse(Signal::Traces, body).unwrap();
        items += payload.item_count();
        for item in payload.items() {
            let name = payload.text(item, otlp::TextField::Name);
            found[name.trim_start_matches("span ").parse::<usize>().unwrap()] = partition;
        }
    }
    assert_eq!(items, spans.len(), "no item may be lost or doubled");
    found
}

/// A session is in one partition, whichever edge sees it, in whichever request, beside whatever else.
#[test]
fn a_session_stays_together() {
    let alone = partitions(&[(1, Some("s-1"), "a")], 64);
    let among = partitions(&[(2, Some("s-2"), "b"), (3, Some("s-1"), "c"), (4, Some("s-3"), "a")], 64);
    assert_eq!(alone[0], among[1]);
    // Other accounts and keys sort the same id elsewhere, so partitions tell nothing about ids.
    let other = |key: &str, account: &str| {
        let places = (0..32).map(|number| {
            let session = format!("s-{number}");
            let body = request(&[(1, Some(&session), "a")]);
            partitioner(key).split(account, Signal::Traces, &body, 64).unwrap()[0].0
        });
        places.collect::<Vec<_>>()
    };
    assert_ne!(other("a key", "acme"), other("a key", "umbrella"));
    assert_ne!(other("a key", "acme"), other("another key", "acme"));
}

/// An item without a session follows its trace's session, else its trace, else its resource.
#[test]
fn items_without_a_session_follow() {
    let found = partitions(
        &[
            (1, None, "http"),
            (1, Some("s-1"), "agent"),
            (2, None, "db"),
            (2, None, "cache"),
            (0, None, "x"),
            (0, None, "x"),
        ],
        1024,
    );
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2], found[3]);
    assert_eq!(found[4], found[5]);
    assert_ne!(found[0], found[2]);
    assert_ne!(found[2], found[4]);
}

/// Many sessions use all partitions evenly, and a request makes at most one part per partition.
#[test]
fn sessions_spread() {
    let names: Vec<String> = (0..512).map(|number| format!("session-{number}")).collect();
    let spans: Vec<SpanCase<'_>> = names.iter().map(|name| (0, Some(name.as_str()), "a")).collect();
    let mut counts = [0; 8];
    for partition in partitions(&spans, 8) {
        counts[partition as usize] += 1;
    }
    assert!(counts.iter().all(|count| (40..=90).contains(count)), "{counts:?}");
}

/// A request of one partition is passed on as it came, byte for byte.
#[test]
fn one_partition_keeps_the_bytes() {
    let body = request(&[(1, Some("s-1"), "a"), (2, Some("s-1"), "b")]);
    let parts = partitioner("a key").split("acme", Signal::Traces, &body, 64).unwrap();
    assert!(parts.len() == 1 && parts[0].1 == body);
    assert!(partitioner("a key").split("acme", Signal::Traces, &Bytes::from_static(b"\xff"), 64).is_err());
}
