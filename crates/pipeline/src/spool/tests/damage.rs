//! Contents of the disk that are not right: keys, formats, damage, lost files, clones.

use std::collections::BTreeMap;

use super::super::record::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader};
use super::*;
use crate::testing::sim_disk::SimDisk;

pub(super) fn on(disk: &SimDisk, keys: &[SpoolKey]) -> Result<(Arc<Spool>, Committer), SpoolOpenError> {
    let mut settings = SpoolSettings::new("/spool".into(), 1 << 20);
    settings.segment_size = 16 << 10;
    seeded(disk, &settings, keys, 7)
}

pub(super) fn seeded(
    disk: &SimDisk,
    settings: &SpoolSettings,
    keys: &[SpoolKey],
    seed: u64,
) -> Result<(Arc<Spool>, Committer), SpoolOpenError> {
    let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
    // The seed depends on the disk's operations, so that a second life draws other salts, as a real one does.
    let rng = Arc::new(SeededRng::new(seed ^ (disk.ops() << 8)));
    Spool::open(Arc::new(disk.clone()), settings, keys, clock, rng, &Meter::new())
}

/// A disk with `count` committed transactions in several segments, as a killed process leaves it.
pub(super) fn filled(count: usize) -> (SimDisk, Vec<String>) {
    let disk = SimDisk::new();
    let (spool, mut committer) = on(&disk, &[key(1)]).unwrap();
    let mut sent = Vec::new();
    for number in 0..count {
        let body = format!("{number:05} {}", "x".repeat(900));
        send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], body.clone())]).unwrap();
        committer.step(STEP);
        sent.push(body);
    }
    drop((spool, committer));
    disk.kill();
    (disk, sent)
}

pub(super) fn error(result: Result<(Arc<Spool>, Committer), SpoolOpenError>) -> SpoolOpenError {
    match result {
        Ok(_) => panic!("must not open"),
        Err(error) => error,
    }
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("seg-")).collect()
}

/// The key is rotated repeatedly while records are pending and arriving, and the process is killed each time. Records
/// sealed with an older key can still be read, new ones are sealed with the newest, and a key is needed exactly as long
/// as its records are pending. A missing key is named, with the exit code of a wrong configuration.
#[test]
fn keys_rotate_under_load() {
    const KEYS: u8 = 5;
    let disk = SimDisk::new();
    let mut waiting: Vec<(u8, String)> = Vec::new();
    for newest in 1..=KEYS {
        // Newest first, as in `spool.key`.
        let keys: Vec<SpoolKey> = (1..=newest).rev().map(key).collect();
        let (spool, mut committer) = on(&disk, &keys).unwrap();
        let here = |waiting: &[(u8, String)]| waiting.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&spool, "a"), here(&waiting), "key {newest}");
        for number in 0..40 {
            let body = format!("{newest}-{number:05} {}", "x".repeat(900));
            send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], body.clone())]).unwrap();
            assert_eq!(committer.step(STEP).committed, 1);
            waiting.push((newest, body));
            // Deliveries continue at half the rate.
            if number % 2 == 0 {
                let first = spool.read("a", None, usize::MAX, 1).unwrap();
                spool.mark_done("a", &[first[0].seq]);
                waiting.remove(0);
            }
        }
        committer.step(STEP);
        let sealed: Vec<[u8; 8]> = segments(&disk)
            .iter()
            .filter_map(|name| SegmentHeader::decode(&disk.contents(name)?).ok())
            .map(|header| header.key_id)
            .collect();
        assert_eq!(sealed.last(), Some(&key(newest).id), "what is new has the newest key");
        drop((spool, committer));
        disk.kill();
        // Without the oldest key that is still needed the start fails, and the key is named.
        let oldest = waiting.first().map_or(newest, |(by, _)| *by);
        if oldest < newest {
            let without: Vec<SpoolKey> = (oldest + 1..=newest).rev().map(key).collect();
            let error = error(on(&disk, &without));
            let text = error.to_string();
            assert!(error.exit_code == 78 && text.contains(&key(oldest).id()) && !text.contains('\n'), "{text}");
        }
    }
    assert_eq!(error(on(&disk, &[])).exit_code, 78, "without any key");
    assert!(waiting.first().is_some_and(|(by, _)| *by > 1 && *by < KEYS), "several keys' records wait together");
    let keys: Vec<SpoolKey> = (1..=KEYS).rev().map(key).collect();
    let (spool, mut committer) = on(&disk, &keys).unwrap();
    let all: Vec<RecordSeq> =
        spool.read("a", None, usize::MAX, usize::MAX).unwrap().iter().map(|stored| stored.seq).collect();
    assert_eq!(all.len(), waiting.len());
    spool.mark_done("a", &all);
    send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], "last")]).unwrap();
    for _ in 0..4 {
        committer.step(STEP);
    }
    drop((spool, committer));
    disk.kill();
    let (spool, _committer) =
        on(&disk, &[key(KEYS)]).expect("the newest key alone is enough once the rest is delivered");
    assert_eq!(bodies(&spool, "a"), ["last"]);
}

/// Wherever a bit flips in synced data, either the start must be refused or every record must still be read, including
/// the last write group of a killed process.
#[test]
fn a_flipped_bit_never_loses_silently() {
    let (disk, sent) = filled(24);
    let names = segments(&disk);
    assert!(names.len() > 1);
    let mut refused = 0;
    for name in &names {
        let len = disk.contents(name).unwrap().len() as u64;
        for offset in (0..len).step_by(37) {
            let clone = disk.fork();
            clone.flip(name, offset, (offset % 8) as u8);
            let before = clone.contents(name);
            match on(&clone, &[key(1)]) {
                Ok((spool, _committer)) => {
                    let found = bodies(&spool, "a");
                    assert!(found == sent, "{name} at {offset}: {} of {}", found.len(), sent.len());
                }
                Err(error) => {
                    refused += 1;
                    let text = error.to_string();
                    assert!(text.contains(name.as_str()) && error.exit_code > 0, "{text}");
                    assert_eq!(clone.contents(name), before, "nothing is changed");
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// After an orderly end even the last group is recorded, so damage there is reported, too.
#[test]
fn damage_in_the_last_group_is_found_after_an_orderly_end() {
    let disk = SimDisk::new();
    let (spool, mut committer) = on(&disk, &[key(1)]).unwrap();
    send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], "body")]).unwrap();
    committer.step(STEP);
    assert!(committer.close());
    drop(spool);
    disk.kill();
    disk.flip("seg-0000000001.spool", SEGMENT_HEADER as u64 + 40, 0);
    assert!(error(on(&disk, &[key(1)])).to_string().contains("damaged"));
}

/// The error for damage must say what to do, and doing it must work.
#[test]
fn a_damaged_segment_can_be_given_up() {
    let (disk, sent) = filled(40);
    let names = segments(&disk);
    let first = &names[0];
    disk.flip(first, 300, 0);
    let text = error(on(&disk, &[key(1)])).to_string();
    assert!(
        text.contains("damaged at byte") && text.contains("nothing was changed") && text.contains(".lost"),
        "{text}"
    );
    let contents = disk.contents(first).unwrap();
    disk.lose(first);
    let text = error(on(&disk, &[key(1)])).to_string();
    assert!(text.contains("missing") && text.contains(first.as_str()), "{text}");
    disk.put(&first.replace(".spool", ".lost"), &contents);
    let (spool, _committer) = on(&disk, &[key(1)]).unwrap();
    let found = bodies(&spool, "a");
    assert!(!found.is_empty() && found.len() < sent.len());
    assert_eq!(found[..], sent[sent.len() - found.len()..]);
}

/// A lost segment must be detected, even the newest one.
#[test]
fn lost_segments_are_noticed() {
    let (disk, _) = filled(40);
    // A second life, whose progress file lists all segments.
    drop(on(&disk, &[key(1)]).unwrap());
    for name in segments(&disk) {
        let clone = disk.fork();
        clone.lose(&name);
        assert!(error(on(&clone, &[key(1)])).to_string().contains("missing"), "{name}");
    }
}

/// If the end of a group that was synced is missing, that is damage, not a torn tail.
#[test]
fn a_missing_end_of_a_synced_group_is_damage() {
    let (disk, _) = filled(8);
    let name = segments(&disk).pop().unwrap();
    let mut cut = disk.contents(&name).unwrap();
    let used = cut.iter().rposition(|byte| *byte != 0).unwrap();
    cut.truncate(used - 10);
    disk.put(&name, &cut);
    assert!(error(on(&disk, &[key(1)])).to_string().contains("damaged at byte"));
    assert_eq!(disk.contents(&name), Some(cut));
}

/// The progress file must record the synced bytes after every group, also after a rewrite.
#[test]
fn every_synced_group_is_told() {
    use crate::spool::progress;
    let disk = SimDisk::new();
    let (spool, mut committer) = on(&disk, &[key(1)]).unwrap();
    let (mut before, mut anew) = ((0, 0), 0);
    let mut size = 0;
    for _ in 0..1500 {
        send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], "body")]).unwrap();
        committer.step(STEP);
        let bytes = disk.contents("progress").unwrap();
        anew += usize::from(bytes.len() < size);
        size = bytes.len();
        let told = progress::read(&bytes).synced.into_iter().next_back().unwrap();
        assert!(told > before, "{told:?} after {before:?}");
        before = told;
    }
    assert!(anew > 0, "never written anew");
}

/// Inputs of a nonce: salt of the segment, number of the record.
type Sealing = ([u8; 32], u32);

/// Stored bytes of every record in every file that ever existed.
fn sealed_records(disk: &SimDisk) -> Vec<(Sealing, Vec<u8>)> {
    let mut all = Vec::new();
    for contents in disk.all_contents() {
        let Ok(header) = SegmentHeader::decode(&contents) else { continue };
        let mut at = SEGMENT_HEADER;
        while let Some(record) = contents.get(at..).and_then(RecordHeader::decode).filter(|record| record.len > 0) {
            let end = at + RECORD_HEADER + record.len as usize;
            let Some(stored) = contents.get(at..end) else { break };
            all.push(((header.salt, record.record), stored.to_vec()));
            at += record.size() as usize;
        }
    }
    all
}

/// Two gateways on clones of one volume, with crashes and failed writes: no (key, nonce) may ever seal two things.
#[test]
fn a_cloned_volume_never_repeats_a_nonce() {
    let (disk, _) = filled(5);
    let clones = [disk.clone(), disk.fork(), disk.fork()];
    for (number, clone) in clones.iter().enumerate() {
        for life in 0..3 {
            let mut settings = SpoolSettings::new("/spool".into(), 1 << 20);
            settings.segment_size = 16 << 10;
            let (spool, mut committer) = seeded(clone, &settings, &[key(1)], number as u64 * 100 + life).unwrap();
            for round in 0..4 {
                if round == 2 {
                    let mut once = true;
                    clone.set_faults(Some(Box::new(move |op| {
                        let hit = op == crate::testing::sim_disk::Op::Write && std::mem::take(&mut once);
                        hit.then_some(crate::testing::sim_disk::Fault::Short)
                    })));
                }
                let body = format!("clone {number} life {life} round {round} {}", "y".repeat(2000));
                send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], body)]).unwrap();
                assert_eq!(committer.step(STEP).committed, 1, "a failed write is repeated in a new segment");
                clone.set_faults(None);
            }
            drop((spool, committer));
            clone.kill();
        }
    }
    let mut seen: BTreeMap<Sealing, Vec<u8>> = BTreeMap::new();
    let mut records = 0;
    for clone in &clones {
        for (nonce, stored) in sealed_records(clone) {
            records += 1;
            let before = seen.entry(nonce).or_insert_with(|| stored.clone());
            assert!(*before == stored, "record {} was sealed twice under one key", nonce.1);
        }
        assert!(clone.rule_breaks().is_empty(), "{:?}", clone.rule_breaks());
    }
    assert!(records > 100 && seen.len() < records, "{records} records, {} nonces", seen.len());
}

/// A gateway must refuse segments that are not sealed; the leak search's switch must really leave clear text.
#[test]
fn unsealed_segments_are_refused() {
    let disk = SimDisk::new();
    let settings = SpoolSettings::new("/spool".into(), 1 << 20);
    let open = SpoolSettings::new("/spool".into(), 1 << 20).unsealed_for_self_check();
    let (spool, mut committer) = seeded(&disk, &open, &[key(1)], 1).unwrap();
    send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], "canary-in-clear")]).unwrap();
    committer.step(STEP);
    drop((spool, committer));
    disk.kill();
    let clear = disk.contents("seg-0000000001.spool").unwrap();
    assert!(clear.windows(15).any(|window| window == b"canary-in-clear"));
    assert!(error(seeded(&disk, &settings, &[key(1)], 2)).to_string().contains("not sealed"));
    let (spool, _committer) = seeded(&disk, &open, &[key(1)], 3).unwrap();
    assert_eq!(bodies(&spool, "a"), ["canary-in-clear"]);
}

/// Whatever the files contain, opening must return a result, not panic.
#[test]
fn garbage_never_panics() {
    let (disk, _) = filled(12);
    let names = disk.names();
    let dice = SeededRng::new(99);
    for _ in 0..400 {
        let clone = disk.fork();
        let name = &names[dice.next() as usize % names.len()];
        let mut contents = clone.contents(name).unwrap();
        for _ in 0..1 + dice.next() % 4 {
            if contents.is_empty() {
                break;
            }
            let at = dice.next() as usize % contents.len();
            match dice.next() % 4 {
                0 => contents.truncate(at),
                1 => contents[at..].fill(0xff),
                2 => contents[at] = dice.next() as u8,
                _ => {
                    let len = contents.len().min(at + 24);
                    kernel::rng::Rng::fill(&dice, &mut contents[at..len]);
                }
            }
        }
        clone.put(name, &contents);
        if let Ok((spool, mut committer)) = on(&clone, &[key(1)]) {
            let _ = spool.read("a", None, usize::MAX, usize::MAX);
            committer.step(STEP);
        }
    }
}

/// `spool list` beside a running gateway must see the contents and change nothing. A segment that the gateway unlinks
/// meanwhile is not a failure; one that is listed and can't be read is.
#[test]
fn peek_changes_nothing() {
    let (disk, sent) = filled(6);
    let (spool, _committer) = on(&disk, &[key(1)]).unwrap();
    let before: Vec<_> = disk.names().iter().map(|name| disk.contents(name)).collect();
    let settings = SpoolSettings::new("/spool".into(), 1 << 20);
    let status = Spool::peek(&disk, &settings, &[key(1)]).unwrap().status;
    assert_eq!(status.consumers[0].records, sent.len() as u64);
    assert_eq!(status.consumers, spool.status().consumers);
    for (lists, is_fine) in [(1, true), (2, true), (u32::MAX, false)] {
        disk.set_ghost_lists(lists);
        assert_eq!(Spool::peek(&disk, &settings, &[key(1)]).is_ok(), is_fine, "listed {lists} times");
    }
    assert_eq!(disk.names().iter().map(|name| disk.contents(name)).collect::<Vec<_>>(), before);
}

/// A record that is damaged while the process runs must not affect the good ones before it: they are returned, and the
/// next read reports the damaged one.
#[test]
fn records_before_a_damaged_one_are_read() {
    let (disk, sent) = filled(3);
    let (spool, _committer) = on(&disk, &[key(1)]).unwrap();
    let name = segments(&disk).remove(0);
    let len = disk.contents(&name).unwrap().len() as u64;
    // The last record's body is in the last third.
    assert!(disk.flip(&name, len - 400, 1));
    let first = spool.read("a", None, 1 << 20, 100).map_err(|error| error.to_string()).expect("the good ones");
    assert!(!first.is_empty() && first.len() < sent.len(), "{} of {}", first.len(), sent.len());
    let behind = first.last().map(|stored| stored.seq);
    assert!(matches!(spool.read("a", behind, 1 << 20, 100), Err(SpoolReadError::Damaged(_))));
}
