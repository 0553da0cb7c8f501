//! [`NameSums`]: values added up by names that occurred together: shares of tenants, tools, denials, commits. A look-up
//! of known names allocates nothing, because a page makes several for each of a hundred thousand runs.

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::hash_map::EntryRef;
use hashbrown::{Equivalent, HashMap};

/// Names that occurred together, and how often.
pub type NameCounts<const N: usize> = Vec<([Box<str>; N], u64)>;

/// See the module.
pub(super) struct NameSums<const N: usize, T>(HashMap<[Box<str>; N], T, RandomState>);

/// Has the hash of the same names as a key.
#[derive(Hash)]
struct BorrowedNames<'n, const N: usize>([&'n str; N]);

impl<const N: usize> Equivalent<[Box<str>; N]> for BorrowedNames<'_, N> {
    fn equivalent(&self, key: &[Box<str>; N]) -> bool {
        self.0.iter().zip(key).all(|(name, known)| **name == **known)
    }
}

impl<const N: usize, T> Default for NameSums<N, T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<const N: usize, T: Default> NameSums<N, T> {
    pub(super) fn entry(&mut self, names: [&str; N]) -> &mut T {
        match self.0.entry_ref(&BorrowedNames(names)) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) => entry.insert_with_key(names.map(Box::from), T::default()),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    /// All names with their values, the first by `rank` first, of equal ones by name.
    pub(super) fn into_ranked<R: Ord>(self, rank: impl Fn(&T) -> R) -> Vec<([Box<str>; N], T)> {
        let mut rows: Vec<_> = self.0.into_iter().collect();
        rows.sort_by(|(a_names, a), (b_names, b)| (rank(a), a_names).cmp(&(rank(b), b_names)));
        rows
    }
}

impl<const N: usize> NameSums<N, u64> {
    /// The most frequent names, and all others' number.
    pub(super) fn into_most_frequent(self, limit: usize) -> (NameCounts<N>, usize) {
        let mut rows = self.into_ranked(|count| Reverse(*count));
        let left_out = rows.len().saturating_sub(limit);
        rows.truncate(limit);
        (rows, left_out)
    }
}
