//! **What**: the processor that moves content into the vault. **Why**: prompts, completions and tool payloads leave
//! the telemetry entirely; a reference stays.
//! **Invariants**: pure; content is removed only together with a draft that holds it sealed (or with `store: none`);
//! if sealing fails the batch is kept back. **Not here**: numbers and names (`vault/`), what content is (`genai/`).

pub mod config;

pub use config::{Config, Settings};

#[cfg(test)]
mod tests;
