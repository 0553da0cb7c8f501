//! Tests of OTLP/JSON: cases, differential and hostile input.

mod cases;
mod differential;
mod encode;
mod hostile;
mod recordings;
