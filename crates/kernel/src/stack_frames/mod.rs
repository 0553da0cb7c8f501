//! Recognises stack frames of Python, JavaScript, Java, .NET, Go and Rust, line by line. A line must have the whole
//! form of a frame: a sentence that begins with "at" does not match.

use std::ops::Range;

#[cfg(test)]
mod tests;

/// Returns the range of each line of `text`, with its line break, and whether it is a frame.
pub fn classify_lines(text: &str) -> impl Iterator<Item = (Range<usize>, bool)> {
    let mut next_start = 0;
    text.split_inclusive('\n').map(move |line| {
        let range = next_start..next_start + line.len();
        next_start = range.end;
        (range, is_frame(line))
    })
}

/// Returns the ranges of successive lines for which `classify` returns the same. It is called with each line, and
/// whether the line is a frame.
pub fn group_lines<K: PartialEq>(text: &str, mut classify: impl FnMut(&str, bool) -> K) -> Vec<(K, Range<usize>)> {
    let mut groups: Vec<(K, Range<usize>)> = Vec::new();
    for (range, is_frame) in classify_lines(text) {
        let kind = classify(text.get(range.clone()).unwrap_or_default(), is_frame);
        match groups.last_mut() {
            Some((last, group)) if *last == kind => group.end = range.end,
            _ => groups.push((kind, range)),
        }
    }
    groups
}

/// Heading lines that are the same in every trace.
const HEADINGS: [&str; 4] = [
    "Traceback (most recent call last):",
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
    "stack backtrace:",
];
/// A longer line is no frame.
const MAX_LINE_BYTES: usize = 1024;

/// Whether a line is a stack frame or the heading of a trace.
pub fn is_frame(line: &str) -> bool {
    let line = line.trim();
    if line.len() > MAX_LINE_BYTES {
        return false;
    }
    HEADINGS.contains(&line)
        || is_python_frame(line)
        || line.strip_prefix("at ").is_some_and(|rest| is_javascript_frame(rest) || is_java_frame(rest))
        || is_go_frame(line)
        || is_rust_frame(line)
}

/// `File "path", line 3, in name`
fn is_python_frame(line: &str) -> bool {
    let Some((path, rest)) = line.strip_prefix("File \"").and_then(|rest| rest.split_once("\", line ")) else {
        return false;
    };
    let (number, function) = rest.split_once(',').unwrap_or((rest, ""));
    let name = function.trim().strip_prefix("in ").unwrap_or_default();
    is_line_number(number) && is_path(path) && (function.is_empty() || is_name(name))
}

/// After `at `: `name (path:1:2)`, `path:1:2`, `async Object.<anonymous> (path:1:2)`, `new X (native)`. The second form
/// also matches the second line of a Rust frame, `at /path/main.rs:1:2`.
fn is_javascript_frame(rest: &str) -> bool {
    let Some((name, location)) = rest.rsplit_once(" (") else { return is_source_location(rest) };
    let name = ["async ", "new "].iter().fold(name, |name, prefix| name.strip_prefix(prefix).unwrap_or(name));
    let name = name.split_once(" [as ").map_or(name, |(name, _)| name);
    let Some(location) = location.strip_suffix(')') else { return false };
    is_name(name) && (is_source_location(location) || matches!(location, "native" | "<anonymous>"))
}

/// After `at `, Java or .NET: `com.example.Name.method(Name.java:12)`, `Name.Method(String a) in path:line 12`
fn is_java_frame(rest: &str) -> bool {
    let Some((name, rest)) = rest.split_once('(') else { return false };
    let Some((in_brackets, rest)) = rest.split_once(')') else { return false };
    let is_java = matches!(in_brackets, "Native Method" | "Unknown Source")
        || in_brackets.split_once(':').is_some_and(|(file, line)| is_name(file) && is_line_number(line));
    let dotnet_location = rest.strip_prefix(" in ").and_then(|rest| rest.rsplit_once(":line "));
    let is_dotnet = dotnet_location.is_some_and(|(path, line)| is_path(path) && is_line_number(line));
    is_name(name) && (is_java || is_dotnet)
}

/// `/path/main.go:12 +0x1d`. The other line of a Go frame, `main.run(0x1, 0x2)`, needs no match: it is a single word.
fn is_go_frame(line: &str) -> bool {
    let (location, offset) = line.split_once(" +0x").unwrap_or((line, "0"));
    is_source_location(location) && location.contains('/') && offset.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `12: core::panicking::panic`
fn is_rust_frame(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(number, name)| is_line_number(number) && name.contains("::") && is_name(name))
}

/// `path:1` or `path:1:2`
fn is_source_location(text: &str) -> bool {
    let Some((path, last_number)) = text.rsplit_once(':') else { return false };
    let path = path.rsplit_once(':').filter(|(_, line)| is_line_number(line)).map_or(path, |(path, _)| path);
    is_line_number(last_number) && is_path(path)
}

fn is_line_number(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A path may contain a blank or two; more make it a sentence.
fn is_path(text: &str) -> bool {
    !text.is_empty() && text.split(' ').count() <= 3 && !text.contains(['\t', '"', ';'])
}

/// A function name, with its types.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace) && text.len() <= 256
}
