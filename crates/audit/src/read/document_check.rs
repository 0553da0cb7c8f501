//! [`UntrustedDocument`]: compares an opened fragment with its index lines: its id, account, items, content hashes and
//! commitments, because an attacker may have stored other content at the place that a line refers to. Content is
//! hashed, never shown. Neighbours: `payload_fetch` (hash of the sealed bytes), `opener`.

use serde::Deserialize;
use serde_json::value::RawValue;

use kernel::sha256::Sha256;
use vault::chain::tree::parse_hash;
use vault::document::commitment;
use vault::index_row::IndexRow;

/// Error for content that does not match its index line.
pub(super) const CONTENT_MISMATCH: &str = "the stored content does not match its index line";

#[derive(Deserialize)]
struct FragmentDocument<'a> {
    fragment: String,
    account: String,
    #[serde(borrow)]
    items: Vec<FragmentItem<'a>>,
}

#[derive(Deserialize)]
struct FragmentItem<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    content_sha256: String,
    context_sha256: Option<String>,
    salt: String,
}

#[derive(Deserialize)]
struct FragmentPiece<'a> {
    part: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// An opened document that is not trusted yet.
pub(crate) struct UntrustedDocument<'a>(FragmentDocument<'a>);

impl<'a> UntrustedDocument<'a> {
    /// Parses a document.
    pub(crate) fn read(plain: &'a [u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(plain).map(Self).map_err(|_| "it is not a valid vault document")
    }

    /// Checks that the document agrees with these lines.
    pub(crate) fn check_rows<'r>(&self, rows: impl IntoIterator<Item = &'r IndexRow>) -> Result<(), &'static str> {
        rows.into_iter().try_for_each(|row| self.check_row(row))
    }

    fn check_row(&self, row: &IndexRow) -> Result<(), &'static str> {
        let (Self(document), tail) = (self, &row.tail);
        if tail.fragment.as_ref() != Some(&document.fragment) || tail.account != document.account {
            return Err("its fragment id or account differs from its line");
        }
        let Some(position) = tail.item else { return Ok(()) };
        let item = usize::try_from(position).ok().and_then(|position| document.items.get(position));
        let item = item.ok_or("it does not contain the item that its line names")?;
        let content = Sha256::digest(item.content.get());
        if kernel::hex::encode(&content) != item.content_sha256 {
            return Err("its content does not match its own content hash");
        }
        let salt = parse_hash(&item.salt).ok_or("its salt is malformed")?;
        if tail.commitment.as_ref().is_some_and(|recorded| *recorded != commitment(&salt, &content)) {
            return Err("its content does not match the commitment in its line");
        }
        if hash_context(item.content)? != item.context_sha256 {
            return Err("its context does not match its own context hash");
        }
        Ok(())
    }
}

/// The hash of the model's input; `None` without input.
fn hash_context(content: &RawValue) -> Result<Option<String>, &'static str> {
    let pieces: Vec<FragmentPiece<'_>> =
        serde_json::from_str(content.get()).map_err(|_| "its content is not a list of pieces")?;
    let mut context: Option<Sha256> = None;
    for piece in pieces.iter().filter(|piece| ["system", "tools", "input"].contains(&piece.part.as_str())) {
        let hasher = context.get_or_insert_default();
        for bytes in [piece.part.as_bytes(), &[0], piece.value.get().as_bytes(), &[0]] {
            hasher.update(bytes);
        }
    }
    Ok(context.map(|hasher| kernel::hex::encode(&hasher.finalize())))
}
