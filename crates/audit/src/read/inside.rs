//! [`Inside`]: compares an opened fragment's own metadata with index lines: its id, the hash of its content, the
//! commitment. A writer can put other content in the place that a line refers to. Content is hashed, never shown.
//! Neighbours: `aside` (hash of the sealed bytes), `opener`.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use vault::chain::tree::from_hex;
use vault::document::commitment;
use vault::row::Row;

/// Error for content that does not match its index line.
pub(super) const NOT_MEANT: &str = "what stands there is not what the index line means";

#[derive(Deserialize)]
struct Document<'a> {
    fragment: String,
    account: String,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    content_sha256: String,
    context_sha256: Option<String>,
    salt: String,
}

#[derive(Deserialize)]
struct Piece<'a> {
    part: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// An opened document that is not trusted yet.
pub(crate) struct Inside<'a>(Document<'a>);

impl<'a> Inside<'a> {
    /// Parses a document.
    ///
    /// # Errors
    /// The bytes are not a document.
    pub(crate) fn read(plain: &'a [u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(plain).map(Self).map_err(|_| "it is not a document of the vault")
    }

    /// Checks that the document agrees with these lines.
    ///
    /// # Errors
    /// The first disagreement.
    pub(crate) fn agree<'r>(&self, rows: impl IntoIterator<Item = &'r Row>) -> Result<(), &'static str> {
        rows.into_iter().try_for_each(|row| self.agrees(row))
    }

    fn agrees(&self, row: &Row) -> Result<(), &'static str> {
        let (Self(document), tail) = (self, &row.tail);
        if tail.fragment.as_ref() != Some(&document.fragment) || tail.account != document.account {
            return Err("it is another fragment than its line says");
        }
        let Some(position) = tail.item else { return Ok(()) };
        let item = usize::try_from(position).ok().and_then(|position| document.items.get(position));
        let item = item.ok_or("it has not the item of its line")?;
        let content = Sha256::digest(item.content.get());
        if kernel::hex::encode(&content) != item.content_sha256 {
            return Err("the hash of its content is not the one inside");
        }
        let salt = from_hex(&item.salt).ok_or("its salt is none")?;
        if tail.commitment.as_ref().is_some_and(|said| *said != commitment(&salt, &content.into())) {
            return Err("its content is not what its line commits to");
        }
        if context(item.content)? != item.context_sha256 {
            return Err("the hash of its context is not the one inside");
        }
        Ok(())
    }
}

/// The hash of the model's input.
fn context(content: &RawValue) -> Result<Option<String>, &'static str> {
    let pieces: Vec<Piece<'_>> =
        serde_json::from_str(content.get()).map_err(|_| "its content is not a list of pieces")?;
    let mut context: Option<Sha256> = None;
    for piece in pieces.iter().filter(|piece| ["system", "tools", "input"].contains(&piece.part.as_str())) {
        let hash = context.get_or_insert_default();
        for bytes in [piece.part.as_bytes(), &[0], piece.value.get().as_bytes(), &[0]] {
            hash.update(bytes);
        }
    }
    Ok(context.map(|hash| kernel::hex::encode(&hash.finalize())))
}
