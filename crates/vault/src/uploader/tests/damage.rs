use super::*;

/// Everything but `lost` is stored and done; `lost` is reported, and never done.
async fn only_these_are_lost(world: &mut World, lost: &[RecordSeq], leaves_lost: u64) {
    world.settle().await;
    assert_eq!(world.journal.waiting_seqs(), lost.iter().copied().collect(), "{:?}", world.journal.waiting_kinds());
    assert_eq!(world.check_whole() as u64, 2 * world.sent - leaves_lost, "a leaf is missing");
    let told = format!("tollgate_vault_damaged_records_total{{processor=\"vault\"}} {}", lost.len());
    assert!(world.meter.render().contains(&told), "{}", world.meter.render());
}

fn object(world: &World, session: &str) -> Bytes {
    let store = world.store.0.lock();
    let mut objects = store.objects.iter().filter(|(name, _)| name.contains(&format!("/{session}/")));
    objects.find(|(name, _)| name.ends_with(".agev")).expect("an object").1.clone()
}

/// An unreadable fragment, wherever it is, blocks nothing, is replaced by zeros, and is reported as lost.
#[tokio::test]
async fn a_damaged_fragment_holds_up_nobody() {
    for (n, end) in [(0, false), (1, false), (2, false), (2, true)] {
        let mut world = World::new(20);
        for part in 0..3 {
            world.send("a", 10, end && part == 2);
        }
        world.send("b", 10, true);
        let lost = world.journal.damage(RecordKind::Fragment, n);
        only_these_are_lost(&mut world, &[lost], 0).await;
        let object = object(&world, "a");
        let found =
            (0..3).filter(|part| memchr::memmem::find(&object, format!("<0000000{part}:").as_bytes()).is_some());
        assert_eq!(found.collect::<Vec<_>>(), (0..3).filter(|part| *part != n).collect::<Vec<_>>());
        assert_eq!(object.starts_with(b"\0"), n == 0);
        world.send("a", 10, true);
        only_these_are_lost(&mut world, &[lost], 0).await;
    }
}

/// Fragments that arrive after their object was given up stay in the spool, because no object has them.
#[tokio::test]
async fn a_fragment_that_comes_too_late_is_not_taken_for_stored() {
    let mut world = World::new(25);
    world.send("a", 10, false);
    world.send("a", 10, true);
    let late = {
        // the last one is committed much later, as after a full disk
        let mut journal = world.journal.0.lock();
        let at = journal.records.iter().rposition(|stored| stored.kind == RecordKind::Fragment).expect("one");
        journal.records.remove(at)
    };
    world.send("b", 10, true);
    let lost = world.journal.damage(RecordKind::Key, 1);
    world.settle().await;
    world.journal.append(RecordKind::Fragment, "default", late.body);
    let late = world.journal.0.lock().records.last().expect("one").seq;
    world.settle().await;
    assert_eq!(world.journal.waiting_seqs(), HashSet::from([lost, late]));
}

/// With any damage at any time (of fragments, of all of an object, of keys, lines and seals): a fragment is done only
/// if it is in its object. Without crashes only damaged records remain, everything else is stored, and no attempt has
/// other bytes than the one before it.
#[tokio::test]
async fn any_damage_costs_only_itself() {
    for seed in 0..120 {
        let mut world = World::new(seed);
        let crashes = seed % 2 == 0;
        for _ in 0..60 {
            match world.rng.next() % 16 {
                0 if crashes => world.crash(),
                1 | 2 => world.store.0.lock().faults.push_back(Fault::Refused),
                3 => world.clock.advance(Duration::from_secs(130)),
                4 => {
                    let pick = world.rng.next();
                    let mut journal = world.journal.0.lock();
                    if let Some(at) = (pick as usize).checked_rem(journal.records.len()) {
                        let seq = journal.records[at].seq;
                        journal.damaged.insert(seq);
                    }
                }
                5..=9 => drop(world.uploader.step().await),
                10 => {
                    let mut journal = world.journal.0.lock();
                    journal.synced = journal.done.len();
                }
                n => {
                    let session = format!("s{}", world.rng.next() % 4);
                    world.send(&session, 100, n >= 14);
                }
            }
        }
        world.store.0.lock().faults.clear();
        world.settle().await;
        let (journal, store) = (world.journal.0.lock(), world.store.0.lock());
        let done: HashSet<RecordSeq> = journal.done.iter().copied().collect();
        for stored in journal.records.iter().filter(|one| one.kind == RecordKind::Fragment && done.contains(&one.seq)) {
            let (header, rest): (FragmentHeader, _) = spool_record::unpack(&stored.body).expect("fragment");
            let start = usize::try_from(header.offset).expect("small");
            let held = store.objects.get(&header.object).and_then(|object| object.get(start..start + rest.len()));
            assert_eq!(held, Some(&rest[..]), "seed {seed}: {} is done and not stored", header.object);
        }
        drop((journal, store));
        if !crashes {
            world.check_whole();
            let (left, journal) = (world.journal.waiting_seqs(), world.journal.0.lock());
            let whole =
                journal.records.iter().filter(|one| left.contains(&one.seq) && !journal.damaged.contains(&one.seq));
            let left: Vec<_> = whole.map(|one| (one.kind, one.seq)).collect();
            // the seal of an object with only damaged fragments
            assert!(left.iter().all(|(kind, _)| *kind == RecordKind::Seal), "seed {seed}: {left:?}");
        }
    }
}
