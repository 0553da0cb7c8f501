//! Parses YAML into a positioned [`Node`] tree and into typed data files; the only file that knows the YAML crate.
//! Duplicate keys, merge keys and alias bombs are refused; `yes` and `on` stay text; errors quote no value.
//! Substitution of `${…}` is in `env`, typing in `de`.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MergeKeyPolicy, Options, Spanned};

use super::problem::{At, Problem};
use super::tree::{Key, Node, Val};

/// The most nodes a configuration file may have; each use of an alias counts again.
const MAX_NODES: usize = 100_000;
/// The most nodes a data file (rules, rates, dialects) may have.
const MAX_DATA_NODES: usize = 2_000_000;

fn options(max_nodes: usize) -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        merge_keys: MergeKeyPolicy::Error,
        budget: serde_saphyr::budget! { max_nodes: max_nodes, max_events: max_nodes.saturating_mul(2), max_total_scalar_bytes: 64 << 20 },
    }
}

/// Parses a configuration file.
///
/// # Errors
/// The first syntax error, with its position.
pub fn tree(text: &str) -> Result<Node, Problem> {
    if text.trim().is_empty() {
        return Ok(Node::null(At::default()));
    }
    let mut node =
        serde_saphyr::from_str_with_options::<Node>(text, options(MAX_NODES)).map_err(|error| syntax(&error))?;
    take_source(text, &mut node);
    Ok(node)
}

/// Parses a data file (rules, dialects, rates), built in or from a user.
///
/// # Errors
/// The first error, with its position.
pub fn data<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Problem> {
    serde_saphyr::from_str_with_options(text, options(MAX_DATA_NODES)).map_err(|error| {
        let problem = syntax(&error);
        Problem { path: name.to_owned(), ..problem }
    })
}

/// Parses a data file into a tree, for the positions of its keys and values.
///
/// # Errors
/// The first syntax error, with its position.
pub fn data_tree(text: &str) -> Result<Node, Problem> {
    serde_saphyr::from_str_with_options::<Node>(text, options(MAX_DATA_NODES)).map_err(|error| syntax(&error))
}

fn syntax(error: &serde_saphyr::Error) -> Problem {
    let at = error.location().map(|location| place(&location));
    let text = error.without_snippet().to_string();
    let what = text.lines().next().unwrap_or("not valid YAML");
    // The problem carries the position, so the reader's prefix with the line would repeat it.
    let what = what.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(what, |(_, tail)| tail);
    let (what, hint) = in_our_words(what);
    Problem::error(at, "", what).with_hint(hint)
}

/// Replaces messages of the YAML reader that mention its own options.
fn in_our_words(what: &str) -> (&str, &str) {
    if let Some((what, _)) = what.split_once(", set DuplicateKeyPolicy") {
        return (what, "a key stands once in a map: put the two together");
    }
    if what.starts_with("budget breached: Depth") {
        return ("nested too deeply", "64 maps and lists within each other are read; look for a bracket too many");
    }
    if what.starts_with("budget breached") {
        return (
            "too large, or too many aliases",
            "a configuration has at most 100,000 nodes, each use of an alias counted",
        );
    }
    (what, "")
}

fn place(location: &Location) -> At {
    let number = |value: u64| usize::try_from(value).unwrap_or(0);
    let span = location.span();
    At {
        offset: number(span.byte_offset().unwrap_or(0)),
        len: number(span.byte_len().unwrap_or(0)),
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// Keeps the source text of plain scalars that YAML converted to another type (`007`, `1.10`).
fn take_source(text: &str, node: &mut Node) {
    match &mut node.value {
        Val::Seq(items) => items.iter_mut().for_each(|item| take_source(text, item)),
        Val::Map(entries) => entries.iter_mut().for_each(|(_, item)| take_source(text, item)),
        Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Float(_) => {
            let end = node.at.offset.saturating_add(node.at.len);
            node.raw = text.get(node.at.offset..end).map(|raw| raw.trim().to_owned());
        }
        Val::Null | Val::Str(_) => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Raw>::deserialize(deserializer)?;
        Ok(Self { at: place(&spanned.defined), raw: None, files: Vec::new(), value: spanned.value.0 })
    }
}

struct Raw(Val);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor).map(Raw)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Val, E> {
        Ok(Val::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Val, E> {
        Ok(u64::try_from(value).map_or(Val::Int(value), Val::UInt))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Val, E> {
        Ok(Val::UInt(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Val, E> {
        Ok(Val::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Val, E> {
        Ok(Val::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Val, E> {
        Ok(Val::Str(value))
    }

    fn visit_unit<E>(self) -> Result<Val, E> {
        Ok(Val::Null)
    }

    fn visit_none<E>(self) -> Result<Val, E> {
        Ok(Val::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Val, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Val, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Val::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Val, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push((Key { at: place(&key.defined), name: key.value }, value));
        }
        Ok(Val::Map(entries))
    }
}
