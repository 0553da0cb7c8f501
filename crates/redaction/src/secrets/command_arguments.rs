//! Where commands take a secret without a key, as the list `secrets.command_arguments` says. Each place is a pattern,
//! which also fits a list of strings (`"-p", "x"`) and a line whose quotes are escaped. `command_lines` runs them.

use std::ops::Range;
use std::sync::LazyLock;

use regex_syntax::escape;

use crate::regex::{LazyPattern, compile, lazy};
use crate::wordlists;

/// Most words at one place of a line, as many commands may be on it.
const MAX_WORDS: usize = 8;

/// The place of a secret in a command's line, and the content of the word there.
pub(crate) struct ArgumentRule {
    /// A text that every line with this place has; searching it is cheaper than the pattern.
    literal: &'static str,
    /// The place; one of its groups is the word.
    pattern: LazyPattern,
    pub(super) content: ArgumentContent,
    /// Whether the place is a number of words after a name, where prose may also be.
    pub(super) is_counted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentContent {
    /// A secret after this text; the whole word if it is empty.
    Secret(&'static str),
    /// `user:secret`.
    Login,
    /// Cookies.
    Cookie,
}

/// The commands of each row, and their rules.
pub(crate) static COMMANDS: LazyLock<Vec<(Vec<&str>, Vec<ArgumentRule>)>> = LazyLock::new(|| {
    let rows = wordlists::rows("secrets.command_arguments");
    rows.map(|(names, rules)| (names.split(", ").collect(), rules.split(' ').filter_map(ArgumentRule::parse).collect()))
        .collect()
});

/// The beginning of a word.
const START: &str = r#"(?:\A|[\s"',\[])"#;
/// Blanks, the quotes and comma between items of a list, and line breaks after a backslash.
const BLANKS: &str = r#"(?:[ \t]|\\*["']\s*,\s*|\\\r?\n|\\+[nr])+"#;
/// A word that is skipped, after any flags.
const WORD: &str = r#"(?:(?:\\*["'])?-[^\s"']*<blanks>)*(?:\\*["'])?[^\s"',\\]+"#;
/// The word of the secret: in quotes, or with a quoted part after `=` or `:`.
const VALUE: &str = r#"(?:\\*"((?:[^"\\\n]|\\+[^"\\\n])*(?:"[:=]"[^"\n]*)?)|\\*'((?:[^'\\\n]|\\+[^'\\\n])*)|((?:[=:]\\*(?:"[^"\n]*"|'[^'\n]*')|[^\s"'`\\<>|;)])+))"#;

impl ArgumentRule {
    /// Parses `place>content`.
    pub(crate) fn parse(entry: &'static str) -> Option<Self> {
        let (place, content) = entry.split_once('>')?;
        let counted = place.split_once('+');
        let (literal, source) = match (place.strip_suffix('*'), counted) {
            (Some(flag), _) => (flag, format!("{START}{}{VALUE}", escape(flag))),
            (None, Some((word, count))) => {
                let start = if word.is_empty() { r"\A".to_owned() } else { format!("{START}{}", escape(word)) };
                let skipped = count.parse::<usize>().ok()?.checked_sub(1)?;
                let flags = WORD.split_at(WORD.find(")*")? + 2).0;
                (word, format!("{start}(?:{BLANKS}{WORD}){{{skipped}}}{BLANKS}{flags}{VALUE}"))
            }
            // The flags of Windows have either case
            (None, None) if place.starts_with('/') => {
                ("/", format!("{START}(?i:{})(?:[=:]|{BLANKS}){VALUE}", escape(place)))
            }
            (None, None) => (place, format!("{START}{}(?:=|{BLANKS}){VALUE}", escape(place))),
        };
        let content = match content {
            "login" => ArgumentContent::Login,
            "cookie" => ArgumentContent::Cookie,
            _ => ArgumentContent::Secret(content.strip_suffix("secret")?),
        };
        let pattern = lazy(move || compile(&source.replace("<blanks>", BLANKS), false).ok());
        Some(Self { literal, pattern, content, is_counted: counted.is_some() })
    }

    /// The words of a line at this place.
    pub(super) fn words(&self, line: &[u8]) -> Vec<Range<usize>> {
        let may_match = memchr::memmem::find(line, self.literal.as_bytes()).is_some();
        let Some(pattern) = self.pattern.as_ref().filter(|_| may_match) else { return Vec::new() };
        pattern
            .captures_iter(line)
            .take(MAX_WORDS)
            .filter_map(|found| Some(found.iter().skip(1).flatten().next()?.range()))
            .collect()
    }
}
