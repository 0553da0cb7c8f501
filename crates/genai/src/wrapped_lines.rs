//! Finds an agent's log line that a logger wrapped, one or two levels down in a record's body or in an attribute, such
//! as `{"level": "info", "data": {"event": "agent_decision", …}}`.
//!
//! Text without one of the known words is not parsed, and nothing is copied. `item_reader` reads the lines found.

use aho_corasick::AhoCorasick;

use otlp::Value;

use super::json_body::{self, MAX_ENTRIES};
use super::keys::SlotIndex;
use super::vocabulary::{Dialect, VocabularyCompiler};

/// Number of levels searched below the body or attribute.
const MAX_LEVELS: usize = 2;

/// How wrapped lines are recognised, from the dialects with `nested`.
pub(super) struct WrappedLineFinder {
    /// Marker bits of these dialects.
    pub(super) marks: u128,
    /// Entries with one of these values.
    pub(super) equals: Vec<(SlotIndex, Vec<String>)>,
    /// Words, at least one of which occurs in the text of every such line.
    words: Option<AhoCorasick>,
}

impl WrappedLineFinder {
    pub(super) fn compile(compiler: &mut VocabularyCompiler, dialects: &[Dialect]) -> Self {
        let nested = || dialects.iter().filter(|dialect| dialect.data.wrapped_in_log_lines);
        let clauses = || nested().flat_map(|dialect| &dialect.data.detect);
        let marks = nested().flat_map(|dialect| &dialect.clauses);
        let words = clauses().flat_map(|clause| clause.has.iter().chain(clause.equals.values().flatten()));
        Self {
            marks: marks.fold(0, |marks, clause| marks | clause.marks()),
            equals: clauses().flat_map(|clause| compiler.compile_equals(&clause.equals)).collect(),
            words: AhoCorasick::new(words).ok(),
        }
    }

    /// The maps in `value`, itself first, down to two levels, as lists of entries. Empty if the value cannot hold such
    /// a line.
    pub(super) fn collect_maps<'p>(&self, value: Value<'p>) -> Vec<Vec<(&'p str, Value<'p>)>> {
        let mut out = Vec::new();
        match value {
            Value::Map(_) => {
                let mut entries_left = MAX_ENTRIES;
                collect_nested_maps(value, MAX_LEVELS, &mut entries_left, &mut out);
            }
            Value::Str(text) if self.words.as_ref().is_some_and(|words| words.is_match(text)) => {
                // A logger's level and time may precede the object.
                let json = text.find('{').zip(text.rfind('}')).and_then(|(from, to)| text.get(from..=to));
                out = json_body::collect_maps(json.unwrap_or(text), MAX_LEVELS);
            }
            _ => {}
        }
        out
    }
}

fn collect_nested_maps<'p>(
    value: Value<'p>,
    levels: usize,
    entries_left: &mut usize,
    out: &mut Vec<Vec<(&'p str, Value<'p>)>>,
) {
    let entries: Vec<(&str, Value<'_>)> = value.entries().take(*entries_left).collect();
    *entries_left -= entries.len();
    let inner = entries.iter().map(|(_, entry)| *entry).filter(|entry| levels > 0 && matches!(entry, Value::Map(_)));
    let inner: Vec<Value<'p>> = inner.collect();
    out.push(entries);
    inner.into_iter().for_each(|entry| collect_nested_maps(entry, levels - 1, entries_left, out));
}
