//! [`KeptCase`]: a case in the ledger's memory. One that did not change for a while is kept in the form of a checkpoint,
//! which takes a quarter of the memory: most numbers of a record are small or zero.

use std::borrow::Cow;

use kernel::bounded_map::AccountHash;

use super::case::Case;
use super::money::{listed_savings, set_savings};

/// See the module.
pub(crate) enum KeptCase {
    InUse(Box<Case>),
    /// Nothing in it waits for a commit.
    AtRest(CaseAtRest),
}

/// A case, and what is needed without reading it.
pub(crate) struct CaseAtRest {
    stored: Box<[u8]>,
    keys: Box<[u64]>,
    account: AccountHash,
    records: u32,
    touched: u64,
}

/// The case in the form of a checkpoint.
fn store(case: &mut Case) -> Option<Vec<u8>> {
    let account = u64::from_le_bytes(case.account.to_le_bytes());
    let saved = listed_savings(case.amounts_mut());
    postcard::to_allocvec(&(account, &*case, saved)).ok()
}

/// Reads a case from the form of a checkpoint.
pub(crate) fn restore(stored: &[u8]) -> Option<Case> {
    let ((account, mut case), saved) = postcard::take_from_bytes::<(u64, Case)>(stored).ok()?;
    set_savings(case.amounts_mut(), postcard::from_bytes(saved).unwrap_or_default());
    case.account = account.into();
    Some(case)
}

impl KeptCase {
    pub(crate) fn case(&self) -> Option<Cow<'_, Case>> {
        match self {
            Self::InUse(case) => Some(Cow::Borrowed(case)),
            Self::AtRest(rest) => rest.open().map(Cow::Owned),
        }
    }

    pub(crate) fn into_case(self) -> Option<Case> {
        match self {
            Self::InUse(case) => Some(*case),
            Self::AtRest(rest) => rest.open(),
        }
    }

    pub(crate) fn touched(&self) -> u64 {
        match self {
            Self::InUse(case) => case.touched,
            Self::AtRest(rest) => rest.touched,
        }
    }

    /// Number of records.
    pub(crate) fn records(&self) -> usize {
        match self {
            Self::InUse(case) => case.entries().len(),
            Self::AtRest(rest) => rest.records as usize,
        }
    }

    pub(crate) fn account(&self) -> AccountHash {
        match self {
            Self::InUse(case) => case.account,
            Self::AtRest(rest) => rest.account,
        }
    }

    /// The keys under which the ledger finds the case.
    pub(crate) fn keys(&self) -> &[u64] {
        match self {
            Self::InUse(case) => &case.keys,
            Self::AtRest(rest) => &rest.keys,
        }
    }

    /// The committed part in the form of a checkpoint.
    pub(crate) fn stored(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::InUse(case) => case.committed_part().and_then(|mut part| store(&mut part)).map(Cow::Owned),
            Self::AtRest(rest) => Some(Cow::Borrowed(&rest.stored)),
        }
    }

    /// Puts a case in use to rest, unless something in it waits for a commit.
    pub(crate) fn rest(&mut self) {
        if let Self::InUse(case) = self
            && !case.has_pending()
            && let Some(stored) = store(case)
        {
            let (keys, records) = (std::mem::take(&mut case.keys).into(), case.entries().len() as u32);
            let (account, touched) = (case.account, case.touched);
            *self = Self::AtRest(CaseAtRest { stored: stored.into(), keys, account, records, touched });
        }
    }

    /// The case, in use from now on.
    pub(crate) fn in_use(&mut self) -> Option<&mut Case> {
        if let Self::AtRest(rest) = self {
            *self = Self::InUse(Box::new(rest.open()?));
        }
        match self {
            Self::InUse(case) => Some(case),
            Self::AtRest(_) => None,
        }
    }
}

impl CaseAtRest {
    fn open(&self) -> Option<Case> {
        let mut case = restore(&self.stored)?;
        case.keys = self.keys.to_vec();
        Some(case)
    }
}
