//! A certificate authority created on the spot: P-256 certificates written as DER by hand, so that the repository
//! holds no key and no external program is needed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

/// A certificate with its key.
pub struct Certified {
    /// The certificate as DER.
    pub certificate: Vec<u8>,
    /// The private key as PKCS #8.
    pub key: Vec<u8>,
    /// Its serial number at this authority.
    pub serial: u8,
}

/// A certificate authority.
pub struct Authority {
    name: Vec<u8>,
    pair: EcdsaKeyPair,
    /// Its own certificate as DER.
    pub certificate: Vec<u8>,
    /// Serial number of the last issued certificate.
    serial: AtomicU8,
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match body.len() {
        n @ 0..=127 => out.push(n as u8),
        n @ 128..=255 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(body);
    out
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    tlv(6, &[bytes])
}

fn name(common: &str) -> Vec<u8> {
    let attribute = tlv(0x30, &[&oid(&[0x55, 4, 3]), &tlv(0x0c, &[common.as_bytes()])]);
    tlv(0x30, &[&tlv(0x31, &[&attribute])])
}

fn new_pair() -> (EcdsaKeyPair, Vec<u8>) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    (pair, pkcs8.as_ref().to_vec())
}

fn ecdsa_sha256() -> Vec<u8> {
    tlv(0x30, &[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])])
}

fn sealed(signer: &EcdsaKeyPair, body: &[u8]) -> Vec<u8> {
    let signature = signer.sign(&SystemRandom::new(), body).unwrap();
    tlv(0x30, &[body, &ecdsa_sha256(), &tlv(3, &[&[0], signature.as_ref()])])
}

/// Default validity of a certificate.
const LONG: [&str; 2] = ["200101000000Z", "491231235959Z"];

/// Signs a certificate. `names`: issuer and subject. Without an extension it is X.509 version 1.
fn signed(
    signer: &EcdsaKeyPair,
    names: (&[u8], &[u8]),
    key: &EcdsaKeyPair,
    extension: Option<&[u8]>,
    (serial, dates): (u8, [&str; 2]),
) -> Vec<u8> {
    let (issuer, subject) = names;
    let p256 = [oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])].concat();
    let public = tlv(0x30, &[&tlv(0x30, &[&p256]), &tlv(3, &[&[0], key.public_key().as_ref()])]);
    let validity = tlv(0x30, &dates.map(|date| tlv(0x17, &[date.as_bytes()])).each_ref().map(|date| &date[..]));
    let extensions = extension.map(|extension| tlv(0xa3, &[&tlv(0x30, &[extension])])).unwrap_or_default();
    let version = if extension.is_some() { tlv(0xa0, &[&tlv(2, &[&[2]])]) } else { Vec::new() };
    let body = tlv(
        0x30,
        &[&version, &tlv(2, &[&[serial]]), &ecdsa_sha256(), issuer, &validity, subject, &public, &extensions],
    );
    sealed(signer, &body)
}

impl Authority {
    /// Creates an authority with a new key.
    #[allow(
        clippy::new_without_default,
        reason = "each is another; integration tests have it, too, where nobody is told"
    )]
    pub fn new() -> Self {
        let (pair, _) = new_pair();
        let name = name("a test's authority");
        let is_ca = tlv(4, &[&tlv(0x30, &[&tlv(1, &[&[0xff]])])]);
        let basic_constraints = tlv(0x30, &[&oid(&[0x55, 0x1d, 0x13]), &tlv(1, &[&[0xff]]), &is_ca]);
        let certificate = signed(&pair, (&name, &name), &pair, Some(&basic_constraints), (1, LONG));
        Self { name, pair, certificate, serial: AtomicU8::new(1) }
    }

    /// Issues a certificate for a host name.
    pub fn issue(&self, host: &str) -> Certified {
        self.issue_for(host, LONG)
    }

    /// Issues a certificate that is valid between two times (`491231235959Z`).
    pub fn issue_for(&self, host: &str, dates: [&str; 2]) -> Certified {
        let (pair, key) = new_pair();
        let names = tlv(4, &[&tlv(0x30, &[&tlv(0x82, &[host.as_bytes()])])]);
        let alternative = tlv(0x30, &[&oid(&[0x55, 0x1d, 0x11]), &names]);
        let serial = self.serial.fetch_add(1, Ordering::SeqCst) + 1;
        let certificate = signed(&self.pair, (&self.name, &name(host)), &pair, Some(&alternative), (serial, dates));
        Certified { certificate, key, serial }
    }

    /// Issues an X.509 version 1 certificate, as `openssl x509 -req` does without `-extfile`.
    pub fn issue_of_version_1(&self, host: &str) -> Certified {
        let (pair, key) = new_pair();
        let serial = self.serial.fetch_add(1, Ordering::SeqCst) + 1;
        let certificate = signed(&self.pair, (&self.name, &name(host)), &pair, None, (serial, LONG));
        Certified { certificate, key, serial }
    }

    /// A revocation list of these serial numbers, as DER.
    pub fn revoke(&self, serials: &[u8]) -> Vec<u8> {
        let time = |text: &str| tlv(0x17, &[text.as_bytes()]);
        let each = serials.iter().map(|serial| tlv(0x30, &[&tlv(2, &[&[*serial]]), &time("200102000000Z")]));
        let revoked = each.collect::<Vec<_>>().concat();
        let revoked = if revoked.is_empty() { revoked } else { tlv(0x30, &[&revoked]) };
        let number = tlv(0x30, &[&oid(&[0x55, 0x1d, 0x14]), &tlv(4, &[&tlv(2, &[&[1]])])]);
        let extensions = tlv(0xa0, &[&tlv(0x30, &[&number])]);
        let (from, until) = (time("200101000000Z"), time("491231235959Z"));
        let parts: [&[u8]; 7] = [&tlv(2, &[&[1]]), &ecdsa_sha256(), &self.name, &from, &until, &revoked, &extensions];
        sealed(&self.pair, &tlv(0x30, &parts))
    }

    /// A TLS server's configuration for `host`; with `mutual` it requires a client certificate of this authority.
    pub fn server(&self, host: &str, mutual: bool) -> Arc<rustls::ServerConfig> {
        let Certified { certificate, key, .. } = self.issue(host);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(self.certificate.clone())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        } else {
            builder.unwrap().with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let mut config = builder.with_single_cert(vec![CertificateDer::from(certificate)], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// Writes a PEM file into `folder`.
pub fn pem_file(folder: &tempfile::TempDir, file: &str, label: &str, der: &[u8]) -> PathBuf {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    let path = folder.path().join(file);
    std::fs::write(&path, text).unwrap();
    path
}
