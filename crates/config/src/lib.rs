//! The configuration a user writes: parsing, substitution, typing, and checks across components. All errors are
//! reported at once, each with file, line, column and the nearest valid key; secrets are never shown. Only `load`
//! knows YAML. `src/app/build.rs` builds the gateway from the result.

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
pub use problem::{At, FieldProblem, Gravity, Problem, Source, sort_and_dedup};
pub use types::{ByteSize, Millis, Span};

#[cfg(test)]
mod tests;
