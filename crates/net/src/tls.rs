//! TLS of a client: verification of the server against the system's roots or a CA file, and the client's own
//! certificate. Certificates are always verified; a CA file replaces the system's roots unless both are configured;
//! errors name the key and the file, never contents. `exporters/remote` chooses the hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use super::certificate_dates::{self, TlsFileProblem};
use super::last_good::LastGoodValue;
use super::pem::PemFiles;
pub use super::tls_error::TlsError;

kernel::with_defaults! {
    /// The TLS settings of a client. The files are read and checked separately.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ClientTlsSettings {
        /// CA certificates to trust.
        pub ca_file: Option<PathBuf>,
        /// Whether the system's roots are trusted in addition to `ca_file`.
        pub system_roots_too: bool,
        /// Certificate chain and private key to present to the server.
        pub identity: Option<(PathBuf, PathBuf)>,
        /// The name to verify the server's certificate against, instead of the host.
        pub server_name: Option<ServerName<'static>>,
        /// How often the files are checked for changes.
        pub reload_interval: Duration = Duration::from_secs(10),
        /// The configuration built last from the files.
        pub last_good: LastGoodValue<BuiltClientConfig>,
    }
}

/// The configuration built from the files, and SHA-256 over them.
pub type BuiltClientConfig = (ClientConfig, [u8; 32]);

impl ClientTlsSettings {
    /// Whether the settings name any file.
    pub(super) fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }

    /// The problems of the files as of `now` (Unix seconds); empty without files. If there are none, the configuration
    /// built from the files is kept as the last good one.
    pub fn find_problems(&self, now: u64) -> Vec<TlsFileProblem> {
        if !self.has_files() {
            return Vec::new();
        }
        let files = self.files();
        let found = certificate_dates::find_date_problems(&files, "cert_file", "ca_file", now);
        certificate_dates::combine_problems(found, files.find_problems(), || {
            build_client_config(self, &files).map(|config| self.last_good.store((config, files.digest())))
        })
    }

    /// The problems with the dates of the client's own certificate: it is expired, not valid yet, or expires soon.
    pub fn find_own_date_problems(&self, now: u64) -> Vec<TlsFileProblem> {
        certificate_dates::find_date_problems(&self.files(), "cert_file", "", now)
    }

    /// Builds the configuration from the files. If they can't be used and these settings were in use before, returns
    /// the configuration built last.
    ///
    /// # Errors
    /// A file can't be used, or there are no root certificates.
    pub(super) fn read(&self) -> Result<BuiltClientConfig, TlsError> {
        let files = self.files();
        self.last_good.or_last_good(build_client_config(self, &files).map(|config| (config, files.digest())))
    }

    /// Builds the configuration if the digest of the files differs from `known`; otherwise `None`.
    ///
    /// # Errors
    /// A file can't be used, or there are no root certificates.
    pub(super) fn read_if_changed(&self, known: [u8; 32]) -> Result<Option<BuiltClientConfig>, TlsError> {
        let files = self.files();
        let digest = files.digest();
        if digest == known {
            return Ok(None);
        }
        let built = (build_client_config(self, &files)?, digest);
        self.last_good.store(built.clone());
        Ok(Some(built))
    }

    fn files(&self) -> PemFiles {
        let (cert, key) = self.identity.as_ref().map(|(cert, key)| (cert, key)).unzip();
        PemFiles::read([("ca_file", self.ca_file.as_ref()), ("cert_file", cert), ("key_file", key)])
    }
}

/// The problems of files given by their keys, even if the rest of the configuration is invalid.
pub fn find_file_problems(named: &[(&'static str, Option<PathBuf>)], now: u64) -> Vec<TlsFileProblem> {
    let files = PemFiles::read(named.iter().map(|(key, path)| (*key, path.as_ref())));
    let is_given = |key: &str| named.iter().any(|(name, path)| *name == key && path.is_some());
    let trusted = if is_given("client_ca_file") { "client_ca_file" } else { "ca_file" };
    certificate_dates::combine_problems(
        certificate_dates::find_date_problems(&files, "cert_file", trusted, now),
        files.find_problems(),
        || Ok(()),
    )
}

fn build_client_config(settings: &ClientTlsSettings, files: &PemFiles) -> Result<ClientConfig, TlsError> {
    let ca_roots = files.trusted_roots("ca_file")?;
    let use_system_roots = ca_roots.is_none() || settings.system_roots_too;
    let mut roots = ca_roots.unwrap_or_else(RootCertStore::empty);
    if use_system_roots {
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
    builder.with_client_auth_cert(certificates, files.private_key()?).map_err(|error| files.describe_pair_error(&error))
}
