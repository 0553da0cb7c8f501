//! [`LastGoodValue`]: the last value that was built from files. If a reload fails and the previous configuration runs
//! again, it uses this value, even if its files are gone meanwhile. Only copies of one configuration's
//! settings share the value; a configuration that is read anew starts from its files. Comparing settings ignores the
//! value. `server_tls` and `reloading_client` handle files that change during use.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// The last value that was built from files; see the module.
pub struct LastGoodValue<T>(Arc<Mutex<Option<T>>>);

impl<T: Clone> LastGoodValue<T> {
    pub fn store(&self, value: T) {
        *self.0.lock() = Some(value);
    }

    /// The value that was stored last, if any.
    pub fn last(&self) -> Option<T> {
        self.0.lock().clone()
    }

    /// Stores and returns the new value. If building it failed, returns the last stored value and logs the error.
    ///
    /// # Errors
    /// Building the value failed, and no value was ever stored.
    pub fn or_last_good<E: fmt::Display>(&self, built: Result<T, E>) -> Result<T, E> {
        let why = match built {
            Ok(value) => {
                self.store(value.clone());
                return Ok(value);
            }
            Err(why) => why,
        };
        let Some(last) = self.last() else { return Err(why) };
        tracing::error!(why = why.to_string(), "a file can't be used; the last valid one stays in use");
        Ok(last)
    }
}

impl<T> Clone for LastGoodValue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for LastGoodValue<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for LastGoodValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl<T> PartialEq for LastGoodValue<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for LastGoodValue<T> {}
