//! Tests of sockets that stay over a reload: a change of certificates or connection settings alone closes none of
//! them, neither ports nor unix sockets, and cuts no request.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Running, names, place};
use crate::client::span;
use crate::gateway;
use fakes::tls::{Authority, pem_file};

/// Connects without TLS.
pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// A gateway's configuration with the given settings of `http:` and `grpc:`.
fn configuration(folder: &Path, http: &str, grpc: &str) -> String {
    let exporter = format!("file: {{ path: '{}', trust: internal }}", folder.join("out.jsonl").display());
    gateway::plain(folder, &format!("http: {{ {http} }}, grpc: {{ {grpc} }}"), &exporter, "")
}

/// Sends one request on a connection that stays open and returns the response's head.
fn exchange<S: Read + Write>(stream: &mut S, name: &str) -> io::Result<String> {
    let body = span(name);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    stream.flush()?;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).map_or("0", |n| n);
    stream.read_exact(&mut vec![0; length.parse().unwrap()])?;
    Ok(head)
}

/// Clients that send until they are stopped.
pub(crate) struct Clients {
    over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Clients {
    /// Starts one client that connects for each request, and two that keep their connection until the gateway closes
    /// it: a request sent into a closing connection was not read, so it is sent again on the next one.
    pub(crate) fn start<S: Read + Write + 'static>(
        connect: impl Fn() -> io::Result<S> + Send + Sync + 'static,
    ) -> Self {
        let connect = Arc::new(connect);
        let (over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |keeps: bool| {
            let (over, count, connect) = (Arc::clone(&over), Arc::clone(&count), Arc::clone(&connect));
            std::thread::spawn(move || {
                let mut kept: Option<S> = None;
                while !over.load(Ordering::SeqCst) {
                    let name = format!("r{}", count.fetch_add(1, Ordering::SeqCst));
                    let head = loop {
                        let used = kept.is_some();
                        let mut stream = kept.take().unwrap_or_else(|| connect().expect("the socket is never closed"));
                        match exchange(&mut stream, &name) {
                            Ok(head) => {
                                kept = (keeps && !head.contains("connection: close")).then_some(stream);
                                break head;
                            }
                            Err(error) => assert!(used, "{name} on a fresh connection: {error}"),
                        }
                    };
                    assert!(head.starts_with("http/1.1 200"), "{name}: {head}");
                    // leaves processor time for the reload
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let threads = vec![client(false), client(true), client(true)];
        Self { over, count, threads }
    }

    pub(crate) fn some_more(&self) {
        let until = self.count.load(Ordering::SeqCst) + 40;
        while self.count.load(Ordering::SeqCst) < until {
            assert!(!self.threads.iter().any(std::thread::JoinHandle::is_finished), "a client failed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the clients and returns how many requests they sent.
    pub(crate) fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.count.load(Ordering::SeqCst)
    }
}

/// Checks that the files have the requests from 0 to `count`, each once.
pub(crate) fn each_once(folder: &Path, files: &[&str], count: usize) {
    let mut all: Vec<usize> =
        files.iter().flat_map(|file| names(folder, file)).map(|name| name.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..count).collect::<Vec<_>>(), "each once");
}

/// A client that trusts these authorities.
pub(super) fn trusting(trusted: &[&Authority]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in trusted {
        roots.add(CertificateDer::from(authority.certificate.clone())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

pub(super) fn over_tls(
    to: SocketAddr,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut socket = connect(to)?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while client.is_handshaking() {
        client.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(client, socket))
}

/// If only the certificate changes, the port stays, clients continue, and the new certificate is presented from then
/// on; the same holds for other TLS settings of the port, and an invalid certificate changes nothing.
#[test]
fn a_change_of_certificates_alone_closes_nothing() {
    let (folder, config) = place();
    let (one, two) = (Authority::new(), Authority::new());
    let mut certificates = Vec::new();
    for (name, authority) in [("one", &one), ("two", &two)] {
        let made = authority.issue("localhost");
        pem_file(&folder, &format!("{name}.key"), "PRIVATE KEY", &made.key);
        pem_file(&folder, &format!("{name}.pem"), "CERTIFICATE", &made.certificate);
        certificates.push(made.certificate);
    }
    let write = |name: &str, more: &str| {
        let at = |ending: &str| folder.path().join(format!("{name}.{ending}")).display().to_string();
        let tls = format!("tls: {{ cert_file: '{}', key_file: '{}'{more} }}", at("pem"), at("key"));
        let http = format!("endpoint: 'localhost:0', {tls}");
        fs::write(&config, configuration(folder.path(), &http, "endpoint: '127.0.0.1:0'")).unwrap();
    };
    write("one", "");
    let gateway = Running::start(&config, &[]);
    let (grpc, http) = (gateway.address("otlp grpc"), gateway.address("otlp http"));
    let trusting = trusting(&[&one, &two]);
    // on a new connection: an existing one may still have the old certificate
    let shown = || over_tls(http, &trusting).unwrap().conn.peer_certificates().unwrap()[0].to_vec();
    let config_of_clients = Arc::clone(&trusting);
    let clients = Clients::start(move || over_tls(http, &config_of_clients));
    clients.some_more();
    assert_eq!(shown(), certificates[0]);
    write("two", "");
    gateway.signal("HUP");
    assert_eq!((gateway.address("otlp grpc"), gateway.address("otlp http")), (grpc, http), "the same ports");
    clients.some_more();
    assert_eq!(shown(), certificates[1]);
    write("two", ", reload_interval: 1h");
    gateway.signal("HUP");
    assert_eq!((gateway.address("otlp grpc"), gateway.address("otlp http")), (grpc, http));
    clients.some_more();
    write("nowhere", "");
    gateway.signal("HUP");
    gateway.line("the previous one");
    clients.some_more();
    let count = clients.end();
    assert_eq!(gateway.end(), Some(0));
    each_once(folder.path(), &["out.jsonl"], count);
}

/// If only the connection settings of a unix socket change, its file stays the same and clients continue; the file is
/// removed with the gateway.
#[test]
fn a_unix_socket_stays_over_reloads() {
    let (folder, config) = place();
    let socket = folder.path().join("http.sock");
    let write = |http: &str, grpc: &str| {
        let http = format!("endpoint: 'unix:{}'{http}", socket.display());
        let grpc = format!("endpoint: '127.0.0.1:0'{grpc}");
        fs::write(&config, configuration(folder.path(), &http, &grpc)).unwrap();
    };
    write("", "");
    let gateway = Running::start(&config, &[]);
    let grpc = gateway.address("otlp grpc");
    let file = fs::symlink_metadata(&socket).unwrap();
    let path = socket.clone();
    let clients = Clients::start(move || {
        let stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    });
    clients.some_more();
    for (http, grpc_too) in [
        (", idle_timeout: 20s, read_header_timeout: 5s, max_concurrent_streams: 7", ""),
        (
            ", max_connection_age: 30s",
            ", keepalive: { server_parameters: { max_connection_idle: 11s, time: 9s, timeout: 3s } }",
        ),
        (", max_connections: 50", ", max_connections: 60"),
    ] {
        write(http, grpc_too);
        gateway.signal("HUP");
        assert_eq!(gateway.address("otlp grpc"), grpc, "the same port");
        clients.some_more();
        let now = fs::symlink_metadata(&socket).unwrap();
        assert_eq!((now.dev(), now.ino()), (file.dev(), file.ino()), "the same socket");
    }
    let count = clients.end();
    assert_eq!(gateway.end(), Some(0));
    each_once(folder.path(), &["out.jsonl"], count);
    assert!(!socket.exists());
}

/// A port gets another host: the gateway's own socket is in the way and is closed; if the round can't be run after
/// all, the old host is restored. (Regression test: the gateway itself kept the port in use.)
#[test]
fn a_port_that_stays_gets_another_host() {
    let (folder, config) = place();
    let write = |http: &str, grpc: &str| {
        let (http, grpc) = (format!("endpoint: '{http}'"), format!("endpoint: '{grpc}'"));
        fs::write(&config, configuration(folder.path(), &http, &grpc)).unwrap();
    };
    write("127.0.0.1:0", "127.0.0.1:0");
    let gateway = Running::start(&config, &[]);
    let (grpc, http) = (gateway.address("otlp grpc"), gateway.address("otlp http"));
    let everywhere = format!("0.0.0.0:{}", http.port());
    write(&everywhere, &grpc.to_string());
    gateway.signal("HUP");
    assert_eq!((gateway.address("otlp grpc"), gateway.address("otlp http").to_string()), (grpc, everywhere.clone()));
    let send = |name: &str| {
        assert!(exchange(&mut connect(http).unwrap(), name).unwrap().starts_with("http/1.1 200"));
    };
    send("r0");
    // grpc is bound first: its host changes before http finds its port taken
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind(taken).unwrap();
    write(&taken.to_string(), &format!("0.0.0.0:{}", grpc.port()));
    gateway.signal("HUP");
    gateway.line("the new configuration can't be started; restarting the previous one");
    assert_eq!((gateway.address("otlp grpc"), gateway.address("otlp http").to_string()), (grpc, everywhere));
    send("r1");
    drop(held);
    assert_eq!(gateway.end(), Some(0));
    each_once(folder.path(), &["out.jsonl"], 2);
}
