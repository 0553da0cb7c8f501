//! What the S3 and KMS clients share: HTTP connections, the standard AWS credential chain, and the cause of a request
//! that could not be sent. The proxy from the environment and the certificates from the settings apply together; bad
//! certificates are an error, never a panic. Neighbours: the requests themselves are in `store/s3` and `kms`.

use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::error::ConnectorError;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Timeout for establishing a connection.
pub(crate) const CONNECT: Duration = Duration::from_millis(3100);

pub(crate) const NO_TIME: &str = "timed out";
pub(crate) const NO_CONNECTION: &str = "no connection";
pub(crate) const NO_CREDENTIALS: &str = "no credentials in the environment, profile or metadata service: \
    set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// Whether a service's error code is safe to show: the server may be anyone, and the text is printed.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Why a request could not be sent.
pub(crate) fn not_sent(failure: Option<&ConnectorError>) -> &'static str {
    let first = failure.map(|error| error as &(dyn std::error::Error + 'static));
    let mut causes = std::iter::successors(first, |error| error.source());
    if failure.is_some_and(ConnectorError::is_timeout) {
        NO_TIME
    } else if failure.is_some_and(ConnectorError::is_io) {
        NO_CONNECTION
    } else if causes.any(|cause| cause.to_string().contains("credential")) {
        // the SDK has no error kind for missing credentials
        NO_CREDENTIALS
    } else {
        "no connection, or no credentials in the environment, profile or metadata service"
    }
}

/// Why the certificates of a `ca_file` setting can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CaFileError {
    /// The file can't be read; the operating system's reason.
    #[error("ca_file can't be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// The file has no PEM certificate, or one that is malformed.
    #[error("ca_file holds no usable PEM certificate")]
    NoCertificate,
    /// The TLS library refuses the certificates.
    #[error("the certificates can't be used")]
    Refused,
}

/// The standard AWS credential chain, using [`http_client`]. With an empty `region`, the chain determines the region.
///
/// # Errors
/// The certificates can't be used.
pub(crate) async fn chain(region: &str, ca_file: Option<&Path>) -> Result<ConfigLoader, CaFileError> {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(ca_file).await?);
    Ok(if region.is_empty() { loader } else { loader.region(Region::new(region.to_owned())) })
}

/// An HTTP client that uses the environment's proxy and the given certificates (without a file: the system's). Only a
/// connector built this way honours both.
///
/// # Errors
/// The certificates can't be used.
pub(crate) async fn http_client(ca_file: Option<&Path>) -> Result<SharedHttpClient, CaFileError> {
    let trust = match ca_file {
        None => TrustStore::default(),
        Some(path) => TrustStore::empty().with_pem_certificate(pem(path).await?),
    };
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let tls = tls.map_err(|_| CaFileError::Refused)?;
    Ok(Builder::new().build_with_connector_fn(move |connector, _| {
        let mut builder = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls.clone());
        builder.set_connector_settings(connector.cloned());
        builder.build()
    }))
}

/// Reads and checks the certificates, because the client would panic on bad ones.
async fn pem(path: &Path) -> Result<Vec<u8>, CaFileError> {
    let bytes = tokio::fs::read(path).await.map_err(|error| CaFileError::Unreadable(error.kind()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        roots.add(certificate.map_err(|_| CaFileError::NoCertificate)?).map_err(|_| CaFileError::NoCertificate)?;
    }
    if roots.is_empty() { Err(CaFileError::NoCertificate) } else { Ok(bytes) }
}
