//! Groups the content of a batch by tenant and session and seals each group as one fragment, because the key operation
//! is the expensive part of a small age file.
//!
//! Reads only. Every content place in the facts is in exactly one document, and a document is dropped once it is
//! sealed. Edits are made in `stamp`; `genai` decides what content is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use echoes::EchoReplacements;
use genai::{Facts, LatePrice, VaultedTexts};
use kernel::CONTENT;
use kernel::clock::UnixNanos;
use kernel::compression::CompressorPool;
use kernel::pseudonym::IdPolicy;
use kernel::rng::Rng;
use otlp::{Payload, Signal, SlotId};
use pipeline::BatchOrigin;
use vault::document::{self, ContentHashes, DocumentHead};
use vault::index_row::{RowKind, RowTail, UnnumberedRow};
use vault::key_ring::{KeyRing, SessionKey};
use vault::object_names::{self, FragmentScope, ObjectLayout, QUARANTINE_SESSION, SessionName, UNATTRIBUTED};
use vault::recipients::{ContentOwner, ContentTenant};
use vault::seal::SealFailed;
use vault::spool_record::RecordFrame;
use vault::ticket::{DraftGroup, SealedFragment, VaultDraft, leaf_text, widths};
use vault::vault_writer::VaultWriter;

use super::content::read_content;
use super::context_bases::{ContextBases, LearnedContexts};
use super::input_shares::billed_input;
use super::row::{index_row, late_price_row};
use super::session_items::{SessionItems, group_by_session, item_head, present_parts, replay_parameters, session_id};
use super::stamp::{self, ReferenceStamp, TextSlot};

/// Seals content into drafts.
pub(super) struct ContentSealer {
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) keys: KeyRing,
    pub(super) writer: Arc<VaultWriter>,
    pub(super) uri: Arc<str>,
    /// See [`VaultSettings::content_url`](super::VaultSettings::content_url).
    pub(super) content_url: Option<Arc<str>>,
    pub(super) forward_after_put: bool,
    /// The first slot number of this processor.
    pub(super) slot_base: u32,
    pub(super) zstd: CompressorPool,
    pub(super) bases: ContextBases,
}

/// The id policy for one batch. A text that goes to the vault as content, or repeats such content, must not appear in a
/// name, index line or reference.
struct VaultedIdPolicy<'a> {
    ids: &'a dyn IdPolicy,
    vaulted: VaultedTexts,
    echoes: Option<&'a EchoReplacements>,
    /// Pseudonyms of this batch, which has one account, by text: most items name the same user.
    pseudonyms: Mutex<HashMap<Box<str>, String>>,
}

impl IdPolicy for VaultedIdPolicy<'_> {
    fn shown_id<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        match self.vaulted.contains(id) {
            true => self.pseudonym(account, id).into(),
            false => self.ids.shown_id(account, id),
        }
    }

    fn redact_column<'a>(&self, account: &str, text: &'a str) -> Cow<'a, str> {
        match self.echoes.and_then(|echoes| echoes.replacement_for(text)) {
            _ if self.vaulted.contains(text) => CONTENT.into(),
            Some(without_echo) => self.ids.redact_column(account, without_echo).into_owned().into(),
            None => self.ids.redact_column(account, text),
        }
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        let mut known = self.pseudonyms.lock();
        if let Some(pseudonym) = known.get(id) {
            return pseudonym.clone();
        }
        known.entry(id.into()).or_insert(self.ids.pseudonym(account, id)).clone()
    }
}

/// A batch whose content is sealed.
#[derive(Clone, Copy)]
struct BatchToSeal<'a> {
    ids: &'a VaultedIdPolicy<'a>,
    origin: &'a BatchOrigin,
    payload: &'a Payload,
    facts: &'a Facts,
}

pub(super) struct SealedBatch {
    pub(super) draft: VaultDraft,
    pub(super) stamps: Vec<ReferenceStamp>,
    /// Contexts that later batches may refer to once this batch is committed.
    pub(super) contexts: Vec<LearnedContexts>,
}

/// Assigns slot numbers within one payload.
struct SlotNumbers(u32);

impl SlotNumbers {
    fn next(&mut self, width: usize) -> TextSlot {
        let slot = TextSlot { id: SlotId(self.0), width };
        self.0 = self.0.wrapping_add(1);
        slot
    }
}

impl ContentSealer {
    /// Seals the content of a batch. `None`: there is nothing to keep.
    pub(super) fn seal_batch(
        &self,
        origin: &BatchOrigin,
        payload: &Payload,
        facts: &Facts,
        echoes: Option<&EchoReplacements>,
    ) -> Result<Option<SealedBatch>, SealFailed> {
        let mut slots = SlotNumbers(self.slot_base);
        let ids = VaultedIdPolicy {
            ids: &*self.ids,
            vaulted: VaultedTexts::collect(payload, facts),
            echoes,
            pseudonyms: Mutex::default(),
        };
        let batch = BatchToSeal { ids: &ids, origin, payload, facts };
        let draft = VaultDraft { account: origin.account.clone(), groups: Vec::new() };
        let mut sealed = SealedBatch { draft, stamps: Vec::new(), contexts: Vec::new() };
        for session in group_by_session(payload, facts, self.writer.names().layout == ObjectLayout::Turn) {
            self.seal_session(batch, &session, &mut slots, &mut sealed)?;
        }
        let late_prices = facts.late_prices.iter().map(|late| self.late_price_group(&ids, origin, late));
        sealed.draft.groups.extend(late_prices);
        Ok(Some(sealed).filter(|sealed| !sealed.draft.groups.is_empty()))
    }

    /// A group with the line of a price that became known later than its call. The line gets a leaf of its own in the
    /// call's session, because a line that was written is never changed; `vault/ticket` links it to its call.
    fn late_price_group(&self, ids: &dyn IdPolicy, origin: &BatchOrigin, late: &LatePrice) -> DraftGroup {
        let tenant = late.tenant.as_deref().filter(|tenant| !tenant.is_empty());
        let name = match late.session.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => SessionName::Id(id),
            None => SessionName::Trace(&late.trace),
        };
        let scope = Arc::new(FragmentScope::new(ids, &origin.account, tenant, name, origin.received));
        let names = self.writer.names();
        let (writer, epoch) = (names.writer().to_string(), names.epoch().to_string());
        let row = RowTail { writer, epoch, ..late_price_row(ids, origin, late) };
        let object_prefix = names.object_prefix(&scope, origin.received, None);
        new_group(scope, object_prefix, origin.received, vec![UnnumberedRow::new(&row, false)])
    }

    /// Adds the group of one session, with its stamps and contexts, to `sealed`.
    fn seal_session(
        &self,
        batch: BatchToSeal<'_>,
        session: &SessionItems<'_>,
        slots: &mut SlotNumbers,
        sealed: &mut SealedBatch,
    ) -> Result<(), SealFailed> {
        let BatchToSeal { ids, origin, payload, facts } = batch;
        let scope = Arc::new(FragmentScope::new(ids, &origin.account, session.tenant, session.name, origin.received));
        let turn = session.turn.map(|turn| turn.segment(ids, &origin.account));
        let object_prefix = self.writer.names().object_prefix(&scope, origin.received, turn.as_deref());
        let rows = Vec::with_capacity(session.items.len());
        let empty_group = new_group(scope.clone(), object_prefix.clone(), origin.received, rows);
        let mut group = DraftGroup { end: session.has_ended, ..empty_group };
        let (names, earlier_stamps) = (self.writer.names(), sealed.stamps.len());
        // Rows are finished one at a time, because ten thousand unfinished rows would not fit into a CPU cache.
        let mut finish = |mut tail: RowTail| {
            tail.writer = names.writer().to_string();
            tail.epoch = names.epoch().to_string();
            group.rows.push(UnnumberedRow::new(&tail, tail.fragment.is_some()));
        };
        if session.has_content {
            let location = (&scope, &object_prefix);
            if let Some((fragment, rows)) = self.seal_fragment(batch, session, location, slots, sealed)? {
                group.fragment = Some(fragment);
                rows.into_iter().for_each(&mut finish);
            }
        }
        let items = session.items.iter().filter_map(|index| facts.items.get(*index));
        let actions = items.filter(|item| item.content.is_empty());
        actions.for_each(|item| finish(index_row(ids, origin, payload, item, session.name)));
        group.leaf_slots = sealed.stamps.iter().skip(earlier_stamps).map(|stamp| Some(stamp.leaf)).collect();
        group.leaf_slots.resize(group.rows.len(), None);
        sealed.draft.groups.push(group);
        Ok(())
    }

    /// Seals one session's content, with a row and a stamp for each item that has content.
    fn seal_fragment(
        &self,
        batch: BatchToSeal<'_>,
        session: &SessionItems<'_>,
        (scope, object_prefix): (&Arc<FragmentScope>, &Arc<str>),
        slots: &mut SlotNumbers,
        sealed: &mut SealedBatch,
    ) -> Result<Option<(SealedFragment, Vec<RowTail>)>, SealFailed> {
        let BatchToSeal { ids, origin, payload, facts } = batch;
        let owner = ContentOwner { account: &origin.account, tenant: ContentTenant::Named(session.tenant) };
        let key = self.keys.key(scope, owner, origin.received)?;
        let id = kernel::hex::encode(&self.rng.id());
        let names = self.writer.names();
        let mut known_slots: Vec<(SlotId, String)> = Vec::new();
        let mut fill_slot = |text: String, slots: &mut SlotNumbers| {
            let slot = slots.next(text.len());
            known_slots.push((slot.id, text));
            slot
        };
        let uri = slots.next(self.uri.len() + names.object(object_prefix, 0).len());
        let range = slots.next(widths::RANGE);
        let key_slot = fill_slot(key.id().to_owned(), slots);
        let page = self.page_url(scope).map(|url| fill_slot(url, slots));
        let named = (session.tenant.unwrap_or(UNATTRIBUTED), session_id(session.name));
        let head = self.fragment_head(origin, payload.signal(), named, &id);
        let mut document = document::DocumentWriter::begin(&head);
        let mut lookup = self.bases.lookup(&self.writer, scope, object_prefix, &id);
        let mut tails = Vec::with_capacity(session.items.len());
        // one call for all, because each is a system call
        let mut salts = vec![[0; 32]; session.items.len()];
        self.rng.fill(salts.as_flattened_mut());
        let mut salts = salts.into_iter();
        for item in
            session.items.iter().filter_map(|index| facts.items.get(*index)).filter(|item| !item.content.is_empty())
        {
            let (mut content, shape) = read_content(payload, item);
            if content.is_empty() {
                continue; // A previous step removed the content that the facts list.
            }
            let (bytes, [arguments, result]) = (content.len() as u64, content.tool_bytes());
            let Some(salt) = salts.next() else { break };
            let plan = lookup.plan_content(&mut content, document.item_count);
            let (head, parameters) = (item_head(payload, item), replay_parameters(payload, item));
            let (position, hashes) = document.write_item(&head, &parameters, content, &plan, &salt);
            let row = index_row(ids, origin, payload, item, session.name);
            tails.push(RowTail {
                kind: Some(RowKind::Payload),
                item: Some(position),
                fragment: Some(id.clone()),
                key_id: Some(key.id().to_owned()),
                key_sha256: Some(key.object_sha256.clone()),
                pt_bytes: Some(bytes),
                arguments_bytes: arguments.or(row.arguments_bytes),
                result_bytes: result.or(row.result_bytes),
                part: present_parts(item).map(|part| part.as_str().to_owned()).collect(),
                commitment: Some(hashes.commitment.clone()),
                ..row
            });
            let context = self.context_fingerprints(&origin.account, session.tenant, &hashes);
            let leaf = slots.next(leaf_text(names, 0).len());
            let (commitment, shape_slot) = (fill_slot(hashes.commitment, slots), fill_slot(shape.render(), slots));
            let mut references = vec![(stamp::S3_URI, uri), (stamp::RANGE, range), (stamp::KEY_ID, key_slot)];
            references.extend([(stamp::LEAF, leaf), (stamp::COMMITMENT, commitment), (stamp::SHAPE, shape_slot)]);
            references.extend(present_parts(item).filter_map(|part| Some((part.reference_key()?, uri))));
            references.extend(page.map(|page| (stamp::CONTENT_URL, page)));
            let context = stamp::CONTEXT.into_iter().zip(context);
            references.extend(context.filter_map(|(key, text)| Some((key, fill_slot(text?, slots)))));
            sealed.stamps.push(ReferenceStamp {
                node: item.node,
                leaf: leaf.id,
                slots: references,
                bytes,
                input_shares: billed_input(item).and_then(|tokens| shape.input.distribute(tokens)),
            });
        }
        if tails.is_empty() {
            return Ok(None);
        }
        let frame = self.seal_document(document.finish(), &key, object_prefix, &id)?;
        let (len, digest) = (frame.rest().len() as u64, sha256_hex(frame.rest()));
        let object_number = Arc::default();
        let (pin, bases, contexts) = lookup.finish(&object_number);
        for row in &mut tails {
            row.len = Some(len);
            row.ct_sha256 = Some(digest.clone());
            row.bases.clone_from(&bases);
        }
        let (uri_slot, range_slot) = (Some(uri.id), Some(range.id));
        let fragment = SealedFragment { id, key, frame, uri_slot, range_slot, known_slots, pin, object_number };
        sealed.contexts.push(contexts);
        Ok(Some((fragment, tails)))
    }

    /// The address of the session's page. Names of objects are percent-encoded as addresses are.
    fn page_url(&self, scope: &FragmentScope) -> Option<String> {
        let site = self.content_url.as_deref()?;
        Some(format!("{site}/session?session={}&account={}", scope.session, scope.account))
    }

    /// Fingerprints of what the model was given (everything, system instructions, tool definitions), for comparing the
    /// turns of a tenant. They are keyed by account and tenant: with a bare hash, a known prompt could be looked up,
    /// and one tenant could test guesses about another tenant's prompts.
    fn context_fingerprints(&self, account: &str, tenant: Option<&str>, hashes: &ContentHashes) -> [Option<String>; 3] {
        let tenant = tenant.unwrap_or_default();
        let [system, tools] = &hashes.fixed;
        [("all", &hashes.context), ("system", system), ("tools", tools)].map(|(scope, hash)| {
            hash.as_ref().map(|hash| self.ids.pseudonym(account, &format!("context {scope} {hash} {tenant}")))
        })
    }

    /// Compresses a document and seals it with its session's key.
    fn seal_document(
        &self,
        plain: String,
        key: &SessionKey,
        object_prefix: &str,
        id: &str,
    ) -> Result<RecordFrame, SealFailed> {
        let names = self.writer.names();
        let mut frame = SealedFragment::empty_frame(names, object_prefix, key.id(), id);
        let document = match names.layout {
            ObjectLayout::Turn => plain.into_bytes(),
            _ => self.zstd.compress(plain.as_bytes()).map_err(|_| SealFailed::Internal)?,
        };
        key.seal(&document, frame.rest_mut())?;
        Ok(frame)
    }

    /// Builds a draft that holds a request unchanged, for items that no processor could finish.
    pub(super) fn seal_quarantined(
        &self,
        origin: &BatchOrigin,
        signal: Signal,
        request: &[u8],
        items: u64,
    ) -> Result<VaultDraft, SealFailed> {
        let scope = Arc::new(FragmentScope {
            account: object_names::account_segment(&origin.account),
            tenant: UNATTRIBUTED.to_owned(),
            session: QUARANTINE_SESSION.to_owned(),
            date: object_names::date(origin.received),
        });
        let owner = ContentOwner { account: &origin.account, tenant: ContentTenant::Mixed };
        let key = self.keys.key(&scope, owner, origin.received)?;
        let id = kernel::hex::encode(&self.rng.id());
        let names = self.writer.names();
        let head = DocumentHead { v: 1, ..self.fragment_head(origin, signal, (UNATTRIBUTED, None), &id) };
        let plain = document::DocumentWriter::quarantine(&head, request);
        let object_prefix = names.object_prefix(&scope, origin.received, None);
        let frame = self.seal_document(plain, &key, &object_prefix, &id)?;
        let row = RowTail {
            kind: Some(RowKind::Quarantine),
            ts: object_names::rfc3339(origin.received),
            ingest_ts: object_names::rfc3339(origin.received),
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
            key_sha256: Some(key.object_sha256.clone()),
            pt_bytes: Some(request.len() as u64),
            repeat: origin.repeat,
            source_record: origin.source_record.as_deref().map(str::to_owned),
            ..RowTail::default()
        };
        let fragment = SealedFragment {
            id,
            key,
            frame,
            uri_slot: None,
            range_slot: None,
            known_slots: Vec::new(),
            pin: None,
            object_number: Arc::default(),
        };
        let rows = vec![UnnumberedRow::new(&row, true)];
        let group = DraftGroup { fragment: Some(fragment), ..new_group(scope, object_prefix, origin.received, rows) };
        Ok(VaultDraft { account: origin.account.clone(), groups: vec![group] })
    }

    /// The head of a document of a tenant and session.
    fn fragment_head<'a>(
        &'a self,
        origin: &'a BatchOrigin,
        signal: Signal,
        (tenant, session): (&'a str, Option<&'a str>),
        id: &'a str,
    ) -> DocumentHead<'a> {
        let names = self.writer.names();
        DocumentHead {
            v: 2,
            fragment: Cow::Borrowed(id),
            account: Cow::Borrowed(&origin.account),
            tenant: Cow::Borrowed(tenant),
            session: session.map(Cow::Borrowed),
            writer: Cow::Borrowed(names.writer()),
            epoch: Cow::Borrowed(names.epoch()),
            received: object_names::rfc3339(origin.received).into(),
            signal: Cow::Borrowed(signal.as_str()),
            repeat: origin.repeat,
        }
    }
}

/// A group without content, whose `rows` have no slots.
fn new_group(
    scope: Arc<FragmentScope>,
    object_prefix: Arc<str>,
    arrived: UnixNanos,
    rows: Vec<UnnumberedRow>,
) -> DraftGroup {
    let leaf_slots = vec![None; rows.len()];
    DraftGroup { scope, object_prefix, arrived, end: false, fragment: None, rows, leaf_slots }
}

fn sha256_hex(bytes: &[u8]) -> String {
    use kernel::sha256::Sha256;
    kernel::hex::encode(&Sha256::digest(bytes))
}
