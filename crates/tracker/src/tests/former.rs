//! Checkpoints of versions 7 and 8 are read, whose groups had another form.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::support::settings;
use crate::codec::put;
use crate::observation::mark;
use crate::state::TrackerState;

/// Position, session, run, flags, start and end of an item.
type Place = ((bool, u64, u32), u32, u32, u32, u64, u64);

const PLACE: Place = ((true, 77, 1), 2, 0, 4, 1_000, 2_000);

/// A checkpoint of one group with a call, a tool call and a mark.
fn checkpoint(version: u8) -> Vec<u8> {
    let empty = Vec::<u8>::new();
    let mut out = vec![version];
    put(&(5_u64, Some(6_u64)), &mut out);
    // ended runs and sums
    put(&(&empty, &empty), &mut out);
    // investigations, measures, alerts, outbox
    (0..3 + 3 + 4).for_each(|_| put(&empty, &mut out));
    put(&(&empty, BTreeMap::<u64, u8>::new(), 9_u64, 3_u64), &mut out);
    let tags = [1_u16, 2, 0, 0, 0, 0, 0, 0];
    let key = |id: u8, kind: u8, text: &str, session: u32| {
        (([id; 16], kind, text.to_owned(), session), (1_000_u64, 2_000_u64, 4_u64), tags)
    };
    let names = ["acme", "triage", "gpt-5", "search", "denied", "timeout"];
    let node = (77_u64, (0_u64, 1_u32, 0_u32, 3_u32, true, false, 0_u16));
    let call =
        ((0_u16, 3_u16, 4_u8, 4_u8), [0_u64, 20, 100, 0, 0, 5], 7_i128, [0_u16, 0, 1, 2, 6], (2_u8, 0_u8, 2_u16));
    let tool = ([4_u16, 0, 6, 5], 99_u64);
    let marked = (mark::AGENT, PLACE, [3_u16, 1, 2, 3, 6]);
    let published = (11_u64, 0_u64, 12_u64, 2_u32, 13_u64, 8_u16);
    put(&(1_u8, "prod", vec![key(1, 2, "0af7", 2), key(2, 1, "s1", 0)], names.to_vec()), &mut out);
    put(&(vec![node], vec![(21_u64, (PLACE, call))], vec![(22_u64, (PLACE, tool))], vec![(23_u64, marked)]), &mut out);
    put(&(vec![(24_u64, published)], &empty, 31_u64, 32_u64, 33_u64, 1_u32, 0_u32, true), &mut out);
    if version == 8 {
        put(&(vec!["elsewhere"], &empty), &mut out);
    }
    out
}

#[test]
fn former_checkpoints() {
    for version in [7, 8] {
        let state = TrackerState::load(Arc::new(settings()), &checkpoint(version)).unwrap();
        let group = state.store.groups().next().unwrap();
        assert_eq!(group.owner.is_here(), version == 7);
        assert_eq!((&*group.account, group.key_text(1), group.name(3)), ("prod", "0af7", "gpt-5"));
        assert_eq!((group.received, group.touched, group.batch), (31, 32, 33));
        assert_eq!((group.unfinished_runs, group.has_trouble), (1, true));
        let node = group.nodes.get(77).unwrap();
        assert_eq!((node.trace, node.iteration, node.agent), (1, 3, true));
        let call = group.calls.get(21).unwrap();
        assert_eq!((call.position.node, call.session, call.flags, call.start, call.end), (77, 2, 4, 1_000, 2_000));
        assert_eq!((group.name(call.model), call.tokens.to_buckets().input, call.atto.amount()), ("gpt-5", 100, 7));
        assert_eq!((group.name(call.error), call.trouble, call.attempts), ("timeout", 2, 2));
        let tool = group.tools.get(22).unwrap();
        assert_eq!((group.name(tool.name), group.name(tool.denial_source), tool.args), ("search", "denied", 99));
        let agent = group.marks.get(23).unwrap();
        assert_eq!((agent.kind, agent.position.node, agent.end), (mark::AGENT, 77, 2_000));
        let agent_names = [agent.tenant, agent.feature, agent.model, agent.error].map(|name| group.name(name));
        assert_eq!(agent_names, ["acme", "triage", "gpt-5", "timeout"]);
        let published = group.published.get(24).unwrap();
        assert_eq!((published.over_at, published.digest, published.revision, published.fired), (11, 12, 2, 8));
        // and saved in the present form
        let mut saved = Vec::new();
        state.save(&mut saved);
        let again = TrackerState::load(Arc::new(settings()), &saved).unwrap();
        assert_eq!(again.store.groups().next().unwrap().marks.get(23).unwrap().feature, agent.feature);
        assert!(TrackerState::load(Arc::new(settings()), &checkpoint(6)).is_none());
        // version 10 has no savings of each group at its end
        assert_eq!((saved.remove(0), saved.pop()), (11, Some(0)));
        let before = TrackerState::load(Arc::new(settings()), &[&[10], &*saved].concat()).unwrap();
        assert_eq!(before.store.groups().next().unwrap().calls.get(21).unwrap().atto.amount(), 7);
        assert!(TrackerState::load(Arc::new(settings()), &[&[11], &*saved].concat()).is_none());
    }
}
