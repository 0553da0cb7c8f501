//! [`ReceiverEndpoint`]: the URL at which clients on this machine reach the OTLP receiver of a configuration, and the
//! credential that it wants. Secrets of the configuration are never read here. Used by `setup`.

use super::client_catalog::ProtocolFamily;
use command::error::CommandError;
use config::{Endpoint, address};
use net::server_tls::{ServerTlsSettings, certificate_host_names};
use otlp::Signal;
use receivers::otlp::OtlpReceiverSettings;

/// See the module.
pub(super) struct ReceiverEndpoint {
    /// Base URL, without a path of a signal.
    pub(super) url: String,
    /// The scheme of the credential, if the receiver wants one.
    pub(super) scheme: Option<&'static str>,
    /// Remarks for the user.
    pub(super) notes: Vec<String>,
}

impl ReceiverEndpoint {
    /// The first receiver that speaks one of the protocols, in this order.
    ///
    /// # Errors
    /// There is none, or clients can't be told its address.
    pub(super) fn of_settings(
        receivers: &[OtlpReceiverSettings],
        families: &[ProtocolFamily],
    ) -> Result<(Self, ProtocolFamily), CommandError> {
        for family in families {
            for receiver in receivers {
                let port = match family {
                    ProtocolFamily::Http => {
                        receiver.http.as_ref().map(|http| (&http.endpoint, &http.tls, common_prefix(&http.paths)))
                    }
                    ProtocolFamily::Grpc => receiver.grpc.as_ref().map(|grpc| (&grpc.endpoint, &grpc.tls, Some(""))),
                };
                let Some((endpoint, tls, prefix)) = port else { continue };
                let prefix = prefix.ok_or(
                    "the receiver's HTTP paths do not end in /v1/traces, /v1/logs and /v1/metrics, which clients add: use --endpoint",
                )?;
                let mut found = Self::of_port(endpoint, tls.as_ref())?;
                found.url.push_str(prefix);
                found.add_credential(receiver, tls.as_ref());
                return Ok((found, *family));
            }
        }
        Err("the configuration has no OTLP receiver for a protocol of this client: use --endpoint".into())
    }

    fn of_port(endpoint: &Endpoint, tls: Option<&ServerTlsSettings>) -> Result<Self, CommandError> {
        if endpoint.socket().is_some() {
            return Err("the receiver listens on a unix socket: use --endpoint".into());
        }
        if endpoint.port() == 0 {
            return Err("the system chooses the receiver's port: use --endpoint".into());
        }
        let certified = tls.and_then(|tls| certificate_host_names(&tls.cert_file).into_iter().next());
        let ip = endpoint.socket_addr().map(|at| at.ip());
        let mut notes = Vec::new();
        if certified.is_none() && ip.is_some_and(|ip| ip.is_unspecified()) {
            notes.push("on other machines, put the gateway's host name in place of the loopback address".to_owned());
        }
        let host = certified.filter(|_| ip.is_some()).unwrap_or_else(|| endpoint.local_host());
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Self { url: format!("{scheme}://{host}:{}", endpoint.port()), scheme: None, notes })
    }

    fn add_credential(&mut self, receiver: &OtlpReceiverSettings, tls: Option<&ServerTlsSettings>) {
        if tls.is_some_and(|tls| tls.client_ca_file.is_some()) {
            self.notes.push(
                "the receiver wants a client certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY"
                    .to_owned(),
            );
        }
        let Some(auth) = &receiver.auth else { return };
        if !auth.tokens.is_empty() || auth.tokens_file.is_some() || auth.oidc.is_some() || !auth.users.is_empty() {
            self.scheme = Some("Bearer");
        } else if !auth.basic.is_empty() {
            self.scheme = Some("Basic");
            self.notes.push("TOLLGATE_TOKEN is `user:password` in base64 here".to_owned());
        }
    }
}

/// The text before `/v1/{signal}` in the paths of all signals, if they have the same.
fn common_prefix(paths: &[(Signal, String)]) -> Option<&str> {
    let prefix = |signal: Signal| {
        let (_, path) = paths.iter().find(|(served, _)| *served == signal)?;
        path.strip_suffix(&format!("/v1/{}", signal.as_str()))
    };
    let first = prefix(Signal::Traces)?;
    Signal::ALL.into_iter().all(|signal| prefix(signal) == Some(first)).then_some(first)
}

/// Checks a URL that the user gave, and removes a slash at its end.
///
/// # Errors
/// It is no URL, or ends in the path of a signal.
pub(super) fn parse_endpoint(text: &str) -> Result<String, CommandError> {
    let usage = |what: String| CommandError::Usage(what);
    let url = address::parse_url(text).map_err(usage)?;
    if url.query.is_some() {
        return Err(usage("must have no query (`?`)".to_owned()));
    }
    let path = url.path.trim_end_matches('/');
    if Signal::ALL.iter().any(|signal| path.ends_with(&format!("/v1/{}", signal.as_str()))) {
        return Err(usage("must end before `/v1/…`: clients add the path of each signal".to_owned()));
    }
    // Nothing that a shell, JSON or TOML would read as more than a text.
    if text.contains(['"', '\'', '`', '$', '{', '}', '|', ';', '&', '(', ')', '<', '>', '*']) {
        return Err(usage("contains a character that must be percent-encoded in a URL".to_owned()));
    }
    Ok(text.trim_end_matches('/').to_owned())
}
