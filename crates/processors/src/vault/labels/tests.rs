use super::*;

fn sighting(account: u64, text: u128, session: u64, hour: u32) -> LabelObservation {
    of_kind(0, account, text, session, hour)
}

fn of_kind(kind: u64, account: u64, text: u128, session: u64, hour: u32) -> LabelObservation {
    LabelObservation { account, text, session: bind_to_text((kind, session), text), hour }
}

fn labels(min_sessions: u8, limit: usize) -> ProvenLabels {
    ProvenLabels::new(LabelPolicy { min_sessions, ..LabelPolicy::default() }, limit)
}

/// Checks a text as a batch does, and commits the new observations.
fn send(labels: &ProvenLabels, sighting: LabelObservation) -> bool {
    let mut body = vec![VERSION];
    let leaves = labels.observe(sighting, &mut body);
    labels.apply(&body);
    leaves
}

/// Must not regress: a text is forwarded once enough *different* sessions of *one* account have sent it.
#[test]
fn repetition_proves() {
    let memory = labels(3, LIMIT);
    let sent: Vec<bool> = [7, 7, 8, 8, 9, 10].map(|session| send(&memory, sighting(1, 5, session, 100))).into();
    assert_eq!(sent, [false, false, false, false, false, true]);
    assert!(!send(&memory, sighting(2, 5, 7, 100)), "another account's text");
    assert!(!send(&memory, sighting(1, 6, 7, 100)), "another text");
}

/// Must not regress: a person counts once, even if seen with a session id, with a user id, and with neither.
#[test]
fn sessions_of_several_kinds_are_not_added_up() {
    let memory = labels(3, LIMIT);
    for (kind, session) in [(0, 1), (1, 2), (2, 3), (0, 4), (1, 5), (2, 6), (0, 7)] {
        assert!(!send(&memory, of_kind(kind, 1, 5, session, 100)), "{kind} {session}");
    }
    assert!(send(&memory, of_kind(1, 1, 5, 8, 100)));
}

/// Must not regress: a policy that requires more sessions also applies to texts proven before a restart.
#[test]
fn more_sessions_after_a_restart() {
    let memory = labels(3, LIMIT);
    for session in 0..3 {
        send(&memory, sighting(1, 5, session, 100));
    }
    let stricter = labels(5, LIMIT);
    stricter.apply(&memory.save());
    let sent: Vec<bool> = (10..16).map(|session| send(&stricter, sighting(1, 5, session, 101))).collect();
    assert_eq!(sent, [false, false, false, false, false, true]);
}

/// Must not regress: a batch that is not committed proves nothing.
#[test]
fn what_is_not_committed_proves_nothing() {
    let memory = labels(2, LIMIT);
    for _ in 0..10 {
        memory.observe(sighting(1, 5, 77, 100), &mut Vec::new());
        memory.observe(sighting(1, 5, 78, 100), &mut Vec::new());
    }
    assert!(!send(&memory, sighting(1, 5, 79, 100)));
}

/// Must not regress: a checkpoint holds a single entry for a proven text, and the text stays proven.
#[test]
fn a_proven_text_is_one_entry() {
    let memory = labels(5, LIMIT);
    for session in 1..=5 {
        assert!(!send(&memory, sighting(1, 5, session, 100)));
    }
    assert_eq!(memory.save().len(), 1 + OBSERVATION_BYTES);
    let restored = labels(5, LIMIT);
    restored.apply(&memory.save());
    assert!(send(&restored, sighting(1, 5, 6, 101)));
}

/// Must not regress: a text not seen for 30 days has to prove itself again; one seen every week stays proven.
#[test]
fn forgotten_after_30_days() {
    let memory = labels(2, LIMIT);
    send(&memory, sighting(1, 5, 7, 0));
    send(&memory, sighting(1, 5, 8, 0));
    for week in 1..10 {
        assert!(send(&memory, sighting(1, 5, 9, week * 7 * 24)), "week {week}");
    }
    let later = 9 * 7 * 24 + EXPIRY_HOURS;
    assert!(!send(&memory, sighting(1, 5, 9, later)));
    assert!(!send(&memory, sighting(1, 5, 10, later)));
    assert!(send(&memory, sighting(1, 5, 11, later)));
    assert!(send(&memory, sighting(1, 5, 11, 0)), "the clock jumped back");
}

/// Must not regress: made-up texts evict neither an account's proven labels nor those of other accounts, and the memory
/// is bounded.
#[test]
fn poisoned() {
    let memory = labels(2, 300);
    for account in 0..3 {
        send(&memory, sighting(account, 5, 7, 0));
        send(&memory, sighting(account, 5, 8, 0));
    }
    for text in 1_000..101_000_u128 {
        send(&memory, sighting(1, text, 1, 1));
    }
    assert!(memory.len() <= 300, "{}", memory.len());
    for account in 0..3 {
        assert!(send(&memory, sighting(account, 5, 9, 2)), "account {account}");
    }
}

/// Must not regress: bytes that no version wrote change nothing.
#[test]
fn damaged_effects() {
    let memory = labels(2, LIMIT);
    for body in [&[][..], &[VERSION], &[VERSION, 1, 2, 3], &[9; 100]] {
        memory.apply(body);
    }
    assert_eq!(memory.len(), 0);
}

/// Must not regress: a batch of made-up texts adds a bounded effect.
#[test]
fn one_batch_is_bounded() {
    let memory = labels(2, LIMIT);
    let mut body = vec![VERSION];
    for text in 0..100_000 {
        memory.observe(sighting(1, text, 7, 1), &mut body);
    }
    assert!(body.len() <= (MAX_BATCH_OBSERVATIONS + 1) * OBSERVATION_BYTES, "{}", body.len());
}
