//! Building blocks for the trees that `migrate` writes: new nodes, entries at a path, and the node that a problem of
//! the loader names.

use config::SourcePosition;
use config::tree::{MapKey, NodeValue, TreeNode};

/// A text with the position of the source that it came from.
pub(super) fn text_node(text: impl Into<String>, at: SourcePosition) -> TreeNode {
    TreeNode { value: NodeValue::Str(text.into()), ..TreeNode::null(at) }
}

/// A map without positions.
pub(super) fn map_node<K: Into<String>>(entries: impl IntoIterator<Item = (K, TreeNode)>) -> TreeNode {
    let entries = entries.into_iter().map(|(name, node)| (MapKey { at: node.at, name: name.into() }, node));
    TreeNode { value: NodeValue::Map(entries.collect()), ..TreeNode::null(SourcePosition::default()) }
}

/// A list without a position.
pub(super) fn list_node(items: impl IntoIterator<Item = TreeNode>) -> TreeNode {
    TreeNode { value: NodeValue::Seq(items.into_iter().collect()), ..TreeNode::null(SourcePosition::default()) }
}

/// The text of a scalar as written; `None` for maps, lists and empty values.
pub(super) fn scalar_text(node: &TreeNode) -> Option<&str> {
    match &node.value {
        NodeValue::Str(text) => Some(text),
        _ => node.raw.as_deref(),
    }
}

/// The text at `key`.
pub(super) fn text_at<'n>(node: &'n TreeNode, key: &str) -> Option<&'n str> {
    node.get(key).and_then(|(_, value)| scalar_text(value))
}

/// The items of a list; empty for any other value.
pub(super) fn list_items(node: &TreeNode) -> &[TreeNode] {
    match &node.value {
        NodeValue::Seq(items) => items,
        _ => &[],
    }
}

/// Sets the entry at `path` unless there is one, and makes the maps above it.
pub(super) fn put_entry(node: &mut TreeNode, path: &str, value: TreeNode) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    if !matches!(node.value, NodeValue::Map(_)) {
        node.value = NodeValue::Map(Vec::new());
    }
    let NodeValue::Map(entries) = &mut node.value else { return };
    let index = entries.iter().position(|(key, _)| key.name == name).unwrap_or_else(|| {
        entries.push((MapKey { at: value.at, name: name.to_owned() }, TreeNode::null(value.at)));
        entries.len().saturating_sub(1)
    });
    let Some((_, child)) = entries.get_mut(index) else { return };
    if !rest.is_empty() {
        put_entry(child, rest, value);
    } else if matches!(child.value, NodeValue::Null) {
        *child = value;
    }
}

/// The node that a problem's path names, or its nearest existing ancestor.
pub(super) struct LocatedNode<'n> {
    /// The name of each step down: a key, or `[index]`.
    pub(super) names: Vec<String>,
    /// The index of each step down, among the entries of a map or the items of a list.
    pub(super) indexes: Vec<usize>,
    /// Whether the whole path exists.
    pub(super) is_complete: bool,
    /// The node.
    pub(super) node: &'n TreeNode,
    /// Position of its key, or of itself if it is an item of a list.
    pub(super) at: SourcePosition,
}

/// Follows a path such as `exporters.otlp.tls` or `processors.redact.custom[0].name` from `root`.
pub(super) fn locate<'n>(root: &'n TreeNode, path: &str) -> LocatedNode<'n> {
    let mut found = LocatedNode { names: Vec::new(), indexes: Vec::new(), is_complete: false, node: root, at: root.at };
    let mut rest = path;
    while !rest.is_empty() {
        if let Some((index, tail)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let item = index.parse().ok().and_then(|at: usize| Some((at, list_items(found.node).get(at)?)));
            let Some((at, item)) = item else { return found };
            found.names.push(format!("[{at}]"));
            found.indexes.push(at);
            (found.node, found.at) = (item, item.at);
            rest = tail.trim_start_matches('.');
            continue;
        }
        // Keys may contain dots, so the longest key that fits is taken.
        let fits =
            |name: &str| rest.strip_prefix(name).is_some_and(|tail| tail.is_empty() || tail.starts_with(['.', '[']));
        let entries = found.node.entries().iter().enumerate().filter(|(_, (key, _))| fits(&key.name));
        let Some((at, (key, child))) = entries.max_by_key(|(_, (key, _))| key.name.len()) else { return found };
        rest = rest.strip_prefix(key.name.as_str()).unwrap_or_default().trim_start_matches('.');
        found.names.push(key.name.clone());
        found.indexes.push(at);
        (found.node, found.at) = (child, key.at);
    }
    found.is_complete = true;
    found
}

/// Removes the entry or item at the end of `indexes`.
pub(super) fn remove_at(node: &mut TreeNode, indexes: &[usize]) {
    let Some((index, rest)) = indexes.split_first() else { return };
    match &mut node.value {
        NodeValue::Map(entries) if rest.is_empty() && *index < entries.len() => drop(entries.remove(*index)),
        NodeValue::Seq(items) if rest.is_empty() && *index < items.len() => drop(items.remove(*index)),
        NodeValue::Map(entries) => entries.get_mut(*index).into_iter().for_each(|(_, child)| remove_at(child, rest)),
        NodeValue::Seq(items) => items.get_mut(*index).into_iter().for_each(|child| remove_at(child, rest)),
        _ => {}
    }
}

/// Writes `${NAME}` and `$NAME` as `${env:NAME}` in every text below: the Collector reads the first form so, and older
/// versions of it the second. Other references stay.
pub(super) fn qualify_references(node: &mut TreeNode) {
    node.visit_strings("", &mut |_, node| {
        let NodeValue::Str(text) = &mut node.value else { return };
        if text.contains('$') {
            *text = qualify_text(text);
        }
    });
}

fn qualify_text(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if let Some(tail) = after.strip_prefix('$') {
            out.push_str("$$");
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('{') {
            let name = tail.split([':', '}']).next().unwrap_or_default();
            let is_variable = !name.is_empty() && name.bytes().all(is_name_byte);
            let ends_here = tail.strip_prefix(name).is_some_and(|tail| tail.starts_with(":-") || tail.starts_with('}'));
            out.push_str(if is_variable && ends_here { "${env:" } else { "${" });
            rest = tail;
        } else {
            // Only capital names, because a pattern or a password may contain `$`.
            let len = after.bytes().take_while(|byte| is_name_byte(*byte)).count();
            let name = after.get(..len).unwrap_or_default();
            let is_variable = len > 1
                && name.starts_with(|c: char| c.is_ascii_uppercase())
                && !name.bytes().any(|byte| byte.is_ascii_lowercase())
                && !out.ends_with(|c: char| c.is_alphanumeric());
            out.push_str(&if is_variable { format!("${{env:{name}}}") } else { format!("${name}") });
            rest = after.get(len..).unwrap_or_default();
        }
    }
    out + rest
}
