//! Finds tenant, feature and user of known runs for items that do not state them (`genai::adopt_owners`), in this
//! order: the run that the item names, the run named nearest above it, the topmost agent above it, its trace, its
//! session. Only keys of the item's own account are looked up.

use foldhash::{HashMap, HashMapExt as _};

use genai::{KnownOwner, Owner, RunAddress};
use kernel::{CONTENT, hex, pseudonym};
use runs::OTHER;

use super::group::ItemGroup;
use super::observation::{key_kind, mark, span_place};
use super::store::{GroupStore, KeyId, key_id};

/// Maximum number of spans between an item and the topmost agent above it.
const MAX_STEPS: usize = 64;

/// The ids under which the store may know an item's run.
pub(super) struct OwnerQuery {
    run: Option<KeyId>,
    trace: Option<KeyId>,
    session: Option<KeyId>,
    /// Place of the item's parent, or of the span in which a log record was written; 0 = none.
    place: u64,
}

/// Makes the queries of a batch, for which the tracker's state need not be locked. The id of each key is computed once.
pub(super) fn make_queries<'a>(account: &str, items: &[RunAddress<'a>]) -> Vec<OwnerQuery> {
    let mut known: HashMap<(u8, &'a str, &'a [u8]), KeyId> = HashMap::new();
    let mut id = |kind: u8, session: &'a str, text: &'a [u8]| {
        let make = || {
            let is_trace = kind == key_kind::TRACE;
            let text = if is_trace { hex::encode(text).into() } else { String::from_utf8_lossy(text) };
            key_id(account, kind, session, &text)
        };
        (!text.is_empty()).then(|| *known.entry((kind, session, text)).or_insert_with(make))
    };
    let query = |item: &RunAddress<'a>| {
        let session = item.session.unwrap_or("");
        let place = <[u8; 16]>::try_from(item.trace).ok().zip(<[u8; 8]>::try_from(item.span).ok());
        OwnerQuery {
            run: item.run.and_then(|run| id(key_kind::RUN, session, run.as_bytes())),
            trace: id(key_kind::TRACE, "", item.trace),
            session: id(key_kind::SESSION, "", session.as_bytes()),
            place: place.map_or(0, |(trace, span)| span_place(trace, span)),
        }
    };
    items.iter().map(query).collect()
}

/// The owner of the run, as far as the store knows. The session is the run of an item without a trace.
pub(super) fn find_owner(store: &GroupStore, query: &OwnerQuery) -> KnownOwner {
    let find = |id: &Option<KeyId>| {
        let (group, number) = store.find_key(id.as_ref()?)?;
        Some((store.get(group)?, number))
    };
    let mut owner = KnownOwner::default();
    if let Some((group, number)) = find(&query.run) {
        add_key(&mut owner.run, group, number, true);
    }
    if let Some((group, number)) = find(&query.trace) {
        let (named_run, root) = climb(group, query.place);
        add_key(&mut owner.run, group, named_run, true);
        if let Some(root) = group.marks.get(root ^ u64::from(mark::AGENT)).filter(|_| root != 0) {
            add_names(&mut owner.run, group, [root.tenant, root.feature, 0]);
        }
        add_key(&mut owner.run, group, number, false);
    }
    if let Some((group, number)) = find(&query.session) {
        match query.trace {
            None => add_key(&mut owner.run, group, number, false),
            Some(_) => add_key(&mut owner.session, group, number, false),
        }
    }
    owner
}

/// The run named nearest above a place, and the place of the topmost agent; 0 = none.
fn climb(group: &ItemGroup, place: u64) -> (u32, u64) {
    let (mut named_run, mut root, mut next) = (0, 0, place);
    for _ in 0..MAX_STEPS {
        let Some(node) = group.nodes.get(next) else { break };
        named_run = if named_run == 0 { node.run } else { named_run };
        root = if node.agent { next } else { root };
        next = node.parent;
    }
    (named_run, root)
}

fn add_key(owner: &mut Owner, group: &ItemGroup, number: u32, takes_feature: bool) {
    if let Some(tags) = group.key(number).map(|key| key.tags) {
        add_names(owner, group, [tags.tenant, if takes_feature { tags.feature } else { 0 }, tags.user]);
    }
}

/// Adds the names that the owner lacks and that are as the client sent them: not removed, merged or pseudonyms.
fn add_names(owner: &mut Owner, group: &ItemGroup, numbers: [u16; 3]) {
    let is_as_sent = |name: &&str| !["", CONTENT, OTHER].contains(name) && !name.starts_with(pseudonym::PREFIX);
    for (part, number) in owner.iter_mut().zip(numbers).filter(|(part, _)| part.is_none()) {
        *part = Some(group.name(number)).filter(is_as_sent).map(str::to_owned);
    }
}
