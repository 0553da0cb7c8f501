use super::*;

fn unit(trace: usize) -> SampleUnit {
    SampleUnit { account: "default".into(), run: "".into(), trace: format!("{trace:032x}").into() }
}

/// However many runs a sender makes up, their number in memory is bounded: the oldest are decided early.
#[test]
fn the_oldest_units_make_room() {
    let (mut room, late) = (WaitingRoom::default(), Duration::from_secs(600));
    let record = |units: &[usize]| {
        let units: BTreeSet<SampleUnit> = units.iter().map(|trace| unit(*trace)).collect();
        let items = units.len() as u64;
        (WaitingRecord { units: Vec::new(), items, bytes: 1, committed: UnixNanos(1), deadline: late }, units)
    };
    let traces: Vec<usize> = (0..MAX_UNITS + 90).collect();
    for (seq, traces) in (0..).zip(traces.chunks(100)) {
        let (record, units) = record(traces);
        room.add(RecordSeq(seq), record, units, Duration::ZERO);
    }
    assert!(room.is_full());
    room.expire_excess(Duration::from_secs(5));
    let is_early = |record: &&WaitingRecord| record.deadline < late;
    let early: Vec<u64> =
        room.records.iter().filter(|(_, record)| is_early(record)).map(|(seq, _)| seq.0).collect();
    assert_eq!(early, [0]);
    room.remove(RecordSeq(0));
    assert!(!room.is_full());
    let seqs: Vec<RecordSeq> = room.records.keys().copied().collect();
    seqs.into_iter().for_each(|seq| room.remove(seq));
    assert!(room.units.is_empty(), "nothing is left of what was decided");
}
