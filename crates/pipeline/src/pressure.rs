//! **What**: [`Pressure`]: how short the memory of this process is. **Why**: whoever looks at it is not who refuses.
//! **Invariants**: always says something; begins as [`Level::Fine`]. **Not here**: measuring (`app/memory`), refusing
//! (`inlet`).

use std::sync::atomic::{AtomicU8, Ordering};

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is not.
    #[default]
    Fine = 0,
    /// Requests in hand go on, new ones come again.
    Short = 1,
    /// One request at a time.
    Critical = 2,
}

/// The level of the moment; who measures sets it, who admits reads it.
#[derive(Debug, Default)]
pub struct Pressure(AtomicU8);

impl Pressure {
    /// How short memory is.
    pub fn level(&self) -> Level {
        match self.0.load(Ordering::Relaxed) {
            0 => Level::Fine,
            1 => Level::Short,
            _ => Level::Critical,
        }
    }

    /// From now on.
    pub fn set(&self, level: Level) {
        self.0.store(level as u8, Ordering::Relaxed);
    }
}
