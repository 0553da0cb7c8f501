//! tollgate: an OpenTelemetry gateway for AI agents.

pub mod app;
pub mod cli;
pub mod clock;
pub mod components;
pub mod config;
pub mod connectors;
pub mod echoes;
pub mod exporters;
pub mod files;
pub mod genai;
pub mod hex;
pub mod history;
pub mod net;
pub mod otlp;
pub mod pages;
pub mod pipeline;
pub mod processors;
pub mod pseudonym;
pub mod rates;
pub mod receivers;
pub mod recogniser;
pub mod redaction;
pub mod rng;
pub mod runs;
pub mod secret;
pub mod telemetry;
#[cfg(test)]
pub mod testing;
pub mod vault;
