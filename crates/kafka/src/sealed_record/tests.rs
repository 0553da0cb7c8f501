use super::*;
use crate::client::PartitionId;
use kernel::rng::SeededRng;

const MAX: usize = 1 << 20;

fn key(byte: u8) -> SpoolKey {
    SpoolKey::from_bytes([byte; 32])
}

fn sealed(request: &[u8]) -> IncomingRecord {
    let sealer = RecordSealer::new(&key(1), &SeededRng::new(7)).unwrap();
    let head = RecordHead { account: "acme".into(), content: RecordContent::Request(Signal::Logs), id: None };
    arrive(sealer.seal(&"in".into(), 3, &head, request).unwrap())
}

fn arrive(record: OutgoingRecord) -> IncomingRecord {
    IncomingRecord {
        partition: PartitionId { topic: record.topic, number: record.partition.unwrap() },
        offset: 0,
        timestamp_ms: 0,
        key: record.key,
        value: Some(record.value),
        headers: record.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

/// A worker with the key reads what the edge wrote; nothing of it stands in the topic.
#[test]
fn a_record_opens_with_its_key_only() {
    let request = b"my card is 4111 1111 1111 1111".repeat(10);
    let record = sealed(&request);
    let value = record.value.clone().unwrap();
    assert!(!value.windows(4).any(|window| window == b"4111"));
    assert!(zstd::bulk::decompress(&value[PREFIX..], MAX).is_err(), "compressed is not sealed");
    assert_eq!(record.key, None);
    let (head, opened) = RecordOpener::new(&[key(2), key(1)], MAX).open(&record).unwrap();
    assert_eq!(head, RecordHead { account: "acme".into(), content: RecordContent::Request(Signal::Logs), id: None });
    assert!(opened == request);
    let unknown = RecordOpener::new(&[key(2)], MAX).open(&record).unwrap_err();
    assert_eq!(unknown, UnreadableRecord::UnknownKey(key(1).id()));
}

/// Every byte and every header is covered: whoever may write to the topic can't change account, signal or text, nor
/// move a record to another topic.
#[test]
fn any_change_is_noticed() {
    let opener = RecordOpener::new(&[key(1)], MAX);
    let record = sealed(b"a request");
    let length = record.value.as_ref().unwrap().len();
    for at in 0..length {
        let mut changed = record.clone();
        let mut value = changed.value.unwrap().to_vec();
        value[at] ^= 1;
        changed.value = Some(value.into());
        assert!(matches!(opener.open(&changed), Err(UnreadableRecord::Damaged(_))), "byte {at}");
    }
    for shorter in 0..length {
        let mut cut = record.clone();
        cut.value = Some(cut.value.unwrap().slice(..shorter));
        assert!(matches!(opener.open(&cut), Err(UnreadableRecord::Damaged(_))), "{shorter} bytes");
    }
    for (name, value) in [(ACCOUNT_HEADER, "other"), (SIGNAL_HEADER, "traces")] {
        let mut changed = record.clone();
        let header = changed.headers.iter_mut().find(|(known, _)| known == name).unwrap();
        header.1 = Bytes::from_static(value.as_bytes());
        assert!(matches!(opener.open(&changed), Err(UnreadableRecord::Damaged(_))), "{name}");
    }
    let mut moved = record.clone();
    moved.partition.topic = "elsewhere".into();
    assert!(matches!(opener.open(&moved), Err(UnreadableRecord::Damaged(_))));
    let mut moved = record.clone();
    moved.partition.number += 1;
    assert!(matches!(opener.open(&moved), Err(UnreadableRecord::Damaged(_))));
    let mut newer = record.clone();
    newer.headers[0].1 = Bytes::from_static(b"2");
    assert_eq!(opener.open(&newer).unwrap_err(), UnreadableRecord::Newer);
    let mut foreign = record;
    foreign.headers.clear();
    assert!(!has_seal(&foreign));
}

/// A small record that inflates to more than the receiver accepts is refused, however much it would be.
#[test]
fn a_bomb_is_refused() {
    let record = sealed(&vec![0; 10 * MAX]);
    assert!(record.value.as_ref().unwrap().len() < MAX / 100);
    assert_eq!(RecordOpener::new(&[key(1)], MAX).open(&record).unwrap_err(), UnreadableRecord::TooLarge);
}

/// Two records never share key and nonce: neither of one sealer nor of two starts.
#[test]
fn nonces_differ() {
    let head = RecordHead { account: "acme".into(), content: RecordContent::Request(Signal::Traces), id: None };
    let mut seen = std::collections::HashSet::new();
    for seed in 0..4 {
        let sealer = RecordSealer::new(&key(1), &SeededRng::new(seed)).unwrap();
        for _ in 0..100 {
            let value = sealer.seal(&"in".into(), 0, &head, b"the same").unwrap().value;
            assert!(seen.insert(value.slice(..PREFIX)));
        }
    }
}
