//! Finds defaults of Terraform variables, whose key names a block: `variable "db_password" { default = "v" }`. At most
//! [`MOST`] bytes of a block are read. `Default:` below a YAML key is in `lists`.

use std::ops::Range;

use super::super::pairs::{Pair, Sep};
use super::keys::Kind;
use super::rules::Rules;
use super::{calls, lists};
use crate::scan::{Claims, Scan, ahead};

/// Most bytes of a block.
const MOST: usize = 1024;

/// Claims the default value of the variable at `key`.
pub(super) fn look(scan: &Scan<'_>, key: &Range<usize>, kind: Kind, rules: &Rules, claims: &mut Claims) {
    let head = scan.bytes(key.start.saturating_sub(10)..key.start);
    let rest = ahead(scan, key.end, MOST);
    if !head.ends_with(b"variable \"") || !rest.starts_with(b"\" {") {
        return;
    }
    let block = rest.get(..memchr::memmem::find(rest, b"\n}").unwrap_or(rest.len())).unwrap_or_default();
    let Some(value) = default(block) else { return };
    let start = key.end + value;
    match block.get(value) {
        Some(b'[') => {
            let parent = Pair { key: key.clone(), sep: Sep::Equals, quote: None, json_key: false, value: start..start };
            lists::items(scan, &parent, kind, rules, claims);
        }
        Some(b'"') => {
            if let Some(inner) = calls::quoted(block, value) {
                let range = key.end + inner.start..key.end + inner.end;
                lists::item(scan, key, (Some(b'"'), range), kind, rules, claims);
            }
        }
        _ => {}
    }
}

/// Start of the value of `default`.
fn default(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(block.get(at..)?, b"default") {
        let start = at + found;
        at = start + 7;
        let before = block.get(start.checked_sub(1)?).is_some_and(u8::is_ascii_whitespace);
        let rest = block.get(at..)?;
        let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
        if before && rest.get(blanks) == Some(&b'=') {
            let rest = rest.get(blanks + 1..)?;
            return Some(at + blanks + 1 + rest.iter().take_while(|byte| **byte == b' ').count());
        }
    }
    None
}
