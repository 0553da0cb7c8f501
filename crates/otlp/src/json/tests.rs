//! Tests of OTLP/JSON: schema against the official descriptors, cases, differential and hostile input.

mod cases;
mod differential;
mod encode;
mod hostile;
mod recordings;
mod schema;
