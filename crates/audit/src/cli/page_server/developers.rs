//! `vault serve --developers`: whoever logs in sees their own items, masked by the redaction rules ([`Developers`]).
//! An item is a client's own if its signed index line, of the served account, has the pseudonym of one of the client's
//! ids as its user ([`OwnItems`]). This is decided for each line, never for a session. Everything else does not exist
//! for the client: it is answered as an unknown session is. Neighbours: `routes`, `read/masking`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::opening::PermittedOpening;
use command::error::{CommandError, Result};
use command::keyfile;
use kernel::pseudonym::{PREFIX, Pseudonymizer, is_pseudonym};
use kernel::terminal::escape_unsafe;
use redaction::Detector;
use telemetry::admin::auth::KnownClient;
use vault::index_row::IndexRow;

/// Options of a page for developers.
#[derive(Args)]
pub(super) struct DeveloperArgs {
    /// Serves developers: each sees the items whose signed index lines name them as the user, masked by the redaction
    /// rules of `--config` (default: the built-in rules), and whole while a `--request` permits it. Whoever may log in
    /// is in `--access`; `viewer` may list their own sessions, `tapper` may open them.
    #[arg(long, requires_all = ["access", "key", "pseudonym_key"])]
    pub(super) developers: bool,
    /// With `--developers`: a file with the gateway's pseudonym key; may be repeated for earlier keys.
    #[arg(long, value_name = "FILE", requires = "developers")]
    pseudonym_key: Vec<PathBuf>,
    /// With `--developers`: the account whose users may log in.
    #[arg(long, default_value = "default", requires = "developers")]
    account: String,
}

/// What a page for developers is made of.
pub(super) struct Developers {
    pub(super) account: String,
    pub(super) keys: Vec<Pseudonymizer>,
    /// The rules that mask what is shown.
    pub(super) rules: Arc<Detector>,
}

impl DeveloperArgs {
    /// Reads the keys.
    ///
    /// # Errors
    /// A key can't be read.
    pub(super) fn read(&self, rules: Arc<Detector>) -> Result<Developers> {
        let keys = self.pseudonym_key.iter().map(|path| {
            let key = keyfile::read_argument(path).map_err(|error| CommandError::Config(error.to_string()))?;
            let key = key.ok_or_else(|| CommandError::Config(format!("{}: no such file", path.display())))?;
            Ok::<_, CommandError>(Pseudonymizer::new(&key))
        });
        Ok(Developers { account: self.account.clone(), keys: keys.collect::<Result<_, _>>()?, rules })
    }
}

/// Which items are a client's own.
pub(super) struct OwnItems {
    pub(super) account: String,
    /// The client's ids.
    ids: Vec<String>,
    /// The ends of their pseudonyms, which are the same in each epoch of a key.
    pseudonym_digits: Vec<String>,
}

impl Developers {
    /// Tells which items are a client's own; `None` if its credential names nobody.
    pub(super) fn own_items(&self, client: Option<&KnownClient>) -> Option<OwnItems> {
        let ids = client.filter(|client| !client.user_ids.is_empty())?.user_ids.clone();
        let pseudonyms = ids.iter().flat_map(|id| self.keys.iter().map(|key| key.pseudonym(&self.account, id)));
        let pseudonym_digits = pseudonyms.map(|pseudonym| pseudonym.replacen(PREFIX, "", 1)).collect();
        Some(OwnItems { account: self.account.clone(), ids, pseudonym_digits })
    }
}

impl OwnItems {
    pub(super) fn contain(&self, row: &IndexRow) -> bool {
        let user = row.tail.user_key.as_deref().filter(|user| is_pseudonym(user));
        let is_own = |user: &str| self.pseudonym_digits.iter().any(|digits| user.ends_with(digits));
        row.tail.account == self.account && !row.tail.user_adopted && user.is_some_and(is_own)
    }

    /// Possible reasons why nothing was found.
    pub(super) fn hint(&self) -> String {
        let ids = self.ids.iter().map(|id| escape_unsafe(id)).collect::<Vec<_>>().join(", ");
        format!(
            "you are known here as {ids}, and see items whose telemetry names you so as the user; those of the last \
             minutes are not listed yet"
        )
    }
}

/// What a session page says about what it shows. `unopened`: the number of items whose content was not opened;
/// `needs_request`: a key stayed closed because no opening permits it.
pub(super) fn describe_view(opening: Option<&PermittedOpening>, unopened: usize, needs_request: bool) -> Vec<String> {
    let view = match opening {
        Some(PermittedOpening { expires, why, signers, .. }) => escape_unsafe(&format!(
            "Your items are shown whole until {expires}: {why} (signed by {}).",
            signers.join(", ")
        )),
        None => "Private parts are masked by the redaction rules. An opening that two people signed shows your items \
                 whole."
            .to_owned(),
    };
    let closed = match (unopened, needs_request) {
        (0, _) => None,
        (_, true) => Some(
            "Content is not readable now: several auditors open its keys together, for an opening that two people signed."
                .to_owned(),
        ),
        (count, false) => Some(format!(
            "The content of {count} of your items was not opened: it was erased, or this page has no key for it. An \
             auditor can see why."
        )),
    };
    [view].into_iter().chain(closed).collect()
}
