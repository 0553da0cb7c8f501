//! **What**: response ids that identify nothing: the same id in another trace, with another model or other counts, is another
//! call (`chatcmpl-1` of a mock or a gateway that counts its answers). **Invariants**: linear; a repeat or another layer of a
//! call, in whatever trace, says the same of it; records without a trace are taken at their id's word.
//! **Not here**: layers of one call (`layers`).

use std::collections::{HashMap, HashSet};

use crate::genai::{Facts, ItemFacts};
use crate::hex;
use crate::otlp::Payload;
use crate::pipeline::{ClaimKey, Claims};

use super::layers::Size;

/// What a call's key is, if it is the provider's id of it.
fn by_id(item: &ItemFacts) -> Option<&str> {
    item.call_key.as_deref().filter(|key| key.starts_with("r/"))
}

/// The key of a call whose id was used before.
fn apart(base: &str, trace: &[u8]) -> String {
    format!("{base}@{}", hex::encode(trace))
}

/// Gives calls of this request that share an id and nothing else keys of their own; the items that got one.
pub(super) fn tell_apart(payload: &Payload, facts: &mut Facts) -> HashSet<usize> {
    let mut reused = HashSet::new();
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for id in facts.items.iter().filter(|item| item.billable).filter_map(by_id) {
        *ids.entry(id).or_default() += 1;
    }
    let shared: HashSet<String> =
        ids.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id.to_owned()).collect();
    if shared.is_empty() {
        return reused;
    }
    let (mut known, mut first) = (HashMap::<ClaimKey, String>::new(), HashSet::new());
    for (at, item) in facts.items.iter_mut().enumerate().filter(|(_, item)| item.billable) {
        let Some(base) = by_id(item).filter(|id| shared.contains(*id)).map(str::to_owned) else { continue };
        let trace = payload.trace_id(item.node);
        let marks = Marks::of("", &base, trace, item);
        let same = marks.all().find_map(|mark| known.get(&mark)).cloned();
        let fresh = first.insert(base.clone());
        let key = same.unwrap_or_else(|| if fresh || trace.is_empty() { base.clone() } else { apart(&base, trace) });
        for mark in marks.own() {
            known.entry(mark).or_insert_with(|| key.clone());
        }
        if key != base {
            reused.insert(at);
            item.call_key = Some(key);
        }
    }
    reused
}

/// How an id was used: in which trace, for a call of which model and size.
pub(super) struct Marks {
    trace: ClaimKey,
    /// Of a record that has no trace.
    anywhere: ClaimKey,
    sizes: [ClaimKey; 2],
}

impl Marks {
    fn of(account: &str, base: &str, trace: &[u8], item: &ItemFacts) -> Self {
        let Size { whole, fresh, output, model } = Size::of(item);
        let (account, base) = (account.as_bytes(), base.as_bytes());
        let of_trace = |trace: &[u8]| ClaimKey::of(&[b"id in", account, base, trace]);
        let size = |input: &[u8]| ClaimKey::of(&[b"id of", account, base, input, &output, model.as_bytes()]);
        Self {
            trace: of_trace(trace),
            anywhere: of_trace(&[]),
            sizes: {
                let whole_size = size(&whole);
                [whole_size, if whole == fresh { whole_size } else { size(&fresh) }]
            },
        }
    }

    /// What a use of the id leaves behind.
    pub(super) fn own(&self) -> impl Iterator<Item = ClaimKey> {
        std::iter::once(self.trace).chain(self.sizes)
    }

    fn all(&self) -> impl Iterator<Item = ClaimKey> {
        self.own().chain([self.anywhere])
    }
}

/// What earlier requests say of a call's id.
pub(super) struct Identity {
    pub(super) marks: Marks,
    /// The key to count it by, where its id was used for another call before.
    pub(super) apart: Option<String>,
    /// The call came before, under the id as it is.
    pub(super) known: bool,
}

/// Compares a call with what its id was used for in other requests than `batch`; none where its key is no id.
pub(super) fn compare(
    claims: &Claims,
    batch: &[u8; 16],
    payload: &Payload,
    account: &str,
    item: &ItemFacts,
) -> Option<Identity> {
    let (id, told) = (by_id(item)?, item.response_id.as_deref()?);
    let base = format!("r/{told}");
    let trace = payload.trace_id(item.node);
    let marks = Marks::of(account, &base, trace, item);
    let elsewhere = |key: ClaimKey| claims.holder(key).is_some_and(|holder| holder != *batch);
    let used = elsewhere(ClaimKey::of(&[b"call", account.as_bytes(), base.as_bytes()]));
    let same = trace.is_empty() || marks.all().any(elsewhere);
    let key = (used && !same && id == base).then(|| apart(&base, trace));
    Some(Identity { marks, apart: key, known: used && same })
}
