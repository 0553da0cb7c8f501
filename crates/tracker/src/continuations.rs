//! Which session continues another: clients give a resumed, compacted or forked session a new id, but its first context
//! repeats what a model answered in the session before. [`SessionNews::read`] takes keyed fingerprints of answers, and
//! searches the first context with answers in it of each new session for those of other sessions: in messages of the
//! assistant, and in a message that says that it sums up a previous conversation. What users, documents and
//! instructions repeat is no continuation. [`Continuations`] remembers the fingerprints. They are of some groups of
//! words, so escapes and the form of messages do not matter, and nothing can be read from them. Only answers of the
//! same account, tenant and service are found, and only those that occur in one session. Without content none is found.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;

use foldhash::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use genai::{ContentLocation, ContentPart, Facts, ItemFacts};
use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::pseudonym::IdPolicy;
use otlp::{Payload, Value};
use runs::digest;

use super::codec::{put, put_list, take};
use super::finish_reason::normalize_finish_reason;

/// The first byte of an effect with news of sessions; other effects of the tracker begin with their version.
const EFFECT: u8 = 0xc5;
/// Words in a group of words.
const GROUP_WORDS: usize = 8;
/// The base of the polynomial that is a group's hash, and its power for the word that left the group.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const LAST_FACTOR: u64 = FACTOR.wrapping_pow(GROUP_WORDS as u32);
/// One in so many groups of words has a fingerprint.
const SAMPLE: u64 = 4;
/// Fingerprints kept of an answer, and the minimum that a context must share with all answers of a session together.
const MAX_PRINTS: usize = 4;
const MIN_COMMON: usize = 3;
/// Of longer texts of an item only the end is read, bytes. It holds the latest answers.
const MAX_TEXT_BYTES: usize = 256 << 10;
/// Maximum number of sessions searched in one batch.
const MAX_SEARCHED: usize = 32;
/// Maximum number of fingerprints and of sessions remembered.
const MAX_ALL_PRINTS: usize = 65_536;
const MAX_SESSIONS: usize = 16_384;
/// Longest chain of sessions that is followed.
const MAX_CHAIN: usize = 64;
const MAX_DEPTH: usize = 32;

/// What a batch reports about sessions; the body of an effect.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct SessionNews {
    pub(super) account: Box<str>,
    /// Sessions as sent, each with the fingerprints of an answer.
    answers: Vec<(Box<str>, Vec<u64>)>,
    /// Sessions whose first context with answers was searched, each with the session that it continues; "" = none.
    pub(super) searched: BTreeMap<Box<str>, Box<str>>,
}

impl SessionNews {
    /// Reads a batch. `known` locks what earlier batches taught; the lock is not held while texts are read.
    pub(super) fn read<'k, K: std::ops::Deref<Target = Continuations> + 'k>(
        account: &str,
        payload: &Payload,
        facts: &Facts,
        ids: &dyn IdPolicy,
        known: impl Fn() -> K,
    ) -> Self {
        let mut printer = Printer { account, payload, ids, keys: HashMap::default() };
        let mut news = Self { account: account.into(), ..Self::default() };
        let mut contexts: HashMap<&str, &ItemFacts> = HashMap::default();
        for item in facts.items.iter().filter(|item| item.agent) {
            let Some(session) = item.session.as_deref().filter(|session| !session.is_empty()) else { continue };
            let has = |part: ContentPart| item.content.iter().any(|place| place.part == part);
            let calls_tools = item.finish.as_deref().is_some_and(|word| normalize_finish_reason(word) == "tool_calls");
            if has(ContentPart::Output) && !calls_tools {
                let mut prints = printer.prints(item, ContentPart::Output);
                prints.sort_unstable();
                prints.dedup();
                prints.truncate(MAX_PRINTS);
                news.answers.extend((prints.len() >= MIN_COMMON).then(|| (session.into(), prints)));
            }
            if has(ContentPart::Input) {
                let first = contexts.entry(session).or_insert(item);
                if payload.time(item.node) < payload.time(first.node) {
                    *first = item;
                }
            }
        }
        if contexts.is_empty() {
            return news;
        }
        let sessions = known();
        contexts.retain(|session, _| !sessions.is_searched(account, session));
        drop(sessions);
        let prints = contexts.into_iter().take(MAX_SEARCHED);
        let prints = prints.map(|(session, item)| (session, printer.prints(item, ContentPart::Input)));
        let prints: Vec<(&str, Vec<u64>)> = prints.filter(|(_, prints)| prints.len() >= MIN_COMMON).collect();
        if !prints.is_empty() {
            let sessions = known();
            let find = |(session, prints): &(&str, Vec<u64>)| {
                ((*session).into(), sessions.find(account, session, prints).unwrap_or_default().into())
            };
            news.searched = prints.iter().map(find).collect();
        }
        news
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.searched.is_empty()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![EFFECT];
        put(self, &mut out);
        out
    }

    /// `None`: the effect is of another kind.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (&EFFECT, mut rest) = body.split_first()? else { return None };
        take(&mut rest)
    }

    /// The session that this one continues, if the batch reports it.
    pub(super) fn predecessor_of(&self, session: &str) -> Option<&str> {
        self.searched.get(session).map(|continued| &**continued).filter(|continued| !continued.is_empty())
    }
}

/// A session of which answers or the first context were seen.
#[derive(Default, Serialize, Deserialize)]
struct KnownSession {
    text: Box<str>,
    /// Digest of the session that it continues; 0 = none.
    continues: u64,
    /// Its first context was searched.
    is_searched: bool,
}

/// See the module documentation. The account with most entries loses its oldest.
#[derive(Default)]
pub(super) struct Continuations {
    /// By fingerprint: the digest of the session that answered so; `None` = several sessions did.
    prints: BoundedMap<u64, Option<u64>, MAX_ALL_PRINTS>,
    sessions: BoundedMap<u64, KnownSession, MAX_SESSIONS>,
}

impl Continuations {
    fn is_searched(&self, account: &str, session: &str) -> bool {
        self.sessions.get(&session_digest(account, session)).is_some_and(|known| known.is_searched)
    }

    /// The session that this one continues.
    pub(super) fn predecessor_of(&self, account: &str, session: &str) -> Option<&str> {
        if self.sessions.is_empty() {
            return None; // without content no batch pays for digests
        }
        let known = self.sessions.get(&session_digest(account, session)).filter(|known| known.continues != 0)?;
        self.sessions.get(&known.continues).map(|continued| &*continued.text)
    }

    /// The session whose answers come last in a context. Every other session in the context must be one that it
    /// continues, directly or not; otherwise none is returned.
    fn find(&self, account: &str, session: &str, context: &[u64]) -> Option<&str> {
        let own = session_digest(account, session);
        let mut seen = HashSet::default();
        let mut common: HashMap<u64, (usize, usize)> = HashMap::default();
        for (position, print) in context.iter().enumerate().filter(|(_, print)| seen.insert(**print)) {
            if let Some(Some(other)) = self.prints.get(print).filter(|other| **other != Some(own)) {
                let (count, last) = common.entry(*other).or_default();
                (*count, *last) = (*count + 1, position);
            }
        }
        common.retain(|_, (count, _)| *count >= MIN_COMMON);
        let latest = *common.iter().max_by_key(|(_, (_, last))| *last)?.0;
        let predecessor = |session: &u64| self.sessions.get(session).map(|known| known.continues);
        let chain = std::iter::successors(Some(latest), predecessor).take(MAX_CHAIN);
        chain.for_each(|ancestor| _ = common.remove(&ancestor));
        self.sessions.get(&latest).filter(|_| common.is_empty()).map(|known| &*known.text)
    }

    pub(super) fn apply(&mut self, news: &SessionNews) {
        let account = &*news.account;
        let owner = AccountHash::from(account);
        for (session, continued) in &news.searched {
            self.sessions.update(owner, session_digest(account, session), |known| {
                (known.text, known.is_searched) = (session.clone(), true);
                // of two batches that were read at the same time one may have seen too little
                if known.continues == 0 && !continued.is_empty() {
                    known.continues = session_digest(account, continued);
                }
            });
        }
        for (session, prints) in &news.answers {
            let own = session_digest(account, session);
            self.sessions.update(owner, own, |known| known.text = session.clone());
            for print in prints {
                let is_of_others = self.prints.get(print).is_some_and(|other| *other != Some(own));
                self.prints.insert_for(owner, *print, Some(own).filter(|_| !is_of_others), 1);
            }
        }
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_list(self.prints.entries(), out);
        put_list(self.sessions.entries(), out);
    }

    pub(super) fn load(from: &mut &[u8]) -> Option<Self> {
        let mut loaded = Self::default();
        for (account, print, session) in take::<Vec<(AccountHash, u64, Option<u64>)>>(from)? {
            loaded.prints.insert_for(account, print, session, 1);
        }
        for (account, session, known) in take::<Vec<(AccountHash, u64, KnownSession)>>(from)? {
            loaded.sessions.insert_for(account, session, known, 1);
        }
        Some(loaded)
    }
}

fn session_digest(account: &str, session: &str) -> u64 {
    digest(&["session", account, session])
}

/// Takes fingerprints of a batch's texts.
struct Printer<'p> {
    account: &'p str,
    payload: &'p Payload,
    ids: &'p dyn IdPolicy,
    /// By tenant and service.
    keys: HashMap<[&'p str; 2], DefaultHasher>,
}

impl<'p> Printer<'p> {
    /// The fingerprints of an item's texts of this kind, in order.
    fn prints(&mut self, item: &'p ItemFacts, part: ContentPart) -> Vec<u64> {
        let payload = self.payload;
        let service = payload.get_str(payload.resource(item.node), "service.name").unwrap_or("");
        let scope = [item.tenant.as_deref().unwrap_or(""), service];
        let (ids, account) = (self.ids, self.account);
        let key = self.keys.entry(scope).or_insert_with(|| {
            let mut key = DefaultHasher::new();
            key.write(ids.pseudonym(account, &format!("answers of {scope:?}")).as_bytes());
            key
        });
        let mut texts = Vec::new();
        for place in item.content.iter().filter(|place| place.part == part) {
            match place.at {
                ContentLocation::Embedded(index) => {
                    let embedded = item.embedded.as_ref().and_then(|embedded| embedded.parts.get(index as usize));
                    texts.extend(embedded.map(|part| Text::Words(&part.value)));
                }
                _ => place.value(payload).into_iter().for_each(|value| collect_texts(value, 0, &mut texts)),
            }
        }
        let mut bytes_left = MAX_TEXT_BYTES;
        for text in texts.iter_mut().rev() {
            if let Text::Words(words) = text {
                let mut start = words.len().saturating_sub(bytes_left);
                start += (start..words.len()).take_while(|at| !words.is_char_boundary(*at)).count();
                *words = words.get(start..).unwrap_or("");
                bytes_left -= words.len();
            }
        }
        // in a context others speak too
        let mut speaker = (part == ContentPart::Input).then_some(Speaker { is_heard: false });
        let mut prints = Vec::new();
        for text in texts {
            match text {
                Text::Role(role) => {
                    speaker.iter_mut().for_each(|speaker| speaker.is_heard = is_assistant(word_hash(role)));
                }
                Text::Words(words) => for_each_group(words, speaker.as_mut(), |group| {
                    if group % SAMPLE == 0 {
                        let mut keyed = key.clone();
                        keyed.write_u64(group);
                        prints.push(keyed.finish());
                    }
                }),
            }
        }
        prints
    }
}

/// A part of an item's content.
enum Text<'t> {
    Words(&'t str),
    /// Whose message follows.
    Role(&'t str),
}

fn collect_texts<'t>(value: Value<'t>, depth: usize, texts: &mut Vec<Text<'t>>) {
    match value {
        Value::Str(text) => texts.push(Text::Words(text)),
        Value::Map(_) if depth < MAX_DEPTH => {
            let role = value.entries().find(|(key, _)| *key == "role").and_then(|(_, role)| role.as_str());
            texts.extend(role.map(Text::Role));
            value.entries().for_each(|(_, value)| collect_texts(value, depth + 1, texts));
        }
        Value::List(_) if depth < MAX_DEPTH => value.items().for_each(|item| collect_texts(item, depth + 1, texts)),
        _ => {}
    }
}

/// Whose words are read: those of the assistant count.
pub(super) struct Speaker {
    pub(super) is_heard: bool,
}

const fn word_hash(word: &str) -> u64 {
    let (mut hash, mut letters) = (0, word.as_bytes());
    while let Some((letter, rest)) = letters.split_first() {
        hash = add_letter(hash, *letter);
        letters = rest;
    }
    hash
}

const fn add_letter(hash: u64, letter: u8) -> u64 {
    (hash ^ letter as u64).wrapping_mul(0x0100_0000_01b3)
}

const ROLE: u64 = word_hash("role");
const TYPE: u64 = word_hash("type");
const ASSISTANTS: [u64; 3] = [word_hash("assistant"), word_hash("model"), word_hash("ai")];
const OTHERS: [u64; 6] = [
    word_hash("user"),
    word_hash("system"),
    word_hash("developer"),
    word_hash("tool"),
    word_hash("human"),
    word_hash("function"),
];
/// With these words Claude Code begins a session that it compacted.
const COMPACTED: [u64; 5] =
    [word_hash("continued"), word_hash("from"), word_hash("a"), word_hash("previous"), word_hash("conversation")];

fn is_assistant(word: u64) -> bool {
    ASSISTANTS.contains(&word)
}

impl Speaker {
    /// `words`: the latest ones, the last one first. LangChain has `type` in place of `role`.
    fn hear(&mut self, words: impl Iterator<Item = u64> + Clone) {
        let mut last_two = words.clone().take(2);
        let (Some(word), Some(before)) = (last_two.next(), last_two.next()) else { return };
        if (before == ROLE || before == TYPE) && (is_assistant(word) || OTHERS.contains(&word)) {
            self.is_heard = is_assistant(word);
        } else if word == COMPACTED[4] && words.take(COMPACTED.len()).eq(COMPACTED.into_iter().rev()) {
            self.is_heard = true;
        }
    }
}

/// Calls `visit` with a hash of each [`GROUP_WORDS`] consecutive words of a text that are heard from `speaker` (`None`:
/// all). A word is a run of ASCII letters and digits, or another character. Escapes of JSON, however often applied, are
/// no words.
pub(super) fn for_each_group(text: &str, mut speaker: Option<&mut Speaker>, mut visit: impl FnMut(u64)) {
    let (mut words, mut count, mut group) = ([0_u64; GROUP_WORDS], 0_usize, 0_u64);
    let mut add_word = |word: u64| {
        // a polynomial of the words, from which the oldest word leaves as the new one enters
        let oldest = words.get_mut(count % GROUP_WORDS).map_or(0, |place| std::mem::replace(place, word));
        group = group.wrapping_mul(FACTOR).wrapping_add(word).wrapping_sub(oldest.wrapping_mul(LAST_FACTOR));
        count += 1;
        if let Some(speaker) = &mut speaker {
            let latest =
                (1..=count.min(GROUP_WORDS)).filter_map(|back| words.get((count - back) % GROUP_WORDS).copied());
            speaker.hear(latest);
        }
        if count >= GROUP_WORDS && speaker.as_ref().is_none_or(|speaker| speaker.is_heard) {
            let mixed = (group ^ (group >> 32)).wrapping_mul(FACTOR);
            visit(mixed ^ (mixed >> 32));
        }
    };
    let (mut word, bytes, mut at) = (0_u64, text.as_bytes(), 0);
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        if byte.is_ascii_alphanumeric() {
            word = add_letter(word, byte);
            continue;
        }
        if word != 0 {
            add_word(std::mem::take(&mut word));
        }
        if byte == b'\\' {
            let rest = bytes.get(at..).unwrap_or_default();
            let (after, code) = skip_escape(rest);
            at += rest.len() - after.len();
            code.into_iter().for_each(&mut add_word);
        } else if !byte.is_ascii() {
            let Some(c) = text.get(at - 1..).and_then(|rest| rest.chars().next()) else { continue };
            at += c.len_utf8() - 1;
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| add_word(u64::from(*unit)));
        }
    }
    if word != 0 {
        add_word(word);
    }
}

/// Skips an escape of JSON, given the text after its first backslash. Returns the rest, and the escaped UTF-16 unit
/// unless it is ASCII.
fn skip_escape(mut text: &[u8]) -> (&[u8], Option<u64>) {
    while let [b'\\', rest @ ..] = text {
        text = rest;
    }
    match text {
        [b'b' | b'f' | b'n' | b'r' | b't' | b'"' | b'/', rest @ ..] => (rest, None),
        [b'u', rest @ ..] => {
            let digits = rest.iter().take(4).map_while(|byte| char::from(*byte).to_digit(16));
            let (count, unit) = digits.fold((0, 0), |(count, unit), digit| (count + 1, unit << 4 | u64::from(digit)));
            (rest.get(count..).unwrap_or_default(), Some(unit).filter(|unit| *unit >= 0x80))
        }
        _ => (text, None),
    }
}
