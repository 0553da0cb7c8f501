//! The audit page of `tollgate vault serve`: search, sessions turn by turn, and verification results in a browser.
//! `routes` states its guarantees; `developers` serves people their own sessions. Content is read and opened in
//! `audit/read`, and verified in `audit/verify`.

mod access;
mod developers;
mod page;
mod routes;
mod serve;
#[cfg(test)]
mod tests;

pub(super) use serve::{ServeArgs, run_serve};
