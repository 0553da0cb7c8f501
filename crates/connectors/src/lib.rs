//! **What**: connectors: exporters of some pipelines, receivers of others. **Why**: what a step found out (runs that
//! are over) goes on as telemetry of its own, through pipelines, spool and outlets like everything else. `forward`
//! joins pipelines and has no running part. **Invariants**: one that runs sends what a [`pipeline::Source`] says, and
//! nothing is lost or told twice over a crash: what says "told" is committed with what was told. **Not here**: which
//! connectors there are (`components`), what is told (the source).

pub mod forward;
pub mod runs;
