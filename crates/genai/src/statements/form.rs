//! Writes the form of a statement: `?` for literals and for names that may be sentences, nothing for comments. SQL,
//! GraphQL, Cypher, PromQL and their like share their tokens. JSON keeps its keys.
//!
//! A sentence without quotes has tokens, too. Therefore words that are no keywords may not follow each other in larger
//! numbers than in an alias, and their number is limited between commas, brackets and comparisons.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value as Json;
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace, Word};

use crate::words::{LISTS, split_words};

/// Maximum number of words in a row, with any keywords but those that separate clauses: a table and its alias.
const MAX_WORDS: usize = 2;
/// Maximum number of words between commas, brackets and comparisons.
const MAX_CLAUSE_WORDS: usize = 8;
/// Maximum number of words in a statement without a clause or a comparison, and in a call of this kind.
const MAX_LOOSE_WORDS: usize = 4;
const MAX_CALL_WORDS: usize = 10;
/// Maximum number of words in a row if words joined by periods, operators and their like are counted, too.
const MAX_ROW_WORDS: usize = 5;
/// Maximum number of parts of a name, and of a key of JSON.
const MAX_NAME_PARTS: usize = 5;
const MAX_KEY_PARTS: usize = 3;
/// A longer part may be several words run together.
const MAX_PART_LETTERS: usize = 32;
/// Maximum number of letters other than ASCII: more may be a sentence in a script without blanks.
const MAX_OTHER_LETTERS: usize = 6;

/// The rules of the lexer.
#[derive(Debug)]
struct StatementLexer {
    /// Texts escape quotes by backslashes and may be in double quotes; `#` begins a comment.
    has_backslashes: bool,
}

impl Dialect for StatementLexer {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || (ch == '"' && !self.has_backslashes)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        self.has_backslashes
    }

    fn supports_triple_quoted_string(&self) -> bool {
        self.has_backslashes
    }

    fn supports_hash_comment(&self) -> bool {
        self.has_backslashes
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_quote_delimited_string(&self) -> bool {
        true
    }
}

/// The form of a statement. `None`: it is unreadable, or may be a sentence. `lines_end_clauses`: each line may begin
/// with another name.
pub(super) fn write_form(
    text: &str,
    has_backslashes: bool,
    lines_end_clauses: bool,
    is_call: bool,
) -> Option<Cow<'_, str>> {
    let tokens = Tokenizer::new(&StatementLexer { has_backslashes }, text).tokenize().ok()?;
    let mut writer = FormWriter { lines_end_clauses, ..FormWriter::default() };
    tokens.iter().try_for_each(|token| writer.write(token))?;
    let is_structured = if lines_end_clauses { text.contains('{') } else { writer.has_clause };
    if !is_structured && writer.all_words > if is_call { MAX_CALL_WORDS } else { MAX_LOOSE_WORDS } {
        return None;
    }
    Some(if writer.removed { Cow::Owned(writer.out.trim().to_owned()) } else { Cow::Borrowed(text) })
}

#[derive(Default)]
struct FormWriter {
    out: String,
    lines_end_clauses: bool,
    /// Something was removed.
    removed: bool,
    /// A comment after `//` lasts until the end of the line.
    in_comment: bool,
    /// The next word is joined to the one before.
    joined: bool,
    /// Numbers of words: in the row, in the row with joined ones, in the clause.
    words: usize,
    row_words: usize,
    clause_words: usize,
    /// All words, and whether a clause or a comparison shows that they are a statement.
    all_words: usize,
    has_clause: bool,
}

impl FormWriter {
    /// `None`: the statement may be a sentence.
    fn write(&mut self, token: &Token) -> Option<()> {
        match token {
            Token::Whitespace(Whitespace::Newline) => {
                self.in_comment = false;
                if self.lines_end_clauses {
                    self.end_clause();
                }
                self.out.push('\n');
            }
            _ if self.in_comment => {}
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                self.remove_comment();
            }
            Token::Div if self.out.ends_with('/') => {
                self.out.pop();
                (self.in_comment, self.joined) = (true, false);
                self.remove_comment();
            }
            Token::Whitespace(_) => self.push(token),
            // A type or an argument is one word.
            Token::Colon if self.lines_end_clauses => {
                self.end_clause();
                self.words = MAX_WORDS - 1;
                self.push(token);
            }
            Token::Word(word) => {
                self.count_word(word)?;
                self.push_name(token, &word.value);
            }
            Token::Placeholder(name) => self.push_name(token, name),
            // A bind variable of Oracle: `:1`.
            Token::Number(digits, _) if digits.len() < 3 && self.ends_with_bind_mark() => self.push(token),
            _ => {
                let text = token.to_string();
                let is_literal = text.contains(|c: char| c.is_alphanumeric() || "'\"$".contains(c));
                let shows_clause = matches!(&*text, "{" | "}" | "=" | "==" | "<>" | "<" | "<=" | ">" | ">=");
                if shows_clause || matches!(&*text, "," | ";" | "(" | ")" | "[" | "]") {
                    self.has_clause |= shows_clause;
                    self.end_clause();
                } else {
                    self.joined = !is_literal;
                }
                match is_literal {
                    true => self.remove(),
                    false => self.out.push_str(&text),
                }
            }
        }
        Some(())
    }

    fn push(&mut self, token: &Token) {
        // Writing to a `String` never fails.
        let _ = write!(self.out, "{token}");
    }

    fn push_name(&mut self, token: &Token, name: &str) {
        self.joined = false;
        match is_name(name, MAX_NAME_PARTS) {
            true => self.push(token),
            false => self.remove(),
        }
    }

    fn remove(&mut self) {
        self.removed = true;
        self.out.push('?');
    }

    fn remove_comment(&mut self) {
        self.removed = true;
        if !self.out.is_empty() && !self.out.ends_with(char::is_whitespace) {
            self.out.push(' ');
        }
    }

    fn ends_with_bind_mark(&self) -> bool {
        self.out.strip_suffix(':').is_some_and(|before| before.ends_with(['(', ',', '=', ' ']))
    }

    fn end_clause(&mut self) {
        (self.joined, self.words, self.row_words, self.clause_words) = (false, 0, 0, 0);
    }

    /// Counts a word. Keywords that separate clauses start a new row, others belong to the row without being counted,
    /// because sentences are full of `is`, `in`, `to` and `all`.
    fn count_word(&mut self, word: &Word) -> Option<()> {
        let is_keyword = word.keyword != Keyword::NoKeyword;
        self.has_clause |= is_keyword && LISTS.clause_starts.contains_in_any_case(&word.value);
        self.all_words += usize::from(!is_keyword);
        match word.keyword {
            // An operand is one word.
            Keyword::AND | Keyword::OR if self.words > 1 => return None,
            _ if is_keyword && LISTS.clause_words.contains_in_any_case(&word.value) => {
                (self.words, self.row_words) = (0, 0);
            }
            _ if self.joined => self.row_words += 1,
            Keyword::NoKeyword => {
                (self.words, self.clause_words) = (self.words + 1, self.clause_words + 1);
                self.row_words += 1;
            }
            _ => {}
        }
        let is_form = self.words <= MAX_WORDS && self.clause_words <= MAX_CLAUSE_WORDS;
        (is_form && self.row_words <= MAX_ROW_WORDS).then_some(())
    }
}

/// Returns true for a name with at most `max_parts` parts.
fn is_name(text: &str, max_parts: usize) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || "_$.-@#:?".contains(c))
        && text.chars().filter(|c| !c.is_ascii()).count() <= MAX_OTHER_LETTERS
        && split_words(text).all(|run| run.len() <= MAX_PART_LETTERS)
        && split_words(text).filter(|run| run.len() > 1).count() <= max_parts
}

/// The form of one or several JSON documents. `None`: the text is no JSON.
pub(super) fn write_json(text: &str) -> Option<Cow<'_, str>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    let forms = documents.map(|document| document.map(|value| remove_values(value).to_string()));
    let out = forms.collect::<Result<Vec<_>, _>>().ok()?.join("\n");
    let is_ink = |c: &char| !c.is_whitespace();
    match text.chars().filter(is_ink).eq(out.chars().filter(is_ink)) {
        true => Some(Cow::Borrowed(text)),
        false => Some(Cow::Owned(out)),
    }
}

fn remove_values(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let keep_name = |key: String| if is_name(&key, MAX_KEY_PARTS) { key } else { "?".to_owned() };
            Json::Object(fields.into_iter().map(|(key, value)| (keep_name(key), remove_values(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(remove_values).collect()),
        Json::String(_) | Json::Number(_) => Json::from("?"),
        Json::Bool(_) | Json::Null => value,
    }
}
