//! Verifies a provider's tokens: signature by a key of its JWKS, `iss`, `aud`, `exp`, `nbf` with a leeway of a minute.
//! Only asymmetric algorithms are accepted, and no tokens made for another purpose. No error names a token's contents.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// Largest token, in bytes.
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// How far the provider's clock may be off, in seconds.
const LEEWAY_SECONDS: u64 = 60;

/// The claims of a verified token.
pub type TokenClaims = Map<String, Value>;

/// Why a token is not accepted with some keys.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// The token is no JWT that could be valid, or its signature or a claim is wrong.
    Invalid,
    /// The token names a key that the provider's keys do not contain; newer keys may.
    UnknownKey,
}

/// Why a token is not accepted, after the keys were fetched again if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// The token is not valid.
    Invalid,
    /// Its key is not known, and the provider can't be asked again now: perhaps the key is new.
    UnknownKey,
    /// The provider's keys were never fetched.
    Unavailable,
}

/// The keys with which a provider signs.
pub struct SigningKeys(Vec<Jwk>);

impl SigningKeys {
    /// Reads a JWKS (RFC 7517). Keys of unknown kinds and keys for encryption are left out, as section 5 requires.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(body).ok()?;
        let keys = set.get("keys")?.as_array()?.iter();
        let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        Some(Self(keys.filter(|key| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))).collect()))
    }

    /// The key with this id; without an id, the only key.
    fn find(&self, id: Option<&str>) -> Option<&Jwk> {
        match (id, &*self.0) {
            (Some(id), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// Whether tokens with this algorithm are accepted, signed with this key: its `alg` names the only one that is meant
/// for it (RFC 7517, section 4.4). Symmetric ones are not accepted: a public key would be their secret.
fn is_accepted(algorithm: Algorithm, key: &Jwk) -> bool {
    if key.common.key_algorithm.is_some_and(|only| only.to_string() != format!("{algorithm:?}")) {
        return false;
    }
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => false,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => matches!(key.algorithm, AlgorithmParameters::RSA(_)),
        Algorithm::ES256 | Algorithm::ES384 => matches!(key.algorithm, AlgorithmParameters::EllipticCurve(_)),
        Algorithm::EdDSA => matches!(key.algorithm, AlgorithmParameters::OctetKeyPair(_)),
    }
}

/// Whether the type is that of ID or access tokens (RFC 9068), or missing. Others are for another purpose, such as
/// logout tokens (RFC 8725, section 3.11).
fn is_accepted_type(token_type: Option<&str>) -> bool {
    let Some(name) = token_type.map(str::to_ascii_lowercase) else { return true };
    matches!(name.strip_prefix("application/").unwrap_or(&name), "jwt" | "at+jwt")
}

/// The claims of a token for `audience`.
///
/// # Errors
/// Why the token is not accepted.
pub fn verify_token(token: &str, keys: &SigningKeys, issuer: &str, audience: &str) -> Result<TokenClaims, TokenFault> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenFault::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenFault::Invalid)?;
    // RFC 7515, section 4.1.11: no extension is understood here.
    if header.crit.is_some() || !is_accepted_type(header.typ.as_deref()) {
        return Err(TokenFault::Invalid);
    }
    let key = keys.find(header.kid.as_deref()).ok_or(TokenFault::UnknownKey)?;
    if !is_accepted(header.alg, key) {
        return Err(TokenFault::Invalid);
    }
    let decoding_key = DecodingKey::from_jwk(key).map_err(|_| TokenFault::Invalid)?;
    let mut validation = Validation::new(header.alg);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    let verified = jsonwebtoken::decode::<TokenClaims>(token, &decoding_key, &validation);
    let claims = verified.map_err(|_| TokenFault::Invalid)?.claims;
    // The library accepts a list of issuers. `events` is in logout and security event tokens (RFC 8417), typed or not.
    let is_from_issuer = claims.get("iss").and_then(Value::as_str) == Some(issuer);
    if is_from_issuer && !claims.contains_key("events") { Ok(claims) } else { Err(TokenFault::Invalid) }
}
