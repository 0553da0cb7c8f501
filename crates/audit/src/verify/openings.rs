//! Openings recorded in the chain. A line counts only if it is in a valid tree and agrees with its request, and, if the
//! openers' public keys are given, two of them signed the request. Neighbours: `erasures` does the same for erasures,
//! the crate's `openings` writes the lines.

use crate::error::ReadError;
use crate::openings::{OpeningRequest, describe_repeated_use, line_name};
use crate::signed_request::{is_valid_at, open, read};
use vault::index_row::{IndexRow, OpeningRecord, RowKind};

use super::report::RecordedOpening;
use super::run_state::VerificationRun;

impl VerificationRun<'_> {
    /// Records the openings in an epoch's lines, which are in its tree; returns these lines.
    pub(super) fn record_openings(&mut self, account: &str, rows: &[IndexRow]) -> Vec<IndexRow> {
        let mut opening_lines = Vec::new();
        for row in rows {
            if row.tail.kind != Some(RowKind::Opening) && row.tail.opening.is_none() {
                continue;
            }
            opening_lines.push(row.clone());
            let opening =
                row.tail.opening.as_deref().ok_or_else(|| ReadError::damaged("it says nothing of an opening"));
            let location = line_name(row);
            if let Err(why) = opening.and_then(|opening| self.record_opening(account, row, &location, opening)) {
                self.report.fail("opening_invalid", location, why.to_string());
            }
        }
        opening_lines
    }

    fn record_opening(
        &mut self,
        account: &str,
        row: &IndexRow,
        location: &str,
        opening: &OpeningRecord,
    ) -> Result<(), ReadError> {
        let ts = &row.tail.ts;
        let opened = match self.options.openers.as_slice() {
            [] => read(&opening.request)
                .map(|(request, _)| (request, opening.signers.clone()))
                .map_err(ReadError::damaged),
            openers => open(&opening.request, openers),
        };
        let (request, signers): (OpeningRequest, _) =
            opened.map_err(|error| error.map_message(|why| format!("its request {why}")))?;
        let is_same =
            (&request.nonce, &request.why, &request.open_session) == (&opening.nonce, &opening.why, &opening.session);
        if request.account != account || !is_same {
            return Err(ReadError::damaged("it contradicts its request"));
        }
        if !is_valid_at(&request, ts) {
            return Err(ReadError::damaged("a share was given before its request was made, or after it expired"));
        }
        if opening.auditors.is_empty() {
            return Err(ReadError::damaged("it names no auditor"));
        }
        for use_name in opening.uses() {
            if let Some(first) = self.used_requests.insert(use_name, location.to_owned()) {
                return Err(ReadError::damaged(describe_repeated_use(&first)));
            }
        }
        self.add_named_store(&request.store, ts, location);
        self.report.openings.push(RecordedOpening {
            account: account.to_owned(),
            session: request.open_session,
            store: request.store,
            reason: request.why,
            signers,
            signatures_checked: !self.options.openers.is_empty(),
            auditors: opening.auditors.clone(),
            opened_at: ts.clone(),
        });
        Ok(())
    }

    /// Reports that the openers' signatures were not checked.
    pub(super) fn report_unchecked_openings(&mut self) {
        if !self.report.openings.is_empty() && self.options.openers.is_empty() {
            let message = "that two openers signed each opening, because their public keys were not given (--openers)";
            self.report.not_verified.push(message.to_owned());
        }
    }
}
