use super::*;

const NOW: UnixNanos = UnixNanos(1_000_000_000_000);

fn repeats() -> RepeatedRequests {
    RepeatedRequests::new(RepeatLimits::default())
}

fn retry(reason: Reason) -> Outcome {
    Outcome::Retry { after: None, reason }
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
