//! Where commands take a secret without a key, as the list `secrets.command_arguments` says. `command_lines` searches
//! these places.

use std::sync::LazyLock;

use crate::wordlists;

/// A place in a command's line, and the content of the word there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArgumentRule {
    pub(super) place: ArgumentPlace,
    pub(super) content: ArgumentContent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentPlace {
    /// After a flag: `-p x`, `--pass=x`, `/p:x`.
    Flag(&'static str),
    /// Glued to a flag: `-px`.
    Glued(&'static str),
    /// The argument so many words after this one, or after the command if it is empty; flags do not count.
    After(&'static str, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentContent {
    /// A secret after this text; the whole word if it is empty.
    Secret(&'static str),
    /// `user:secret`.
    Login,
    Cookie,
}

pub(crate) static COMMANDS: LazyLock<Vec<(&str, Vec<ArgumentRule>)>> = LazyLock::new(|| {
    let rows = wordlists::rows("secrets.command_arguments");
    rows.flat_map(|(names, rules)| {
        let rules: Vec<ArgumentRule> = rules.split(' ').filter_map(ArgumentRule::parse).collect();
        names.split(", ").map(move |name| (name, rules.clone()))
    })
    .collect()
});

impl ArgumentRule {
    /// Parses `place>content`.
    pub(crate) fn parse(entry: &'static str) -> Option<Self> {
        let (place, content) = entry.split_once('>')?;
        let place = match (place.strip_suffix('*'), place.split_once('+')) {
            (Some(flag), _) => ArgumentPlace::Glued(flag),
            (None, Some((word, count))) => ArgumentPlace::After(word, count.parse::<usize>().ok()?.checked_sub(1)?),
            (None, None) => ArgumentPlace::Flag(place),
        };
        let content = match content {
            "login" => ArgumentContent::Login,
            "cookie" => ArgumentContent::Cookie,
            _ => ArgumentContent::Secret(content.strip_suffix("secret")?),
        };
        Some(Self { place, content })
    }

    /// Length of the flag in `word` before its value, if `word` is this rule's flag; the whole word if its value is the
    /// next one.
    pub(super) fn flag_len(&self, word: &[u8]) -> Option<usize> {
        match self.place {
            ArgumentPlace::Glued(flag) => word.strip_prefix(flag.as_bytes()).is_some_and(|value| !value.is_empty()),
            ArgumentPlace::Flag(flag) => {
                let head = word.get(..flag.len()).unwrap_or_default();
                let (is_flag, ends): (bool, &[u8]) = match flag.starts_with('/') {
                    true => (head.eq_ignore_ascii_case(flag.as_bytes()), b":"),
                    false => (head == flag.as_bytes(), b"="),
                };
                let next = word.get(flag.len()).filter(|_| is_flag);
                if next.is_some_and(|next| ends.contains(next)) {
                    return Some(flag.len() + 1);
                }
                is_flag && next.is_none()
            }
            ArgumentPlace::After(..) => false,
        }
        .then_some(match self.place {
            ArgumentPlace::Glued(flag) | ArgumentPlace::Flag(flag) => flag.len(),
            ArgumentPlace::After(..) => 0,
        })
    }
}
