//! **What**: what a [`Group`] is made of. **Not here**: how items are added (`group`).

use super::codec::record;
use super::seen::Who;
use super::table::Table;
use super::tokens::{Atto, Tokens};

record! {
    /// Sessions and traces seen together, with all their items.
    #[derive(Clone)]
    pub(super) struct Group {
        account: Box<str>,
        /// A number of a key is its index + 1.
        keys: Vec<Key>,
        names: Vec<Box<str>>,
        /// By place.
        nodes: Table<Node>,
        calls: Table<Call>,
        tools: Table<Tool>,
        marks: Table<Mark>,
        /// What was announced of runs and sessions: by digests of their ids.
        announced: Table<Announced>,
        /// What its runs add to sums, as [`super::counted`] has it.
        counted: Box<[u8]>,
        /// Gateway time of the last batch, unix ns.
        received: u64,
        /// The engine's running time at the last batch.
        touched: u64,
        /// The number of the last batch.
        batch: u64,
        /// Runs that had not ended when last looked at.
        open: u32,
        /// Runs that the dialect names.
        named: u32,
        /// A model call was not answered as asked: the next may stand in for it.
        troubled: bool,
    }

    /// A session, a trace or a named run.
    #[derive(Clone)]
    pub(super) struct Key {
        /// In the store's index.
        id: [u8; 16],
        kind: u8,
        text: Box<str>,
        /// Of a run: its session. Of a trace: the first session in the alphabet that was seen with it.
        within: u32,
        first: u64,
        last: u64,
        /// The engine's running time at the last batch that named it.
        touched: u64,
        tags: Tags,
    }

    /// Whose work it was and where it came from; names.
    #[derive(Clone, Copy, Default)]
    pub(super) struct Tags {
        tenant: u16,
        feature: u16,
        user: u16,
        template: u16,
        incident: u16,
        commit: u16,
        issue: u16,
        service: u16,
    }

    /// A place in a trace: a span, or one that was only named yet.
    #[derive(Clone)]
    pub(super) struct Node {
        parent: u64,
        trace: u32,
        /// The run that an item at this place names.
        run: u32,
        iteration: u32,
        /// Whether an agent invocation stands here that may be a run's root.
        agent: bool,
        /// A tool was denied here.
        denied: bool,
        /// By whom.
        source: u16,
    }

    /// Where an item stands.
    #[derive(Clone)]
    pub(super) struct Spot {
        /// The place is the item's own (a span), not the one it was written at.
        own: bool,
        /// 0 = not told.
        node: u64,
        trace: u32,
    }

    /// A model call.
    #[derive(Clone)]
    pub(super) struct Call {
        spot: Spot,
        session: u32,
        run: u32,
        flags: u16,
        start: u64,
        end: u64,
        finish: u16,
        model: u16,
        /// Of the record that told the model.
        model_worth: u8,
        worth: u8,
        tokens: Tokens,
        atto: Atto,
        /// The model that was asked for.
        asked: u16,
        provider: u16,
        tenant: u16,
        feature: u16,
        error: u16,
        /// See `seen::trouble`.
        trouble: u8,
        fallback: u8,
        attempts: u8,
    }

    /// A tool call.
    #[derive(Clone)]
    pub(super) struct Tool {
        spot: Spot,
        session: u32,
        run: u32,
        flags: u16,
        start: u64,
        end: u64,
        /// As the tool's own span tells it.
        name: u16,
        /// As others tell it.
        alias: u16,
        error: u16,
        /// Who denied it.
        source: u16,
        /// Keyed digest of the arguments; 0 = not told.
        args: u64,
    }

    /// A begin or end.
    #[derive(Clone)]
    pub(super) struct Mark {
        kind: u8,
        spot: Spot,
        session: u32,
        run: u32,
        flags: u16,
        start: u64,
        end: u64,
        finish: u16,
        tenant: u16,
        feature: u16,
        model: u16,
        error: u16,
    }

    /// What was announced of a run or session.
    #[derive(Clone, Default)]
    pub(super) struct Announced {
        /// The engine's running time when its end was announced, or what came late after it; 0 = it is not over.
        over_at: u64,
        /// The engine's running time since when an end that is not certain is shown: nobody is told of it, no counter
        /// has it.
        presumed_at: u64,
        /// Digest of what was announced last.
        digest: u64,
        /// How many times that changed.
        revision: u32,
        /// Digest of what it added to sums then.
        counted: u64,
        /// Rules that fired for it, as bits of their numbers.
        fired: u16,
    }
}

impl Tags {
    pub(super) fn of(who: &Who, mut name: impl FnMut(u32) -> u16) -> Self {
        let Who { tenant, feature, user, template, incident, commit, issue, service } = *who;
        Self {
            tenant: name(tenant),
            feature: name(feature),
            user: name(user),
            template: name(template),
            incident: name(incident),
            commit: name(commit),
            issue: name(issue),
            service: name(service),
        }
    }

    /// Field by field.
    pub(super) fn zip(self, other: Self, of: impl Fn(u16, u16) -> u16) -> Self {
        Self {
            tenant: of(self.tenant, other.tenant),
            feature: of(self.feature, other.feature),
            user: of(self.user, other.user),
            template: of(self.template, other.template),
            incident: of(self.incident, other.incident),
            commit: of(self.commit, other.commit),
            issue: of(self.issue, other.issue),
            service: of(self.service, other.service),
        }
    }

    pub(super) fn map(self, of: impl Fn(u16) -> u16) -> Self {
        self.zip(self, |name, _| of(name))
    }
}
