//! [`OidcSenders`]: senders of telemetry with tokens of an identity provider. The token's claims prove the user, the
//! tenant and the groups. A claim that can't be used refuses the request: data under a wrong id can't be taken back.
//! `net/oidc` verifies tokens; `auth` answers the client. No text here holds a value of a claim.

use std::sync::Arc;

use serde_json::Value;

use net::oidc::{IdentityProvider, ProviderSettings, TokenClaims, TokenRefusal};
use net::{SharedServices, TlsError};
use pipeline::{ClientIdentity, VerifiedIdentity};

/// The provider whose tokens a receiver accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSenderSettings {
    pub provider: ProviderSettings,
    /// The audience (`aud`) of tokens.
    pub audience: String,
    /// The account of all senders with such a token.
    pub account: Arc<str>,
    pub claims: IdentityClaims,
}

/// The names of the claims that prove ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityClaims {
    pub user: String,
    pub tenant: Option<String>,
    pub groups: Option<String>,
    /// Whether a token without one of them is refused.
    pub is_required: bool,
}

/// One of the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdentityClaim {
    User,
    Tenant,
    Groups,
}

impl IdentityClaims {
    /// The key of the configuration that names this claim, and the name.
    pub(super) fn name(&self, claim: IdentityClaim) -> (&'static str, &str) {
        match claim {
            IdentityClaim::User => ("user", &self.user),
            IdentityClaim::Tenant => ("tenant", self.tenant.as_deref().unwrap_or_default()),
            IdentityClaim::Groups => ("groups", self.groups.as_deref().unwrap_or_default()),
        }
    }

    /// The ids that these claims prove.
    fn read(&self, claims: &TokenClaims) -> Result<VerifiedIdentity, OidcFault> {
        let id = |claim| -> Result<Option<Arc<str>>, OidcFault> {
            let fault = |what| OidcFault::Claim(claim, what);
            let (_, name) = self.name(claim);
            if name.is_empty() {
                return Ok(None); // not configured
            }
            match claims.get(name).filter(|value| !value.is_null()) {
                None if self.is_required => Err(fault("is missing")),
                None => Ok(None),
                Some(Value::String(_))
                    if name == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) =>
                {
                    Err(fault("is not confirmed by the provider (`email_verified`)"))
                }
                Some(Value::String(id)) => {
                    VerifiedIdentity::check_id(id).map_err(fault)?;
                    Ok(Some(id.as_str().into()))
                }
                Some(_) => Err(fault("must be text")),
            }
        };
        let (user, tenant) = (id(IdentityClaim::User)?, id(IdentityClaim::Tenant)?);
        Ok(VerifiedIdentity { user, tenant, groups: self.read_groups(claims)? })
    }

    /// The groups; a token without the claim is of a user without groups.
    fn read_groups(&self, claims: &TokenClaims) -> Result<Vec<Arc<str>>, OidcFault> {
        let fault = |what| OidcFault::Claim(IdentityClaim::Groups, what);
        let groups = match self.groups.as_ref().and_then(|name| claims.get(name)) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(groups)) => &**groups,
            Some(group) => std::slice::from_ref(group),
        };
        let groups: Option<Vec<&str>> = groups.iter().map(Value::as_str).collect();
        let groups = groups.ok_or_else(|| fault("must be a list of texts"))?;
        VerifiedIdentity::check_groups(groups.iter().copied()).map_err(fault)?;
        Ok(groups.into_iter().map(Arc::from).collect())
    }
}

/// Why a token names no sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OidcFault {
    /// The token is not valid.
    Invalid,
    /// The provider's keys were never fetched, or the token's key may be a new one.
    Unavailable,
    /// The claim can't be used, for this reason.
    Claim(IdentityClaim, &'static str),
}

/// See the module documentation.
pub(super) struct OidcSenders {
    settings: OidcSenderSettings,
    provider: Arc<IdentityProvider>,
}

impl OidcSenders {
    /// Builds the provider's client; opens no connection.
    pub(super) fn build(settings: OidcSenderSettings, services: SharedServices) -> Result<Self, TlsError> {
        let provider = Arc::new(IdentityProvider::build(settings.provider.clone(), services)?);
        Ok(Self { settings, provider })
    }

    /// What this token proves.
    pub(super) async fn identify(&self, token: &[u8]) -> Result<ClientIdentity, OidcFault> {
        let token = std::str::from_utf8(token).map_err(|_| OidcFault::Invalid)?;
        let verified = self.provider.verify(token, &self.settings.audience).await;
        let claims = verified.map_err(|refusal| match refusal {
            TokenRefusal::Invalid => OidcFault::Invalid,
            // of a key that may be new: a client that is refused drops its data
            TokenRefusal::UnknownKey | TokenRefusal::Unavailable => OidcFault::Unavailable,
        })?;
        self.settings.claims.read(&claims).map(ClientIdentity::from)
    }
}
