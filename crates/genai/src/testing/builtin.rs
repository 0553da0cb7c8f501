//! The built-in vocabulary, loaded once for all tests of a process: unoptimised, loading takes a tenth of a second, and
//! hundreds of cases need it. The loading itself is tested in `genai`.

use std::sync::{Arc, OnceLock};

use crate::Vocabulary;

/// The shipped dialects.
pub fn vocabulary() -> Arc<Vocabulary> {
    static BUILTIN: OnceLock<Arc<Vocabulary>> = OnceLock::new();
    BUILTIN.get_or_init(|| Arc::new(Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0)))).clone()
}
