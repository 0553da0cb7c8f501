//! Finds defaults of Terraform variables, whose key names a block: `variable "db_password" { default = "v" }`. At most
//! [`MAX_BLOCK`] bytes of a block are read. `Default:` below a YAML key is in `secret_lists`.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator};
use super::secret_keys::SecretKind;
use super::{calls, secret_lists};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a block.
const MAX_BLOCK: usize = 1024;

/// Claims the default value of the variable at `key`.
pub(super) fn claim_default_value(
    scan: &TextScan<'_>,
    key: &Range<usize>,
    kind: SecretKind,
    claims: &mut PrivateClaims,
) {
    let head = scan.bytes(key.start.saturating_sub(10)..key.start);
    let rest = bytes_ahead(scan, key.end, MAX_BLOCK);
    if !head.ends_with(b"variable \"") || !rest.starts_with(b"\" {") {
        return;
    }
    let block = rest.get(..memchr::memmem::find(rest, b"\n}").unwrap_or(rest.len())).unwrap_or_default();
    let Some(value_at) = default_value_start(block) else { return };
    let start = key.end + value_at;
    match block.get(value_at) {
        Some(b'[') => {
            let parent = KeyValuePair {
                key: key.clone(),
                sep: PairSeparator::Equals,
                quote: None,
                json_key: false,
                value: start..start,
            };
            secret_lists::claim_items(scan, &parent, kind, claims);
        }
        Some(b'"') => {
            if let Some(content) = calls::quoted_argument(block, value_at) {
                let range = key.end + content.start..key.end + content.end;
                secret_lists::claim_item(scan, key, (Some(b'"'), range), kind, claims);
            }
        }
        _ => {}
    }
}

/// Start of the value of `default`.
fn default_value_start(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(block.get(at..)?, b"default") {
        let start = at + found;
        at = start + 7;
        let is_word_start = block.get(start.checked_sub(1)?).is_some_and(u8::is_ascii_whitespace);
        let rest = block.get(at..)?;
        let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
        if is_word_start && rest.get(blanks) == Some(&b'=') {
            let rest = rest.get(blanks + 1..)?;
            return Some(at + blanks + 1 + rest.iter().take_while(|byte| **byte == b' ').count());
        }
    }
    None
}
