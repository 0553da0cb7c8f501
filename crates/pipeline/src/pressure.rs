//! [`MemoryPressure`]: how short this process is of memory. `src/app/memory` measures and sets the level; `inlet` reads
//! it and refuses requests. The initial level is [`MemoryLevel::Normal`].

use std::sync::atomic::{AtomicU8, Ordering};

/// How short the process is of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryLevel {
    /// Memory is sufficient.
    #[default]
    Normal = 0,
    /// Requests in progress continue; clients are asked to retry new ones.
    Short = 1,
    /// Only one request at a time is processed.
    Critical = 2,
}

/// The current level, shared by the task that measures and the inlet that admits.
#[derive(Debug, Default)]
pub struct MemoryPressure(AtomicU8);

impl MemoryPressure {
    /// The level that was set last.
    pub fn level(&self) -> MemoryLevel {
        match self.0.load(Ordering::Relaxed) {
            0 => MemoryLevel::Normal,
            1 => MemoryLevel::Short,
            _ => MemoryLevel::Critical,
        }
    }

    /// Sets the level.
    pub fn set(&self, level: MemoryLevel) {
        self.0.store(level as u8, Ordering::Relaxed);
    }
}
