//! Parts of a gateway: keys that cost nothing, drafts of one group, and a process over a journal and a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use kernel::clock::{ManualClock, UnixNanos};
use kernel::rng::SeededRng;
use telemetry::Meter;

use crate::chain::digest::GatewayIdentity;
use crate::chain::note::SigningKey;
use crate::index_row::UnnumberedRow;
use crate::key_ring::SessionKey;
use crate::object_names::{FragmentScope, ObjectNames};
use crate::recipients::{AccountRecipients, Audience, KeyHolder};
use crate::seal::{NewSessionKey, SealFailed, SessionKeyGenerator};
use crate::spool_record::RecordFrame;
use crate::store::VaultStore;
use crate::store::settings::S3Settings;
use crate::ticket::{DraftGroup, SealedFragment, VaultDraft, VaultTicketer};
use crate::uploader::{UploadJournal, Uploader, UploaderDependencies};
use crate::vault_writer::VaultWriter;

/// Keys that seal nothing, numbered from a start.
pub struct PlainKeys(pub AtomicU64);

impl SessionKeyGenerator for PlainKeys {
    fn new_session(&self, _: &Audience, _: &str) -> Result<NewSessionKey, SealFailed> {
        let id = format!("{:016x}", self.0.fetch_add(1, Ordering::Relaxed));
        let copy = |plain: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(plain);
            Ok(())
        };
        Ok(NewSessionKey { object: Bytes::from(format!("key {id}")), id, seal: Box::new(copy) })
    }
}

/// Sealed content without slots.
pub fn fragment(id: String, key: Arc<SessionKey>, frame: RecordFrame) -> SealedFragment {
    let (uri_slot, range_slot, known_slots, pin) = (None, None, Vec::new(), None);
    SealedFragment { id, key, frame, uri_slot, range_slot, known_slots, pin, object_number: Arc::default() }
}

/// A draft of one group, whose lines have no slots.
pub fn draft(
    names: &ObjectNames,
    account: &str,
    scope: &Arc<FragmentScope>,
    arrived: UnixNanos,
    fragment: Option<SealedFragment>,
    rows: Vec<UnnumberedRow>,
) -> VaultDraft {
    let (scope, object_prefix) = (scope.clone(), names.object_prefix(scope, arrived, None));
    let leaf_slots = vec![None; rows.len()];
    let group = DraftGroup { scope, object_prefix, arrived, end: false, fragment, rows, leaf_slots };
    VaultDraft { account: account.into(), groups: vec![group] }
}

/// One process of a gateway.
pub fn process<J: UploadJournal + 'static, S: VaultStore + 'static>(
    journal: &Arc<J>,
    store: &Arc<S>,
    clock: &Arc<ManualClock>,
    writer: VaultWriter,
    key: &Arc<SigningKey>,
    meter: &Meter,
) -> (Arc<VaultWriter>, VaultTicketer, Uploader) {
    let writer = Arc::new(writer);
    let epoch = writer.names().epoch().trim_start_matches('E').parse().expect("a number");
    let ticketer = VaultTicketer::new(writer.clone(), "file:///".into(), "vault".into());
    let parts = UploaderDependencies {
        id: "vault".into(),
        journal: journal.clone(),
        store: store.clone(),
        writer: writer.clone(),
        clock: clock.clone(),
        rng: Arc::new(SeededRng::new(epoch)),
        object_age: Duration::from_secs(120),
        index_interval: Duration::from_secs(60),
        key: key.clone(),
        made_by: Some(GatewayIdentity::current("the configuration")),
        recipients: Arc::new(|account| AccountRecipients {
            threshold: None,
            of: vec![KeyHolder { key: format!("age1-of-{account}"), tenants: None }],
        }),
    };
    (writer, ticketer, Uploader::new(parts, meter))
}

/// Settings of two buckets without locks; `endpoint` as in [`S3Settings`].
pub fn s3_settings(endpoint: Option<String>) -> S3Settings {
    S3Settings {
        bucket: "audit-logs".into(),
        key_bucket: "audit-keys".into(),
        prefix: "agent-sessions".into(),
        region: "eu-west-1".into(),
        force_path_style: endpoint.is_some(),
        endpoint,
        lock: None,
        ca_file: None,
    }
}
