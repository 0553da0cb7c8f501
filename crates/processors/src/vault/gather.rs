//! Groups the content of a batch by tenant and session and seals each group as one fragment, because the key operation
//! is the expensive part of a small age file.
//!
//! Reads only. Every content place in the facts is in exactly one document, and a document is dropped once it is
//! sealed. Edits are made in `stamp`; `genai` decides what content is.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use echoes::Echoes;
use genai::{Facts, Vaulted};
use kernel::CONTENT;
use kernel::pseudonym::IdPolicy;
use kernel::rng::Rng;
use otlp::{Payload, Signal, SlotId};
use pipeline::Origin;
use vault::books::Writer as BookWriter;
use vault::document::{self, Hashes, Head};
use vault::keys::{KeyRing, SessionKey};
use vault::names::{self, Layout, QUARANTINE, Scope, SessionName, UNATTRIBUTED};
use vault::record::Frame;
use vault::row::{Kind, Tail, Unnumbered};
use vault::seal::SealFailed;
use vault::ticket::{Fragment, Group, UriBase, VaultDraft, leaf_text, widths};

use super::bases::{Bases, Learnt};
use super::content::read_content;
use super::items::{Session, item_head, parameters, parts, sessions};
use super::row::tail;
use super::stamp::{Slot, Stamp};
use super::weigh::billed_input;

/// Seals content into drafts.
pub(super) struct Keeper {
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) keys: KeyRing,
    pub(super) writer: Arc<BookWriter>,
    pub(super) uri: UriBase,
    pub(super) awaited: bool,
    pub(super) slot_base: u32,
    pub(super) zstd: Compressors,
    pub(super) bases: Bases,
}

/// The id policy for one batch: a text that goes to the vault as content must not appear in a name, index line or
/// reference.
struct Careful<'a> {
    ids: &'a dyn IdPolicy,
    vaulted: Vaulted,
    echoes: Option<&'a Echoes>,
}

impl Careful<'_> {
    fn mended(&self, text: &str) -> Option<&str> {
        self.echoes.and_then(|echoes| echoes.of(text))
    }
}

impl IdPolicy for Careful<'_> {
    fn shown<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        match self.vaulted.holds(id) {
            true => self.pseudonym(account, id).into(),
            false => self.ids.shown(account, id),
        }
    }

    fn column<'a>(&self, account: &str, text: &'a str) -> Cow<'a, str> {
        match self.mended(text) {
            _ if self.vaulted.holds(text) => CONTENT.into(),
            Some(mended) => self.ids.column(account, mended).into_owned().into(),
            None => self.ids.column(account, text),
        }
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        self.ids.pseudonym(account, id)
    }
}

/// Pool of zstd contexts: creating one costs as much as compressing a small fragment.
#[derive(Default)]
pub(super) struct Compressors(Mutex<Vec<zstd::bulk::Compressor<'static>>>);

impl Compressors {
    const LEVEL: i32 = 1;
    const KEPT: usize = 16;

    fn compress(&self, plain: String, layout: Layout) -> Result<Vec<u8>, SealFailed> {
        if layout == Layout::Turn {
            return Ok(plain.into_bytes());
        }
        let kept = self.0.lock().pop();
        let mut compressor = match kept {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(Self::LEVEL).map_err(|_| SealFailed)?,
        };
        let compressed = compressor.compress(plain.as_bytes()).map_err(|_| SealFailed)?;
        let mut kept = self.0.lock();
        if kept.len() < Self::KEPT {
            kept.push(compressor);
        }
        Ok(compressed)
    }
}

/// The result for one group.
struct Sealed {
    group: Group,
    stamps: Vec<Stamp>,
    learnt: Option<Learnt>,
}

/// The sealed content of one session.
struct Written {
    fragment: Fragment,
    rows: Vec<Tail>,
    learnt: Learnt,
}

/// The result for a batch.
pub(super) struct Kept {
    pub(super) draft: VaultDraft,
    pub(super) stamps: Vec<Stamp>,
    /// Contexts that later batches may refer to once this batch is committed.
    pub(super) learnt: Vec<Learnt>,
}

/// Assigns slot numbers within one payload.
struct Slots(u32);

impl Slots {
    fn next(&mut self, width: usize) -> Slot {
        let slot = Slot { id: SlotId(self.0), width };
        self.0 = self.0.wrapping_add(1);
        slot
    }
}

impl Keeper {
    /// Seals the content of a batch. `None`: there is nothing to keep.
    pub(super) fn keep(
        &self,
        origin: &Origin,
        payload: &Payload,
        facts: &Facts,
        echoes: Option<&Echoes>,
    ) -> Result<Option<Kept>, SealFailed> {
        let mut slots = Slots(self.slot_base);
        let (mut groups, mut stamps, mut learnt) = (Vec::new(), Vec::new(), Vec::new());
        let ids = Careful { ids: &*self.ids, vaulted: Vaulted::of(payload, facts), echoes };
        for session in sessions(payload, facts, self.writer.names().layout() == Layout::Turn) {
            let sealed = self.session(&ids, origin, payload, facts, &session, &mut slots)?;
            groups.push(sealed.group);
            stamps.extend(sealed.stamps);
            learnt.extend(sealed.learnt);
        }
        groups.extend(facts.late.iter().map(|late| self.late(&ids, origin, late)));
        let draft = VaultDraft { account: origin.account.clone(), groups };
        Ok((!draft.groups.is_empty()).then_some(Kept { draft, stamps, learnt }))
    }

    fn session(
        &self,
        ids: &Careful<'_>,
        origin: &Origin,
        payload: &Payload,
        facts: &Facts,
        session: &Session<'_>,
        slots: &mut Slots,
    ) -> Result<Sealed, SealFailed> {
        let scope = Arc::new(Scope::new(ids, &origin.account, session.tenant, session.name, origin.received));
        let turn = session.turn.map(|turn| turn.segment(ids, &origin.account));
        let spot = self.writer.names().spot(&scope, origin.received, turn.as_deref());
        let mut group = Group {
            scope: scope.clone(),
            spot: spot.clone(),
            arrived: origin.received,
            end: session.end,
            fragment: None,
            rows: Vec::with_capacity(session.items.len()),
            leaf_slots: Vec::with_capacity(session.items.len()),
        };
        let (mut stamps, mut learnt) = (Vec::new(), None);
        let names = self.writer.names();
        // Rows are finished one at a time, because ten thousand unfinished rows would not fit into a CPU cache.
        let mut finish = |mut tail: Tail| {
            tail.writer = names.writer().to_string();
            tail.epoch = names.epoch().to_string();
            group.rows.push(Unnumbered::new(&tail, tail.fragment.is_some()));
        };
        if session.content {
            let at = (&scope, &spot);
            let sealed = self.fragment(ids, origin, payload, facts, session, at, slots, &mut stamps)?;
            if let Some(Written { fragment, rows, learnt: told }) = sealed {
                group.fragment = Some(fragment);
                learnt = Some(told);
                rows.into_iter().for_each(&mut finish);
            }
        }
        let stamped = stamps.len();
        let items = session.items.iter().filter_map(|at| facts.items.get(*at));
        items.filter(|item| item.content.is_empty()).for_each(|item| {
            finish(Tail { kind: Some(Kind::Action), ..tail(ids, origin, payload, item, session.name) })
        });
        group.leaf_slots.extend(stamps.iter().map(|stamp| Some(stamp.leaf.id)));
        group.leaf_slots.resize(group.rows.len().max(stamped), None);
        Ok(Sealed { group, stamps, learnt })
    }

    /// Seals one session's content, with a row and a stamp for each item that has content.
    #[expect(clippy::too_many_arguments, reason = "one step of `session`, split for its length")]
    fn fragment(
        &self,
        ids: &Careful<'_>,
        origin: &Origin,
        payload: &Payload,
        facts: &Facts,
        session: &Session<'_>,
        (scope, spot): (&Arc<Scope>, &Arc<str>),
        slots: &mut Slots,
        stamps: &mut Vec<Stamp>,
    ) -> Result<Option<Written>, SealFailed> {
        let key = self.keys.key(scope, origin.received)?;
        let id = kernel::hex::encode(&self.rng.id());
        let names = self.writer.names();
        let mut known: Vec<(SlotId, String)> = Vec::new();
        let mut know = |text: String, slots: &mut Slots| {
            let slot = slots.next(text.len());
            known.push((slot.id, text));
            slot
        };
        let uri = slots.next(self.uri.uri(&names.object(spot, 0)).len());
        let range = slots.next(widths::RANGE);
        let key_slot = know(key.id().to_owned(), slots);
        let mut document = document::Writer::begin(&self.head(origin, payload, session, &id));
        let mut lookup = self.bases.lookup(&self.writer, scope, spot, &id);
        let mut tails = Vec::new();
        for item in session.items.iter().filter_map(|at| facts.items.get(*at)).filter(|item| !item.content.is_empty()) {
            let (mut content, shape) = read_content(payload, item);
            if content.is_empty() {
                continue; // A previous step removed the content that the facts list.
            }
            let (bytes, [arguments, result]) = (content.len() as u64, content.tool_bytes());
            let mut salt = [0; 32];
            self.rng.fill(&mut salt);
            let plan = lookup.say(&mut content, document.next());
            let (head, parameters) = (item_head(payload, item), parameters(payload, item));
            let (position, hashes) = document.item(&head, &parameters, content, &plan, &salt);
            let row = tail(ids, origin, payload, item, session.name);
            tails.push(Tail {
                kind: Some(Kind::Payload),
                item: Some(position),
                fragment: Some(id.clone()),
                key_id: Some(key.id().to_owned()),
                key_sha256: Some(key.object_sha256().to_owned()),
                pt_bytes: Some(bytes),
                arguments_bytes: arguments.or(row.arguments_bytes),
                result_bytes: result.or(row.result_bytes),
                part: parts(item).map(|part| part.as_str().to_owned()).collect(),
                commitment: Some(hashes.commitment.clone()),
                ..row
            });
            let context = self.contexts(&origin.account, session.tenant, &hashes).map(|name| Some(know(name?, slots)));
            stamps.push(Stamp {
                node: item.node,
                uri,
                range,
                key: key_slot,
                leaf: slots.next(leaf_text(names, 0).len()),
                commitment: know(hashes.commitment, slots),
                shape: know(shape.render(), slots),
                context,
                bytes,
                parts: parts(item).collect(),
                input: billed_input(item).and_then(|tokens| shape.input.spread(tokens)),
            });
        }
        if tails.is_empty() {
            return Ok(None);
        }
        let frame = self.sealed(document.finish(), &key, spot, &id)?;
        let (len, digest) = (frame.rest().len() as u64, sha256_hex(frame.rest()));
        let landed = Arc::default();
        let (pin, bases, learnt) = lookup.finish(&landed);
        for row in &mut tails {
            row.len = Some(len);
            row.ct_sha256 = Some(digest.clone());
            row.bases.clone_from(&bases);
        }
        let (uri_slot, range_slot) = (Some(uri.id), Some(range.id));
        let fragment = Fragment { id, key, frame, uri_slot, range_slot, known, pin, landed };
        Ok(Some(Written { fragment, rows: tails, learnt }))
    }

    /// Fingerprints of what the model was given (everything, system instructions, tool definitions), for comparing the
    /// turns of a tenant. They are keyed by account and tenant: with a bare hash, a known prompt could be looked up,
    /// and one tenant could test guesses about another tenant's prompts.
    fn contexts(&self, account: &str, tenant: Option<&str>, hashes: &Hashes) -> [Option<String>; 3] {
        let tenant = tenant.unwrap_or_default();
        let [system, tools] = &hashes.fixed;
        [("all", &hashes.context), ("system", system), ("tools", tools)].map(|(word, hash)| {
            hash.as_ref().map(|hash| self.ids.pseudonym(account, &format!("context {word} {hash} {tenant}")))
        })
    }

    /// Compresses a document and seals it with its session's key.
    fn sealed(&self, plain: String, key: &SessionKey, spot: &str, id: &str) -> Result<Frame, SealFailed> {
        let names = self.writer.names();
        let mut frame = Fragment::frame(names, spot, key.id(), id);
        key.seal().seal(&self.zstd.compress(plain, names.layout())?, frame.rest_mut())?;
        Ok(frame)
    }

    /// Builds a draft that holds a request unchanged, for items that no processor could finish.
    pub(super) fn quarantine(
        &self,
        origin: &Origin,
        signal: Signal,
        request: &[u8],
        items: u64,
    ) -> Result<VaultDraft, SealFailed> {
        let scope = Arc::new(Scope {
            account: names::account_segment(&origin.account),
            tenant: UNATTRIBUTED.to_owned(),
            session: QUARANTINE.to_owned(),
            date: names::date(origin.received),
        });
        let key = self.keys.key(&scope, origin.received)?;
        let id = kernel::hex::encode(&self.rng.id());
        let names = self.writer.names();
        let head = Head {
            v: 1,
            fragment: Cow::Borrowed(&id),
            account: Cow::Borrowed(&origin.account),
            tenant: Cow::Borrowed(UNATTRIBUTED),
            session: None,
            writer: Cow::Borrowed(names.writer()),
            epoch: Cow::Borrowed(names.epoch()),
            received: names::rfc3339(origin.received).into(),
            signal: Cow::Borrowed(signal.as_str()),
            repeat: origin.repeat,
        };
        let plain = document::Writer::quarantine(&head, request);
        let spot = names.spot(&scope, origin.received, None);
        let frame = self.sealed(plain, &key, &spot, &id)?;
        let row = Tail {
            kind: Some(Kind::Quarantine),
            ts: names::rfc3339(origin.received),
            ingest_ts: names::rfc3339(origin.received),
            signal: signal.as_str().to_owned(),
            account: origin.account.to_string(),
            tenant: UNATTRIBUTED.to_owned(),
            status: format!("{items} items"),
            writer: names.writer().to_string(),
            epoch: names.epoch().to_string(),
            fragment: Some(id.clone()),
            len: Some(frame.rest().len() as u64),
            ct_sha256: Some(sha256_hex(frame.rest())),
            key_id: Some(key.id().to_owned()),
            key_sha256: Some(key.object_sha256().to_owned()),
            pt_bytes: Some(request.len() as u64),
            repeat: origin.repeat,
            ..Tail::default()
        };
        let fragment = Fragment {
            id,
            key,
            frame,
            uri_slot: None,
            range_slot: None,
            known: Vec::new(),
            pin: None,
            landed: Arc::default(),
        };
        let group = Group {
            scope,
            spot,
            arrived: origin.received,
            end: false,
            fragment: Some(fragment),
            rows: vec![Unnumbered::new(&row, true)],
            leaf_slots: vec![None],
        };
        Ok(VaultDraft { account: origin.account.clone(), groups: vec![group] })
    }

    fn head<'a>(&'a self, origin: &'a Origin, payload: &Payload, session: &Session<'a>, id: &'a str) -> Head<'a> {
        let names = self.writer.names();
        Head {
            v: 2,
            fragment: Cow::Borrowed(id),
            account: Cow::Borrowed(&origin.account),
            tenant: Cow::Borrowed(session.tenant.unwrap_or(UNATTRIBUTED)),
            session: match session.name {
                SessionName::Id(id) => Some(Cow::Borrowed(id)),
                SessionName::Trace(_) => None,
            },
            writer: Cow::Borrowed(names.writer()),
            epoch: Cow::Borrowed(names.epoch()),
            received: names::rfc3339(origin.received).into(),
            signal: Cow::Borrowed(payload.signal().as_str()),
            repeat: origin.repeat,
        }
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    kernel::hex::encode(&Sha256::digest(bytes))
}
