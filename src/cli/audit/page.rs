//! The templates of the audit page (`templates/audit_*.html`) and their data. The templates escape everything;
//! invisible characters are made visible. Routes are in `routes`.

use askama::Template;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rust_decimal::Decimal;
use serde::Deserialize;

use audit::read::{self};
use audit::verify::Report;
use kernel::terminal::{clean, counted};
use vault::calls::{Calls, Telling, is_model_line};
use vault::row::Row;

/// The progress of verification.
#[derive(Default)]
pub(super) enum Verified {
    /// No public keys of writers were given.
    #[default]
    NotAsked,
    /// Number of digests done, and of all.
    Running(u64, u64),
    /// The result.
    Done(Box<Report>),
    /// Verification could not run.
    Failed(String),
}

/// The fields of the search form.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Search {
    pub(super) session: String,
    pub(super) user: String,
    pub(super) tool: String,
    pub(super) action: String,
    pub(super) issue: String,
    pub(super) since: String,
    pub(super) failed: String,
}

/// The verification result shown on every page.
pub(super) struct Banner {
    /// CSS class: `good`, `bad` or `open`.
    pub(super) class: &'static str,
    pub(super) text: String,
}

impl Banner {
    pub(super) fn of(verified: &Verified) -> Self {
        let (class, text) = match verified {
            Verified::NotAsked => ("open", "not verified: no public key was given".to_owned()),
            Verified::Running(done, all) => ("open", format!("verifying: {done} of {all} digests")),
            Verified::Failed(why) => ("bad", format!("not verified: {why}")),
            Verified::Done(report) => {
                let counts = &report.counts;
                let what = format!(
                    "{}, {}, {}",
                    counted(counts.digests, "digest"),
                    counted(counts.leaves, "index line"),
                    counted(counts.fragments, "fragment")
                );
                match report.verified {
                    true => ("good", format!("verified: {what}")),
                    false => ("bad", format!("verification failed: {} findings; {what}", report.findings.len())),
                }
            }
        };
        Self { class, text: clean(&text) }
    }
}

/// A session in the search result.
pub(super) struct Line {
    /// Session and account unescaped, for the link.
    id: (String, String),
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
    /// Whether a signed line mentions it, or signatures are not checked.
    pub(super) signed: bool,
}

impl Line {
    pub(super) fn new(session: &str, account: &str) -> Self {
        Self {
            id: (session.to_owned(), account.to_owned()),
            session: clean(session),
            account: clean(account),
            tenant: String::new(),
            first: String::new(),
            last: String::new(),
            actors: String::new(),
            calls: 0,
            tools: 0,
            failed: 0,
            usd: Some(Decimal::ZERO),
            unsigned: 0,
            signed: false,
        }
    }

    /// Adds an index line. Unsigned lines are only counted, and set the time if there is no signed line; they come
    /// before the signed ones. `calls` has the calls of earlier lines.
    pub(super) fn add(&mut self, row: &Row, unsigned: bool, calls: &mut Calls) {
        let tail = &row.tail;
        self.unsigned += u64::from(unsigned);
        if unsigned && self.signed {
            return;
        }
        let time = clean(tail.ts.get(..19).unwrap_or(&tail.ts)).replace('T', " ");
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
        self.tenant = clean(&tail.tenant);
        if let Some(actor) = tail.actor.as_ref().filter(|_| self.actors.is_empty()) {
            self.actors = clean(actor);
        }
        self.calls += u64::from(is_model_line(tail));
        let told = Telling::of(row);
        self.tools += u64::from(calls.is_new_tool(&told));
        self.failed += u64::from(calls.is_new_failure(&told));
        let usd = tail.cost_usd.as_deref().filter(|_| tail.cost_status.as_deref() == Some("priced"));
        let usd = usd.and_then(|usd| usd.parse::<Decimal>().ok()).unwrap_or_default();
        self.usd = self.usd.and_then(|sum| sum.checked_add(usd));
    }

    fn href(&self) -> String {
        link(&self.id, None)
    }

    fn cost(&self) -> String {
        self.usd.map_or("too large".to_owned(), |usd| usd.normalize().to_string())
    }
}

/// The relative address of a session or of one of its turns.
fn link((session, account): &(String, String), turn: Option<usize>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let turn = turn.map_or(String::new(), |turn| format!("&turn={turn}"));
    format!("session?session={}&account={}{turn}", encoded(session), encoded(account))
}

#[derive(Template)]
#[template(path = "audit_front.html")]
pub(super) struct Front {
    pub(super) banner: Banner,
    pub(super) search: Search,
    pub(super) lines: Vec<Line>,
    pub(super) count: u64,
    pub(super) problem: Option<String>,
    /// Possible reasons for an empty result.
    pub(super) hints: Vec<String>,
    pub(super) left_out: bool,
}

impl Front {
    fn found(&self) -> String {
        format!("{} in {}", counted(self.count, "index line"), counted(self.lines.len(), "session"))
    }

    fn has_unsigned(&self) -> bool {
        self.lines.iter().any(|line| line.unsigned > 0)
    }
}

/// A turn in the list of a session.
pub(super) struct Turn {
    number: usize,
    /// Name of the agent; empty if unknown.
    agent: String,
    model: String,
    words: String,
}

impl Turn {
    pub(super) fn of(turn: &read::Turn<'_>) -> Self {
        let (agent, model) = (turn.agent().unwrap_or_default(), turn.model().unwrap_or("-"));
        Self { number: turn.number, agent: clean(agent), model: clean(model), words: clean(&turn.first_words()) }
    }
}

#[derive(Template)]
#[template(path = "audit_session.html")]
pub(super) struct Session {
    pub(super) banner: Banner,
    /// Session and account unescaped, for links.
    pub(super) wanted: (String, String),
    pub(super) session: String,
    pub(super) account: String,
    pub(super) turn: Option<usize>,
    pub(super) turns: Vec<Turn>,
    pub(super) body: String,
    pub(super) change: Option<String>,
    pub(super) concerned: Vec<String>,
    /// Number of its lines that no signed digest covers.
    pub(super) unsigned: usize,
    pub(super) closed: Vec<String>,
}

impl Session {
    fn href(&self, turn: &usize) -> String {
        link(&self.wanted, Some(*turn))
    }

    fn whole(&self) -> String {
        link(&self.wanted, None)
    }

    fn is(&self, turn: &usize) -> bool {
        self.turn == Some(*turn)
    }
}

#[derive(Template)]
#[template(path = "audit_verification.html")]
pub(super) struct Verification {
    pub(super) banner: Banner,
    pub(super) text: String,
}
