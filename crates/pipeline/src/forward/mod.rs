//! **What**: the body of a Forward record: OTLP bytes, then a [`Label`] that says what they are and how far they may
//! go. **Why**: the clearance travels with the bytes and is checked again before each send, by whatever configuration
//! runs then. The label stands behind the bytes, so that slots patched into the bytes keep their places and nothing is
//! copied. **Invariants**: a body whose label can't be read is never sent. Layout, from the end backwards: version (1
//! byte), length of the label (u32 LE), then the label: signal, content, text, unknown fields (1 byte each), items (u64
//! LE), pipeline, exporter, reason (each u16 LE and text). **Not here**: sealing and account (`spool/`), who sends
//! (`outlet/`).

use bytes::Bytes;

use otlp::{Signal, UnknownFields};

use super::clearance::{Clearance, Content, Text};
use super::outcome::Reason;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const FIXED: usize = 12;

/// What a forward copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its signal.
    pub signal: Signal,
    /// What was done to it.
    pub clearance: Clearance,
    /// Whether fields that the schema does not know are still inside.
    pub unknown: UnknownFields,
    /// Spans, records or points inside.
    pub items: u64,
    /// The pipeline it passed, e.g. `traces/agents`.
    pub pipeline: String,
    /// Set once a back end refused it for good: who refused, and why.
    pub refused: Option<(String, Reason)>,
}

impl Label {
    /// Appends this label to the OTLP bytes in `body`.
    pub fn append_to(&self, body: &mut Vec<u8>) {
        let start = body.len();
        body.push(match self.signal {
            Signal::Traces => 1,
            Signal::Metrics => 2,
            Signal::Logs => 3,
        });
        body.push(u8::from(self.clearance.content == Content::Stripped));
        body.push(u8::from(self.clearance.text == Text::Redacted));
        body.push(u8::from(self.unknown == UnknownFields::Drop));
        body.extend_from_slice(&self.items.to_le_bytes());
        let (exporter, reason) = self.refused.as_ref().map_or(("", ""), |(id, reason)| (id.as_str(), reason.label()));
        for text in [self.pipeline.as_str(), exporter, reason] {
            put_text(body, text);
        }
        let length = u32::try_from(body.len() - start).unwrap_or(u32::MAX);
        body.extend_from_slice(&length.to_le_bytes());
        body.push(VERSION);
    }

    /// Upper bound of the bytes a label of this pipeline takes.
    pub fn room(pipeline: &str) -> usize {
        FIXED + 3 * 2 + pipeline.len() + 256 + 32 + 5
    }

    /// Takes a record's body apart. `None`: no label of a version that is known.
    pub fn split(body: &Bytes) -> Option<(Self, Bytes)> {
        let (rest, &version) = body.split_last().map(|(version, rest)| (rest, version))?;
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let start = rest.len().checked_sub(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (_, label) = rest.split_at_checked(start)?;
        if version != VERSION {
            return None;
        }
        Some((Self::read(label)?, body.slice(..start)))
    }

    fn read(label: &[u8]) -> Option<Self> {
        let (&[signal, content, text, unknown], rest) = label.split_first_chunk::<4>()?;
        let (items, rest) = rest.split_first_chunk::<8>()?;
        let (pipeline, rest) = take_text(rest)?;
        let (exporter, rest) = take_text(rest)?;
        let (reason, rest) = take_text(rest)?;
        let refused = match reason {
            "" => None,
            _ => Some((exporter.to_owned(), *Reason::ALL.iter().find(|known| known.label() == reason)?)),
        };
        let label = Self {
            signal: match signal {
                1 => Signal::Traces,
                2 => Signal::Metrics,
                3 => Signal::Logs,
                _ => return None,
            },
            clearance: Clearance {
                content: if flag(content)? { Content::Stripped } else { Content::Kept },
                text: if flag(text)? { Text::Redacted } else { Text::Raw },
            },
            unknown: if flag(unknown)? { UnknownFields::Drop } else { UnknownFields::Keep },
            items: u64::from_le_bytes(*items),
            pipeline: pipeline.to_owned(),
            refused,
        };
        rest.is_empty().then_some(label)
    }
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(usize::from(u8::MAX));
    let text = text.get(..end).unwrap_or_default();
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
