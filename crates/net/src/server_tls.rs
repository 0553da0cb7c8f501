//! TLS of a server: its certificate and the verification of client certificates, with rustls over PEM files that are
//! read again when they change.
//! Files that can't be read or do not belong together change nothing: the last valid ones stay in use, and connections
//! keep the ones they began with. Errors name the key and the file, never contents. A client's names come only from a
//! verified certificate. `receivers` maps a client to an account.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;

use super::certificate_dates::{self, TlsFileProblem};
use super::last_good::LastGoodValue;
use super::pem::PemFiles;
use super::tls_error::TlsError;
use config::PortTls;

/// The TLS settings of a server. The files are read and checked separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsSettings {
    /// PEM file of the certificate chain.
    pub cert_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
    /// CA certificates that must have signed clients' certificates. With this key a client without a certificate is
    /// refused.
    pub client_ca_file: Option<PathBuf>,
    /// Revocation lists, one of each authority that signs client certificates.
    pub crl_file: Option<PathBuf>,
    /// How often the files are checked for changes.
    pub reload_interval: Duration,
    /// The configuration built last from the files.
    pub last_good: LastGoodValue<BuiltServerConfig>,
}

/// The configuration built from the files, and SHA-256 over them.
pub type BuiltServerConfig = (Arc<ServerConfig>, [u8; 32]);

impl From<&PortTls> for ServerTlsSettings {
    fn from(settings: &PortTls) -> Self {
        let PortTls { cert_file, key_file, client_ca_file, crl_file, reload_interval } = settings.clone();
        let last_good = LastGoodValue::default();
        Self { cert_file, key_file, client_ca_file, crl_file, reload_interval: reload_interval.0, last_good }
    }
}

/// The TLS state of a port.
pub struct ServerTls {
    settings: ServerTlsSettings,
    current: RwLock<Arc<ServerConfig>>,
    /// SHA-256 over the files in use, as they were read.
    files_digest: Mutex<[u8; 32]>,
}

impl ServerTls {
    /// Reads the files. If they can't be used and these settings were in use before, the configuration built last
    /// stays in use.
    ///
    /// # Errors
    /// A file can't be used.
    pub fn read(settings: ServerTlsSettings) -> Result<Self, TlsError> {
        let files = settings.files();
        let (config, digest) =
            settings.last_good.or_last_good(build_server_config(&files).map(|config| (config, files.digest())))?;
        Ok(Self { settings, current: RwLock::new(config), files_digest: Mutex::new(digest) })
    }

    /// Reads the files again and returns whether they changed.
    ///
    /// # Errors
    /// As [`ServerTls::read`]; the configuration in use stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = self.settings.files();
        let digest = files.digest();
        if *self.files_digest.lock() == digest {
            return Ok(false);
        }
        let config = build_server_config(&files)?;
        self.settings.last_good.store((Arc::clone(&config), digest));
        *self.current.write() = config;
        *self.files_digest.lock() = digest;
        Ok(true)
    }

    /// How often the files should be checked for changes.
    pub fn interval(&self) -> Duration {
        self.settings.reload_interval
    }

    /// Accepts connections with the files as read last.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificateNames {
    /// DNS names and URIs of the subject alternative name.
    pub names: Vec<String>,
}

impl ClientCertificateNames {
    /// The client of a finished handshake; `None` without a client certificate.
    pub fn from_connection(connection: &ServerConnection) -> Option<Self> {
        let certificate = connection.peer_certificates()?.first()?;
        let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
        Some(Self { names: parsed.valid_dns_names().chain(parsed.valid_uri_names()).map(str::to_owned).collect() })
    }
}

/// Host names of the first certificate in a PEM file, without wildcards; empty if the file can't be read.
pub fn certificate_host_names(cert_file: &PathBuf) -> Vec<String> {
    let files = PemFiles::read([("cert_file", Some(cert_file))]);
    let chain = files.certificates("cert_file").ok().flatten().unwrap_or_default();
    let parsed = chain.first().and_then(|first| webpki::EndEntityCert::try_from(first).ok());
    let names = parsed.iter().flat_map(|parsed| parsed.valid_dns_names()).filter(|name| !name.starts_with('*'));
    names.map(str::to_owned).collect()
}

impl ServerTlsSettings {
    /// Shares the stored configuration of `last_good`.
    #[must_use]
    pub fn sharing_last_good(self, last_good: &LastGoodValue<BuiltServerConfig>) -> Self {
        Self { last_good: last_good.clone(), ..self }
    }

    /// The problems of the files as of `now` (Unix seconds). If there are none, the configuration built from the files
    /// is kept as the last good one.
    pub fn find_problems(&self, now: u64) -> Vec<TlsFileProblem> {
        let files = self.files();
        let found = certificate_dates::find_date_problems(&files, "cert_file", "client_ca_file", now);
        certificate_dates::combine_problems(found, files.find_problems(), || {
            build_server_config(&files).map(|config| self.last_good.store((config, files.digest())))
        })
    }

    /// The problems with the dates of the server's own certificate: it is expired, not valid yet, or expires soon.
    pub fn find_own_date_problems(&self, now: u64) -> Vec<TlsFileProblem> {
        certificate_dates::find_date_problems(&self.files(), "cert_file", "", now)
    }

    fn files(&self) -> PemFiles {
        let Self { cert_file, key_file, client_ca_file, crl_file, .. } = self;
        let required = [("cert_file", Some(cert_file)), ("key_file", Some(key_file))];
        PemFiles::read(
            required.into_iter().chain([("client_ca_file", client_ca_file.as_ref()), ("crl_file", crl_file.as_ref())]),
        )
    }
}

fn build_server_config(files: &PemFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = files.certificates("cert_file")?.unwrap_or_default();
    let key = files.private_key()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match files.trusted_roots("client_ca_file")? {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            // With lists, only the client's own certificate is checked for revocation; if its authority has no list, it
            // is refused.
            let unusable = |error: rustls::server::VerifierBuilderError| TlsError::Unusable {
                key: "client_ca_file",
                what: error.to_string(),
            };
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(files.revocation_lists()?)
                .only_check_end_entity_revocation()
                .build();
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| files.describe_pair_error(&error))?;
    // In order of preference. The gRPC port accepts HTTP/1.1 too, so that it can tell such clients the right port.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
