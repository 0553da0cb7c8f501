//! [`SaveWork`]: the commands by which an agent saves its work, which stay allowed at a limit. A command is parsed:
//! only one simple command counts, with options that are known to be harmless. What isn't understood is not allowed.
//!
//! Quoting is that of POSIX shells; quoted texts that fish, PowerShell or cmd would read otherwise are refused.

use serde::Deserialize;

/// Longest command, in bytes.
const MAX_COMMAND_BYTES: usize = 64 * 1024;
/// Characters without a meaning for a shell, beside letters and digits. Patterns have one: the name of a file that fits
/// can be an option.
const PLAIN: &str = "-_./:=@+,~";
/// Characters that some shell reads as more than text within quotes of each kind.
const NOT_IN_SINGLE: [char; 5] = ['\\', '&', '|', '<', '>'];
const NOT_IN_DOUBLE: [char; 3] = ['\\', '$', '`'];

/// What may follow a command besides options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavingWords {
    #[default]
    None,
    Any,
    Names,
}

/// A command, with the options that it may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavingCommand {
    command: String,
    options: Vec<String>,
    words: SavingWords,
    /// What the first word after the command must be, unless it is an option; empty: anything.
    #[serde(default)]
    first: Vec<String>,
    /// Options of which one must be there; empty: none.
    #[serde(default)]
    needs: Vec<String>,
}

impl SavingCommand {
    /// Whether these words are the command.
    fn fits(&self, words: &[String]) -> bool {
        let mut words = words.iter();
        if !self.command.split(' ').all(|wanted| words.next().is_some_and(|word| word == wanted)) {
            return false;
        }
        let rest = words.as_slice();
        let mut options = rest.iter().take_while(|word| *word != "--");
        let is_known = |first: &String| first.starts_with('-') || self.first.is_empty() || self.first.contains(first);
        rest.iter().all(|word| self.takes(word))
            && rest.first().is_none_or(is_known)
            && (self.needs.is_empty() || options.any(|word| self.needs.iter().any(|needed| is_option(word, needed))))
    }

    fn takes(&self, word: &str) -> bool {
        if word.starts_with('-') {
            return self.options.iter().any(|option| is_option(word, option));
        }
        match self.words {
            SavingWords::None => false,
            SavingWords::Any => true,
            SavingWords::Names => {
                let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
                word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(is_allowed)
            }
        }
    }
}

/// Whether the word is this option of the table. One that ends with `=` must have its value in the same word.
fn is_option(word: &str, option: &str) -> bool {
    word.strip_prefix(option).is_some_and(|rest| option.ends_with('=') || rest.is_empty() || rest.starts_with('='))
}

/// The commands of a receiver's `save_work`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SaveWork(Vec<SavingCommand>);

impl SaveWork {
    /// Reads the setting. `table`: the commands whose options are known.
    ///
    /// # Errors
    /// The index of an entry that is not one simple command.
    pub(super) fn read(entries: &[String], table: &[SavingCommand]) -> Result<Self, usize> {
        let read = |(index, entry): (usize, &String)| {
            let words = simple_words(entry).filter(|words| words.iter().all(|word| !word.contains(' ')));
            let command = words.filter(|words| !words.is_empty()).ok_or(index)?.join(" ");
            let listed = table.iter().find(|listed| listed.command == command);
            let words = SavingWords::None;
            let exactly = || SavingCommand { command, words, ..SavingCommand::default() };
            Ok(listed.cloned().unwrap_or_else(exactly))
        };
        entries.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the command only saves work.
    pub(super) fn allows(&self, command: &str) -> bool {
        simple_words(command).is_some_and(|words| self.0.iter().any(|allowed| allowed.fits(&words)))
    }

    /// The sentence that names the commands to an agent that is stopped; empty if there are none.
    pub(super) fn hint(&self) -> String {
        let commands: Vec<_> = self.0.iter().map(|allowed| format!("`{}`", allowed.command)).collect();
        if commands.is_empty() {
            return String::new();
        }
        format!(" These commands stay allowed, one per call, without `&&`, `;` or pipes: {}.", commands.join(", "))
    }
}

/// The words of one simple command without operators, redirections, substitutions or escapes; `None` for all else.
fn simple_words(command: &str) -> Option<Vec<String>> {
    let command = command.trim_matches([' ', '\t', '\n']);
    let is_text = !command.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n'));
    if !is_text || command.len() > MAX_COMMAND_BYTES {
        return None;
    }
    let (mut words, mut word, mut rest) = (Vec::new(), None::<String>, command.chars());
    while let Some(next) = rest.next() {
        let (text, after) = match next {
            ' ' | '\t' => {
                words.extend(word.take());
                continue;
            }
            '\'' => split_quoted(rest.as_str(), '\'', &NOT_IN_SINGLE)?,
            '"' => split_here_document(rest.as_str()).or_else(|| split_quoted(rest.as_str(), '"', &NOT_IN_DOUBLE))?,
            c if c.is_alphanumeric() || PLAIN.contains(c) => {
                word.get_or_insert_default().push(c);
                continue;
            }
            _ => return None,
        };
        word.get_or_insert_default().push_str(text);
        rest = after.chars();
    }
    words.extend(word);
    Some(words)
}

/// A quoted text and what follows its closing quote.
fn split_quoted<'c>(rest: &'c str, quote: char, refused: &[char]) -> Option<(&'c str, &'c str)> {
    rest.split_once(quote).filter(|(text, _)| !text.contains(refused))
}

/// The text of `"$(cat <<'EOF'⏎…⏎EOF⏎)"`, in which Claude Code writes the message of a commit, and what follows. Older
/// versions of bash search the closing bracket in the text itself, so nothing in it may look like an end.
fn split_here_document(rest: &str) -> Option<(&str, &str)> {
    let (text, after) = rest.strip_prefix("$(cat <<'EOF'")?.split_once("\nEOF\n")?;
    let after = after.trim_start_matches(' ').strip_prefix(")\"")?;
    let depth = text.chars().try_fold(0_usize, |depth, c| match c {
        '(' => depth.checked_add(1),
        ')' => depth.checked_sub(1),
        '\'' | '"' | '`' | '\\' | '$' => None,
        _ => Some(depth),
    });
    (depth == Some(0)).then(|| text.strip_prefix('\n').map(|text| (text, after)))?
}
