//! Commands for the first day: `tollgate demo` ([`demo`]) and `tollgate setup` ([`setup`]). Neither reads a
//! configuration: the root package starts the demo's gateway and says which receivers there are.

pub mod demo;
pub mod setup;
