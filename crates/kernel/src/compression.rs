//! [`CompressorPool`]: zstd contexts that are used again, because making one costs as much as compressing a few
//! kilobytes.

use std::io;

use parking_lot::Mutex;
use zstd::bulk::Compressor;

/// Contexts that are kept; more may be in use at a time.
const MAX_POOLED: usize = 16;

/// Compresses with zstd at one level.
pub struct CompressorPool {
    level: i32,
    idle: Mutex<Vec<Compressor<'static>>>,
}

impl CompressorPool {
    /// An empty pool for this level.
    pub fn new(level: i32) -> Self {
        Self { level, idle: Mutex::default() }
    }

    /// Compresses `plain` into one frame.
    ///
    /// # Errors
    /// The library has no memory for it.
    pub fn compress(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let pooled = self.idle.lock().pop();
        let mut compressor = match pooled {
            Some(compressor) => compressor,
            None => Compressor::new(self.level)?,
        };
        let compressed = compressor.compress(plain)?;
        let mut idle = self.idle.lock();
        if idle.len() < MAX_POOLED {
            idle.push(compressor);
        }
        Ok(compressed)
    }
}
