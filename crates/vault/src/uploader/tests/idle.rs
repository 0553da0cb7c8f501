//! A gateway without news.

use super::*;
use crate::chain::digest::ChainDigest;
use crate::object_names::parse_time;

/// The digests of the world's store, in order.
fn digests(world: &World) -> Vec<ChainDigest> {
    let store = world.store.0.lock();
    let names = store.order.iter().map(|(_, name)| name).filter(|name| name.ends_with(".json"));
    names.map(|name| serde_json::from_slice(&store.objects[name]).expect("a digest")).collect()
}

fn seconds_between(from: &str, until: &str) -> u64 {
    parse_time(until).expect("a time").since(parse_time(from).expect("a time")).as_secs()
}

/// Without news there is a digest an hour, and nothing else is written; with news there is one within the interval.
/// Each digest comes before the one before says that it is due, and only the last one promises nothing.
#[tokio::test]
async fn a_gateway_without_news_writes_hourly() {
    let mut world = World::new(21);
    world.send("a", 10, true);
    world.settle().await;
    // the session is over, and its lines are written
    let (before, count) = (digests(&world).len(), world.store.0.lock().objects.len());
    for _ in 0..24 * 60 {
        world.clock.advance(Duration::from_secs(60));
        world.steps(3).await;
    }
    let idle = digests(&world).len() - before;
    assert!((22..=24).contains(&idle), "{idle} digests in a day");
    assert_eq!(world.store.0.lock().objects.len() - count, 2 * idle, "a digest and its signature");
    let arrived = crate::object_names::rfc3339(world.clock.now());
    world.send("b", 10, true);
    world.steps(5).await;
    world.clock.advance(Duration::from_secs(61));
    world.steps(5).await;
    let news = digests(&world).pop().expect("a digest");
    assert!(news.tree_size == 4 && seconds_between(&arrived, &news.end) == 61, "{} {}", news.tree_size, news.end);
    assert!(world.uploader.drain().await);
    let all = digests(&world);
    for pair in all.windows(2) {
        let due = pair[0].counters.next_by.as_ref().expect("a promise");
        let (ahead, late) = (seconds_between(&pair[0].end, due), pair[1].end > *due);
        assert!(ahead == 3600 + 60 + 600 && !late, "{ahead} s, {due}: {}", pair[1].end);
    }
    assert!(all.last().is_some_and(|last| last.last && last.counters.next_by.is_none()));
}

/// What a digest counts is news even without lines: lines that wait for their object, and records that are damaged.
#[tokio::test]
async fn changed_counters_are_news() {
    let mut world = World::new(22);
    world.send("a", 10, true);
    world.settle().await;
    let before = digests(&world).len();
    world.send("a", 10, false);
    world.clock.advance(Duration::from_secs(61));
    world.steps(5).await;
    let waiting = digests(&world).pop().expect("a digest");
    assert_eq!((digests(&world).len() - before, waiting.counters.pending, waiting.index), (1, 2, None));
    world.clock.advance(Duration::from_secs(30));
    world.steps(5).await;
    assert_eq!(digests(&world).len() - before, 1, "once");
}
