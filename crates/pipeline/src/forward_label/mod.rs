//! The body of a forward record: OTLP bytes, then a [`ForwardLabel`] that says what they are and how far they may go.
//! The clearance travels with the bytes and is checked again before each send, under the configuration that runs then.
//! The label comes after the bytes, so that slots keep their offsets and nothing is copied. A body whose label can't be
//! read is never sent. Layout after the OTLP bytes: the label, its length (u32 LE), version (1 byte). The label is:
//! signal, content, text, unknown fields (1 byte each), items (u64 LE), then pipeline, exporter and reason (each a u16
//! LE length and text). Sealing and the account are in `spool/`, sending is in `outlet/`.

use bytes::Bytes;

use otlp::{Signal, UnknownFields};

use super::clearance::{Clearance, ContentState, TextState};
use super::outcome::Reason;

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
/// Bytes of signal, content, text, unknown fields and items.
const FIXED_BYTES: usize = 12;
const MAX_TEXT_BYTES: usize = 255;

/// Description of a forward copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardLabel {
    /// Signal of the copy.
    pub signal: Signal,
    /// Whether content was stripped and text redacted.
    pub clearance: Clearance,
    /// Whether fields that the OTLP schema does not know are still in the copy.
    pub unknown: UnknownFields,
    /// Number of spans, log records or data points.
    pub items: u64,
    /// The pipeline that made the copy, e.g. `traces/agents`.
    pub pipeline: String,
    /// Exporter and reason, once a back end refused the copy for good.
    pub refused: Option<(String, Reason)>,
}

impl ForwardLabel {
    /// Appends this label to the OTLP bytes in `body`.
    pub fn append_to(&self, body: &mut Vec<u8>) {
        let start = body.len();
        body.push(match self.signal {
            Signal::Traces => 1,
            Signal::Metrics => 2,
            Signal::Logs => 3,
        });
        body.push(u8::from(self.clearance.content == ContentState::Stripped));
        body.push(u8::from(self.clearance.text == TextState::Redacted));
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

    /// The body of a record: these OTLP bytes, then this label.
    pub fn attach_to(&self, mut otlp: Vec<u8>) -> Vec<u8> {
        otlp.reserve_exact(Self::max_size(&self.pipeline));
        self.append_to(&mut otlp);
        otlp
    }

    /// Upper bound of a label's bytes for this pipeline.
    pub fn max_size(pipeline: &str) -> usize {
        // Three lengths, pipeline, exporter, reason, then the label's length and version.
        FIXED_BYTES + 3 * 2 + pipeline.len() + 256 + 32 + 5
    }

    /// Splits a record's body into label and OTLP bytes. `None`: no label of a known version.
    pub fn split(body: &Bytes) -> Option<(Self, Bytes)> {
        let (&version, rest) = body.split_last()?;
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
            _ => Some((exporter.to_owned(), *Reason::ALL.iter().find(|candidate| candidate.label() == reason)?)),
        };
        let label = Self {
            signal: match signal {
                1 => Signal::Traces,
                2 => Signal::Metrics,
                3 => Signal::Logs,
                _ => return None,
            },
            clearance: Clearance {
                content: if parse_flag(content)? { ContentState::Stripped } else { ContentState::Kept },
                text: if parse_flag(text)? { TextState::Redacted } else { TextState::Raw },
            },
            unknown: if parse_flag(unknown)? { UnknownFields::Drop } else { UnknownFields::Keep },
            items: u64::from_le_bytes(*items),
            pipeline: pipeline.to_owned(),
            refused,
        };
        rest.is_empty().then_some(label)
    }
}

fn parse_flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Appends length and text; a text longer than [`MAX_TEXT_BYTES`] is cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    let text = text.get(..end).unwrap_or_default();
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
