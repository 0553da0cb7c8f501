//! Any text as a configuration gives problems with places, or settings. A valid one is printed and must read back the
//! same.

use std::path::Path;

use config::env::{SubstitutionFileError, SubstitutionLookup};
use tollgate::app::resolve;

struct Nothing;

impl SubstitutionLookup for Nothing {
    fn var(&self, name: &str) -> Option<String> {
        name.len().is_multiple_of(2).then(|| "/tmp/value".to_owned())
    }

    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError> {
        if path.len().is_multiple_of(2) {
            Ok("value".to_owned())
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, "No such file or directory").into())
        }
    }
}

pub fn body(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = resolve::resolve_config("fuzz.yaml", text, &Nothing, Path::new("/tmp"));
    match read.result {
        Ok(_) => drop(read.source.render(&read.warnings, false)),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            assert!(!read.source.render(&problems, false).is_empty());
        }
    }
}
