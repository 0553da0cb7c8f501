//! [`EarlierAgents`]: the services that an earlier version had learned to be agents'. Their items stay closed after an
//! upgrade until the configuration declares agents, so that an upgrade opens nothing silently.
//!
//! Only [`EarlierAgents::restore`] and effects that an earlier version left in the spool add services; nothing that
//! this version receives does. The digests hold no names: `undeclared_agents` names a service once it sends again.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use parking_lot::RwLock;

use genai::{EarlierAgentServices, ServiceIdentity};
use kernel::sha256::Sha256;

/// Maximum number of services: twice as many as the earlier version remembered.
const LIMIT: usize = 32_768;
/// Size of a digest of account, name and instance, bytes.
const DIGEST_BYTES: usize = 16;
/// First byte of a checkpoint, which holds digests.
const CHECKPOINT_VERSION: u8 = 5;
/// First byte of an earlier checkpoint: traces, services and labels, each with its length in front (8 bytes,
/// little-endian).
const EARLIER_CHECKPOINT_VERSION: u8 = 4;
/// First byte of services in an earlier checkpoint or effect: digests, each with a time and the account's hash.
const EARLIER_EFFECT_VERSION: u8 = 6;
/// The same without the account's hash.
const NO_ACCOUNTS_VERSION: u8 = 2;

/// Account and name of a service that has sent again.
type NamedService = [Box<str>; 2];

/// See the module documentation.
pub struct EarlierAgents {
    is_declared: bool,
    services: RwLock<BTreeMap<[u8; DIGEST_BYTES], OnceLock<NamedService>>>,
}

impl EarlierAgents {
    /// `is_declared`: the configuration declares agents, so that no earlier service is remembered.
    pub fn new(is_declared: bool) -> Self {
        Self { is_declared, services: RwLock::default() }
    }

    /// Adds the services of an effect that an earlier version wrote. `false`: the effect has none.
    pub(super) fn apply(&self, body: &[u8]) -> bool {
        match body.split_first() {
            Some((&EARLIER_EFFECT_VERSION, entries)) => self.add_services(entries, DIGEST_BYTES + 16),
            Some((&NO_ACCOUNTS_VERSION, entries)) => self.add_services(entries, DIGEST_BYTES + 8),
            _ => return false,
        }
        true
    }

    /// Adds the services of a checkpoint of this version or an earlier one. `false`: the checkpoint can't be read.
    pub(super) fn restore(&self, checkpoint: &[u8]) -> bool {
        match checkpoint.split_first() {
            Some((&CHECKPOINT_VERSION, digests)) => {
                self.add_services(digests, DIGEST_BYTES);
                true
            }
            Some((&EARLIER_CHECKPOINT_VERSION, parts)) => {
                let services = split_part(parts).and_then(|(_, rest)| split_part(rest));
                services.is_some_and(|(services, _)| self.apply(services))
            }
            _ => false,
        }
    }

    /// Appends the checkpoint; nothing without services.
    pub(super) fn save(&self, checkpoint: &mut Vec<u8>) {
        let services = self.services.read();
        if !services.is_empty() {
            checkpoint.push(CHECKPOINT_VERSION);
            checkpoint.extend(services.keys().flatten());
        }
    }

    /// Calls `visit` with account and name of each service that has sent again.
    pub(super) fn visit_named(&self, mut visit: impl FnMut(&str, &str)) {
        let services = self.services.read();
        services.values().filter_map(OnceLock::get).for_each(|[account, name]| visit(account, name));
    }

    fn add_services(&self, entries: &[u8], entry_bytes: usize) {
        if self.is_declared {
            return;
        }
        let mut services = self.services.write();
        for digest in entries.chunks_exact(entry_bytes).filter_map(<[u8]>::first_chunk::<DIGEST_BYTES>) {
            if services.len() < LIMIT {
                services.entry(*digest).or_default();
            }
        }
    }
}

impl EarlierAgentServices for EarlierAgents {
    fn contains(&self, account: &str, service: &ServiceIdentity<'_>) -> bool {
        let services = self.services.read();
        if services.is_empty() {
            return false;
        }
        let parts = [account.as_bytes(), service.name.as_bytes(), service.instance.as_bytes()];
        let Some(named) = services.get(&Sha256::short_list(&parts)) else { return false };
        named.get_or_init(|| [account.into(), service.name.into()]);
        true
    }
}

/// Splits a part with its length in front from the bytes after it.
fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}
