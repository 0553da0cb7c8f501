//! [`ListenSocket`]: a TCP or unix socket that is listened on (a sidecar needs no port), and [`ConnectionStream`], a
//! connection of either kind. A unix socket in use by another process is never taken over; one left behind by a crash
//! is replaced; any other file is left alone. The socket file is removed with the socket. A retained socket that
//! conflicts with a new one is closed. The accept loop is in `listen`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use config::Endpoint;

/// A bound socket that does not accept connections yet.
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Arc<SocketFile> },
}

/// Sockets that outlive their listeners: after a reload, the next gateway takes them over, so that clients that
/// connect in between wait instead of being refused. Clones share the same sockets.
#[derive(Clone, Default)]
pub struct RetainedSockets(Arc<Mutex<Vec<RetainedSocket>>>);

struct RetainedSocket {
    endpoint: Endpoint,
    socket: DuplicateHandle,
    /// Whether a listener of the current round uses the socket.
    used: bool,
}

enum DuplicateHandle {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, Arc<SocketFile>),
}

impl RetainedSockets {
    /// Begins a new round: sockets that are not requested again before [`RetainedSockets::close_unused`] are closed
    /// then.
    pub fn begin_round(&self) {
        self.0.lock().iter_mut().for_each(|kept| kept.used = false);
    }

    /// Closes the sockets that were not requested in this round.
    pub fn close_unused(&self) {
        self.0.lock().retain(|kept| kept.used);
    }

    /// Keeps no sockets: from now on a port closes with its listener.
    pub fn close(&self) {
        self.0.lock().clear();
    }

    /// The kept socket of `endpoint`, or a new one.
    pub(super) async fn bind(&self, endpoint: &Endpoint) -> Result<ListenSocket, BindError> {
        let failed = |error: io::Error| BindError::new(endpoint, &error);
        let retained = self.0.lock().iter_mut().find(|kept| !kept.used && kept.matches(endpoint)).map(|kept| {
            kept.used = true;
            kept.socket.duplicate()
        });
        if let Some(socket) = retained {
            return socket.map_err(failed);
        }
        let bound = match ListenSocket::listen(endpoint).await {
            // The previous round may keep the same port at another address of this machine.
            Err(error) if error.kind == io::ErrorKind::AddrInUse && self.close_conflicting(endpoint) => {
                ListenSocket::listen(endpoint).await
            }
            bound => bound,
        };
        let (socket, duplicate) = bound?.with_duplicate().map_err(failed)?;
        self.0.lock().push(RetainedSocket { endpoint: endpoint.clone(), socket: duplicate, used: true });
        Ok(socket)
    }

    /// Closes kept sockets of this port that have no listener now, and returns whether there was one. A listener that
    /// wants such a socket later in this round gets a new one.
    fn close_conflicting(&self, endpoint: &Endpoint) -> bool {
        let mut sockets = self.0.lock();
        let count_before = sockets.len();
        sockets.retain(|kept| kept.used || kept.socket.port().is_none_or(|port| port != endpoint.port()));
        sockets.len() < count_before
    }
}

impl RetainedSocket {
    /// Whether this socket matches `endpoint`, even if the endpoint is written differently.
    fn matches(&self, endpoint: &Endpoint) -> bool {
        let same_address = match &self.socket {
            DuplicateHandle::Tcp(listener) => {
                endpoint.socket_addr().is_some_and(|at| listener.local_addr().is_ok_and(|local| local == at))
            }
            DuplicateHandle::Unix(..) => false,
        };
        self.endpoint == *endpoint || same_address
    }
}

impl DuplicateHandle {
    fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|at| at.port()),
            Self::Unix(..) => None,
        }
    }

    fn duplicate(&self) -> io::Result<ListenSocket> {
        Ok(match self {
            Self::Tcp(listener) => ListenSocket::Tcp(TcpListener::from_std(listener.try_clone()?)?),
            Self::Unix(listener, file) => {
                ListenSocket::Unix { listener: UnixListener::from_std(listener.try_clone()?)?, _file: Arc::clone(file) }
            }
        })
    }
}

/// The file of a unix socket; removed when dropped, if it is still the same file.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

/// The bytes of a connection of either kind.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

pub(super) struct ConnectionStream {
    pub(super) bytes: Box<dyn ByteStream>,
    /// The peer; 127.0.0.1 for a unix socket.
    pub(super) ip: IpAddr,
}

/// Why a port or socket can't be listened on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't listen on {endpoint}: {what}")]
pub struct BindError {
    endpoint: Endpoint,
    /// The operating system's error.
    kind: io::ErrorKind,
    what: String,
}

impl BindError {
    fn new(endpoint: &Endpoint, error: &io::Error) -> Self {
        Self { endpoint: endpoint.clone(), kind: error.kind(), what: describe_io_error(error) }
    }
}

impl ListenSocket {
    fn with_duplicate(self) -> io::Result<(Self, DuplicateHandle)> {
        let duplicate = match self {
            Self::Tcp(listener) => DuplicateHandle::Tcp(listener.into_std()?),
            Self::Unix { listener, _file } => DuplicateHandle::Unix(listener.into_std()?, _file),
        };
        Ok((duplicate.duplicate()?, duplicate))
    }

    pub(super) async fn listen(endpoint: &Endpoint) -> Result<Self, BindError> {
        let failed = |error: io::Error| BindError::new(endpoint, &error);
        if let Some(path) = endpoint.socket() {
            let listener = match UnixListener::bind(path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let failed = |why: SocketFileError| BindError {
                        endpoint: endpoint.clone(),
                        kind: error.kind(),
                        what: why.to_string(),
                    };
                    remove_abandoned(path).await.map_err(failed)?;
                    UnixListener::bind(path)
                }
                bound => bound,
            };
            let listener = listener.map_err(failed)?;
            return Ok(Self::Unix {
                listener,
                _file: Arc::new(SocketFile { path: path.to_owned(), identity: file_identity(path) }),
            });
        }
        let listener = match endpoint.socket_addr() {
            Some(address) => TcpListener::bind(address).await,
            None => TcpListener::bind((endpoint.host(), endpoint.port())).await,
        };
        Ok(Self::Tcp(listener.map_err(failed)?))
    }

    /// The bound address; `None` for a unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<ConnectionStream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(ConnectionStream { bytes: Box::new(stream), ip: peer.ip().to_canonical() })
            }
            Self::Unix { listener, .. } => {
                Ok(ConnectionStream { bytes: Box::new(listener.accept().await?.0), ip: Ipv4Addr::LOCALHOST.into() })
            }
        }
    }
}

/// Why a file at the path of a unix socket was not removed.
#[derive(Debug, thiserror::Error)]
enum SocketFileError {
    #[error("the path exists and is not a socket")]
    NotASocket,
    #[error("another process listens on it")]
    InUse,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Removes a socket file that no process listens on.
async fn remove_abandoned(path: &Path) -> Result<(), SocketFileError> {
    let kind = std::fs::symlink_metadata(path)?.file_type();
    if !kind.is_socket() {
        return Err(SocketFileError::NotASocket);
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(SocketFileError::InUse),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(std::fs::remove_file(path)?),
        Err(error) => Err(error.into()),
    }
}

fn file_identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && file_identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Describes an I/O error for users, without the error number.
fn describe_io_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::NotFound => "the folder does not exist".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a proxy's header marks the request as forwarded; then the client is not the connecting peer.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    let is_set_by_proxies = |name: &str| {
        matches!(name, "forwarded" | "via" | "x-real-ip")
            || name.starts_with("x-forwarded-")
            || name.starts_with("x-envoy-")
    };
    headers.keys().any(|name| is_set_by_proxies(name.as_str()))
}
