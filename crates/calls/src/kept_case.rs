//! [`KeptCase`]: a case in the ledger's memory. One that did not change for a while is kept in its stored form (that of
//! a checkpoint), which takes a quarter of the memory: most numbers of a record are small or zero.

use std::borrow::Cow;

use kernel::bounded_map::AccountHash;

use super::case::Case;
use super::money::{listed_savings, set_savings};

/// See the module.
pub(crate) struct KeptCase {
    pub(crate) account: AccountHash,
    /// The keys under which the ledger finds the case.
    pub(crate) keys: Vec<u64>,
    form: CaseForm,
}

enum CaseForm {
    InUse(Box<Case>),
    /// Nothing in it waits for a commit.
    AtRest {
        stored: Box<[u8]>,
        records: usize,
    },
}

impl KeptCase {
    pub(crate) fn new(account: AccountHash, touched: u64) -> Self {
        let mut case = Box::<Case>::default();
        case.touched = touched;
        Self { account, keys: Vec::new(), form: CaseForm::InUse(case) }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self.form, CaseForm::InUse(_))
    }

    pub(crate) fn case(&self) -> Cow<'_, Case> {
        match &self.form {
            CaseForm::InUse(case) => Cow::Borrowed(case),
            CaseForm::AtRest { stored, .. } => Cow::Owned(restore(stored).unwrap_or_default().1),
        }
    }

    /// Number of records.
    pub(crate) fn records(&self) -> usize {
        match &self.form {
            CaseForm::InUse(case) => case.entries().len(),
            CaseForm::AtRest { records, .. } => *records,
        }
    }

    /// The committed part in the form of a checkpoint.
    pub(crate) fn stored(&self) -> Option<Cow<'_, [u8]>> {
        match &self.form {
            CaseForm::InUse(case) => Some(Cow::Owned(store(self.account, &mut case.committed_part()?)?)),
            CaseForm::AtRest { stored, .. } => Some(Cow::Borrowed(stored)),
        }
    }

    /// Puts the case to rest, unless something in it waits for a commit.
    pub(crate) fn rest(&mut self) {
        if let CaseForm::InUse(case) = &mut self.form
            && !case.has_pending()
            && let Some(stored) = store(self.account, case)
        {
            self.form = CaseForm::AtRest { stored: stored.into(), records: case.entries().len() };
            self.keys.shrink_to_fit();
        }
    }

    /// The case, in use from now on.
    pub(crate) fn in_use(&mut self) -> Option<&mut Case> {
        if let Cow::Owned(case) = self.case() {
            self.form = CaseForm::InUse(Box::new(case));
        }
        match &mut self.form {
            CaseForm::InUse(case) => Some(case),
            CaseForm::AtRest { .. } => None,
        }
    }
}

/// The case in the form of a checkpoint.
fn store(account: AccountHash, case: &mut Case) -> Option<Vec<u8>> {
    let saved = listed_savings(case.amounts_mut());
    postcard::to_allocvec(&(u64::from_le_bytes(account.to_le_bytes()), &*case, saved)).ok()
}

/// Reads a case from the form of a checkpoint.
pub(crate) fn restore(stored: &[u8]) -> Option<(AccountHash, Case)> {
    let ((account, mut case), saved) = postcard::take_from_bytes::<(u64, Case)>(stored).ok()?;
    set_savings(case.amounts_mut(), postcard::from_bytes(saved).unwrap_or_default());
    Some((account.into(), case))
}
