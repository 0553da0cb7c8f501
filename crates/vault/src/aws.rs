//! **What**: what clients of S3 and of KMS share: connections, the standard chain of credentials, why a request did not
//! leave. **Why**: one proxy, one set of roots, one word for each cause. **Invariants**: the proxy of the environment
//! and certificates of settings hold together; bad certificates are an error, never a panic. **Not here**: what is
//! asked (`store/s3`, `kms`).

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

/// For a connection.
pub(crate) const CONNECT: Duration = Duration::from_millis(3100);

pub(crate) const NO_TIME: &str = "timed out";
pub(crate) const NO_CONNECTION: &str = "no connection";
pub(crate) const NO_CREDENTIALS: &str = "no credentials in the environment, profile or metadata service: \
    set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// Whether a text that a service calls its error's code can be one: who answers may be anybody, and the text is shown.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Why a request did not leave.
pub(crate) fn not_sent(failure: Option<&ConnectorError>) -> &'static str {
    let first = failure.map(|error| error as &(dyn std::error::Error + 'static));
    let mut causes = std::iter::successors(first, |error| error.source());
    if failure.is_some_and(ConnectorError::is_timeout) {
        NO_TIME
    } else if failure.is_some_and(ConnectorError::is_io) {
        NO_CONNECTION
    } else if causes.any(|cause| cause.to_string().contains("credential")) {
        // the SDK has no kind for it
        NO_CREDENTIALS
    } else {
        "no connection, or no credentials in the environment, profile or metadata service"
    }
}

/// Why the certificates of a setting `ca_file` can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CaFileError {
    /// As the operating system says.
    #[error("ca_file can't be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// No PEM certificate, or one that is malformed.
    #[error("ca_file holds no usable PEM certificate")]
    NoCertificate,
    /// The TLS library refuses them.
    #[error("the certificates can't be used")]
    Refused,
}

/// The standard chain of credentials, over [`http_client`]; an empty region is the chain's.
///
/// # Errors
/// The certificates can't be used.
pub(crate) async fn chain(region: &str, ca_file: Option<&Path>) -> Result<ConfigLoader, CaFileError> {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(ca_file).await?);
    Ok(if region.is_empty() { loader } else { loader.region(Region::new(region.to_owned())) })
}

/// Connections with the proxy of the environment and these certificates, or the system's: only a connector made this
/// way honours both.
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

/// Reads certificates and checks them: the client would panic on bad ones.
async fn pem(path: &Path) -> Result<Vec<u8>, CaFileError> {
    let bytes = tokio::fs::read(path).await.map_err(|error| CaFileError::Unreadable(error.kind()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        roots.add(certificate.map_err(|_| CaFileError::NoCertificate)?).map_err(|_| CaFileError::NoCertificate)?;
    }
    if roots.is_empty() { Err(CaFileError::NoCertificate) } else { Ok(bytes) }
}
