//! **What**: what a user writes. **Why**: every error at once, with file, line, column and the nearest key.
//! **Invariants**: only `load` knows YAML; secrets are never shown. **Not here**: building (`app/build`).

pub mod address;
pub mod de;
pub mod endpoint;
pub mod env;
pub mod file;
pub mod glob;
pub mod graph;
pub mod id;
mod joins;
pub mod load;
pub mod port_tls;
pub mod problem;
pub mod schema;
mod shown;
pub mod tree;
pub mod types;

pub use endpoint::Endpoint;
pub use id::ComponentId;
pub use port_tls::PortTls;
pub use problem::{At, FieldProblem, Gravity, Problem, Source};
pub use types::{ByteSize, Millis, Span};

#[cfg(test)]
mod tests;
