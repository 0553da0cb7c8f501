//! [`ReceiverPortsView`]: the ports and clients of a receiver, whatever its kind, for checks of files, accounts and
//! addresses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::auth::{AcceptedClients, AuthSettings, DEFAULT_ACCOUNT, TokensError};
use net::{Endpoint, server_tls};

#[derive(Clone, Copy)]
pub struct ReceiverPortView<'s> {
    /// The part of the stanza that has its settings, such as `protocols.http`; empty: the stanza itself.
    pub field: &'static str,
    /// Address to listen on.
    pub endpoint: &'s Endpoint,
    /// Certificate and key, if the port uses TLS.
    pub tls: Option<&'s server_tls::ServerTlsSettings>,
}

impl ReceiverPortView<'_> {
    /// The path of a key of this port inside the stanza.
    pub fn key(&self, key: &str) -> String {
        if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) }
    }

    /// The port's name in texts: the last part of its field, such as `http`.
    pub fn name(&self) -> &'static str {
        self.field.rsplit('.').next().unwrap_or_default()
    }
}

/// The ports of a receiver, and who may send to them.
pub struct ReceiverPortsView<'s> {
    pub ports: Vec<ReceiverPortView<'s>>,
    /// Who may send; `None`: anyone.
    pub auth: Option<&'s AuthSettings>,
}

impl ReceiverPortsView<'_> {
    /// The accounts that the configuration names, without those of a tokens file; `default` without `auth`.
    pub fn accounts(&self) -> Vec<Arc<str>> {
        let Some(auth) = self.auth else { return vec![DEFAULT_ACCOUNT.into()] };
        let accounts = auth.tokens.iter().chain(&auth.basic).map(|(account, _)| account);
        let of_users = auth.users.iter().map(|user| &user.sender.account);
        let of_provider = auth.oidc.iter().map(|oidc| &oidc.account);
        accounts.chain(auth.certificates.values()).chain(of_users).chain(of_provider).cloned().collect()
    }

    /// The accounts in the tokens file as it is now; empty without a tokens file.
    ///
    /// # Errors
    /// The file can't be used, so its accounts are unknown.
    pub fn file_accounts(&self) -> Result<BTreeSet<Arc<str>>, TokensError> {
        self.auth.map_or(Ok(BTreeSet::new()), AuthSettings::file_accounts)
    }

    pub fn tokens_file(&self) -> Option<&Path> {
        self.auth?.tokens_file.as_deref()
    }

    /// Whether credentials may prove users or tenants, so that the first step of the pipelines must write them.
    pub fn verifies_identity(&self) -> bool {
        let has_ids = |auth: &AuthSettings| auth.oidc.is_some() || !auth.users.is_empty() || auth.tokens_file_users;
        self.auth.is_some_and(has_ids)
    }

    /// Reads and checks the tokens file, if there is one, as a start would.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn read_clients(&self) -> Result<(), TokensError> {
        AcceptedClients::read(self.auth.cloned(), "").map(drop)
    }
}
