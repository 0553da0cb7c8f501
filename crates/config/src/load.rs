//! Parses YAML: a configuration into a [`TreeNode`] tree with positions, a data file into its type; the only file that
//! knows the YAML crate. Duplicate keys, merge keys and alias bombs are refused; `yes` and `on` stay text; errors quote
//! no value. Substitution of `${…}` is in `env`, typing in `de`.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MergeKeyPolicy, Options, Spanned};

use super::problem::{Problem, SourcePosition};
use super::tree::{MapKey, NodeValue, TreeNode};
use super::yaml_syntax::{SyntaxFault, describe_fault, find_document_mark, locate_in_text};

/// The remedy for a file without content.
const EMPTY_HINT: &str = "`tollgate print-config --comments` prints a configuration to start from";
/// Maximum number of nodes in a configuration file; each use of an alias counts again.
const MAX_NODES: usize = 100_000;
/// Maximum number of nodes in a data file (rules, rates, dialects).
const MAX_DATA_NODES: usize = 2_000_000;

fn options(max_nodes: usize, merge_keys: MergeKeyPolicy) -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        merge_keys: merge_keys,
        budget: serde_saphyr::budget! { max_nodes: max_nodes, max_events: max_nodes.saturating_mul(2), max_total_scalar_bytes: 64 << 20 },
    }
}

/// Parses a configuration file.
///
/// # Errors
/// The first syntax error, with its position.
pub fn parse_tree(text: &str) -> Result<TreeNode, Problem> {
    parse_tree_with(text, MergeKeyPolicy::Error)
}

/// Parses a Collector's file. Merge keys (`<<`) are expanded, as the Collector does.
///
/// # Errors
/// The first syntax error, with its position.
pub(super) fn parse_collector_tree(text: &str) -> Result<TreeNode, Problem> {
    parse_tree_with(text, MergeKeyPolicy::Merge)
}

fn parse_tree_with(text: &str, merge_keys: MergeKeyPolicy) -> Result<TreeNode, Problem> {
    let empty = || Problem::error(None, "", "the file is empty").with_hint(EMPTY_HINT);
    if text.trim().is_empty() {
        return Err(empty());
    }
    let mut node: TreeNode = parse_with(text, options(MAX_NODES, merge_keys))?;
    if matches!(node.value, NodeValue::Null) {
        return Err(empty());
    }
    keep_source_text(text, &mut node);
    Ok(node)
}

/// Parses a data file (rules, dialects, rates), built in or from a user.
///
/// # Errors
/// The first error, with its position.
pub fn parse_data<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Problem> {
    parse_with(text, options(MAX_DATA_NODES, MergeKeyPolicy::Error))
        .map_err(|problem| Problem { path: name.to_owned(), ..problem })
}

/// Parses a data file into a tree, for the positions of its keys and values.
///
/// # Errors
/// The first syntax error, with its position.
pub fn parse_data_tree(text: &str) -> Result<TreeNode, Problem> {
    parse_with(text, options(MAX_DATA_NODES, MergeKeyPolicy::Error))
}

fn parse_with<T: DeserializeOwned>(text: &str, options: Options) -> Result<T, Problem> {
    serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_problem(&error, text))
}

fn syntax_problem(error: &serde_saphyr::Error, text: &str) -> Problem {
    let at = error.location().map(|location| locate_in_text(text, to_position(&location)));
    if let serde_saphyr::Error::MultipleDocuments { .. } = error.without_snippet() {
        let at = at.map(|at| find_document_mark(text, at));
        let hint = "a file has one document: remove the line `---` between them, or split the file";
        return Problem::error(at, "", "the file has several documents").with_hint(hint);
    }
    let what = error.without_snippet().to_string();
    let what = what.lines().next().unwrap_or("not valid YAML");
    // The problem carries the position, so the reader's prefix with the line would repeat it.
    let what = what.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(what, |(_, tail)| tail);
    if let Some(SyntaxFault { what, hint, at }) = describe_fault(what, text, at) {
        return Problem::error(at, "", what).with_hint(hint);
    }
    let (what, hint) = rephrase_message(what);
    Problem::error(at, "", what).with_hint(hint)
}

/// Replaces messages of the YAML reader that mention its own options.
fn rephrase_message(what: &str) -> (&str, &str) {
    if let Some((what, _)) = what.split_once(", set DuplicateKeyPolicy") {
        return (what, "a key may occur only once in a map: merge the two entries");
    }
    if what.starts_with("budget breached: Depth") {
        return ("nested too deeply", "maps and lists may be nested at most 64 deep; look for an extra bracket");
    }
    if what.starts_with("budget breached") {
        return (
            "too large, or too many aliases",
            "a configuration has at most 100,000 nodes, a data file 2,000,000; each use of an alias counts",
        );
    }
    (what, "")
}

fn to_position(location: &Location) -> SourcePosition {
    let number = |value: u64| usize::try_from(value).unwrap_or(0);
    let span = location.span();
    SourcePosition {
        offset: number(span.byte_offset().unwrap_or(0)),
        len: number(span.byte_len().unwrap_or(0)),
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// Keeps the source text of plain scalars that YAML converted to another type (`007`, `1.10`).
fn keep_source_text(text: &str, node: &mut TreeNode) {
    match &mut node.value {
        NodeValue::Seq(items) => items.iter_mut().for_each(|item| keep_source_text(text, item)),
        NodeValue::Map(entries) => entries.iter_mut().for_each(|(_, item)| keep_source_text(text, item)),
        NodeValue::Bool(_) | NodeValue::Int(_) | NodeValue::UInt(_) | NodeValue::Float(_) => {
            let end = node.at.offset.saturating_add(node.at.len);
            node.raw = text.get(node.at.offset..end).map(|raw| raw.trim().to_owned());
        }
        NodeValue::Null | NodeValue::Str(_) => {}
    }
}

impl<'de> Deserialize<'de> for TreeNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<RawValue>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value.0, ..Self::null(to_position(&spanned.defined)) })
    }
}

struct RawValue(NodeValue);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawValueVisitor).map(RawValue)
    }
}

struct RawValueVisitor;

impl<'de> Visitor<'de> for RawValueVisitor {
    type Value = NodeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeValue, E> {
        Ok(NodeValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeValue, E> {
        Ok(u64::try_from(value).map_or(NodeValue::Int(value), NodeValue::UInt))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeValue, E> {
        Ok(NodeValue::UInt(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<NodeValue, E> {
        Ok(NodeValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<NodeValue, E> {
        Ok(NodeValue::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<NodeValue, E> {
        Ok(NodeValue::Str(value))
    }

    fn visit_unit<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_none<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeValue, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NodeValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(NodeValue::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeValue, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, TreeNode>()? {
            entries.push((MapKey { at: to_position(&key.defined), name: key.value }, value));
        }
        Ok(NodeValue::Map(entries))
    }
}
