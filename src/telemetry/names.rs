//! **What**: every metric of tollgate, once: name, kind, unit, help. **Invariants**: a test checks that names are
//! unique and well formed. **Not here**: recording ([`super::Meter`]).

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution, with its bucket bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug)]
pub struct Def {
    /// Prometheus name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($(#[doc = $help:literal])+ $ident:ident = $name:literal, $kind:expr;)*) => {
        $($(#[doc = $help])+ pub static $ident: Def = Def { name: $name, kind: $kind, help: concat!($($help),+) };)*
        /// Every metric.
        pub static ALL: &[&Def] = &[$(&$ident,)*];
    };
}

/// Seconds, from a millisecond to ten minutes.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

metrics_table! {
    // --- receivers (labels: receiver, transport) ---

    // --- engine: inlet, workers, sequencer, outlet ---

    // --- spool ---

    // --- vault ---
    /// Sealed fragments handed to the spool (label: processor).
    VAULT_FRAGMENTS = "tollgate_vault_fragments_total", Kind::Counter;
    /// Content that was sealed, bytes of canonical JSON (label: processor).
    VAULT_CONTENT_BYTES = "tollgate_vault_content_bytes_total", Kind::Counter;
    /// Items whose content was dropped because there is no store (label: processor).
    VAULT_DROPPED_ITEMS = "tollgate_vault_dropped_items_total", Kind::Counter;
    /// Reference attributes that clients sent and that were removed or moved aside (label: processor).
    VAULT_FORGED_REFERENCES = "tollgate_vault_forged_references_total", Kind::Counter;
    /// Attempts to write an object to the store (labels: processor, kind, outcome).
    VAULT_UPLOADS = "tollgate_vault_uploads_total", Kind::Counter;
    /// Committed bytes that are not in the store yet (label: processor).
    VAULT_PENDING_BYTES = "tollgate_vault_pending_bytes", Kind::Gauge;
    /// Age of the oldest committed record that is not in the store yet, seconds (label: processor).
    VAULT_UPLOAD_LAG = "tollgate_vault_upload_lag_seconds", Kind::Gauge;
    /// Objects whose store copy differs or was damaged: look at memory, disk and store (label: processor).
    VAULT_CORRUPT_UPLOADS = "tollgate_vault_corrupt_uploads_total", Kind::Counter;

    // --- cost and rates ---

    // --- normalize, vocabulary ---

    // --- runs ---

    // --- redact ---

    // --- exporters ---

    // --- process ---
    /// Information about the running build; always 1.
    INFO = "tollgate_info", Kind::Gauge;
}
