//! **What**: a parsed configuration as a tree whose every key and value knows its place.
//! **Why**: errors point at the file, and `${env:…}` is resolved on scalars, never by text templating.
//! **Invariants**: no `Debug` (values may be secrets). **Not here**: YAML (`load`), substitution (`env`).

use std::path::PathBuf;

use super::problem::At;

/// A value with its place.
#[derive(Clone)]
pub struct Node {
    /// Where its text stands (of an alias: where it was defined).
    pub at: At,
    /// The text in the file, for plain scalars that YAML would type.
    pub raw: Option<String>,
    /// Files that `${file:…}` named inside.
    pub files: Vec<PathBuf>,
    /// The value.
    pub value: Val,
}

/// A key with its place.
#[derive(Clone)]
pub struct Key {
    /// Where.
    pub at: At,
    /// The key.
    pub name: String,
}

/// What a node holds.
#[derive(Clone)]
pub enum Val {
    /// Nothing.
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A negative integer.
    Int(i64),
    /// An integer.
    UInt(u64),
    /// A number with a point or exponent.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A map, in file order.
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// An empty node at `at`.
    pub fn null(at: At) -> Self {
        Self { at, raw: None, files: Vec::new(), value: Val::Null }
    }

    /// Entries of a map; none otherwise.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Val::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of `key` in a map.
    pub fn get(&self, key: &str) -> Option<&(Key, Node)> {
        self.entries().iter().find(|(candidate, _)| candidate.name == key)
    }

    /// The place of the node at a path (`tls.ca_file`, `custom[0].name`), or of the nearest one above it that exists.
    pub fn nearest(&self, path: &str) -> At {
        let (mut node, mut at) = (self, self.at);
        let mut rest = path;
        while !rest.is_empty() {
            if let Some((index, tail)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let Some(item) = index.parse().ok().and_then(|index: usize| node.item(index)) else { break };
                (node, at, rest) = (item, item.at, tail.trim_start_matches('.'));
                continue;
            }
            // Keys may hold dots themselves: take the longest key that fits.
            let found = node.entries().iter().filter(|(key, _)| {
                rest == key.name
                    || rest.strip_prefix(key.name.as_str()).is_some_and(|tail| tail.starts_with(['.', '[']))
            });
            let Some((key, child)) = found.max_by_key(|(key, _)| key.name.len()) else { break };
            rest = rest.strip_prefix(key.name.as_str()).unwrap_or("").trim_start_matches('.');
            at = if rest.is_empty() && child.at.len > 0 && child.entries().is_empty() { child.at } else { key.at };
            node = child;
        }
        at
    }

    fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Val::Seq(items) => items.get(index),
            _ => None,
        }
    }

    /// Files that `${file:…}` named here and below.
    pub fn named_files(&self) -> Vec<&PathBuf> {
        let below: Vec<&Self> = match &self.value {
            Val::Seq(items) => items.iter().collect(),
            Val::Map(entries) => entries.iter().map(|(_, item)| item).collect(),
            _ => Vec::new(),
        };
        self.files.iter().chain(below.into_iter().flat_map(Self::named_files)).collect()
    }

    /// Places of all keys and lists of component ids below: what a snippet may show.
    pub fn keys(&self, out: &mut Vec<At>) {
        match &self.value {
            Val::Seq(items) => items.iter().for_each(|item| item.keys(out)),
            Val::Map(entries) => entries.iter().for_each(|(key, item)| {
                out.push(key.at);
                if let (Val::Seq(ids), "receivers" | "processors" | "exporters" | "extensions") =
                    (&item.value, key.name.as_str())
                {
                    out.extend(ids.iter().map(|id| id.at));
                }
                item.keys(out);
            }),
            _ => {}
        }
    }

    /// Calls `visit` on every string below.
    pub fn visit_strings(&mut self, path: &str, visit: &mut dyn FnMut(&str, &mut Node)) {
        match &mut self.value {
            Val::Str(_) => visit(path, self),
            Val::Seq(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.visit_strings(&format!("{path}[{index}]"), visit);
                }
            }
            Val::Map(entries) => {
                for (key, item) in entries {
                    let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                    item.visit_strings(&path, visit);
                }
            }
            _ => {}
        }
    }
}
