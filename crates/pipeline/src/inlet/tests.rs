use futures_util::FutureExt as _;

use super::*;

fn budget(size: usize) -> ByteBudget {
    ByteBudget::new(size, Duration::from_secs(60))
}

#[tokio::test]
async fn a_full_budget_is_answered_with_overloaded_after_the_wait_and_keeps_the_permit() {
    let budget = ByteBudget::new(100, Duration::from_millis(1));
    let (mut first, mut second) = (BytePermit::new(), BytePermit::new());
    budget.charge(&mut first, 90).await.expect("room");
    budget.charge(&mut second, 5).await.expect("room");
    let refused = budget.charge(&mut second, 20).await;
    assert!(matches!(refused, Err(Outcome::Retry { after: Some(_), reason: Reason::Overloaded })));
    assert_eq!((second.bytes(), budget.in_use()), (5, 95));
    let budget = ByteBudget::new(100, Duration::from_secs(60));
    let never_fits = budget.charge(&mut BytePermit::new(), 101).now_or_never();
    assert!(matches!(never_fits, Some(Err(_))), "refused at once");
}

#[tokio::test]
async fn a_waiter_gets_the_room_that_another_gives_back() {
    let budget = budget(100);
    let (mut first, mut second) = (BytePermit::new(), BytePermit::new());
    budget.charge(&mut first, 90).await.expect("room");
    let (waited, ()) = tokio::join!(budget.charge(&mut second, 50), async { drop(first) });
    waited.expect("room after the first left");
    assert_eq!(budget.in_use(), 50);
}

proptest::proptest! {
    /// For any sequence of charges, releases and drops, the budget knows how much is held, never grants more than it
    /// has, and has all of it back at the end.
    #[test]
    fn the_budget_adds_up(steps in proptest::collection::vec((0..4_usize, 0..3_u8, 0..700_usize), 0..60)) {
        let budget = ByteBudget::new(1000, Duration::from_secs(2));
        let mut permits: Vec<BytePermit> = (0..4).map(|_| BytePermit::new()).collect();
        for (which, what, n) in steps {
            let held = permits[which].bytes();
            match what {
                0 => {
                    let room = budget.size() - budget.in_use();
                    // Polled once: a charge that has to wait is dropped.
                    let charged = if n <= room { budget.charge(&mut permits[which], n).now_or_never() } else { None };
                    let wanted = if charged == Some(Ok(())) { held + n } else { held };
                    proptest::prop_assert_eq!(charged.is_some(), n <= room);
                    proptest::prop_assert_eq!(permits[which].bytes(), wanted);
                }
                1 => {
                    permits[which].release(n);
                    proptest::prop_assert_eq!(permits[which].bytes(), held.saturating_sub(n));
                }
                _ => permits[which] = BytePermit::new(),
            }
            proptest::prop_assert_eq!(budget.in_use(), permits.iter().map(BytePermit::bytes).sum::<usize>());
            proptest::prop_assert!(budget.in_use() <= budget.size());
        }
        drop(permits);
        proptest::prop_assert_eq!(budget.in_use(), 0);
    }
}

/// Near the memory limit no request starts beside another, but one alone continues; a started request is finished
/// unless almost no memory is left. The restriction ends when memory is sufficient again.
#[tokio::test]
async fn short_memory_lets_one_at_a_time_through() {
    let budget = budget(1000);
    let (mut first, mut second, mut third) = (BytePermit::new(), BytePermit::new(), BytePermit::new());
    budget.charge(&mut second, 10).await.expect("room");
    let refused = |answer: Result<(), Outcome>| {
        assert_eq!(answer, Err(Outcome::Retry { after: Some(Duration::from_secs(2)), reason: Reason::LowMemory }));
    };
    budget.pressure.set(MemoryLevel::Short);
    assert!(budget.is_short(0));
    refused(budget.charge(&mut first, 10).await);
    budget.charge(&mut second, 10).await.expect("begun");
    budget.pressure.set(MemoryLevel::Normal);
    budget.charge(&mut third, 10).await.expect("room");
    budget.pressure.set(MemoryLevel::Critical);
    refused(budget.charge(&mut second, 10).await);
    drop(third);
    budget.charge(&mut second, 10).await.expect("alone");
    refused(budget.charge(&mut first, 10).await);
    drop(second);
    assert!(!budget.is_short(0));
    budget.charge(&mut first, 10).await.expect("alone");
    budget.pressure.set(MemoryLevel::Normal);
    budget.charge(&mut BytePermit::new(), 10).await.expect("room");
}

/// Requests that all hold a part and wait for the rest must not all fail: they give up one after the other until the
/// rest complete.
#[tokio::test]
async fn requests_in_hand_do_not_all_give_up() {
    let budget = ByteBudget::new(1000, Duration::from_secs(2));
    let client = async || {
        let mut permit = BytePermit::new();
        for _ in 0..10 {
            budget.charge(&mut permit, 20).await?;
            tokio::task::yield_now().await;
        }
        Ok::<_, Outcome>(())
    };
    let answers = futures_util::future::join_all((0..20).map(|_| client())).await;
    let whole = answers.iter().filter(|answer| answer.is_ok()).count();
    // If none completes, they hold the whole budget together; at most 5 fit.
    assert!((4..20).contains(&whole), "{whole}");
    assert_eq!(budget.in_use(), 0);
}
