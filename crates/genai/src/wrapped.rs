//! **What**: an agent's own log line, wrapped by a logger: a level or two down in a record's body, or in an attribute.
//! **Why**: `{"level": "info", "data": {"event": "agent_decision", …}}` is what structured loggers write of it.
//! **Invariants**: text without one of the words is not parsed; nothing is copied; two levels. **Not here**: what the
//! keys mean (`keys`, `detect`).

use aho_corasick::AhoCorasick;

use otlp::Value;

use super::json_body;
use super::keys::Slot;
use super::schema;
use super::vocabulary::{Compiler, Dialect};

/// Levels below the body, or the attribute.
const LEVELS: usize = 2;
/// Entries that are looked at.
const ENTRIES: usize = 256;

/// How wrapped lines are known: those of the dialects that say `nested`.
pub(super) struct Wrapped {
    /// Bits of their marker attributes.
    pub(super) marks: u128,
    /// Entries with these values.
    pub(super) equals: Vec<(Slot, Vec<String>)>,
    /// What stands in the text of every such line.
    words: Option<AhoCorasick>,
}

impl Wrapped {
    pub(super) fn compile(compiler: &mut Compiler<'_>, data: &[schema::Dialect], dialects: &[Dialect]) -> Self {
        let nested: Vec<&schema::Dialect> = data.iter().filter(|dialect| dialect.nested).collect();
        let clauses = || nested.iter().flat_map(|dialect| &dialect.detect);
        let is = |dialect: &&Dialect| nested.iter().any(|one| one.name == dialect.name);
        let marks = dialects.iter().filter(is).flat_map(|dialect| &dialect.clauses);
        let words = clauses().flat_map(|clause| clause.has.iter().chain(clause.equals.values().flatten()));
        Self {
            marks: marks.fold(0, |marks, clause| marks | clause.marks()),
            equals: clauses().flat_map(|clause| compiler.equals(&clause.equals)).collect(),
            words: AhoCorasick::new(words).ok(),
        }
    }

    /// The maps in `value` up to two levels down, itself first, as entries; none if it can't hold such a line.
    pub(super) fn maps<'p>(&self, value: Value<'p>) -> Vec<Vec<(&'p str, Value<'p>)>> {
        let mut out = Vec::new();
        match value {
            Value::Map(_) => {
                let mut left = ENTRIES;
                walk(value, LEVELS, &mut left, &mut out);
            }
            Value::Str(text) if self.words.as_ref().is_some_and(|words| words.is_match(text)) => {
                // a logger's level and time may stand before it
                let json = text.find('{').zip(text.rfind('}')).and_then(|(from, to)| text.get(from..=to));
                out = json_body::maps(json.unwrap_or(text), LEVELS);
            }
            _ => {}
        }
        out
    }
}

fn walk<'p>(value: Value<'p>, levels: usize, left: &mut usize, out: &mut Vec<Vec<(&'p str, Value<'p>)>>) {
    let entries: Vec<(&str, Value<'_>)> = value.entries().take(*left).collect();
    *left -= entries.len();
    let inner = entries.iter().map(|(_, entry)| *entry).filter(|entry| levels > 0 && matches!(entry, Value::Map(_)));
    let inner: Vec<Value<'p>> = inner.collect();
    out.push(entries);
    inner.into_iter().for_each(|entry| walk(entry, levels - 1, left, out));
}
