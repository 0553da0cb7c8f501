//! **What**: components that take telemetry in. **Why**: each owns its sockets and knows nothing but the inlet.
//! **Invariants**: an OK follows the inlet's `Accepted`, never precedes it. **Not here**: the engine (`pipeline/`).

pub mod otlp;
