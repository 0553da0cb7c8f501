//! The configuration a user writes: parsing, substitution, typing, and checks across components. All errors are
//! reported at once, each with file, line, column and the nearest valid key; secrets are never shown. Only `load`
//! knows YAML. `src/app/build.rs` builds the gateway from the result.

pub mod address;
mod connectors;
pub mod de;
pub mod endpoint;
pub mod env;
pub mod file;
pub mod glob;
pub mod graph;
pub mod id;
pub mod load;
pub mod path_value;
pub mod port_tls;
pub mod problem;
pub mod schema;
mod shell_syntax;
mod snippet;
pub mod tree;
pub mod types;
mod yaml_syntax;

pub use endpoint::Endpoint;
pub use id::ComponentId;
pub use port_tls::PortTls;
pub use problem::{FieldProblem, MaskedSource, Problem, ProblemSeverity, SourcePosition, sort_and_dedup};
pub use types::{ByteSize, Millis, TimeSpan};

#[cfg(test)]
mod tests;
