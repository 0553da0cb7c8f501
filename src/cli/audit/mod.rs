//! **What**: the audit page, `tollgate vault serve`: search, sessions turn by turn, and what verification found, in a
//! browser. **Why**: an auditor reads conversations, and a terminal is a poor place for that. **Invariants**: see
//! `routes`. **Not here**: reading and opening (`audit/read`), verifying (`audit/verify`), the look (`page`).

mod page;
mod routes;
mod serve;
#[cfg(test)]
mod tests;

pub(super) use serve::{Serve, run_serve};
