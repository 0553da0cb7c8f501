use super::*;

const NOW: UnixNanos = UnixNanos(1_000_000_000_000);

fn repeats() -> RepeatedRequests {
    RepeatedRequests::new(RepeatLimits::default())
}

/// A request that is accepted; its client is there to hear it, or went away.
fn finish(repeats: &RepeatedRequests, account: &str, fingerprint: RequestFingerprint, is_delivered: bool) {
    let (waiter, answer) = oneshot::channel();
    let answer = is_delivered.then_some(answer);
    repeats.register_request(account, fingerprint, waiter, NOW);
    repeats.finish(fingerprint, &Outcome::Accepted, true, NOW);
    drop(answer);
}

/// If a committed request's client went away, its retry must get the stored answer, and not be stored twice.
#[test]
fn an_answer_nobody_heard_is_given_to_the_next_try() {
    let repeats = repeats();
    finish(&repeats, "a", [1; 16], false);
    let (second, answer) = oneshot::channel();
    drop(answer);
    assert_eq!(repeats.register_request("a", [1; 16], second, NOW), RepeatCheck::Joined, "gone again");
    let (third, mut answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], third, NOW), RepeatCheck::Joined);
    assert_eq!(answer.try_recv(), Ok(Outcome::Accepted));
    let (fourth, _answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], fourth, NOW), RepeatCheck::First { repeat: true });
}

/// Memory must be bounded in number and in time, and a flood of equal requests must not accumulate behind one.
#[test]
fn tables_are_bounded() {
    let repeats =
        RepeatedRequests::new(RepeatLimits { answered: 10, undelivered: 10, waiters: 2, ..RepeatLimits::default() });
    for n in 0..100 {
        finish(&repeats, "a", [n; 16], false);
        finish(&repeats, "a", [n + 100; 16], true);
    }
    let tables = repeats.tables.lock();
    assert_eq!((tables.answered.len(), tables.undelivered.len()), (10, 10));
    drop(tables);
    let later = NOW.plus(Duration::from_secs(7201));
    let (waiter, _answer) = oneshot::channel();
    assert_eq!(
        repeats.register_request("a", [199; 16], waiter, later),
        RepeatCheck::First { repeat: false },
        "forgotten by age"
    );
    let [_first, _second, mut third] = [(); 3].map(|()| {
        let (waiter, answer) = oneshot::channel();
        repeats.register_request("a", [250; 16], waiter, later);
        answer
    });
    assert_eq!(third.try_recv(), Ok(Outcome::Retry { after: None, reason: Reason::Overloaded }));
}

/// A flood of one account must not make another account's request be stored twice.
#[test]
fn a_flood_forgets_no_other_account() {
    let repeats = RepeatedRequests::new(RepeatLimits { answered: 10, undelivered: 10, ..RepeatLimits::default() });
    (0..2).for_each(|n| finish(&repeats, "small", [200 + n; 16], n == 0));
    (0..100).for_each(|n| finish(&repeats, "large", [n; 16], n % 2 == 0));
    let register = |fingerprint| repeats.register_request("small", fingerprint, oneshot::channel().0, NOW);
    assert_eq!((register([200; 16]), register([201; 16])), (RepeatCheck::First { repeat: true }, RepeatCheck::Joined));
}
