//! Writes a configuration tree as YAML, with comments before the entries of the first two levels. Short maps and lists
//! are written in one line. Every text is written so that the loader reads it back as the same text.

use std::fmt::Display;

use config::tree::{NodeValue, TreeNode};
use kernel::terminal::{escape_json, escape_unsafe};

/// Longest line that is not a single scalar.
const MAX_LINE: usize = 118;
/// Most levels of maps and lists in one line.
const MAX_FLOW_DEPTH: usize = 2;

/// Writes `root`. `comments` gives the comments of a path: of `receivers.otlp` before that component, of `receivers.`
/// behind the last component of the section, of the empty path at the beginning.
pub(super) fn write_yaml(root: &TreeNode, comments: &dyn Fn(&str) -> Vec<String>) -> String {
    let mut out = String::new();
    write_comments(&mut out, 0, &comments(""));
    for (section, node) in root.entries() {
        let trailing = comments(&format!("{}.", section.name));
        write_comments(&mut out, 0, &comments(&section.name));
        if node.entries().is_empty() {
            // A section without components would have no value.
            write_comments(&mut out, 0, &trailing);
            continue;
        }
        out.push_str(&format!("{}:\n", section.name));
        for (key, child) in node.entries() {
            write_comments(&mut out, 2, &comments(&format!("{}.{}", section.name, key.name)));
            write_entry(&mut out, 2, &key.name, child);
        }
        write_comments(&mut out, 2, &trailing);
    }
    out
}

fn write_comments(out: &mut String, indent: usize, comments: &[String]) {
    for comment in comments {
        let mut line = format!("{:indent$}#", "");
        for word in escape_unsafe(comment).split(' ') {
            if line.chars().count() + 1 + word.chars().count() > MAX_LINE && !line.ends_with('#') {
                out.push_str(&line);
                line = format!("\n{:indent$}# ", "");
            }
            line.push(' ');
            line.push_str(word);
        }
        out.push_str(&line);
        out.push('\n');
    }
}

fn write_entry(out: &mut String, indent: usize, key: &str, node: &TreeNode) {
    out.push_str(&format!("{:indent$}{}:", "", scalar(key)));
    if let Some(line) = one_line(node, MAX_LINE.saturating_sub(indent + key.len() + 2)) {
        let space = if line.is_empty() { "" } else { " " };
        out.push_str(&format!("{space}{line}\n"));
        return;
    }
    out.push('\n');
    write_block(out, indent + 2, node);
}

fn write_block(out: &mut String, indent: usize, node: &TreeNode) {
    match &node.value {
        NodeValue::Map(entries) => {
            entries.iter().for_each(|(key, child)| write_entry(out, indent, &key.name, child));
        }
        NodeValue::Seq(items) => {
            for item in items {
                let mut block = one_line(item, MAX_LINE.saturating_sub(indent + 2)).map(|line| format!("{line}\n"));
                let block = block.get_or_insert_with(|| {
                    let mut block = String::new();
                    write_block(&mut block, indent + 2, item);
                    block
                });
                out.push_str(&format!("{:indent$}- {}", "", block.trim_start_matches(' ')));
            }
        }
        _ => {}
    }
}

/// The node in one line, if it is a scalar, or short and not too deep.
fn one_line(node: &TreeNode, room: usize) -> Option<String> {
    let is_scalar = !matches!(node.value, NodeValue::Map(_) | NodeValue::Seq(_));
    let line = flow(node, MAX_FLOW_DEPTH)?;
    let line = if is_scalar && line == "null" { String::new() } else { line };
    (is_scalar || line.chars().count() <= room).then_some(line)
}

fn flow(node: &TreeNode, depth: usize) -> Option<String> {
    match &node.value {
        NodeValue::Null => Some("null".to_owned()),
        NodeValue::Bool(value) => Some(value.to_string()),
        NodeValue::Int(value) => Some(number(node, value)),
        NodeValue::UInt(value) => Some(number(node, value)),
        NodeValue::Float(value) => Some(number(node, value)),
        NodeValue::Str(text) => Some(scalar(text)),
        NodeValue::Seq(items) if items.is_empty() => Some("[]".to_owned()),
        NodeValue::Map(entries) if entries.is_empty() => Some("{}".to_owned()),
        _ if depth == 0 => None,
        NodeValue::Seq(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| flow(item, depth - 1)).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        NodeValue::Map(entries) => {
            let entry = |key: &str, child| Some(format!("{}: {}", scalar(key), flow(child, depth - 1)?));
            let entries: Option<Vec<String>> = entries.iter().map(|(key, child)| entry(&key.name, child)).collect();
            Some(format!("{{ {} }}", entries?.join(", ")))
        }
    }
}

/// A number as the source has it: `1.10` may be a version.
fn number(node: &TreeNode, value: &dyn Display) -> String {
    let is_number = |raw: &&String| raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte));
    node.raw.as_ref().filter(is_number).cloned().unwrap_or_else(|| value.to_string())
}

/// A text as a scalar: plain if it can't be read as anything else, otherwise in double quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    // Double quotes of YAML know every escape of JSON.
    escape_json(&serde_json::Value::from(text).to_string())
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    let is_word_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-:".contains(&byte);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    // `5s`, `64MiB`: digits, then letters that make no number.
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_quantity = unit.len() < text.len()
        && !unit.is_empty()
        && unit.bytes().all(|byte| byte.is_ascii_alphabetic())
        && !unit.starts_with(['e', 'E', 'x', 'X', 'o', 'O', 'b', 'B']);
    (is_quantity || (starts_well && text.bytes().all(is_word_byte) && !text.ends_with(':')))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}
