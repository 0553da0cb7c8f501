//! Describes syntax errors of YAML for people: what is wrong, where, and what to write, with the YAML reader's own
//! message last. The reader often notices a fault only at the next line; [`locate_fault`] goes back to the line that
//! caused it. `load` parses; the text around a fault is masked by `problem`.

use super::problem::SourcePosition;

/// How a class of syntax errors is described.
struct FaultClass {
    /// Parts of the reader's messages; one of them must occur.
    messages: &'static [&'static str],
    what: &'static str,
    hint: &'static str,
    cause: FaultCause,
}

/// Where the cause is, relative to the reader's position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultCause {
    Here,
    /// In the last line before it that is not a complete entry.
    IncompleteLine,
    /// In the line before it, if that is not a complete entry.
    LineBefore,
    /// At the last quote that was opened and not closed.
    OpenQuote,
    /// At the last bracket that was opened and not closed, if that is in another line.
    OpenBracket,
}

macro_rules! fault_classes {
    ($($cause:ident: $($message:literal)|+ => $what:literal, $hint:literal;)*) => {
        const CLASSES: &[FaultClass] =
            &[$(FaultClass { messages: &[$($message),+], what: $what, hint: $hint, cause: FaultCause::$cause },)*];
    };
}

fault_classes! {
    Here: "tab cannot be used" | "tabs disallowed" | "start with a tab" | "found a tab"
        => "a tab is used for indentation", "indent with spaces, two for each level";
    LineBefore: "mapping values are not allowed" | "mapping keys are not allowed"
        => "a second `: ` in one entry, or a wrong indentation",
        "put a value that contains `: ` in quotes, write a space after each colon, and indent keys of one map alike";
    IncompleteLine: "simple key expected ':'" | "simple key is no longer valid"
        => "an entry has no `: ` after its key", "write `key: value`, with a space after the colon";
    OpenQuote: "unclosed quote" | "unexpected document indicator"
        => "a quote is not closed", "close the quote; in '…' write two for one, in \"…\" write `\\\"`";
    Here: "mismatched bracket" | "misplaced bracket"
        => "a bracket does not match", "close each `[` with `]` and each `{` with `}`, in the order they were opened";
    OpenBracket: "unclosed bracket" | "EOF while parsing a flow" | "EOF while parsing an implicit flow"
        | "indentation in flow construct" | "while parsing a flow" | "illegal placement of ':'"
        => "a list or map in brackets has no comma or end here",
        "separate entries with `, `, and close each `[` with `]` and each `{` with `}`";
    Here: "invalid trailing content"
        => "there is text after a closing quote", "put the whole value in quotes";
    Here: "unknown escape character" | "hexadecimal number" | "surrogate" | "character escape code"
        => "an unknown escape in a text in double quotes",
        "write `\\\\` for a backslash, or use single quotes, in which it has no meaning";
    Here: "unexpected character" | "scanning a directive" | "cannot start any token"
        => "a value begins with a character that has a meaning in YAML", "put the value in quotes";
    Here: "unknown anchor" | "scanning an anchor or alias"
        => "`*` begins the name of an anchor, and no `&` defines this name",
        "put a value that begins with `*` in quotes, or define the anchor before it";
    Here: "block sequence entries are not allowed" | "expected '-' indicator"
        => "a list item `- ` does not fit its surroundings",
        "put `- ` on a line of its own below the key, and indent all items alike";
    Here: "invalid indentation" | "did not find expected key" | "wrongly indented" | "block collection"
        => "the indentation does not fit the lines above",
        "indent keys of one map alike, and what belongs to a key by two more spaces";
}

/// A syntax error in our words, and its remedy.
pub(super) struct SyntaxFault {
    pub(super) what: String,
    /// What to do.
    pub(super) hint: String,
    pub(super) at: Option<SourcePosition>,
}

/// Describes the reader's `message` about `text`; `None` for a message of no known class.
pub(super) fn describe_fault(message: &str, text: &str, at: Option<SourcePosition>) -> Option<SyntaxFault> {
    let class = CLASSES.iter().find(|class| class.messages.iter().any(|part| message.contains(part)))?;
    // The position is told by the snippet.
    let message = message.split(" at line ").next().unwrap_or(message);
    Some(SyntaxFault {
        what: format!("{} (YAML: {message})", class.what),
        hint: class.hint.to_owned(),
        at: at.map(|at| locate_fault(class.cause, text, at)),
    })
}

/// Fills in the offset, which the reader's syntax errors lack, from line and column.
pub(super) fn locate_in_text(text: &str, at: SourcePosition) -> SourcePosition {
    if at.offset > 0 || at.line == 0 {
        return at;
    }
    let line_start: usize = text.split_inclusive('\n').take(at.line.saturating_sub(1)).map(str::len).sum();
    let line = text.get(line_start..).unwrap_or_default();
    let column = at.column.saturating_sub(1);
    let offset_in_line = line.char_indices().nth(column).map_or(line.trim_end().len(), |(offset, _)| offset);
    SourcePosition { offset: line_start.saturating_add(offset_in_line), ..at }
}

/// The line `---` before the document that begins at `at`.
pub(super) fn find_document_mark(text: &str, at: SourcePosition) -> SourcePosition {
    let before = text.get(..floor_char(text, at.offset)).unwrap_or_default();
    let mark = before.rfind("\n---").map(|line_end| position_at(text, line_end.saturating_add(1)));
    mark.map_or(at, |mark| SourcePosition { len: 3, ..mark })
}

fn locate_fault(cause: FaultCause, text: &str, at: SourcePosition) -> SourcePosition {
    let offset = floor_char(text, at.offset);
    let before = text.get(..offset).unwrap_or_default();
    let found = match cause {
        FaultCause::Here => None,
        FaultCause::IncompleteLine => find_incomplete_line(text, offset, usize::MAX),
        FaultCause::LineBefore => find_incomplete_line(text, before.rfind('\n').unwrap_or(0), 1),
        FaultCause::OpenQuote => find_open(before, text, true),
        FaultCause::OpenBracket => find_open(before, text, false)
            .filter(|open| text.get(*open..offset).is_some_and(|between| between.contains('\n'))),
    };
    let offset = found.unwrap_or_else(|| skip_back_over_space(text, offset));
    position_at(text, offset)
}

fn floor_char(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The end of the text before `offset`, if only white space and line ends follow it: a fault is noticed at the next
/// word, or at the end of the file.
fn skip_back_over_space(text: &str, offset: usize) -> usize {
    let rest = text.get(offset..).unwrap_or_default();
    if rest.trim().is_empty() {
        let before = text.get(..offset).unwrap_or_default().trim_end();
        return before.char_indices().next_back().map_or(0, |(at, _)| at);
    }
    offset
}

/// The last line up to `offset` that is not an entry with a colon, among the last `max_lines` lines with content.
fn find_incomplete_line(text: &str, offset: usize, max_lines: usize) -> Option<usize> {
    let mut lines = Vec::new();
    let mut start = 0_usize;
    for line in text.split_inclusive('\n') {
        if start > offset {
            break;
        }
        lines.push((start, line));
        start = start.saturating_add(line.len());
    }
    let without_comment = |line: &'_ str| line.split(" #").next().unwrap_or_default().trim_end().to_owned();
    let lines = lines.into_iter().rev().map(|(start, line)| (start, without_comment(line)));
    let mut lines =
        lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#')).take(max_lines);
    lines.find_map(|(start, line)| {
        let words = line.trim_start();
        let is_complete = words.starts_with('-') || words.contains(": ") || words.ends_with(':');
        (!is_complete).then(|| start.saturating_add(line.len().saturating_sub(words.len())))
    })
}

/// The last quote that is still open at the end of the text (`quote`), or the last bracket that is still open at the
/// fault.
fn find_open(before: &str, text: &str, quote: bool) -> Option<usize> {
    // A quote is opened where a value can begin.
    let (mut open_quote, mut brackets, mut previous) = (None::<(char, usize)>, Vec::new(), ' ');
    let mut in_comment = false;
    let scanned = if quote { text } else { before };
    for (at, c) in scanned.char_indices() {
        match (open_quote, c) {
            _ if in_comment => in_comment = c != '\n',
            (Some((mark, _)), c) if c == mark && !(mark == '"' && previous == '\\') => open_quote = None,
            (Some(_), _) => {}
            (None, '#') if previous.is_whitespace() => in_comment = true,
            (None, '"' | '\'') if previous.is_whitespace() || "[{,:".contains(previous) => open_quote = Some((c, at)),
            (None, '[' | '{') => brackets.push(at),
            (None, ']' | '}') => drop(brackets.pop()),
            _ => {}
        }
        previous = c;
    }
    if quote { open_quote.map(|(_, at)| at) } else { brackets.last().copied() }
}

fn position_at(text: &str, offset: usize) -> SourcePosition {
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let column = before.get(start..).unwrap_or_default().chars().count().saturating_add(1);
    SourcePosition { offset, len: 1, line, column }
}
