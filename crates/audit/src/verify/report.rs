//! **What**: [`Report`]: what was verified, what was found, what could not be verified; as JSON and as text.
//! **Invariants**: findings are bounded (all are counted); a report never quotes content. **Not here**: judging.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use kernel::terminal::{clean, counted};
use vault::chain::digest::Link;
use vault::names::account_segment;

/// Findings that are kept.
const MAX_FINDINGS: usize = 1000;

/// A key that opens nothing.
pub(super) const STRANGER: &str = "identity";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The vault is not what was written.
    Failure,
    /// Worth knowing; the writer says so itself, or it may be innocent.
    Warning,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What kind (docs/vault.md lists them).
    pub code: &'static str,
    /// Object, digest or line.
    pub at: String,
    /// In words.
    pub what: String,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Epochs.
    pub epochs: u64,
    /// Digests whose signature, link and root hold.
    pub digests: u64,
    /// Index lines that are in the tree, or, where those before are gone, in an object that is as it was signed.
    pub leaves: u64,
    /// Of these, lines that say that one was lost.
    pub gaps: u64,
    /// Payload objects read.
    pub objects: u64,
    /// Fragments whose hash is that of their line.
    pub fragments: u64,
    /// Fragments that were opened and say what their lines say.
    pub opened: u64,
    /// Bytes of payload read.
    pub bytes: u64,
    /// Versions of objects that are locked as they should be, keys too.
    pub locked: u64,
    /// Objects that are gone, and whose retention is over.
    pub expired: u64,
    /// Objects in an archive class, which can't be read before they are restored.
    pub archived: u64,
}

/// The newest digest of a writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Account.
    pub account: String,
    /// Writer.
    pub writer: String,
    /// The digest.
    pub digest: Link,
    /// Its leaves.
    pub tree_size: u64,
    /// Its root, base64.
    pub root: String,
    /// When it was made.
    pub end: String,
    /// The writer stopped.
    pub last: bool,
    /// Lines that were acknowledged and not in the store then.
    pub pending: u64,
}

/// Content that can't be opened any more, because two people asked for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Account.
    pub account: String,
    /// Of the request.
    pub nonce: String,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Who signed, as the line says; whether they did was looked at only where `checked`.
    pub signers: Vec<String>,
    /// Two of the erasers whose public keys were given signed the request.
    pub checked: bool,
    /// Sessions, as `tenant/session` in names.
    pub sessions: Vec<String>,
    /// Keys that were destroyed.
    pub key_ids: Vec<String>,
    /// When it began.
    pub begun: String,
    /// When it was done; null: it is not finished.
    pub done: Option<String>,
    /// Fragments that this run met and that these keys would open.
    pub fragments: u64,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Format of the report.
    pub v: u8,
    /// No failure was found.
    pub verified: bool,
    /// What was looked at.
    pub counts: Counts,
    /// The newest digest of each writer and account.
    pub heads: Vec<Head>,
    /// What was found, the first thousand.
    pub findings: Vec<Finding>,
    /// How often, by code.
    pub found: BTreeMap<&'static str, u64>,
    /// What was erased by request.
    pub erased: Vec<Erased>,
    /// Sessions whose turns have holes in their numbers, as far as the lines tell.
    pub turn_gaps: Vec<String>,
    /// What could not be verified, and why.
    pub not_verified: Vec<String>,
    /// Failures so far.
    #[serde(skip)]
    pub(super) failures: u64,
    /// Chains (account as in names, writer) that are broken themselves, whatever was planted behind their newest
    /// digests.
    #[serde(skip)]
    pub(super) broken: BTreeSet<(String, String)>,
}

impl Report {
    /// The vault is not what was written.
    pub fn fail(&mut self, code: &'static str, at: impl Into<String>, what: impl Into<String>) {
        (self.verified, self.failures) = (false, self.failures + 1);
        self.find(Severity::Failure, code, at.into(), what.into());
    }

    /// Worth knowing.
    pub fn warn(&mut self, code: &'static str, at: impl Into<String>, what: impl Into<String>) {
        self.find(Severity::Warning, code, at.into(), what.into());
    }

    fn find(&mut self, severity: Severity, code: &'static str, at: String, what: String) {
        *self.found.entry(code).or_default() += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { severity, code, at, what });
        }
    }

    /// The newest digests that may be anchored, and the chains that are left out: broken ones. What somebody planted
    /// behind a newest digest breaks no chain.
    pub fn anchorable(&self) -> (Vec<Head>, Vec<String>) {
        let is_broken = |head: &Head| self.broken.contains(&(account_segment(&head.account), head.writer.clone()));
        let heads = self.heads.iter().filter(|head| !is_broken(head)).cloned().collect();
        (heads, self.broken.iter().map(|(account, writer)| format!("{account}/{writer}")).collect())
    }

    /// Keys were given, and open none of the content there is.
    pub fn opened_nothing(&self) -> bool {
        self.found.contains_key(STRANGER)
    }

    /// As text, a line each.
    pub fn text(&self) -> String {
        let Counts { epochs, digests, leaves, gaps, objects, fragments, opened, bytes, locked, expired, archived } =
            &self.counts;
        let mut out = Vec::new();
        for finding in &self.findings {
            let severity = if finding.severity == Severity::Failure { "FAILURE" } else { "warning" };
            out.push(format!("{severity} {}: {}: {}", finding.code, finding.at, finding.what));
        }
        let kept = self.findings.len() as u64;
        let all: u64 = self.found.values().sum();
        if all > kept {
            out.push(format!("and {} more", all - kept));
        }
        for head in &self.heads {
            let state = if head.last { "final" } else { "running, or stopped without a word" };
            out.push(format!(
                "newest: {}/{}/{} digest {} of {} ({state}): {} leaves, {} not yet in the store, root {}",
                head.account,
                head.writer,
                head.digest.epoch,
                head.digest.n,
                head.end,
                head.tree_size,
                head.pending,
                head.root
            ));
        }
        for erased in &self.erased {
            out.push(format!(
                "{}: {} of {}: {} keys, {} fragments, begun {}, {}; asked for by {}: {}; {} {}",
                if erased.checked { "erased by request" } else { "gone, as a line says by request" },
                erased.sessions.join(", "),
                erased.account,
                erased.key_ids.len(),
                erased.fragments,
                erased.begun,
                erased.done.as_ref().map_or("not finished".to_owned(), |done| format!("done {done}")),
                erased.who,
                erased.why,
                if erased.checked { "signed by" } else { "not checked that it was signed by" },
                erased.signers.join(", ")
            ));
        }
        out.extend(self.turn_gaps.iter().map(|session| format!("turns are missing: {session}")));
        out.extend(self.not_verified.iter().map(|what| format!("not verified: {what}")));
        out.push(format!(
            "{}, {}, {} ({gaps} tell of a lost one), {}, {}, {opened} opened, {bytes} bytes, {locked} locked, \
             {expired} expired, {archived} archived",
            counted(*epochs, "epoch"),
            counted(*digests, "digest"),
            counted(*leaves, "line"),
            counted(*objects, "object"),
            counted(*fragments, "fragment"),
        ));
        out.push(
            match (self.verified, self.opened_nothing()) {
                (true, false) => "verified",
                (true, true) => "verified, but for the content: no key given here opens any of it",
                (false, _) => "NOT VERIFIED",
            }
            .to_owned(),
        );
        // a name must not end its line and begin another
        out.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
    }
}
