//! **What**: what the program brings along, read once for all tests of a process. **Why**: without optimisation it
//! takes a tenth of a second each time, and hundreds of cases ask for it. **Not here**: tests of the reading itself
//! (`genai`, `rates`).

use std::sync::{Arc, OnceLock};

use crate::Vocabulary;

/// The shipped dialects.
pub fn vocabulary() -> Arc<Vocabulary> {
    static BUILTIN: OnceLock<Arc<Vocabulary>> = OnceLock::new();
    BUILTIN.get_or_init(|| Arc::new(Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0)))).clone()
}
