//! **What**: the GenAI vocabulary: what instrumentation dialects call things, as data.
//! **Why**: normalize, cost, runs and vault must agree on what an item is. **Invariants**: reads only; never edits;
//! adding a dialect is a change of `config/dialects.yaml`. **Not here**: prices (`rates/`), stripping (`processors/vault`).
//! CONTRACT FILE: the vocabulary engineer fills it and may add fields; names stay.

pub mod facts;

pub use facts::{Billing, Buckets, Call, ContentAt, ContentPlace, Cost, Facts, ItemFacts, Part, PriceContext, Usage};
