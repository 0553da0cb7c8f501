use super::*;

const NOW: UnixNanos = UnixNanos(1_000_000_000_000);

fn repeats() -> RepeatedRequests {
    RepeatedRequests::new(RepeatLimits::default())
}

fn retry(reason: Reason) -> Outcome {
    Outcome::Retry { after: None, reason }
}

/// A request with equal bytes must join the one in flight and get its answer, not be processed again.
#[test]
fn equal_bytes_join_while_in_flight() {
    let repeats = repeats();
    let (first, mut first_answer) = oneshot::channel();
    let (second, mut second_answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], first, NOW), RepeatCheck::First { repeat: false });
    assert_eq!(repeats.register_request("a", [1; 16], second, NOW), RepeatCheck::Joined);
    repeats.finish([1; 16], &Outcome::Accepted, true, NOW);
    assert_eq!(first_answer.try_recv(), Ok(Outcome::Accepted));
    assert_eq!(second_answer.try_recv(), Ok(Outcome::Accepted));
    assert_eq!(repeats.in_flight(), 0);
}

/// After an OK was delivered, equal bytes must be a new request, marked as a repeat.
#[test]
fn equal_bytes_after_an_ok_are_a_marked_repeat() {
    let repeats = repeats();
    let (first, _answer) = oneshot::channel();
    repeats.register_request("a", [1; 16], first, NOW);
    repeats.finish([1; 16], &Outcome::Accepted, true, NOW);
    let (second, _second) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], second, NOW), RepeatCheck::First { repeat: true });
    let (other, _other) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [2; 16], other, NOW), RepeatCheck::First { repeat: false });
}

/// If a committed request's client went away, its retry must get the stored answer, and not be stored twice.
#[test]
fn an_answer_nobody_heard_is_given_to_the_next_try() {
    let repeats = repeats();
    let (first, answer) = oneshot::channel();
    repeats.register_request("a", [1; 16], first, NOW);
    drop(answer);
    repeats.finish([1; 16], &Outcome::Accepted, true, NOW);
    let (second, answer) = oneshot::channel();
    drop(answer);
    assert_eq!(repeats.register_request("a", [1; 16], second, NOW), RepeatCheck::Joined, "gone again");
    let (third, mut answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], third, NOW), RepeatCheck::Joined);
    assert_eq!(answer.try_recv(), Ok(Outcome::Accepted));
    let (fourth, _answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], fourth, NOW), RepeatCheck::First { repeat: true });
}

/// A request that was not committed must leave no trace: its repeat is a first request.
#[test]
fn what_was_not_committed_is_forgotten() {
    let repeats = repeats();
    let (first, mut answer) = oneshot::channel();
    repeats.register_request("a", [1; 16], first, NOW);
    repeats.finish([1; 16], &retry(Reason::SpoolFull), false, NOW);
    assert_eq!(answer.try_recv(), Ok(retry(Reason::SpoolFull)));
    let (second, _answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], second, NOW), RepeatCheck::First { repeat: false });
}

/// If a client was asked to retry although its data was committed, the retry must join, not be stored again.
#[test]
fn a_retry_after_the_commit_is_joined() {
    let repeats = repeats();
    let (first, _answer) = oneshot::channel();
    repeats.register_request("a", [1; 16], first, NOW);
    repeats.finish([1; 16], &retry(Reason::TimedOut), true, NOW);
    let (second, mut answer) = oneshot::channel();
    assert_eq!(repeats.register_request("a", [1; 16], second, NOW), RepeatCheck::Joined);
    assert_eq!(answer.try_recv(), Ok(Outcome::Accepted));
}

/// Memory must be bounded in number and in time.
#[test]
fn tables_are_bounded() {
    let repeats =
        RepeatedRequests::new(RepeatLimits { answered: 10, undelivered: 10, waiters: 2, ..RepeatLimits::default() });
    for n in 0..100 {
        for heard in [true, false] {
            let (waiter, answer) = oneshot::channel();
            let answer = heard.then_some(answer);
            let fingerprint = [n + u8::from(heard) * 100; 16];
            repeats.register_request("a", fingerprint, waiter, NOW);
            repeats.finish(fingerprint, &Outcome::Accepted, true, NOW);
            drop(answer);
        }
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
}

/// A flood of one account must not make another account's request be stored twice.
#[test]
fn a_flood_forgets_no_other_account() {
    let repeats = RepeatedRequests::new(RepeatLimits { answered: 10, undelivered: 10, ..RepeatLimits::default() });
    let finish = |account, fingerprint, is_delivered: bool| {
        let (waiter, answer) = oneshot::channel();
        let answer = is_delivered.then_some(answer);
        repeats.register_request(account, fingerprint, waiter, NOW);
        repeats.finish(fingerprint, &Outcome::Accepted, true, NOW);
        drop(answer);
    };
    (0..2).for_each(|n| finish("small", [200 + n; 16], n == 0));
    (0..100).for_each(|n| finish("large", [n; 16], n % 2 == 0));
    let register = |fingerprint| repeats.register_request("small", fingerprint, oneshot::channel().0, NOW);
    assert_eq!((register([200; 16]), register([201; 16])), (RepeatCheck::First { repeat: true }, RepeatCheck::Joined));
}

/// A flood of equal requests must not accumulate behind one.
#[test]
fn waiters_are_bounded() {
    let repeats = RepeatedRequests::new(RepeatLimits { waiters: 2, ..RepeatLimits::default() });
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (waiter, answer) = oneshot::channel();
        repeats.register_request("a", [1; 16], waiter, NOW);
        answers.push(answer);
    }
    assert_eq!(answers[2].try_recv(), Ok(retry(Reason::Overloaded)));
}
