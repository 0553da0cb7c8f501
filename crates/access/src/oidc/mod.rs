//! Users of an OpenID Connect provider on the admin port: bearer tokens and browser logins. Groups of the provider have
//! roles (`telemetry/admin/oidc` has the settings), and `access_control` decides what a role may do. `token` verifies,
//! `provider` fetches keys, `login` has the routes for browsers, whose sessions are in `sessions`.

mod client;
mod login;
mod provider;
#[cfg(test)]
mod tests;
mod token;

pub use client::{OidcClient, OidcParts, OidcRefusal};
pub(crate) use login::login_router;
