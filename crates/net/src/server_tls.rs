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

use super::dates::{self, Trouble};
use super::kept::Kept;
use super::pem::Files;
use super::tls_error::TlsError;
use config::PortTls;

/// The TLS settings of a server. The files are read and checked separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
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
    pub kept: Kept<Made>,
}

/// The configuration built from the files, and SHA-256 over them.
pub type Made = (Arc<ServerConfig>, [u8; 32]);

impl From<&PortTls> for Settings {
    fn from(written: &PortTls) -> Self {
        let PortTls { cert_file, key_file, client_ca_file, crl_file, reload_interval } = written.clone();
        let kept = Kept::default();
        Self { cert_file, key_file, client_ca_file, crl_file, reload_interval: reload_interval.0, kept }
    }
}

/// The TLS state of a port.
pub struct ServerTls {
    settings: Settings,
    current: RwLock<Arc<ServerConfig>>,
    /// SHA-256 over the files in use, as they were read.
    seen: Mutex<[u8; 32]>,
}

impl ServerTls {
    /// Reads the files. If they can't be used and these settings were in use before, the configuration built last
    /// stays in use.
    ///
    /// # Errors
    /// A file can't be used.
    pub fn read(settings: Settings) -> Result<Self, TlsError> {
        let files = settings.files();
        let (config, digest) = settings.kept.or_last(build(&files).map(|config| (config, files.digest())))?;
        Ok(Self { settings, current: RwLock::new(config), seen: Mutex::new(digest) })
    }

    /// Reads the files again and returns whether they changed.
    ///
    /// # Errors
    /// As [`ServerTls::read`]; the configuration in use stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = self.settings.files();
        let now = files.digest();
        if *self.seen.lock() == now {
            return Ok(false);
        }
        let config = build(&files)?;
        self.settings.kept.keep((Arc::clone(&config), now));
        *self.current.write() = config;
        *self.seen.lock() = now;
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

/// The names in a client's verified certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// DNS names and URIs of the subject alternative name.
    pub names: Vec<String>,
}

impl Peer {
    /// The client of a finished handshake; `None` without a client certificate.
    pub fn of(connection: &ServerConnection) -> Option<Self> {
        let certificate = connection.peer_certificates()?.first()?;
        let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
        Some(Self { names: parsed.valid_dns_names().chain(parsed.valid_uri_names()).map(str::to_owned).collect() })
    }
}

/// Host names of the first certificate in a PEM file, without wildcards; empty if the file can't be read.
pub fn names(cert_file: &PathBuf) -> Vec<String> {
    let files = Files::read([("cert_file", Some(cert_file))]);
    let chain = files.certificates("cert_file").ok().flatten().unwrap_or_default();
    let parsed = chain.first().and_then(|first| webpki::EndEntityCert::try_from(first).ok());
    let names = parsed.iter().flat_map(|parsed| parsed.valid_dns_names()).filter(|name| !name.starts_with('*'));
    names.map(str::to_owned).collect()
}

impl Settings {
    /// Shares the stored configuration of `kept`.
    #[must_use]
    pub fn keeping(self, kept: &Kept<Made>) -> Self {
        Self { kept: kept.clone(), ..self }
    }

    /// The problems of the files as of `now` (Unix seconds).
    pub fn trouble(&self, now: u64) -> Vec<Trouble> {
        let files = self.files();
        let found = dates::wrong(&files, "cert_file", "client_ca_file", now);
        dates::with(found, files.faults(), || build(&files).map(drop))
    }

    /// The problems with the dates of the server's own certificate: it is expired, not valid yet, or expires soon.
    pub fn aged(&self, now: u64) -> Vec<Trouble> {
        dates::wrong(&self.files(), "cert_file", "", now)
    }

    fn files(&self) -> Files {
        let Self { cert_file, key_file, client_ca_file, crl_file, .. } = self;
        let given = [("cert_file", Some(cert_file)), ("key_file", Some(key_file))];
        Files::read(
            given.into_iter().chain([("client_ca_file", client_ca_file.as_ref()), ("crl_file", crl_file.as_ref())]),
        )
    }
}

fn build(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = files.certificates("cert_file")?.unwrap_or_default();
    let key = files.private("key_file")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match files.roots("client_ca_file")? {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            // Only the client's own certificate is checked for revocation; one whose authority has no list is refused.
            let refused = |error: rustls::server::VerifierBuilderError| TlsError::Unusable {
                key: "client_ca_file",
                what: error.to_string(),
            };
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(files.revoked("crl_file")?)
                .only_check_end_entity_revocation()
                .build();
            builder.with_client_cert_verifier(verifier.map_err(refused)?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| files.unfit(&error))?;
    // In order of preference. The gRPC port accepts HTTP/1.1 too, so that it can tell such clients the right port.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
