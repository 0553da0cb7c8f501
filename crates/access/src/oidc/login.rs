//! `/login` and `/callback` for browsers: authorization code with PKCE (S256), state and nonce. A login
//! needs no memory here: its cookie holds a random value from which state, nonce and verifier are derived, so only the
//! browser that began a login can end it. Addresses to return to are paths of this port.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::client::{OidcClient, OidcRefusal, client_of_claims};
use crate::login_form::{LoginQuery, local_path, logout_router};
use crate::sessions::find_cookie;
use kernel::secret::Secret;
use kernel::sha256::Sha256;
use net::oidc::{ProviderError, ProviderMetadata, TokenClaims};
use telemetry::admin::oidc::OidcConfig;
use telemetry::admin::roles::Role;

/// How long a login may take, in seconds.
const LOGIN_SECONDS: u64 = 600;

type OidcClientState = State<Arc<OidcClient>>;

/// The routes; they are open, because a browser without a session needs them.
pub(crate) fn login_router(client: Arc<OidcClient>) -> Router {
    Router::new()
        .route("/login", get(begin_login))
        .route("/callback", get(finish_login))
        .with_state(Arc::clone(&client))
        .merge(logout_router(Arc::clone(&client.sessions)))
}

/// The provider's answer (RFC 6749, section 4.1.2).
#[derive(Deserialize)]
struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
}

/// Why a login failed; the text says what to do.
enum LoginFailure {
    Unavailable,
    /// The answer does not belong to a login that this browser began.
    NotBegun,
    Refused,
    NoRole,
}

impl IntoResponse for LoginFailure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Unavailable => {
                (StatusCode::BAD_GATEWAY, "the identity provider does not answer: see tollgate's log, and try again\n")
            }
            Self::NotBegun => (
                StatusCode::BAD_REQUEST,
                "this login was not begun here, or took too long: start again at the path /login of `public_url`\n",
            ),
            Self::Refused => (StatusCode::FORBIDDEN, "the identity provider did not confirm the login\n"),
            Self::NoRole => (StatusCode::FORBIDDEN, "none of your groups has a role here: see `auth.oidc.roles`\n"),
        };
        (status, text).into_response()
    }
}

impl OidcClient {
    fn login_cookie(&self) -> &'static str {
        if self.sessions.is_secure { "__Host-tollgate-login" } else { "tollgate-login" }
    }

    fn redirect_uri(&self) -> String {
        format!("{}/callback", self.settings().public_url.as_deref().unwrap_or_default())
    }

    /// The provider's address for a login with this cookie; `None` if the provider's data were never fetched.
    async fn authorization_url(&self, cookie: &str) -> Option<String> {
        let data = self.provider.data().await?;
        let (state, nonce) = (self.derive("state", cookie), self.derive("nonce", cookie));
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.derive("verifier", cookie).as_bytes()));
        let query = encode_form(&[
            ("response_type", "code"),
            ("client_id", &self.settings().config.client_id),
            ("redirect_uri", &self.redirect_uri()),
            ("scope", &self.settings().config.scopes.join(" ")),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let endpoint = Some(&data.metadata.authorization_endpoint).filter(|endpoint| !endpoint.is_empty())?;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Some(format!("{endpoint}{separator}{query}"))
    }

    /// Exchanges an authorization code for an ID token (RFC 6749, section 4.1.3, with PKCE: RFC 7636).
    ///
    /// # Errors
    /// The provider did not answer with a token.
    async fn exchange_code(
        &self,
        metadata: &ProviderMetadata,
        (code, verifier, redirect_uri): (&str, &str, &str),
    ) -> Result<Secret, ProviderError> {
        let OidcConfig { client_id, client_secret, .. } = &self.settings().config;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&metadata.token_endpoint)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match client_secret {
            // RFC 6749, section 2.3.1: both parts are form-encoded first.
            Some(secret) => {
                let pair = format!("{}:{}", encode(client_id), encode(secret.expose()));
                request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
            }
            None => form.push(("client_id", client_id)),
        }
        let answer = self.provider.send(request, Bytes::from(encode_form(&form))).await?;
        let tokens: TokenAnswer =
            serde_json::from_slice(&answer).map_err(|_| ProviderError::Invalid("the answer has no ID token"))?;
        Ok(tokens.id_token)
    }

    /// Completes a login: the redirect to the page that was asked for, with the new session.
    async fn complete_login(&self, headers: &HeaderMap, query: &CallbackQuery) -> Result<Response, LoginFailure> {
        let cookie = find_cookie(headers, self.login_cookie()).ok_or(LoginFailure::NotBegun)?;
        let derive = |purpose| self.derive(purpose, cookie);
        let state = query.state.as_deref().unwrap_or_default();
        verify_slices_are_equal(state.as_bytes(), derive("state").as_bytes()).map_err(|_| LoginFailure::NotBegun)?;
        let code = query.code.as_deref().ok_or(LoginFailure::Refused)?;
        let data = self.provider.data().await.ok_or(LoginFailure::Unavailable)?;
        let exchange = (code, &*derive("verifier"), &*self.redirect_uri());
        let token = self.exchange_code(&data.metadata, exchange).await.map_err(|why| {
            let why = why.to_string();
            tracing::warn!(why, "the identity provider did not exchange the code of a login");
            LoginFailure::Refused
        })?;
        let claims = self.verify(token.expose(), &self.settings().config.client_id).await.map_err(|why| match why {
            OidcRefusal::Invalid | OidcRefusal::UnknownKey => LoginFailure::Refused,
            OidcRefusal::Unavailable => LoginFailure::Unavailable,
        })?;
        if !is_for_login(&claims, &derive("nonce"), &self.settings().config.client_id) {
            return Err(LoginFailure::Refused);
        }
        let client = client_of_claims(&claims, self.settings());
        if !client.roles.has(Role::Viewer) {
            return Err(LoginFailure::NoRole);
        }
        // RFC 7519: a NumericDate may have a fraction. A cast from float saturates.
        let end = claims.get("exp").and_then(Value::as_f64).unwrap_or_default() as u64;
        if end <= self.sessions.now() {
            return Err(LoginFailure::Refused);
        }
        let path = cookie.split_once('.').and_then(|(_, path)| BASE64_URL_SAFE_NO_PAD.decode(path).ok());
        let path = path.and_then(|path| String::from_utf8(path).ok()).unwrap_or_default();
        let mut response = Redirect::to(local_path(&path)).into_response();
        self.sessions.begin(&mut response, headers, client, Some(end));
        Ok(response)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Secret,
}

/// Percent-encodes a part of a query or form.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A query or form of these fields.
fn encode_form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    fields.collect::<Vec<_>>().join("&")
}

/// Whether an ID token answers this login (OpenID Connect Core 1.0, section 3.1.3.7): its nonce, and its authorized
/// party if it has several audiences.
fn is_for_login(claims: &TokenClaims, nonce: &str, client_id: &str) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let has_one_audience = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.len() == 1,
        _ => true,
    };
    let is_party = text("azp").map_or(has_one_audience, |party| party == client_id);
    text("nonce") == Some(nonce) && is_party
}

async fn begin_login(State(client): OidcClientState, Query(query): Query<LoginQuery>) -> Response {
    let path = query.path();
    let cookie = format!("{}.{}", client.sessions.random_text(), BASE64_URL_SAFE_NO_PAD.encode(path));
    let Some(url) = client.authorization_url(&cookie).await else { return LoginFailure::Unavailable.into_response() };
    let mut response = Redirect::to(&url).into_response();
    client.sessions.set_cookie(&mut response, client.login_cookie(), &cookie, LOGIN_SECONDS);
    response
}

async fn finish_login(
    State(client): OidcClientState,
    Query(query): Query<CallbackQuery>,
    headers: HeaderMap,
) -> Response {
    let mut response = match client.complete_login(&headers, &query).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    client.sessions.set_cookie(&mut response, client.login_cookie(), "", 0);
    response
}
