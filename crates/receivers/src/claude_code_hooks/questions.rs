//! [`BudgetQuestions`]: asks the gateway's budgets for an event of a hook, and words the answer. `hook_answers` has
//! where an event names what, and the clients' forms; `handler` commits the records; `budget_api` asks for proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use parking_lot::Mutex;

use super::event::HookEvent;
use super::hook_answers::{AskingEvent, HookClient};
use super::save_work::SaveWork;
use crate::http_ports::Sender;
use crate::http_ports::reply::RequestRefusal;
use budgets::{Answer, BudgetDesk, BudgetRecord, Question, Verdict};
use kernel::bounded_map::BoundedMap;
use kernel::sha256::Sha256;
use kernel::terminal::escape_unsafe;
use otlp::status::GrpcCode;
use pipeline::ClientIdentity;

/// Sessions whose last note is remembered.
const MAX_NOTED: usize = 1 << 14;
/// Keys of budgets whose last record is remembered.
const MAX_RECORDED: usize = 1 << 14;
/// A record also stands for the equal answers of this time after it, in ns.
const RECORD_INTERVAL: u64 = 10_000_000_000;
/// [`budgets::BudgetUse::share`] of a tenth of a limit.
const TENTH: u32 = 1_000;

type NoteKey = [u8; 16];

/// The last record of an answer.
#[derive(Clone, Copy, Default)]
struct LastRecord {
    /// Unix ns; `None`: it was not committed.
    at: Option<u64>,
    /// Equal answers without a record since then.
    repeats: u64,
}

/// See the module.
pub(super) struct BudgetQuestions {
    desk: Option<Arc<dyn BudgetDesk>>,
    save_work: SaveWork,
    /// The last note of each session.
    noted: Mutex<BoundedMap<NoteKey, NoteKey, MAX_NOTED>>,
    /// The last record of each account, budget, key, answer and `shadow`.
    recorded: Mutex<BoundedMap<NoteKey, LastRecord, MAX_RECORDED>>,
    /// Makes ids of records differ.
    ids: AtomicU64,
}

/// An event with the question that it puts to the budgets.
pub(super) struct AskedEvent {
    rule: &'static AskingEvent,
    pub(super) question: Question,
}

impl BudgetQuestions {
    pub(super) fn new(desk: Option<Arc<dyn BudgetDesk>>, save_work: SaveWork) -> Self {
        Self { desk, save_work, noted: Mutex::default(), recorded: Mutex::default(), ids: AtomicU64::default() }
    }

    pub(super) fn has_budgets(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.has_budgets())
    }

    /// Whether the sums are those of all gateways.
    pub(super) fn knows_fleet(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.knows_fleet())
    }

    /// What the event asks; `None` if its client can't be stopped there.
    pub(super) fn read_event(&self, client: &'static HookClient, event: &HookEvent<'_>) -> Option<AskedEvent> {
        let rule = client.asking_event(&event.name).filter(|_| self.has_budgets())?;
        let names = client.names(event);
        let saves_work = rule.shell_command(event).is_some_and(|command| self.save_work.allows(&command));
        let can_ask = client.can_ask(rule, event);
        Some(AskedEvent { rule, question: Question { names, can_ask, saves_work, ..Question::default() } })
    }

    pub(super) fn answer(&self, question: &Question) -> Answer {
        self.desk.as_ref().map_or_else(Answer::allow, |desk| desk.answer(question))
    }

    /// The response body that makes the client carry out the answer.
    pub(super) fn word_answer(&self, AskedEvent { rule, question }: &AskedEvent, answer: &Answer) -> String {
        let text = match answer.verdict {
            Verdict::Deny if rule.shell.is_some() => escape_unsafe(&answer.reason) + &self.save_work.hint(),
            Verdict::Deny | Verdict::Ask => escape_unsafe(&answer.reason),
            Verdict::Allow => self.new_note(question, answer),
        };
        rule.render(answer.verdict, &text)
    }

    /// The answer's notes, unless the session got them already: an agent reads each of its notes again with every call.
    /// A note is new for another set of budgets, and for each tenth of the most used one.
    fn new_note(&self, question: &Question, answer: &Answer) -> String {
        if answer.notes.is_empty() {
            return String::new();
        }
        let text = escape_unsafe(&answer.notes.join(" "));
        let budgets: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let tenths = answer.budgets.iter().map(|used| used.share() / TENTH).max().unwrap_or(0).to_string();
        let session = digest(&[&question.account, question.names.session.as_deref().unwrap_or_default()]);
        let note = digest(&[&budgets, &tenths]);
        let mut noted = self.noted.lock();
        if noted.get(&session) == Some(&note) {
            return String::new();
        }
        noted.insert_for(&*question.account, session, note, 1);
        text
    }

    /// The records to commit at `now`: who goes on asking above a limit must not fill the spool and the vault.
    pub(super) fn new_records(&self, account: &str, records: &[BudgetRecord], now: u64) -> Vec<BudgetRecord> {
        let mut recorded = self.recorded.lock();
        let mut new = Vec::new();
        for record in records {
            let id = record_id(account, record);
            let LastRecord { at, repeats } = recorded.get(&id).copied().unwrap_or_default();
            // a clock that was set back does not make the time longer
            let is_repeat = at.is_some_and(|at| now.abs_diff(at) < RECORD_INTERVAL);
            let next = match is_repeat {
                true => LastRecord { at, repeats: repeats.saturating_add(1) },
                false => LastRecord { at: Some(now), repeats: 0 },
            };
            recorded.insert_for(account, id, next, 1);
            if !is_repeat {
                new.push(BudgetRecord { repeats, ..record.clone() });
            }
        }
        new
    }

    /// Notes that these records were not committed: the next ones count their answers.
    pub(super) fn take_back(&self, account: &str, records: &[BudgetRecord]) {
        let mut recorded = self.recorded.lock();
        for record in records {
            let id = record_id(account, record);
            let since = recorded.get(&id).map_or(0, |last| last.repeats);
            let repeats = record.repeats.saturating_add(since).saturating_add(1);
            recorded.insert_for(account, id, LastRecord { at: None, repeats }, 1);
        }
    }

    /// The request of the answer's records at `now`, unix ns.
    pub(super) fn encode_records(&self, records: &[BudgetRecord], question: &Question, now: u64) -> Vec<u8> {
        let id = || {
            let mut hash = Sha256::new();
            let [time, count] = [now, self.ids.fetch_add(1, Ordering::Relaxed)].map(|number| number.to_string());
            hash.update_list([&*question.account, &time, &count]);
            hash.finalize().first_chunk().copied().unwrap_or_default()
        };
        BudgetRecord::encode(records, &question.names, now, id)
    }
}

fn digest(parts: &[&str]) -> NoteKey {
    let mut hash = Sha256::new();
    hash.update_list(parts.iter().copied());
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

fn record_id(account: &str, record: &BudgetRecord) -> NoteKey {
    let shadow = if record.shadow { "shadow" } else { "" };
    digest(&[account, &record.budget, &record.key, record.kind.as_str(), shadow])
}

/// Makes the question one of the sender: its account, and the ids that its credential proves.
///
/// # Errors
/// The question names another user or tenant than the credential.
pub(super) fn sign_question(question: &mut Question, sender: &Sender) -> Result<(), RequestRefusal> {
    question.account = Arc::clone(&sender.account);
    let ClientIdentity::Verified(proven) = &sender.identity else { return Ok(()) };
    let names = &mut question.names;
    for (named, proven) in [(&mut names.user, &proven.user), (&mut names.tenant, &proven.tenant)] {
        let Some(proven) = proven else { continue };
        if named.as_deref().is_some_and(|named| *named != **proven) {
            let message = "the question names another user or tenant than its credential";
            let (code, status) = (GrpcCode::PermissionDenied, StatusCode::FORBIDDEN);
            return Err(RequestRefusal::new(code, status, "identity", message));
        }
        *named = Some(proven.to_string());
    }
    Ok(())
}
