//! [`AdminClient`]: an HTTP client for the admin port of a running gateway, used by commands that show what its pages
//! show, and for other ports that answer JSON. Answers are bounded in time and size, streams only until they begin and
//! in the length of a line. A token is never printed. `admin_address` finds the port.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::error::CommandError;
use crate::tasks::command_services;
use config::address;
use kernel::secret::Secret;
use net::client::{self, ClientError, HttpClient, Incoming, read_response, upload_body};
use net::{ProxyRules, tls};

/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The `Authorization` header of a user and password.
pub fn basic_auth(user: &str, password: &str) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// Percent-encodes text for a path or query.
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Parses an answer as JSON.
///
/// # Errors
/// It is not JSON.
pub fn parse_json(answer: &str) -> Result<Value, CommandError> {
    serde_json::from_str(answer).map_err(|_| CommandError::Failed("the gateway's answer is not JSON".to_owned()))
}

/// Options that locate the admin port of a gateway.
#[derive(Args)]
pub struct AdminPortArgs {
    /// Address of the admin port [default: that of `--config` or `--listen`, or else http://127.0.0.1:8888]. If it
    /// requires credentials, set TOLLGATE_ADMIN_TOKEN, or TOLLGATE_ADMIN_USER and TOLLGATE_ADMIN_PASSWORD; otherwise
    /// those of the configuration are used, or the token in its data directory.
    #[arg(long, env = "TOLLGATE_ADMIN", value_name = "URL")]
    pub admin: Option<String>,
    /// File with a token for the admin port, such as `admin.token` in the gateway's data directory.
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// PEM certificates to trust, if the admin port has TLS.
    #[arg(long, env = "TOLLGATE_ADMIN_CA", value_name = "FILE")]
    pub admin_ca: Option<PathBuf>,
    /// PEM client certificate to present.
    #[arg(long, env = "TOLLGATE_ADMIN_CERT", value_name = "FILE", requires = "admin_key")]
    pub admin_cert: Option<PathBuf>,
    /// PEM private key of the client certificate.
    #[arg(long, env = "TOLLGATE_ADMIN_KEY", value_name = "FILE", requires = "admin_cert")]
    pub admin_key: Option<PathBuf>,
}

/// The address and credentials of an admin port.
pub struct AdminPort {
    /// Base URL, such as `http://127.0.0.1:8888`.
    pub base: String,
    /// Certificates to trust and to present.
    pub tls: tls::ClientTlsSettings,
    /// Value of the `Authorization` header.
    pub authorization: Option<Secret>,
}

/// A client for one base URL.
pub struct AdminClient {
    client: HttpClient,
    base: String,
    authorization: Option<Secret>,
    /// The hint that is added if the connection is refused.
    refused_hint: &'static str,
}

const NO_GATEWAY_HINT: &str = ": check that the gateway is running with `admin` in `service.extensions`; for another admin port, use `--admin URL`, `--config FILE` \
    or the gateway's own `--listen HOST:PORT`";

impl AdminClient {
    /// A client for a gateway's admin port.
    ///
    /// # Errors
    /// The address is invalid, or TLS can't be set up.
    pub fn for_gateway(port: AdminPort) -> Result<Self, CommandError> {
        let AdminPort { base, tls, authorization } = port;
        Ok(Self { refused_hint: NO_GATEWAY_HINT, ..Self::with_tls(&base, tls, authorization, ProxyRules::direct())? })
    }

    /// A client for any address.
    ///
    /// # Errors
    /// The address is invalid, or TLS or the proxy can't be set up.
    pub fn new(base: &str, authorization: Option<Secret>, proxies: ProxyRules) -> Result<Self, CommandError> {
        Self::with_tls(base, tls::ClientTlsSettings::default(), authorization, proxies)
    }

    /// A client for any address, with these TLS settings.
    ///
    /// # Errors
    /// The address is invalid, or TLS or the proxy can't be set up.
    pub fn with_tls(
        base: &str,
        tls: tls::ClientTlsSettings,
        authorization: Option<Secret>,
        proxies: ProxyRules,
    ) -> Result<Self, CommandError> {
        let url = address::parse_url(base).map_err(|why| format!("the address is not valid: {why}"))?;
        let tls = url.tls.then_some(tls);
        let settings = client::ClientSettings { tls, http2_only: false };
        let client = HttpClient::build(&settings, &command_services(proxies))?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned(), authorization, refused_hint: "" })
    }

    /// Gets `path` with this `Accept` header.
    ///
    /// # Errors
    /// No answer, or an error status with the gateway's reason.
    pub async fn get(&self, path: &str, accept: &str) -> Result<String, CommandError> {
        self.send(Method::GET, path, accept, None).await
    }

    /// Posts JSON to `path`.
    ///
    /// # Errors
    /// See [`AdminClient::get`].
    pub async fn post(&self, path: &str, json: String) -> Result<String, CommandError> {
        self.send(Method::POST, path, "application/json", Some(json)).await
    }

    /// Gets `path` as a stream, and passes complete lines to `on_lines` until the stream ends.
    ///
    /// # Errors
    /// See [`AdminClient::get`]; or the error of `on_lines`, which ends the stream.
    pub async fn stream_lines(
        &self,
        path: &str,
        accept: &str,
        on_lines: impl Fn(&str) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let mut body = self.in_time(self.open(Method::GET, path, accept, None)).await?;
        let mut pending: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| format!("{}: the connection was cut off", self.base))?;
            let received = frame.data_ref().map_or(&[][..], |data| data);
            // The pending bytes contain no line end.
            let complete = memchr::memrchr(b'\n', received).map_or(0, |at| pending.len() + at + 1);
            pending.extend_from_slice(received);
            let lines: Vec<u8> = pending.drain(..complete).collect();
            on_lines(&String::from_utf8_lossy(&lines))?;
            if pending.len() > MAX_ANSWER_BYTES {
                return Err(CommandError::Failed(format!("{}{path}: a line is too large", self.base)));
            }
        }
        Ok(())
    }

    fn build_request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        json: Option<String>,
    ) -> Result<Request<client::UploadBody>, CommandError> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url).header(header::ACCEPT, accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.expose());
        }
        if json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = upload_body(json.map(Bytes::from));
        request.body(body).map_err(|_| CommandError::Failed(format!("{url} is not a valid URL")))
    }

    fn connection_error(&self, error: &ClientError) -> String {
        format!("{}: {error}{}", self.base, if error.refused { self.refused_hint } else { "" })
    }

    fn status_error(&self, status: StatusCode, path: &str, text: &str) -> String {
        let (base, reason, code) = (&self.base, self.error_reason(text), status.as_u16());
        // The query may be long and is encoded; the path says what was asked.
        let path = path.split('?').next().unwrap_or_default();
        match (status, &*reason) {
            (StatusCode::UNAUTHORIZED, "") => format!("{base}: the credentials were refused (HTTP status 401)"),
            (StatusCode::UNAUTHORIZED, _) => {
                format!("{base}: the credentials were refused (HTTP status 401): {reason}")
            }
            (_, "") => format!("{base}{path}: HTTP status {code}"),
            _ => format!("{base}: {reason} (HTTP status {code})"),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        json: Option<String>,
    ) -> Result<String, CommandError> {
        let exchange = async {
            let body = self.open(method, path, accept, json).await?;
            self.read(path, body).await
        };
        self.in_time(exchange).await
    }

    /// Sends a request, and returns the body of an answer with a status of success.
    async fn open(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        json: Option<String>,
    ) -> Result<Incoming, CommandError> {
        let request = self.build_request(method, path, accept, json)?;
        let answer = self.client.send(request).await.map_err(|error| self.connection_error(&error))?;
        let (status, body) = (answer.status(), answer.into_body());
        if status.is_success() {
            return Ok(body);
        }
        // the status says more than why its text is missing
        let text = self.read(path, body).await.unwrap_or_default();
        Err(CommandError::Failed(self.status_error(status, path, &text)))
    }

    async fn read(&self, path: &str, body: Incoming) -> Result<String, CommandError> {
        let cut_off = |_| format!("{}{path}: the answer is too large, or the connection was cut off", self.base);
        let (bytes, _) = read_response(body, MAX_ANSWER_BYTES).await.map_err(cut_off)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn in_time<T>(&self, exchange: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
        let no_answer = |_| format!("{}: no answer in time", self.base);
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.map_err(no_answer)?
    }

    /// The reason in an error answer; empty if the answer repeats the credentials, as those of some proxies do.
    fn error_reason(&self, text: &str) -> String {
        let credential = self
            .authorization
            .as_ref()
            .and_then(|credential| credential.expose().split_once(' '))
            .map(|(_, rest)| rest);
        let decoded = credential.and_then(|credential| String::from_utf8(STANDARD.decode(credential).ok()?).ok());
        let password = decoded.as_deref().and_then(|decoded| decoded.split_once(':')).map(|(_, password)| password);
        let repeats = |secret: &str| secret.len() >= 4 && text.contains(secret);
        if [credential, password].into_iter().flatten().any(repeats) {
            return String::new();
        }
        parse_reason(text)
    }
}

/// The reason in an error answer.
fn parse_reason(text: &str) -> String {
    let reason = serde_json::from_str::<Value>(text).ok();
    let reason = reason.and_then(|value| value.get("error")?.as_str().map(str::to_owned));
    let reason = reason.unwrap_or_else(|| text.lines().next().unwrap_or("").to_owned());
    kernel::terminal::escape_unsafe(reason.get(..reason.floor_char_boundary(300)).unwrap_or(""))
}
