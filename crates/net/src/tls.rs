//! TLS of a client: verification of the server against the system's roots or a CA file, and the client's own
//! certificate. Certificates are always verified; a CA file replaces the system's roots unless both are configured;
//! errors name the key and the file, never contents. `exporters/remote` chooses the hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::dates::{self, Trouble};
use super::kept::Kept;
use super::pem::Files;
pub use super::tls_error::TlsError;

/// The TLS settings of a client. The files are read and checked separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// CA certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Whether the system's roots are trusted in addition to `ca_file`.
    pub system_roots_too: bool,
    /// Certificate chain and private key to present to the server.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to verify the server's certificate against, instead of the host.
    pub server_name: Option<ServerName<'static>>,
    /// How often the files are checked for changes.
    pub reload_interval: Duration,
    /// The configuration built last from the files.
    pub kept: Kept<Made>,
}

/// The configuration built from the files, and SHA-256 over them.
pub type Made = (ClientConfig, [u8; 32]);

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca_file: None,
            system_roots_too: false,
            identity: None,
            server_name: None,
            reload_interval: Duration::from_secs(10),
            kept: Kept::default(),
        }
    }
}

impl Settings {
    /// Whether the settings name any file.
    pub(super) fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }

    /// The problems of the files as of `now` (Unix seconds); empty without files.
    pub fn trouble(&self, now: u64) -> Vec<Trouble> {
        if !self.has_files() {
            return Vec::new();
        }
        let files = self.files();
        let found = dates::wrong(&files, "cert_file", "ca_file", now);
        dates::with(found, files.faults(), || client_of(self, &files).map(drop))
    }

    /// The problems with the dates of the client's own certificate: it is expired, not valid yet, or expires soon.
    pub fn aged(&self, now: u64) -> Vec<Trouble> {
        dates::wrong(&self.files(), "cert_file", "", now)
    }

    /// Builds the configuration from the files. If they can't be used and these settings were in use before, returns
    /// the configuration built last.
    ///
    /// # Errors
    /// A file can't be used, or there are no root certificates.
    pub(super) fn read(&self) -> Result<Made, TlsError> {
        let files = self.files();
        self.kept.or_last(client_of(self, &files).map(|config| (config, files.digest())))
    }

    /// Builds the configuration if the digest of the files differs from `known`; otherwise `None`.
    ///
    /// # Errors
    /// A file can't be used, or there are no root certificates.
    pub(super) fn changed(&self, known: [u8; 32]) -> Result<Option<Made>, TlsError> {
        let files = self.files();
        let digest = files.digest();
        if digest == known {
            return Ok(None);
        }
        let made = (client_of(self, &files)?, digest);
        self.kept.keep(made.clone());
        Ok(Some(made))
    }

    fn files(&self) -> Files {
        let (cert, key) = self.identity.as_ref().map(|(cert, key)| (cert, key)).unzip();
        Files::read([("ca_file", self.ca_file.as_ref()), ("cert_file", cert), ("key_file", key)])
    }
}

/// The problems of files given by their keys, even if the rest of the configuration is invalid.
pub fn trouble_of(named: &[(&'static str, Option<PathBuf>)], now: u64) -> Vec<Trouble> {
    let files = Files::read(named.iter().map(|(key, path)| (*key, path.as_ref())));
    let given = |key: &str| named.iter().any(|(name, path)| *name == key && path.is_some());
    let trusted = if given("client_ca_file") { "client_ca_file" } else { "ca_file" };
    dates::with(dates::wrong(&files, "cert_file", trusted, now), files.faults(), || Ok(()))
}

/// Builds the configuration from the files.
fn client_of(settings: &Settings, files: &Files) -> Result<ClientConfig, TlsError> {
    let own = files.roots("ca_file")?;
    let system = own.is_none() || settings.system_roots_too;
    let mut roots = own.unwrap_or_else(RootCertStore::empty);
    if system {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some(certificates) = files.certificates("cert_file")? else { return Ok(builder.with_no_client_auth()) };
    builder.with_client_auth_cert(certificates, files.private("key_file")?).map_err(|error| files.unfit(&error))
}
