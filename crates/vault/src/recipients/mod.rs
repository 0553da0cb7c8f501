//! [`RecipientPolicy`]: which auditors may open the content of an account and tenant.
//!
//! An auditor with limits opens only what every limit allows: content without a tenant, or of a tenant that is not
//! listed, is never sealed to a key that is limited to tenants. A policy that nobody satisfies gives an empty
//! [`Audience`], to which nothing can be sealed. Neighbours: `seal` seals keys to an audience, `key_ring` keeps a key
//! for each audience.

use std::collections::BTreeSet;
use std::sync::Arc;

use age::x25519::Recipient;
use serde::{Deserialize, Serialize};

use super::object_names::{QUARANTINE_SESSION, UNATTRIBUTED, account_segment, id_segment};

/// The origin of content: the account that sent it, and the tenant that the client named.
#[derive(Clone, Copy)]
pub struct ContentOwner<'a> {
    /// Account, from the client's credential.
    pub account: &'a str,
    pub tenant: ContentTenant<'a>,
}

#[derive(Clone, Copy)]
pub enum ContentTenant<'a> {
    /// The tenant as sent; `None` or empty if the client named none.
    Named(Option<&'a str>),
    /// The content may be of several tenants, so that only those may open it who may open all of them.
    Mixed,
}

/// An auditor's public key, and the content that it may open.
#[derive(Clone)]
pub struct PolicyRecipient {
    pub key: Recipient,
    /// Accounts whose content it opens; `None`: all.
    pub accounts: Option<BTreeSet<String>>,
    /// Tenants whose content it opens; `None`: all. `unattributed` stands for content without a tenant.
    pub tenants: Option<BTreeSet<String>>,
}

impl PolicyRecipient {
    /// A recipient that may open everything.
    pub fn unlimited(key: Recipient) -> Self {
        Self { key, accounts: None, tenants: None }
    }

    fn opens_account(&self, account: &str) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.contains(account))
    }

    fn opens(&self, owner: ContentOwner<'_>) -> bool {
        let is_of_tenant = |tenants: &BTreeSet<String>| match owner.tenant {
            ContentTenant::Named(tenant) => {
                tenants.contains(tenant.filter(|tenant| !tenant.is_empty()).unwrap_or(UNATTRIBUTED))
            }
            ContentTenant::Mixed => false,
        };
        self.opens_account(owner.account) && self.tenants.as_ref().is_none_or(is_of_tenant)
    }
}

/// The recipients of a session key, as positions in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience(Arc<[usize]>);

impl Audience {
    /// The audience of sealers without a policy.
    pub fn unspecified() -> Self {
        Self(Arc::default())
    }
}

/// A public key that opens content of an account, as signed digests and reports show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHolder {
    /// The public key, `age1…`.
    pub key: String,
    /// The only tenants whose content it opens, as index lines show them; absent if it opens the whole account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<String>>,
}

/// The public keys that open content of one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountRecipients {
    /// How many of the keys are needed together; absent if each opens alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u8>,
    /// The keys, in the order of the configuration.
    pub of: Vec<KeyHolder>,
}

#[derive(Clone, Default)]
pub struct RecipientPolicy {
    pub recipients: Vec<PolicyRecipient>,
    /// How many recipients are needed together; `None`: each opens alone.
    pub threshold: Option<u8>,
}

impl RecipientPolicy {
    pub fn new(recipients: Vec<PolicyRecipient>) -> Self {
        Self { recipients, threshold: None }
    }

    /// The same recipients, of whom `threshold` are needed together.
    #[must_use]
    pub fn with_threshold(self, threshold: Option<u8>) -> Self {
        Self { threshold, ..self }
    }

    /// A policy whose recipients may all open everything.
    pub fn unlimited(keys: impl IntoIterator<Item = Recipient>) -> Self {
        Self::new(keys.into_iter().map(PolicyRecipient::unlimited).collect())
    }

    /// The recipients who may open content of `owner`.
    pub fn audience(&self, owner: ContentOwner<'_>) -> Audience {
        self.select(|recipient| recipient.opens(owner))
    }

    /// The recipients who may open a session key, by the account, tenant and session in its object's name. A private
    /// tenant has a pseudonym there, which is no listed tenant.
    pub fn audience_of_names(&self, account: &str, tenant: &str, session: &str) -> Audience {
        self.select(|recipient| {
            let is_of_account =
                |accounts: &BTreeSet<String>| accounts.iter().any(|one| account_segment(one) == account);
            let is_of_tenant = |tenants: &BTreeSet<String>| {
                session != QUARANTINE_SESSION && tenants.iter().any(|one| id_segment(one) == tenant)
            };
            recipient.accounts.as_ref().is_none_or(is_of_account) && recipient.tenants.as_ref().is_none_or(is_of_tenant)
        })
    }

    pub fn keys(&self, audience: &Audience) -> Vec<Recipient> {
        let positions = audience.0.iter();
        positions.filter_map(|position| self.recipients.get(*position)).map(|recipient| recipient.key.clone()).collect()
    }

    /// Number of recipients who may open all content of an account, whatever its tenant.
    pub fn whole_account_recipients(&self, account: &str) -> usize {
        self.recipients.iter().filter(|one| one.tenants.is_none() && one.opens_account(account)).count()
    }

    /// Whether all content of an account can be opened.
    pub fn covers(&self, account: &str) -> bool {
        self.whole_account_recipients(account) > 0
    }

    /// Whether all content of every account can be opened, also of accounts that are not known yet.
    pub fn covers_every_account(&self) -> bool {
        self.recipients.iter().any(|one| one.tenants.is_none() && one.accounts.is_none())
    }

    /// The public keys that open content of `account`. `show` gives the form of a tenant in index lines.
    pub fn holders(&self, account: &str, show: impl Fn(&str) -> String) -> AccountRecipients {
        let holder = |recipient: &PolicyRecipient| KeyHolder {
            key: recipient.key.to_string(),
            tenants: recipient.tenants.as_ref().map(|tenants| tenants.iter().map(|tenant| show(tenant)).collect()),
        };
        let recipients = self.recipients.iter().filter(|recipient| recipient.opens_account(account));
        AccountRecipients { threshold: self.threshold, of: recipients.map(holder).collect() }
    }

    fn select(&self, is_selected: impl Fn(&PolicyRecipient) -> bool) -> Audience {
        let recipients = self.recipients.iter().enumerate().filter(|(_, recipient)| is_selected(recipient));
        Audience(recipients.map(|(position, _)| position).collect())
    }
}

#[cfg(test)]
mod tests;
