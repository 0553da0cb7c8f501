//! **What**: PEM files of one side of TLS, read at one moment. **Why**: what was looked at is what is used: a file that changes
//! between two reads would be taken for known. **Invariants**: contents are wiped; errors name the key and the file, never
//! contents. **Not here**: what becomes of them (`tls`, `server_tls`).

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::dates;

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

    /// All that is wrong with each by itself, and with a key beside a certificate. Errors begin as those of [`Self::certificates`].
    pub(super) fn faults(&self) -> Vec<String> {
        let chain = self.certificates("cert_file");
        let key = self.file("key_file").map(|_| self.private("key_file"));
        let mut faults: Vec<String> = chain.as_ref().err().cloned().into_iter().collect();
        faults.extend(key.as_ref().and_then(|key| key.as_ref().err()).cloned());
        faults.extend(["ca_file", "client_ca_file"].into_iter().filter_map(|key| self.roots(key).err()));
        faults.extend(self.revoked("crl_file").err());
        if let (Ok(Some(chain)), Some(Ok(key))) = (chain, key) {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            faults.extend(CertifiedKey::from_der(chain, key, &provider).err().map(|error| self.unfit(&error)));
        }
        faults
    }

    /// Why `cert_file` can't be shown with `key_file`.
    pub(super) fn unfit(&self, error: &rustls::Error) -> String {
        let (chain, key) = (self.path("cert_file").display(), self.path("key_file").display());
        let first = || self.certificates("cert_file").ok().flatten()?.into_iter().next();
        match error {
            rustls::Error::InconsistentKeys(_) => format!("tls.key_file: {key} is not the key of {chain}"),
            rustls::Error::InvalidCertificate(_) => {
                let why = first().as_ref().and_then(dates::unread);
                let why = why.unwrap_or_else(|| "it holds a certificate that can't be used".to_owned());
                format!("tls.cert_file: {chain}: {why}")
            }
            _ => format!("tls.key_file: {key} holds no key of a kind that can be used"),
        }
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
