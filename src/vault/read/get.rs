//! **What**: `vault get`: what a reference leads to, as JSON. **Not here**: opening (`read`), the command line.

use std::io::{self, Write};

use crate::vault::names::{ObjectName, Scope};
use crate::vault::row::Row;
use crate::vault::store::ObjectKind;

use super::{Content, Opener, Places, ReadError, Vault, each_row};

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The reference: `s3://bucket/name`, `file:///name`, or the name.
    pub uri: String,
    /// The range attribute, `bytes=0000004096-0000009215`; default: the whole object.
    pub range: Option<String>,
}

/// Opens what `wanted` refers to and writes its documents, one line of JSON each, then says which did not open.
///
/// # Errors
/// One line for each fragment that did not open; [`io::Error`]s of `out` come through as they are.
pub async fn get(
    vault: &Vault,
    opener: &mut Opener<'_>,
    wanted: &Wanted,
    out: &mut (dyn Write + Send),
) -> Result<io::Result<()>, ReadError> {
    let name = vault.name(&wanted.uri)?;
    let range = wanted.range.as_deref().map(parse_range).transpose()?;
    let bytes = vault.fetch(ObjectKind::Payload, name, range).await?;
    let (mut closed, mut room) = (Vec::new(), Content::default().0);
    let known = places(vault, name, range.unwrap_or((0, u64::MAX))).await?;
    for opened in opener.documents(name, &bytes, &known, &mut room).await? {
        match opened {
            Err(why) => closed.push(ReadError::from(why)),
            Ok(opened) => {
                if let Err(error) = out.write_all(&opened.plain).and_then(|()| out.write_all(b"\n")) {
                    return Ok(Err(error));
                }
            }
        }
    }
    if closed.is_empty() { Ok(Ok(())) } else { Err(closed.join("\n")) }
}

/// Whose the fragments of a packed object in a range are, by offsets from its start; of other objects the name tells.
async fn places(vault: &Vault, name: &str, (start, length): (u64, u64)) -> Result<Places, ReadError> {
    let mut places = Places::new();
    if ObjectName::parse(name).is_some_and(|object| object.scope.is_none()) {
        let mut visit = |row: Row| {
            let range = row.off.and_then(|off| Some((off.checked_sub(start)?, row.tail.len?)));
            let inside = |(off, len): &(u64, u64)| off.checked_add(*len).is_some_and(|end| end <= length);
            if let Some(range) = range.filter(inside).filter(|_| row.object_key.as_deref() == Some(name)) {
                places.insert(range, Scope::of(&row.tail));
            }
        };
        // lines stand in the folder of their day, which is the object's
        let day = |day: &str| name.contains(&format!("/{day}/"));
        each_row(vault, None, &day, &mut visit).await?;
    }
    Ok(places)
}

/// `bytes=first-last` to first and length.
fn parse_range(text: &str) -> Result<(u64, u64), ReadError> {
    Ok(text
        .trim()
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)))
        .and_then(|(first, last)| Some((first, last.checked_sub(first)?.checked_add(1)?)))
        .ok_or("the range is not `bytes=first-last`")?)
}
