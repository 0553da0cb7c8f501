//! What the S3 and KMS clients share: HTTP connections, the standard AWS credential chain, and the cause of a request
//! that could not be sent. The proxy from the environment and the certificates from the settings apply together; bad
//! certificates are an error, never a panic. Neighbours: the requests themselves are in `store/s3` and `kms`.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::error::ConnectorError;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig};
use config::address;
use kernel::files::describe_io_error;
use net::client::ClientError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Timeout for establishing a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

pub(crate) const TIMED_OUT: &str = "timed out";
const NO_CREDENTIALS: &str = "no credentials in the environment, profile or metadata service: \
    set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// Whether a service's error code is safe to show: the server may be anyone, and the text is printed.
pub(crate) fn is_error_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Why a request could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendFailure {
    /// No answer within the time limit.
    #[error("{}", TIMED_OUT)]
    TimedOut,
    /// No connection, or none that TLS accepts; texts contain at most names of hosts and certificates.
    #[error("no connection: {text}")]
    Connection { text: String, remedy: &'static str },
    /// No credentials were found.
    #[error("{}", NO_CREDENTIALS)]
    NoCredentials,
    /// No connection, or no credentials; the SDK does not say which.
    #[error("no connection, or no credentials in the environment, profile or metadata service")]
    Unknown,
}

impl SendFailure {
    pub(crate) fn from_connector(failure: Option<&ConnectorError>) -> Self {
        let outermost = failure.map(|error| error as &(dyn Error + 'static));
        let mut causes = std::iter::successors(outermost, |error| (*error).source());
        match failure {
            Some(error) if error.is_timeout() => Self::TimedOut,
            Some(error) if error.is_io() => {
                let ClientError { text, remedy, .. } = ClientError::from_error(error);
                Self::Connection { text, remedy }
            }
            // the SDK has no error kind for missing credentials
            _ if causes.any(|cause| cause.to_string().contains("credential")) => Self::NoCredentials,
            _ => Self::Unknown,
        }
    }

    /// The failure, followed by its remedy if it has one.
    pub(crate) fn with_remedy(&self) -> String {
        match self {
            Self::Connection { remedy, .. } => format!("{self}: {remedy}"),
            _ => self.to_string(),
        }
    }
}

/// Why the certificates of a `ca_file` setting can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CaFileError {
    /// The file can't be read; the operating system's reason.
    #[error("ca_file can't be read: {}", describe_io_error(*.0))]
    Unreadable(std::io::ErrorKind),
    /// The file has no PEM certificate, or one that is malformed.
    #[error("ca_file contains no valid PEM certificate")]
    NoCertificate,
    /// The TLS library refuses the certificates.
    #[error("the TLS library rejects the certificates in ca_file")]
    Refused,
}

/// The standard AWS credential chain, using [`http_client`]. With an empty `region`, the chain determines the region.
pub(crate) async fn load_credential_chain(region: &str, ca_file: Option<&Path>) -> Result<ConfigLoader, CaFileError> {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(ca_file).await?);
    Ok(if region.is_empty() { loader } else { loader.region(Region::new(region.to_owned())) })
}

/// An HTTP client that uses the environment's proxy and the given certificates (without a file: the system's). Only a
/// connector built this way honours both.
pub(crate) async fn http_client(ca_file: Option<&Path>) -> Result<SharedHttpClient, CaFileError> {
    let trust = match ca_file {
        None => TrustStore::default(),
        Some(path) => TrustStore::empty().with_pem_certificate(read_certificates(path).await?),
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
async fn read_certificates(path: &Path) -> Result<Vec<u8>, CaFileError> {
    let bytes = tokio::fs::read(path).await.map_err(|error| CaFileError::Unreadable(error.kind()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        roots.add(certificate.map_err(|_| CaFileError::NoCertificate)?).map_err(|_| CaFileError::NoCertificate)?;
    }
    if roots.is_empty() { Err(CaFileError::NoCertificate) } else { Ok(bytes) }
}

/// The reason why a text cannot be the address of an AWS-compatible server. Queries are refused, because requests add
/// their own.
pub fn server_address_problem(text: &str) -> Option<String> {
    let problem = "must not have a query; use an address such as `https://kms.example.com`";
    address::parse_url(text).map_or_else(Some, |url| url.query.map(|_| problem.to_owned()))
}
