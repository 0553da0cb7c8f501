//! The PEM files of a TLS configuration, read at one moment, so that the files that were checked are the files that
//! are used. Contents are wiped on drop; errors name the key and the file, never contents. `tls` and `server_tls` use
//! the files.

use std::path::{Path, PathBuf};

use kernel::sha256::Sha256;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::tls_error::{TlsError, describe_unparsable};

/// The PEM files of one configuration, by key.
pub(super) struct PemFiles(Vec<PemFile>);

struct PemFile {
    key: &'static str,
    path: PathBuf,
    text: Result<Zeroizing<Vec<u8>>, String>,
}

impl PemFiles {
    /// Reads the file under each key. A file that can't be read is reported when its contents are requested.
    pub(super) fn read<'p>(paths: impl IntoIterator<Item = (&'static str, Option<&'p PathBuf>)>) -> Self {
        let present = paths.into_iter().filter_map(|(key, path)| Some((key, path?)));
        let read = |(key, path): (_, &PathBuf)| PemFile {
            key,
            path: path.clone(),
            text: std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string()),
        };
        Self(present.map(read).collect())
    }

    /// SHA-256 over all files.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for file in &self.0 {
            hasher.update(Sha256::digest(file.text.as_deref().map_or(&[][..], |text| text)));
        }
        hasher.finalize()
    }

    fn find_file(&self, key: &str) -> Option<&PemFile> {
        self.0.iter().find(|file| file.key == key)
    }

    /// The objects under `key`, of which the file must contain at least one; `None` if the key names no file.
    fn objects<T: PemObject>(&self, key: &str, missing: &str) -> Result<Option<Vec<T>>, TlsError> {
        let Some(file) = self.find_file(key) else { return Ok(None) };
        let found: Result<Vec<T>, _> = T::pem_slice_iter(file.text()?).collect();
        let found = found.map_err(|error| file.not_pem(&error))?;
        if found.is_empty() { Err(file.unusable(missing)) } else { Ok(Some(found)) }
    }

    pub(super) fn certificates(&self, key: &str) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
        self.objects(key, "no certificate")
    }

    /// The certificates under `key`, as trusted roots.
    pub(super) fn trusted_roots(&self, key: &str) -> Result<Option<RootCertStore>, TlsError> {
        let (Some(found), Some(file)) = (self.certificates(key)?, self.find_file(key)) else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        let unusable = |_| file.unusable("a certificate that can't be used");
        found.into_iter().try_for_each(|certificate| roots.add(certificate).map_err(unusable))?;
        Ok(Some(roots))
    }

    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.objects("crl_file", "no revocation list").map(Option::unwrap_or_default)
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let file = self.find_file("key_file").ok_or(TlsError::Missing { key: "key_file" })?;
        PrivateKeyDer::from_pem_slice(file.text()?).map_err(|error| file.not_pem(&error))
    }

    /// The problems of each file alone; if there are none in `cert_file` and `key_file`, those of the pair.
    pub(super) fn find_problems(&self) -> Vec<TlsError> {
        let chain = self.certificates("cert_file");
        let key = self.find_file("key_file").map(|_| self.private_key()).transpose();
        let mut faults: Vec<TlsError> = chain.as_ref().err().cloned().into_iter().collect();
        faults.extend(key.as_ref().err().cloned());
        faults.extend(["ca_file", "client_ca_file"].into_iter().filter_map(|key| self.trusted_roots(key).err()));
        faults.extend(self.revocation_lists().err());
        if let (Ok(Some(chain)), Ok(Some(key))) = (chain, key) {
            let pair = CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider());
            faults.extend(pair.err().map(|error| self.describe_pair_error(&error)));
        }
        faults
    }

    /// Why `cert_file` and `key_file` can't be used together.
    pub(super) fn describe_pair_error(&self, error: &rustls::Error) -> TlsError {
        let (chain, key) = (self.path("cert_file").display(), self.path("key_file").display());
        let (at_fault, what) = match error {
            rustls::Error::InconsistentKeys(_) => {
                ("key_file", format!("{key} does not match the certificate in {chain}"))
            }
            rustls::Error::InvalidCertificate(_) => {
                let certificates = self.certificates("cert_file").ok().flatten().unwrap_or_default();
                let why = certificates.first().and_then(describe_unparsable);
                let why = why.unwrap_or_else(|| "it contains a certificate that can't be used".to_owned());
                ("cert_file", format!("{chain}: {why}"))
            }
            _ => ("key_file", format!("{key} contains no private key of a supported kind")),
        };
        TlsError::Unusable { key: at_fault, what }
    }

    /// The path under `key`, for messages.
    pub(super) fn path(&self, key: &str) -> &Path {
        self.find_file(key).map_or(Path::new(""), |file| &file.path)
    }
}

impl PemFile {
    fn text(&self) -> Result<&[u8], TlsError> {
        self.text.as_deref().map(Vec::as_slice).map_err(|why| self.unreadable(why.clone()))
    }

    fn unreadable(&self, why: String) -> TlsError {
        TlsError::Unreadable { key: self.key, path: self.path.clone(), why }
    }

    /// Why the contents can't be parsed, without quoting them.
    fn not_pem(&self, error: &pem::Error) -> TlsError {
        self.unreadable(match error {
            pem::Error::Io(error) => error.to_string(),
            pem::Error::NoItemsFound => "it contains nothing of the expected kind".to_owned(),
            _ => "not PEM".to_owned(),
        })
    }

    fn unusable(&self, contents: &str) -> TlsError {
        TlsError::Unusable { key: self.key, what: format!("{} contains {contents}", self.path.display()) }
    }
}
