//! The templates of the audit page (`templates/audit_*.html`) and their data. The templates escape everything;
//! invisible characters are made visible. Routes are in `routes`.

use askama::Template;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::read;
use crate::verify::VerifyReport;
use kernel::terminal::{escape_unsafe, format_count};
use vault::call_dedup::{CallDeduplicator, CallReport};
use vault::index_row::IndexRow;

#[derive(Default)]
pub(super) enum VerificationState {
    /// No public keys of writers were given.
    #[default]
    NoKeys,
    Running {
        verified: u64,
        total: u64,
    },
    Done(Box<VerifyReport>),
    /// Verification could not run.
    Failed(String),
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SearchForm {
    pub(super) session: String,
    pub(super) user: String,
    pub(super) tool: String,
    pub(super) action: String,
    pub(super) issue: String,
    pub(super) since: String,
    pub(super) failed: String,
}

/// The verification result shown on every page.
pub(super) struct VerificationBanner {
    /// CSS class: `good`, `bad` or `open`.
    pub(super) class: &'static str,
    pub(super) text: String,
    /// Whether there is a page with more.
    has_page: bool,
}

impl VerificationBanner {
    /// The banner of a page for developers, on which no verification result is shown.
    pub(super) fn for_developers() -> Self {
        Self { class: "open", text: "your own items, by their signed index lines".to_owned(), has_page: false }
    }

    pub(super) fn from_state(state: &VerificationState) -> Self {
        let (class, text) = match state {
            VerificationState::NoKeys => ("open", "not verified: no public key was given".to_owned()),
            VerificationState::Running { verified, total } => {
                ("open", format!("verifying: {verified} of {total} digests"))
            }
            VerificationState::Failed(why) => ("bad", format!("not verified: {why}")),
            VerificationState::Done(report) => {
                let counts = &report.counts;
                let checked = format!(
                    "{}, {}, {}",
                    format_count(counts.digests, "digest"),
                    format_count(counts.leaves, "index line"),
                    format_count(counts.fragments, "fragment")
                );
                match report.verified {
                    true => ("good", format!("verified: {checked}")),
                    false => ("bad", format!("verification failed: {} findings; {checked}", report.findings.len())),
                }
            }
        };
        Self { class, text: escape_unsafe(&text), has_page: true }
    }
}

/// A session in the search result.
#[derive(Default)]
pub(super) struct SessionRow {
    /// Session and account unescaped, for the link.
    link_ids: (String, String),
    session: String,
    account: String,
    tenant: String,
    first: String,
    pub(super) last: String,
    actors: String,
    calls: u64,
    tools: u64,
    failed: u64,
    usd: Option<Decimal>,
    /// Number of lines in objects that no signed digest names.
    unsigned: u64,
    /// Whether a signed line mentions the session, or signatures are not checked.
    pub(super) signed: bool,
}

impl SessionRow {
    pub(super) fn new(session: &str, account: &str) -> Self {
        Self {
            link_ids: (session.to_owned(), account.to_owned()),
            session: escape_unsafe(session),
            account: escape_unsafe(account),
            usd: Some(Decimal::ZERO),
            ..Self::default()
        }
    }

    /// Adds an index line; signed lines must come first. An unsigned line is only counted, and sets the time if there
    /// is no signed line. `seen_calls` has the calls of earlier lines.
    pub(super) fn add_index_line(&mut self, row: &IndexRow, unsigned: bool, seen_calls: &mut CallDeduplicator) {
        let tail = &row.tail;
        self.unsigned += u64::from(unsigned);
        if unsigned && self.signed {
            return;
        }
        let time = escape_unsafe(tail.ts.get(..19).unwrap_or(&tail.ts)).replace('T', " ");
        if self.first.is_empty() || time < self.first {
            self.first.clone_from(&time);
        }
        if time > self.last {
            self.last = time;
        }
        if unsigned {
            return;
        }
        self.signed = true;
        self.tenant = escape_unsafe(&tail.tenant);
        if let Some(actor) = tail.actor.as_ref().filter(|_| self.actors.is_empty()) {
            self.actors = escape_unsafe(actor);
        }
        let report = CallReport::from_row(row);
        self.calls += u64::from(report.is_model_call());
        self.tools += u64::from(seen_calls.is_new_tool(&report));
        self.failed += u64::from(seen_calls.is_new_failure(&report));
        self.usd = self.usd.and_then(|sum| sum.checked_add(report.charged_usd()));
    }

    fn href(&self) -> String {
        session_link(&self.link_ids, None)
    }

    fn cost(&self) -> String {
        self.usd.map_or("too large".to_owned(), |usd| usd.normalize().to_string())
    }
}

/// The relative address of a session or of one of its turns.
pub(super) fn session_link((session, account): &(String, String), turn: Option<usize>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let turn = turn.map_or(String::new(), |turn| format!("&turn={turn}"));
    format!("session?session={}&account={}{turn}", encoded(session), encoded(account))
}

#[derive(Template)]
#[template(path = "audit_front.html")]
pub(super) struct SearchPage {
    pub(super) banner: VerificationBanner,
    pub(super) search: SearchForm,
    /// Whether users can be searched for.
    pub(super) has_users: bool,
    pub(super) lines: Vec<SessionRow>,
    pub(super) count: u64,
    pub(super) problem: Option<String>,
    /// Possible reasons for an empty result.
    pub(super) hints: Vec<String>,
    pub(super) left_out: bool,
}

impl SearchPage {
    fn found(&self) -> String {
        format!("{} in {}", format_count(self.count, "index line"), format_count(self.lines.len(), "session"))
    }

    fn has_unsigned(&self) -> bool {
        self.lines.iter().any(|line| line.unsigned > 0)
    }
}

/// A turn in the list of a session.
pub(super) struct TurnRow {
    number: usize,
    /// Name of the agent; empty if unknown.
    agent: String,
    model: String,
    words: String,
}

impl TurnRow {
    pub(super) fn from_turn(turn: &read::ModelTurn<'_>) -> Self {
        let (agent, model) = (turn.agent.as_deref().unwrap_or_default(), turn.model().unwrap_or("-"));
        Self {
            number: turn.number,
            agent: escape_unsafe(agent),
            model: escape_unsafe(model),
            words: escape_unsafe(&turn.first_words()),
        }
    }
}

#[derive(Template)]
#[template(path = "audit_session.html")]
pub(super) struct SessionPage {
    pub(super) banner: VerificationBanner,
    /// Session and account unescaped, for links.
    pub(super) link_ids: (String, String),
    pub(super) session: String,
    pub(super) account: String,
    /// What is shown to a developer, and why.
    pub(super) view: Vec<String>,
    pub(super) turn: Option<usize>,
    pub(super) turns: Vec<TurnRow>,
    pub(super) body: String,
    pub(super) change: Option<String>,
    pub(super) concerned: Vec<String>,
    /// Number of the session's lines that no signed digest covers.
    pub(super) unsigned: usize,
    pub(super) closed: Vec<String>,
}

impl SessionPage {
    fn href(&self, turn: &usize) -> String {
        session_link(&self.link_ids, Some(*turn))
    }

    fn whole(&self) -> String {
        session_link(&self.link_ids, None)
    }

    fn is(&self, turn: &usize) -> bool {
        self.turn == Some(*turn)
    }
}

#[derive(Template)]
#[template(path = "audit_verification.html")]
pub(super) struct VerificationPage {
    pub(super) banner: VerificationBanner,
    pub(super) text: String,
}
