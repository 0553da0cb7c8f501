//! Tokens of an OpenID Connect provider: `provider` fetches its keys, `token` verifies. People send them to ports of
//! pages (`access/oidc`, which also has logins), clients to receivers (`receivers/http_ports/oidc_senders`).

mod provider;
mod token;

pub use provider::{IdentityProvider, ProviderData, ProviderError, ProviderMetadata, ProviderSettings};
pub use token::{SigningKeys, TokenClaims, TokenFault, TokenRefusal, verify_token};
