//! Whose the known runs are, for items of later requests that do not say it themselves (`genai::adopt_owners`). The
//! answers are those that a run's page shows before its calls decide: of the run that the item names, of the topmost
//! agent above it, of its trace, of its session. Only keys of the item's own account are looked up.

use foldhash::{HashMap, HashMapExt as _};

use genai::{Owner, RunAddress};
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
    takes_feature_of_trace: bool,
    takes_feature_of_session: bool,
}

/// Makes the queries of a batch, which may be done without the tracker's lock.
pub(super) fn make_queries(account: &str, items: &[RunAddress<'_>]) -> Vec<OwnerQuery> {
    let mut known_ids: HashMap<(u8, &str, &[u8]), KeyId> = HashMap::new();
    let mut id = |kind: u8, session, text: &[u8]| {
        let key = |text: &str| key_id(account, kind, session, text);
        let make =
            || if kind == key_kind::TRACE { key(&hex::encode(text)) } else { key(&String::from_utf8_lossy(text)) };
        (!text.is_empty()).then(|| *known_ids.entry((kind, session, text)).or_insert_with(make))
    };
    let query = |item: &RunAddress<'_>| {
        let session = item.session.unwrap_or("");
        let place = <[u8; 16]>::try_from(item.trace).ok().zip(<[u8; 8]>::try_from(item.span).ok());
        OwnerQuery {
            run: item.run.and_then(|run| id(key_kind::RUN, session, run.as_bytes())),
            trace: id(key_kind::TRACE, "", item.trace),
            session: id(key_kind::SESSION, "", session.as_bytes()),
            place: place.map_or(0, |(trace, span)| span_place(trace, span)),
            takes_feature_of_trace: !item.is_span,
            takes_feature_of_session: !item.is_span && item.trace.is_empty(),
        }
    };
    items.iter().map(query).collect()
}

/// The owner of the run, as far as the store knows.
pub(super) fn find_owner(store: &GroupStore, query: &OwnerQuery) -> Owner {
    let find = |id: &Option<KeyId>| {
        let (group, number) = store.find_key(id.as_ref()?)?;
        Some((store.get(group)?, number))
    };
    let (run, trace, session) = (find(&query.run), find(&query.trace), find(&query.session));
    let mut owner = Owner::default();
    if let Some((group, number)) = run {
        add_key(&mut owner, group, number, true);
    }
    if let Some((group, number)) = trace {
        let (named_run, root) = climb(group, query.place);
        add_key(&mut owner, group, named_run, true);
        if let Some(root) = group.marks.get(root ^ u64::from(mark::AGENT)).filter(|_| root != 0) {
            add_names(&mut owner, group, [root.tenant, root.feature, 0]);
        }
        add_key(&mut owner, group, number, query.takes_feature_of_trace);
    }
    if let Some((group, number)) = session {
        add_key(&mut owner, group, number, query.takes_feature_of_session);
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
