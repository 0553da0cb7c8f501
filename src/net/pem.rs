//! **What**: PEM files of one side of TLS, read at one moment. **Why**: what was looked at is what is used: a file that changes
//! between two reads would be taken for known. **Invariants**: contents are wiped; errors name the key and the file, never
//! contents. **Not here**: what becomes of them (`tls`, `server_tls`).

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// See the module.
pub(super) struct Files(Vec<File>);

struct File {
    key: &'static str,
    path: PathBuf,
    text: Result<Zeroizing<Vec<u8>>, String>,
}

impl Files {
    /// Reads what stands under each key; what can't be read is told when it is asked for.
    pub(super) fn read<'p>(paths: impl IntoIterator<Item = (&'static str, Option<&'p PathBuf>)>) -> Self {
        let given = paths.into_iter().filter_map(|(key, path)| Some((key, path?)));
        let read = |(key, path): (_, &PathBuf)| File {
            key,
            path: path.clone(),
            text: std::fs::read(path).map(Zeroizing::new).map_err(|error| error.to_string()),
        };
        Self(given.map(read).collect())
    }

    /// SHA-256 over all of them.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        for file in &self.0 {
            all.update(Sha256::digest(file.text.as_deref().map_or(&[][..], |text| text)));
        }
        all.finalize().into()
    }

    fn file(&self, key: &str) -> Option<&File> {
        self.0.iter().find(|file| file.key == key)
    }

    /// The certificates under `key`; None where it names no file.
    pub(super) fn certificates(&self, key: &str) -> Result<Option<Vec<CertificateDer<'static>>>, String> {
        let Some(file) = self.file(key) else { return Ok(None) };
        let found = file.all::<CertificateDer<'static>>()?;
        if found.is_empty() {
            return Err(format!("tls.{key}: {} holds no certificate", file.path.display()));
        }
        Ok(Some(found))
    }

    /// The certificates under `key`, to be trusted.
    pub(super) fn roots(&self, key: &str) -> Result<Option<RootCertStore>, String> {
        let (Some(found), Some(file)) = (self.certificates(key)?, self.file(key)) else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        let bad = |_| format!("tls.{key}: {} holds a certificate that can't be used", file.path.display());
        found.into_iter().try_for_each(|certificate| roots.add(certificate).map_err(bad))?;
        Ok(Some(roots))
    }

    /// The revocation lists under `key`; none where it names no file.
    pub(super) fn revoked(&self, key: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
        let Some(file) = self.file(key) else { return Ok(Vec::new()) };
        let found = file.all::<CertificateRevocationListDer<'static>>()?;
        if found.is_empty() {
            return Err(format!("tls.{key}: {} holds no revocation list", file.path.display()));
        }
        Ok(found)
    }

    /// The key under `key`.
    pub(super) fn private(&self, key: &str) -> Result<PrivateKeyDer<'static>, String> {
        let file = self.file(key).ok_or_else(|| format!("tls.{key} is missing"))?;
        PrivateKeyDer::from_pem_slice(file.text()?).map_err(|error| file.unreadable(&reason(&error)))
    }

    /// The file under `key`, for messages.
    pub(super) fn path(&self, key: &str) -> &Path {
        self.file(key).map_or(Path::new(""), |file| &file.path)
    }
}

impl File {
    fn text(&self) -> Result<&[u8], String> {
        match &self.text {
            Ok(text) => Ok(text),
            Err(why) => Err(self.unreadable(why)),
        }
    }

    fn all<T: PemObject>(&self) -> Result<Vec<T>, String> {
        let found: Result<Vec<T>, _> = T::pem_slice_iter(self.text()?).collect();
        found.map_err(|error| self.unreadable(&reason(&error)))
    }

    fn unreadable(&self, why: &str) -> String {
        format!("tls.{}: can't read {}: {why}", self.key, self.path.display())
    }
}

/// Why a PEM file can't be used, without its lines.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "it holds nothing of the kind".to_owned(),
        _ => "not PEM".to_owned(),
    }
}
