//! Ports that serve pages to people: who may use a route ([`access_control`]), login through an identity provider
//! ([`oidc`]) or with a form (`login_form`), and the port itself with its certificates ([`page_port`]). The admin port
//! and `vault serve` have the same rules. Neighbours: `telemetry/admin` checks host names and knows the settings,
//! `pages` and `audit` have the pages.

pub mod access_control;
mod login_form;
pub mod oidc;
pub mod page_port;
mod refusals;
mod sessions;

pub use sessions::cookie_values;
