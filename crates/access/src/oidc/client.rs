//! [`OidcClient`]: the roles of a bearer token or of a browser's session, and what a login derives from its cookie.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::provider::{IdentityProvider, ProviderData};
use super::token::{TokenClaims, TokenRefusal, client_of_claims, verify_token};
use crate::sessions::BrowserSessions;
use kernel::clock::Clock;
use kernel::rng::Rng;
use kernel::sha256::hmac_sha256;
use net::{ProxyRules, Spawn, TlsError};
use telemetry::admin::auth::KnownClient;
use telemetry::admin::oidc::{OidcConfig, OidcSettings};

/// Why a token gives no roles.
#[derive(Debug, PartialEq, Eq)]
pub enum OidcRefusal {
    /// The token is not valid.
    Invalid,
    /// The provider's keys were never fetched.
    Unavailable,
}

/// The resources of a client.
pub struct OidcParts {
    pub proxies: Arc<ProxyRules>,
    pub tasks: Arc<dyn Spawn>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

/// A client of an identity provider.
pub struct OidcClient {
    pub(super) provider: Arc<IdentityProvider>,
    pub(crate) sessions: Arc<BrowserSessions>,
    /// The key with which a login's state, nonce and verifier are derived from its cookie.
    login_key: Zeroizing<[u8; 32]>,
}

impl OidcClient {
    /// Builds the client; opens no connection.
    ///
    /// # Errors
    /// The CA file can't be used, or there are no root certificates.
    pub fn build(settings: OidcSettings, parts: OidcParts) -> Result<Self, TlsError> {
        let OidcParts { proxies, tasks, clock, rng } = parts;
        let provider = Arc::new(IdentityProvider::build(settings, proxies, tasks, Arc::clone(&clock))?);
        let mut login_key = Zeroizing::new([0; 32]);
        rng.fill(&mut *login_key);
        let is_secure = provider.settings.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        Ok(Self { provider, sessions: Arc::new(BrowserSessions::new(is_secure, clock, rng)), login_key })
    }

    pub(super) fn settings(&self) -> &OidcSettings {
        &self.provider.settings
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

    /// The claims of a token. Keys are fetched again if the token names one that is not known.
    pub(super) async fn verify(&self, token: &str, audience: &str) -> Result<TokenClaims, OidcRefusal> {
        // What is no JWT must not make this gateway ask the provider.
        if token.matches('.').count() != 2 {
            return Err(OidcRefusal::Invalid);
        }
        let data = self.provider.data().await.ok_or(OidcRefusal::Unavailable)?;
        let issuer = &self.settings().config.issuer;
        let verify_with = |data: &ProviderData| verify_token(token, &data.keys, issuer, audience);
        match verify_with(&data) {
            Ok(claims) => Ok(claims),
            Err(TokenRefusal::Invalid) => Err(OidcRefusal::Invalid),
            Err(TokenRefusal::UnknownKey) => {
                let newer = self.provider.newer_data(&data).await.ok_or(OidcRefusal::Invalid)?;
                verify_with(&newer).map_err(|_| OidcRefusal::Invalid)
            }
        }
    }
}
