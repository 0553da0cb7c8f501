//! `auth.oidc` of the admin extension: which identity provider is trusted, and which of its groups have which role.
//! `crates/access/src/oidc` verifies tokens and logs browsers in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::roles::{RoleSet, ViewerLimit};
use config::{FieldProblem, address};
use kernel::secret::Secret;

/// An OpenID Connect provider whose users have roles by their groups.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider's issuer, exactly as its tokens and its discovery document name it. `https://`, or `http://` on
    /// loopback.
    pub issuer: String,
    /// The client id under which tollgate is registered at the provider.
    pub client_id: String,
    /// The secret of that client. Without this key tollgate is a public client, protected by PKCE alone.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// The audience (`aud`) of bearer tokens. Default: `client_id`.
    #[serde(default)]
    pub audience: Option<String>,
    /// The claim with the user's groups: a list or one text. With `email` only verified addresses count. Default:
    /// `groups`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// The groups of each role (`scraper`, `viewer`, `operator`, `tapper`) and of each name in `limits`.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The scopes that a browser's login asks for. Default: `[openid, email, groups]`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Path of the authorities (PEM) that sign the provider's certificate. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_scopes() -> Vec<String> {
    ["openid", "email", "groups"].map(str::to_owned).to_vec()
}

/// The checked settings of a provider.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// As the user wrote it.
    pub config: OidcConfig,
    pub groups: BTreeMap<String, RoleSet>,
    /// The address at which people reach the port, without a trailing slash. `None`: browsers can't log in.
    pub public_url: Option<String>,
}

/// Whether requests to this address can't be read or changed on their way: TLS, or loopback.
pub fn is_protected_url(url: &str) -> bool {
    address::parse_url(url).is_ok_and(|parsed| parsed.tls || is_loopback(parsed.host))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl OidcConfig {
    /// Validates the settings; `limits` are those of `auth`, `public_url` is that of the extension.
    pub(super) fn settings(
        &self,
        limits: &BTreeMap<String, ViewerLimit>,
        public_url: Option<&str>,
        problems: &mut Vec<FieldProblem>,
    ) -> OidcSettings {
        let issuer = "must be the provider's `https://` address without a query; `http://` only on loopback";
        let address = "must start with `https://` for logins with `auth.oidc`; `http://` only on loopback";
        problems.extend(FieldProblem::found([
            (!is_protected_url(&self.issuer) || self.issuer.contains('?'), "auth.oidc.issuer", issuer),
            (self.client_id.is_empty(), "auth.oidc.client_id", "must not be empty"),
            (self.groups_claim.is_empty(), "auth.oidc.groups_claim", "must not be empty"),
            (self.audience.as_ref().is_some_and(String::is_empty), "auth.oidc.audience", "must not be empty"),
            (!self.scopes.iter().any(|scope| scope == "openid"), "auth.oidc.scopes", "must contain `openid`"),
            (self.roles.values().all(Vec::is_empty), "auth.oidc.roles", "must give a role to at least one group"),
            (public_url.is_some_and(|url| !is_protected_url(url)), "public_url", address),
        ]));
        let mut groups: BTreeMap<String, RoleSet> = BTreeMap::new();
        for (role, names) in &self.roles {
            let roles = RoleSet::find(role, limits, &format!("auth.oidc.roles.{role}"), problems);
            names.iter().for_each(|name| groups.entry(name.clone()).or_default().add(&roles));
        }
        OidcSettings { config: self.clone(), groups, public_url: public_url.map(str::to_owned) }
    }
}
