//! **What**: how a client trusts a server and shows itself: rustls over the system's roots or a CA file.
//! **Invariants**: certificates are always verified; a CA file replaces the system's roots unless both are asked for;
//! errors name the key and the file, never contents. **Not here**: which hosts (`exporters/remote`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// A client's TLS, valid by construction but for the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// The system's roots beside `ca_file`.
    pub system_roots_too: bool,
    /// Certificate chain and key to show to the server.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to check the server's certificate against, instead of the host.
    pub server_name: Option<ServerName<'static>>,
}

/// Reads the files.
///
/// # Errors
/// One line: the key, the file, the reason.
pub fn client(settings: &Settings) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        for certificate in certificates("ca_file", path)? {
            let bad = |_| format!("tls.ca_file: {} holds a certificate that can't be used", path.display());
            roots.add(certificate).map_err(bad)?;
        }
    }
    if settings.ca_file.is_none() || settings.system_roots_too {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("this machine has no root certificates: install them or give tls.ca_file".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots);
    let Some((chain, key)) = &settings.identity else { return Ok(builder.with_no_client_auth()) };
    let certificates = certificates("cert_file", chain)?;
    let unreadable = |error| format!("tls.key_file: can't read {}: {}", key.display(), reason(&error));
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
    builder
        .with_client_auth_cert(certificates, private)
        .map_err(|_| format!("tls.key_file: {} is not the key of {}", key.display(), chain.display()))
}

pub(super) fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("tls.{key}: can't read {}: {}", path.display(), reason(&error));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let found = found.map_err(unreadable)?;
    if found.is_empty() {
        return Err(format!("tls.{key}: {} holds no certificate", path.display()));
    }
    Ok(found)
}

/// Why a PEM file can't be used, without its lines.
pub(super) fn reason(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        rustls::pki_types::pem::Error::NoItemsFound => "it holds nothing of the kind".to_owned(),
        _ => "not PEM".to_owned(),
    }
}
