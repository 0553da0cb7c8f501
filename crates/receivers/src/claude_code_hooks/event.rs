//! [`HookEvent`]: one event as Claude Code posts it, a JSON object whose values are read only when they are needed.
//! A value keeps its bytes, so deep nesting and long lists cost no more memory than the body itself. `event_table` has
//! the meaning of events and fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Maximum number of fields; events of Claude Code 2.1.328 have up to 15.
const MAX_FIELDS: usize = 1024;

/// Longest name and ids, in bytes: they are copied before the body's copies are charged.
const MAX_ID_BYTES: usize = 1024;

/// Longest object with a level, in bytes.
const MAX_LEVEL_BYTES: usize = 256;

/// Claude Code's tools that edit a file.
const EDITING_TOOLS: [&str; 3] = ["Edit", "MultiEdit", "Write"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct EditInput<'a> {
    #[serde(borrow)]
    old_string: Option<Cow<'a, str>>,
    #[serde(borrow)]
    new_string: Option<Cow<'a, str>>,
    /// The whole file that `Write` writes.
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EditResponse {
    #[serde(rename = "structuredPatch")]
    hunks: Summed<EditHunk>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EditHunk {
    lines: Summed<PatchLine>,
}

/// The first character of a line of a patch: `+`, `-` or a blank.
struct PatchLine(Option<char>);

impl From<EditHunk> for [usize; 2] {
    fn from(hunk: EditHunk) -> Self {
        hunk.lines.counts
    }
}

impl From<PatchLine> for [usize; 2] {
    fn from(PatchLine(sign): PatchLine) -> Self {
        ['+', '-'].map(|one| usize::from(sign == Some(one)))
    }
}

impl<'de> Deserialize<'de> for PatchLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl Visitor<'_> for Line {
            type Value = PatchLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a line")
            }

            fn visit_str<E>(self, line: &str) -> Result<PatchLine, E> {
                Ok(PatchLine(line.chars().next()))
            }
        }
        deserializer.deserialize_str(Line)
    }
}

/// The lines that the parts of a patch add and remove. They are counted while they are read, so a long list takes no
/// memory.
struct Summed<T> {
    counts: [usize; 2],
    parts: PhantomData<T>,
}

impl<T> Default for Summed<T> {
    fn default() -> Self {
        Self { counts: [0; 2], parts: PhantomData }
    }
}

impl<'de, T: Deserialize<'de> + Into<[usize; 2]>> Deserialize<'de> for Summed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Into<[usize; 2]>> Visitor<'de> for Parts<T> {
            type Value = Summed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<S: de::SeqAccess<'de>>(self, mut seq: S) -> Result<Summed<T>, S::Error> {
                let mut sum = Summed::default();
                while let Some(part) = seq.next_element::<T>()? {
                    let ([added, removed], [more, fewer]) = (sum.counts, part.into());
                    sum.counts = [added.saturating_add(more), removed.saturating_add(fewer)];
                }
                Ok(sum)
            }
        }
        deserializer.deserialize_seq(Parts(PhantomData))
    }
}

/// Why a body is not an event. The texts quote nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventError {
    /// Not one JSON object in UTF-8, or one with too many fields.
    #[error("the body must be one JSON object in UTF-8 with at most 1024 fields")]
    NotAnObject,
    #[error("the session's id (`session_id`; of Cursor `conversation_id`) must be a text of 1 to 1024 bytes")]
    NoSession,
    #[error("`hook_event_name` must be a text of 1 to 1024 bytes")]
    NoName,
}

pub(super) struct HookEvent<'a> {
    pub(super) name: String,
    pub(super) session: String,
    /// `prompt_id`: the turn; missing before the first prompt.
    pub(super) prompt: Option<String>,
    /// All fields; of a repeated key the last one, as in JavaScript.
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> HookEvent<'a> {
    /// Reads an event that has its session's id in the field `session`.
    ///
    /// # Errors
    /// The body is no event.
    pub(super) fn parse(body: &'a [u8], session: &str) -> Result<Self, EventError> {
        let EventFields(fields) = serde_json::from_slice(body).map_err(|_| EventError::NotAnObject)?;
        // An escape takes at most six bytes for one.
        let raw_id = |key: &str| fields.get(key).filter(|raw| raw.get().len() <= 6 * MAX_ID_BYTES + 2);
        let id = |key: &str| read_text(raw_id(key)?).filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        let name = id("hook_event_name").ok_or(EventError::NoName)?;
        let session = id(session).ok_or(EventError::NoSession)?;
        let prompt = id("prompt_id");
        Ok(Self { name, session, prompt, fields })
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        read_text(self.fields.get(key)?)
    }

    /// The text at a path of keys with dots.
    pub(super) fn text_at(&self, path: &str) -> Option<String> {
        let Some((first, rest)) = path.split_once('.') else { return self.text(path) };
        let EventFields(below) = serde_json::from_str(self.fields.get(first)?.get()).ok()?;
        rest.split_once('.').is_none().then(|| read_text(below.get(rest)?))?
    }

    /// A field that is a number: finite and not negative.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        let number: f64 = serde_json::from_str(self.fields.get(key)?.get()).ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    }

    /// A field that is true or false.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        serde_json::from_str(self.fields.get(key)?.get()).ok()
    }

    /// The text `level` of a field that is an object.
    pub(super) fn level(&self, key: &str) -> Option<String> {
        let json = self.fields.get(key)?.get();
        // a larger value is no level; reading it would cost memory
        (json.len() <= MAX_LEVEL_BYTES)
            .then(|| serde_json::from_str::<EffortLevel>(json).ok())
            .flatten()
            .map(|one| one.level)
    }

    /// A field as JSON text, unchanged; `None` if it says nothing (null, an empty list, object or text).
    pub(super) fn json(&self, key: &str) -> Option<&'a str> {
        self.fields.get(key).map(|raw| raw.get()).filter(|json| !["null", "[]", "{}", "\"\""].contains(json))
    }

    /// Lines that a tool added to a file and removed from it: those of its patch, else of the texts that it replaced.
    /// `None`: no edit, or its lines are not known.
    pub(super) fn edited_lines(&self) -> Option<[usize; 2]> {
        if !EDITING_TOOLS.contains(&&*self.text("tool_name")?) {
            return None;
        }
        let response = self.json("tool_response").and_then(|json| serde_json::from_str::<EditResponse>(json).ok());
        let of_patch = response.unwrap_or_default().hunks.counts;
        if of_patch != [0; 2] {
            return Some(of_patch);
        }
        let input: EditInput<'_> = serde_json::from_str(self.json("tool_input")?).ok()?;
        let count = |text: Option<Cow<'_, str>>| text.map_or(0, |text| text.lines().count());
        let new = input.new_string.or(input.content)?;
        Some([count(Some(new)), count(input.old_string)])
    }

    /// The fields that say something and of which `is_used` is false, as one JSON object; `None` if there are none.
    pub(super) fn rest(&self, is_used: impl Fn(&str) -> bool) -> Option<String> {
        let mut object = String::new();
        for key in self.fields.keys().filter(|key| !is_used(key)) {
            let (Some(value), Ok(key)) = (self.json(key), serde_json::to_string(key)) else { continue };
            object.push(if object.is_empty() { '{' } else { ',' });
            object.push_str(&key);
            object.push(':');
            object.push_str(value);
        }
        (!object.is_empty()).then(|| object + "}")
    }
}

/// The text of a JSON string. JavaScript cuts texts between the halves of a surrogate pair; such a half becomes U+FFFD.
fn read_text(raw: &RawValue) -> Option<String> {
    let json = raw.get();
    json.starts_with('"')
        .then(|| serde_json::from_str(json).or_else(|_| serde_json::from_str(&mend_surrogates(json))))?
        .ok()
}

/// Replaces each escape of half a surrogate pair in a JSON string.
fn mend_surrogates(json: &str) -> Cow<'_, str> {
    let mut mended = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, after)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        mended.push_str(before);
        let unit = |text: &str| {
            let digits = text.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(digits, 16).ok()
        };
        let next = after.get(6..).and_then(unit);
        let length = match (unit(after), next) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str("\\ufffd");
                rest = after.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            // the escaped character may have several bytes only in a malformed string
            (None, _) => 2,
        };
        let Some((escape, behind)) = after.split_at_checked(length) else { return Cow::Borrowed(json) };
        mended.push_str(escape);
        rest = behind;
    }
    mended.push_str(rest);
    Cow::Owned(mended)
}

#[derive(Deserialize)]
struct EffortLevel {
    level: String,
}

struct EventFields<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for EventFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        let mut count = 0_usize;
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            count = count.saturating_add(1);
            if count > MAX_FIELDS {
                return Err(de::Error::custom("too many fields"));
            }
            fields.insert(key, value);
        }
        Ok(fields)
    }
}
