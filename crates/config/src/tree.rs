//! A parsed configuration as a tree in which every key and value has its position, so that errors point into the file
//! and `${env:…}` is resolved on scalars. The types have no `Debug`, because values may be secrets. YAML is parsed in
//! `load`, substitution is in `env`.

use std::path::PathBuf;

use super::problem::SourcePosition;

/// A value with its position.
#[derive(Clone)]
pub struct TreeNode {
    /// Position of its text; for an alias, of its definition.
    pub at: SourcePosition,
    /// The text in the file, for plain scalars that YAML converts to another type.
    pub raw: Option<String>,
    /// The text in the file, for scalars in which a `${…}` or `$$` was replaced.
    pub reference: Option<String>,
    /// Files that `${file:…}` named in this scalar.
    pub files: Vec<PathBuf>,
    /// Whether the value is on another machine: the text is only that of the `${…}`, and no check may judge it.
    pub is_unknown: bool,
    pub value: NodeValue,
}

#[derive(Clone)]
pub struct MapKey {
    pub at: SourcePosition,
    pub name: String,
}

#[derive(Clone)]
pub enum NodeValue {
    /// An empty value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A negative integer.
    Int(i64),
    /// An integer that is not negative.
    UInt(u64),
    /// A number with a point or exponent.
    Float(f64),
    Str(String),
    Seq(Vec<TreeNode>),
    /// A map, in file order.
    Map(Vec<(MapKey, TreeNode)>),
}

impl TreeNode {
    /// An empty node at `at`.
    pub fn null(at: SourcePosition) -> Self {
        Self { at, raw: None, reference: None, files: Vec::new(), is_unknown: false, value: NodeValue::Null }
    }

    /// The entries of a map; empty for any other value.
    pub fn entries(&self) -> &[(MapKey, TreeNode)] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of `key` in a map.
    pub fn get(&self, key: &str) -> Option<&(MapKey, TreeNode)> {
        self.entries().iter().find(|(candidate, _)| candidate.name == key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut (MapKey, Self)> {
        match &mut self.value {
            NodeValue::Map(entries) => entries.iter_mut().find(|(candidate, _)| candidate.name == key),
            _ => None,
        }
    }

    /// Sets the entry of `key` in a map, or in a node that becomes one.
    pub fn put(&mut self, key: MapKey, value: Self) {
        match &mut self.value {
            NodeValue::Map(entries) => {
                entries.retain(|(other, _)| other.name != key.name);
                entries.push((key, value));
            }
            other => *other = NodeValue::Map(vec![(key, value)]),
        }
    }

    /// Removes and returns the entry at a path (`auth.tls`).
    pub fn remove(&mut self, path: &str) -> Option<(MapKey, Self)> {
        let NodeValue::Map(entries) = &mut self.value else { return None };
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let index = entries.iter().position(|(key, _)| key.name == name)?;
        if rest.is_empty() { Some(entries.remove(index)) } else { entries.get_mut(index)?.1.remove(rest) }
    }

    /// Removes the entry or item at a position. Returns whether there was one.
    pub fn remove_at(&mut self, at: SourcePosition) -> bool {
        // A map begins where its first key does.
        let is_at = |node: &Self| node.at == at && !matches!(node.value, NodeValue::Map(_));
        match &mut self.value {
            NodeValue::Map(entries) => {
                let before = entries.len();
                entries.retain(|(key, child)| key.at != at && !is_at(child));
                entries.len() < before || entries.iter_mut().any(|(_, child)| child.remove_at(at))
            }
            NodeValue::Seq(items) => {
                let before = items.len();
                items.retain(|item| item.at != at);
                items.len() < before || items.iter_mut().any(|item| item.remove_at(at))
            }
            _ => false,
        }
    }

    /// The position of the node at a path (`tls.ca_file`, `custom[0].name`), or of its nearest existing ancestor.
    pub fn nearest_position(&self, path: &str) -> SourcePosition {
        let (mut node, mut at) = (self, self.at);
        let mut rest = path;
        while !rest.is_empty() {
            if let Some((index, tail)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let Some(item) = index.parse().ok().and_then(|index: usize| node.item(index)) else { break };
                (node, at, rest) = (item, item.at, tail.trim_start_matches('.'));
                continue;
            }
            // Keys may contain dots, so take the longest key that matches.
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

    pub fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            NodeValue::Seq(items) => items.get(index),
            _ => None,
        }
    }

    /// Files that `${file:…}` named in this node and all nodes below.
    pub fn named_files(&self) -> Vec<&PathBuf> {
        let below: Vec<&Self> = match &self.value {
            NodeValue::Seq(items) => items.iter().collect(),
            NodeValue::Map(entries) => entries.iter().map(|(_, item)| item).collect(),
            _ => Vec::new(),
        };
        self.files.iter().chain(below.into_iter().flat_map(Self::named_files)).collect()
    }

    /// Whether a value in this node or below it is on another machine.
    pub fn has_unknown(&self) -> bool {
        let below = match &self.value {
            NodeValue::Seq(items) => items.iter().any(Self::has_unknown),
            NodeValue::Map(entries) => entries.iter().any(|(_, item)| item.has_unknown()),
            _ => false,
        };
        self.is_unknown || below
    }

    /// Calls `visit` with the path and node of every string below.
    pub fn visit_strings(&mut self, path: &str, visit: &mut dyn FnMut(&str, &mut TreeNode)) {
        match &mut self.value {
            NodeValue::Str(_) => visit(path, self),
            NodeValue::Seq(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.visit_strings(&format!("{path}[{index}]"), visit);
                }
            }
            NodeValue::Map(entries) => {
                for (key, item) in entries {
                    let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                    item.visit_strings(&path, visit);
                }
            }
            _ => {}
        }
    }
}
