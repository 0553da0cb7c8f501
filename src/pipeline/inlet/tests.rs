use super::*;

fn budget(size: usize) -> ByteBudget {
    ByteBudget::new(size, Duration::from_secs(60))
}

#[tokio::test]
async fn bytes_return_when_a_permit_is_dropped() {
    let budget = budget(100);
    let mut permit = BytePermit::new();
    budget.charge(&mut permit, 60).await.expect("room");
    budget.charge(&mut permit, 40).await.expect("room");
    assert_eq!((permit.bytes(), budget.in_use()), (100, 100));
    permit.release(30);
    assert_eq!((permit.bytes(), budget.in_use()), (70, 70));
    drop(permit);
    assert_eq!(budget.in_use(), 0);
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

#[tokio::test]
async fn what_can_never_fit_is_refused_at_once() {
    let budget = budget(100);
    let mut permit = BytePermit::new();
    // the budget's wait is a minute; a test runner would notice it
    assert!(budget.charge(&mut permit, 101).await.is_err());
}
