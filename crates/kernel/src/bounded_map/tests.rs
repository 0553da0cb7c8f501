//! Tests of the bounded map, against a list that does the same slowly.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::{AccountHash, BoundedMap};

/// Entries in the order of their last writes: account, key, value, weight.
#[derive(Default)]
struct NaiveMap(Vec<(u64, u8, u32, usize)>);

impl NaiveMap {
    fn weight_of(&self, account: Option<u64>) -> usize {
        self.0.iter().filter(|entry| account.is_none_or(|account| entry.0 == account)).map(|entry| entry.3).sum()
    }

    fn insert(&mut self, limit: usize, new: (u64, u8, u32, usize)) -> Vec<(u8, u32)> {
        self.0.retain(|entry| entry.1 != new.1);
        self.0.push(new);
        let mut evicted = Vec::new();
        while self.weight_of(None) > limit {
            // The list is ordered, so the first entry of the heaviest accounts is the oldest.
            let most = self.0.iter().map(|entry| self.weight_of(Some(entry.0))).max().unwrap();
            let at = self.0.iter().position(|entry| self.weight_of(Some(entry.0)) == most).unwrap();
            let (_, key, value, _) = self.0.remove(at);
            evicted.push((key, value));
        }
        evicted
    }

    fn entries(&self) -> Vec<(u8, u32)> {
        self.0.iter().map(|entry| (entry.1, entry.2)).collect()
    }
}

#[derive(Clone, Debug)]
enum Write {
    Insert(u64, u8, u32, usize),
    Update(u64, u8, u32),
    Remove(u8),
    Expire(u32),
    Retain(u32),
}

fn write() -> impl Strategy<Value = Write> {
    let (account, key, value) = (0_u64..4, 0_u8..24, any::<u32>());
    prop_oneof![
        4 => (account.clone(), key.clone(), value, 1_usize..6).prop_map(|(a, k, v, w)| Write::Insert(a, k, v, w)),
        3 => (account, key.clone(), any::<u32>()).prop_map(|(a, k, v)| Write::Update(a, k, v)),
        2 => key.prop_map(Write::Remove),
        1 => any::<u32>().prop_map(Write::Expire),
        1 => any::<u32>().prop_map(Write::Retain),
    ]
}

fn entries(map: &BoundedMap<u8, u32>) -> Vec<(u8, u32)> {
    map.iter().map(|(key, value)| (*key, *value)).collect()
}

proptest! {
    /// Any writes leave the entries, evictions, order and weight that the list has.
    #[test]
    fn same_as_a_list(limit in 1_usize..40, writes in proptest::collection::vec(write(), 0..200)) {
        let (mut map, mut list) = (BoundedMap::<u8, u32>::new(limit), NaiveMap::default());
        for write in writes {
            match write {
                Write::Insert(account, key, value, weight) => {
                    let evicted = map.insert_for(account, key, value, weight);
                    prop_assert_eq!(evicted, list.insert(limit, (account, key, value, weight)));
                }
                Write::Update(account, key, value) => {
                    let known = list.0.iter().find(|entry| entry.1 == key).map_or(0, |entry| entry.2);
                    prop_assert_eq!(map.update(account, key, |held| std::mem::replace(held, value)), known);
                    list.insert(limit, (account, key, value, 1));
                }
                Write::Remove(key) => {
                    let known = list.0.iter().find(|entry| entry.1 == key).map(|entry| entry.2);
                    prop_assert_eq!(map.remove(&key), known);
                    list.0.retain(|entry| entry.1 != key);
                }
                Write::Expire(bound) => {
                    let mut ended: BTreeMap<u64, ()> = BTreeMap::new();
                    let before = list.0.len();
                    list.0.retain(|entry| {
                        if entry.2 >= bound {
                            ended.insert(entry.0, ());
                        }
                        ended.contains_key(&entry.0)
                    });
                    prop_assert_eq!(map.expire(|_, value| *value < bound), (before - list.0.len()) as u64);
                }
                Write::Retain(bound) => {
                    map.retain(|_, value| *value >= bound);
                    list.0.retain(|entry| entry.2 >= bound);
                }
            }
            prop_assert_eq!(entries(&map), list.entries());
            prop_assert_eq!((map.len(), map.weight()), (list.0.len(), list.weight_of(None)));
            for (key, value) in list.entries() {
                prop_assert_eq!(map.get(&key), Some(&value));
            }
            prop_assert!(map.slots.len() <= limit + 1);
        }
    }
}

/// Each entry knows the account that pays for it, so that a saved map can be restored as fair as it was.
#[test]
fn entries_name_their_accounts() {
    let mut map: BoundedMap<u32, char> = BoundedMap::new(4);
    map.insert_for("a", 1, 'x', 1);
    map.insert_for("b", 2, 'y', 1);
    let entries: Vec<_> = map.entries().collect();
    assert_eq!(entries, [(AccountHash::from("a"), &1, &'x'), (AccountHash::from("b"), &2, &'y')]);
}

/// Making room does not walk all accounts: with 40,000 of them this test would take minutes.
#[test]
fn making_room_does_not_walk_the_accounts() {
    let mut map = BoundedMap::<u64, ()>::new(40_000);
    (0..80_000).for_each(|key| drop(map.insert_for(key, key, (), 1)));
    assert_eq!(map.len(), 40_000);
}

/// Reading an entry does not make it younger.
#[test]
fn a_read_is_no_write() {
    let mut map: BoundedMap<_, _> = BoundedMap::new(2);
    map.insert("first", 1);
    map.insert("second", 2);
    assert_eq!(map.get(&"first"), Some(&1));
    assert_eq!(map.insert("third", 3), [("first", 1)]);
}

/// A queue keeps the order of its entries over accounts.
#[test]
fn a_queue() {
    let mut queue: BoundedMap<_, _> = BoundedMap::new(3);
    for (account, value) in [("a", 1), ("b", 2), ("a", 3)] {
        assert_eq!(queue.push(account, value), []);
    }
    let evicted: Vec<i32> = queue.push("b", 4).into_iter().map(|(_, value)| value).collect();
    assert_eq!(evicted, [1]);
    assert_eq!(queue.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [2, 3, 4]);
}

/// A key that counts how often it is hashed.
#[derive(PartialEq, Eq)]
struct CountedKey(u64);

static HASHED: AtomicU64 = AtomicU64::new(0);

impl Hash for CountedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        HASHED.fetch_add(1, Ordering::Relaxed);
        self.0.hash(state);
    }
}

/// A full map is not walked for each new entry: this happens under locks that requests wait for.
#[test]
fn making_room_does_not_walk_the_map() {
    let mut map: BoundedMap<_, _> = BoundedMap::new(2000);
    (0..2000).for_each(|key| drop(map.insert_for(key % 2, CountedKey(key), (), 1)));
    HASHED.store(0, Ordering::Relaxed);
    for key in 2000..2100 {
        assert_eq!(map.insert_for(1, CountedKey(key), (), 1).len(), 1);
    }
    assert!(HASHED.load(Ordering::Relaxed) < 1000);
}
