//! Tests of OTLP/JSON: cases, round trips, recordings and hostile input.

mod cases;
mod encode;
mod hostile;
mod recordings;
