//! tollgate: an OpenTelemetry gateway for AI agents.

pub mod app;
pub mod cli;
pub mod components;
