//! **What**: [`Kept`]: what was made of files last. **Why**: a configuration that is run again, because the next one
//! could not be, goes on with what it had, also where others have taken its files away meanwhile. **Invariants**:
//! shared by the copies of one configuration's settings and by no others: what was read anew starts from its files
//! alone; holds what was made, and is no part of what settings say (equal to any other). **Not here**: files that
//! change while they are in use (`server_tls`, `renewed`).

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// See the module.
pub struct Kept<T>(Arc<Mutex<Option<T>>>);

impl<T: Clone> Kept<T> {
    /// This is what there is now.
    pub fn keep(&self, made: T) {
        *self.0.lock() = Some(made);
    }

    /// What was made last, if anything was.
    pub fn last(&self) -> Option<T> {
        self.0.lock().clone()
    }

    /// What was made, which is kept; where it could not be, what was made last.
    ///
    /// # Errors
    /// It could not be made, and never was.
    pub fn or_last<E: fmt::Display>(&self, made: Result<T, E>) -> Result<T, E> {
        let why = match made {
            Ok(made) => {
                self.keep(made.clone());
                return Ok(made);
            }
            Err(why) => why,
        };
        let Some(last) = self.last() else { return Err(why) };
        tracing::error!(why = why.to_string(), "a file can't be used: the last good one stays");
        Ok(last)
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl<T> PartialEq for Kept<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Kept<T> {}
