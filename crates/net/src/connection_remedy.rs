//! What an operator can do about a failed connection, by the causes of its error. Certificates, names and ports are
//! settings of different people, so each cause has a remedy of its own. `client` has the errors' texts.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// The remedy for an error whose causes are unknown.
const CHECK_ALL: &str = "check the endpoint's host and port, TLS (`tls.ca_file`, `tls.insecure`) and proxies";
const WRONG_PROTOCOL: &str = "the server does not answer in the expected protocol: check the port, whether it expects \
    TLS (`https://`), and whether it is for gRPC (`otlp`) or HTTP (`otlp_http`)";

/// The remedy for the first known cause of `error`, from the outside in.
pub(super) fn connection_remedy(error: &(dyn Error + 'static)) -> &'static str {
    let mut causes = std::iter::successors(Some(error), |cause| (*cause).source());
    causes.find_map(cause_remedy).unwrap_or_else(|| {
        let mut causes = std::iter::successors(Some(error), |cause| (*cause).source());
        if causes.any(<dyn Error>::is::<hyper::Error>) { WRONG_PROTOCOL } else { CHECK_ALL }
    })
}

fn cause_remedy(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls_remedy(tls));
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        // `source` of an io error skips the error inside.
        let inner = error.get_ref().and_then(|inner| cause_remedy(inner));
        return inner.or_else(|| io_remedy(error.kind()));
    }
    // The resolver's error has no type or kind of its own.
    (cause.to_string() == "dns error").then_some("the host name can't be resolved: check its spelling and the DNS")
}

fn io_remedy(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => {
            "no server listens there: check the host and the port, and start the server"
        }
        io::ErrorKind::TimedOut => "check the host, firewalls and proxies (HTTPS_PROXY)",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "there is no route to the host: check its address, the network and proxies (HTTPS_PROXY)"
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => {
            "the server closed the connection: check the port, and whether it expects TLS (`https://`)"
        }
        _ => return None,
    })
}

fn tls_remedy(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "the certificate is for another name: use that name in the endpoint, or set the exporter's `tls.server_name_override`"
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired: renew it, or set this machine's clock"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the server's certificate is not valid yet: set this machine's clock",
        rustls::Error::InvalidCertificate(CertificateError::Revoked) => {
            "the server's certificate is revoked: install a new one on the server"
        }
        rustls::Error::InvalidCertificate(_) => {
            "the certificate is not trusted: set `ca_file` to the PEM certificate of the CA that signed it"
        }
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port: use `http://`, or its TLS port"
        }
        rustls::Error::AlertReceived(_) => {
            "the server ended the TLS handshake: check the client certificate (`tls.cert_file`) and the server's log"
        }
        _ => "check the TLS settings of the endpoint",
    }
}
