//! **What**: how a server shows itself, and learns who its clients are: rustls over PEM files that are read again when
//! they change. **Invariants**: a pair that does not fit together, or can't be read, changes nothing: the last good one
//! stays; connections keep what they began with; errors name the key and the file, never contents; who a client is
//! comes from a certificate that was verified. **Not here**: which account a client is (`receivers`).

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

/// A server's TLS, valid by construction but for the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Certificates that clients' ones must be signed by; with it a client without one is not served.
    pub client_ca_file: Option<PathBuf>,
    /// Certificates that are called back; the list of each authority that signs clients' certificates.
    pub crl_file: Option<PathBuf>,
    /// How often the files are looked at.
    pub reload_interval: Duration,
    /// What the files said last.
    pub kept: Kept<Made>,
}

/// What was made of files, and SHA-256 over them.
pub type Made = (Arc<ServerConfig>, [u8; 32]);

impl From<&PortTls> for Settings {
    fn from(written: &PortTls) -> Self {
        let PortTls { cert_file, key_file, client_ca_file, crl_file, reload_interval } = written.clone();
        let kept = Kept::default();
        Self { cert_file, key_file, client_ca_file, crl_file, reload_interval: reload_interval.0, kept }
    }
}

/// A port's TLS.
pub struct ServerTls {
    settings: Settings,
    current: RwLock<Arc<ServerConfig>>,
    /// SHA-256 over the files in use, as they were read for it.
    seen: Mutex<[u8; 32]>,
}

impl ServerTls {
    /// Reads the files. Where they can't be used, what they said last, if these settings were in use before.
    ///
    /// # Errors
    /// A file can't be used.
    pub fn read(settings: Settings) -> Result<Self, TlsError> {
        let files = settings.files();
        let (config, digest) = settings.kept.or_last(build(&files).map(|config| (config, files.digest())))?;
        Ok(Self { settings, current: RwLock::new(config), seen: Mutex::new(digest) })
    }

    /// Reads the files again where they changed; whether they did.
    ///
    /// # Errors
    /// As [`ServerTls::read`]; what was in use stays.
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

    /// How often its files are to be looked at.
    pub fn interval(&self) -> Duration {
        self.settings.reload_interval
    }

    /// Takes connections with the files as read last.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }
}

/// Names of a client's verified certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// DNS names and URIs of its alternative subject.
    pub names: Vec<String>,
}

impl Peer {
    /// Of a finished handshake; None for a client without a certificate.
    pub fn of(connection: &ServerConnection) -> Option<Self> {
        let certificate = connection.peer_certificates()?.first()?;
        let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
        Some(Self { names: parsed.valid_dns_names().chain(parsed.valid_uri_names()).map(str::to_owned).collect() })
    }
}

/// Host names of the first certificate in a PEM file, without those that stand for several; none where it can't be
/// read.
pub fn names(cert_file: &PathBuf) -> Vec<String> {
    let files = Files::read([("cert_file", Some(cert_file))]);
    let chain = files.certificates("cert_file").ok().flatten().unwrap_or_default();
    let parsed = chain.first().and_then(|first| webpki::EndEntityCert::try_from(first).ok());
    let names = parsed.iter().flat_map(|parsed| parsed.valid_dns_names()).filter(|name| !name.starts_with('*'));
    names.map(str::to_owned).collect()
}

impl Settings {
    /// The same with what is kept elsewhere of its files.
    #[must_use]
    pub fn keeping(self, kept: &Kept<Made>) -> Self {
        Self { kept: kept.clone(), ..self }
    }

    /// What is wrong with the files as of `now` (unix seconds).
    pub fn trouble(&self, now: u64) -> Vec<Trouble> {
        let files = self.files();
        let found = dates::wrong(&files, "cert_file", "client_ca_file", now);
        dates::with(found, files.faults(), || build(&files).map(drop))
    }

    /// What is wrong with the dates of its own certificate, or soon will be.
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
            // Of the client's own certificate alone, and whoever has no list can't be judged: refused.
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
    // Most wanted first; also on the gRPC port, which tells who speaks HTTP/1.1 where to go.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
