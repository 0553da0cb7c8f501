//! Connectors: exporters of some pipelines and receivers of others. `runs` sends what a processor found out (such as
//! runs that are over) as telemetry of its own, through pipelines, spool and outlets like everything else. `forward`
//! joins pipelines and has no running part.
//! A running connector sends the requests of a `pipeline::RequestSource`. Nothing is lost or sent twice across a crash,
//! because each request is committed together with the effect that marks it as sent. `src/components.rs` lists the
//! connectors; the source decides what is sent.

pub mod forward;
pub mod runs;
