//! [`OidcClient`]: the roles of a bearer token or of a browser's session, and what a login derives from its cookie.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::sessions::BrowserSessions;
use kernel::sha256::hmac_sha256;
use net::oidc::{IdentityProvider, ProviderSettings, TokenClaims};
use net::{SharedServices, TlsError};
use telemetry::admin::auth::KnownClient;
use telemetry::admin::oidc::{OidcConfig, OidcSettings};
use telemetry::admin::roles::RoleSet;

pub use net::oidc::TokenRefusal as OidcRefusal;

/// Longest name of a client, in characters.
const MAX_NAME: usize = 256;

/// A client of an identity provider.
pub struct OidcClient {
    pub(super) provider: Arc<IdentityProvider>,
    settings: OidcSettings,
    pub(crate) sessions: Arc<BrowserSessions>,
    /// The key with which a login's state, nonce and verifier are derived from its cookie.
    login_key: Zeroizing<[u8; 32]>,
}

impl OidcClient {
    /// Builds the client; opens no connection.
    ///
    /// # Errors
    /// The CA file can't be used, or there are no root certificates.
    pub fn build(settings: OidcSettings, services: SharedServices) -> Result<Self, TlsError> {
        let OidcConfig { issuer, ca_file, .. } = settings.config.clone();
        let trusted = ProviderSettings { issuer, ca_file };
        let provider = Arc::new(IdentityProvider::build(trusted, services.clone())?);
        let SharedServices { clock, rng, .. } = services;
        let mut login_key = Zeroizing::new([0; 32]);
        rng.fill(&mut *login_key);
        let is_secure = settings.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        Ok(Self { provider, settings, sessions: Arc::new(BrowserSessions::new(is_secure, clock, rng)), login_key })
    }

    pub(super) fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Whether browsers can log in.
    pub fn has_login(&self) -> bool {
        self.settings().public_url.is_some()
    }

    /// A value that only this process can derive from a login's cookie, so that logins need no memory.
    pub(super) fn derive(&self, purpose: &str, cookie: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(hmac_sha256(&*self.login_key, format!("{purpose} {cookie}").as_bytes()))
    }

    /// The roles of a bearer token.
    ///
    /// # Errors
    /// The token is not valid, or can't be verified now.
    pub async fn find_token_client(&self, token: &str) -> Result<KnownClient, OidcRefusal> {
        let OidcConfig { audience, client_id, .. } = &self.settings().config;
        let claims = self.verify(token, audience.as_ref().unwrap_or(client_id)).await?;
        Ok(client_of_claims(&claims, self.settings()))
    }

    /// The claims of a token.
    pub(super) async fn verify(&self, token: &str, audience: &str) -> Result<TokenClaims, OidcRefusal> {
        self.provider.verify(token, audience).await
    }
}

/// The client of a token: its roles by groups, named by the provider's id of it (`sub`) and its mail address, if there
/// is one. An address counts as the user's id only if the provider verified it.
pub(super) fn client_of_claims(claims: &TokenClaims, settings: &OidcSettings) -> KnownClient {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (sub, email) = (text("sub"), text("email"));
    let names: Vec<&str> = sub.into_iter().chain(email).collect();
    let name = names.join(" ").chars().take(MAX_NAME).collect();
    let user_ids = sub.into_iter().chain(email.filter(|_| has_verified_email(claims))).map(str::to_owned).collect();
    KnownClient { roles: roles_of_groups(claims, settings), name, user_ids }
}

fn has_verified_email(claims: &TokenClaims) -> bool {
    claims.get("email_verified") == Some(&Value::Bool(true))
}

fn roles_of_groups(claims: &TokenClaims, settings: &OidcSettings) -> RoleSet {
    if settings.config.groups_claim == "email" && !has_verified_email(claims) {
        return RoleSet::default();
    }
    let groups = match claims.get(&settings.config.groups_claim) {
        Some(Value::Array(groups)) => &**groups,
        Some(group) => std::slice::from_ref(group),
        None => &[],
    };
    let known = groups.iter().filter_map(|group| settings.groups.get(group.as_str()?));
    known.fold(RoleSet::default(), RoleSet::union)
}
