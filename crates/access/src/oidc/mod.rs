//! Users of an OpenID Connect provider on the admin port: bearer tokens and browser logins. Groups of the provider have
//! roles (`telemetry/admin/oidc` has the settings), and `access_control` decides what a role may do. `net/oidc`
//! verifies tokens, `login` has the routes for browsers, whose sessions are in `sessions`.

mod client;
mod login;
#[cfg(test)]
mod tests;

pub use client::{OidcClient, OidcRefusal};
pub(crate) use login::login_router;
