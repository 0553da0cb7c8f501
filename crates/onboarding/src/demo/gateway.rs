//! [`DemoGateway`], the gateway that the demo plays its session into, and [`ScratchDir`] for its data.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use command::error::CommandError;
use kernel::clock::{Clock, SystemClock, with_timeout};
use kernel::hex;
use kernel::rng::Rng;

/// The only exporter of the demo's gateway, of the type `file`.
pub const EXPORTER: &str = "file/demo";
/// The exporter's file and the vault's folder in the directory of the demo.
pub const EXPORTED: &str = "outbound.jsonl";
pub(super) const VAULT: &str = "vault";
/// The longest wait for an exporter or the vault.
const MAX_WAIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running gateway: the embedded default, but it exports to [`EXPORTED`] only, as to a third party, so that the user
/// sees the data that a third party would get, and it has [`super::BUDGETS`]. The root package implements it.
pub trait DemoGateway {
    /// The bound addresses, with their labels (`otlp grpc`, `otlp http`, `admin`, `claude_code_hooks`).
    fn addresses(&self) -> &[(String, SocketAddr)];
    /// Records of the spool that a consumer has not taken yet.
    fn waiting_records(&self, consumer: &str) -> u64;
    /// Serves until `stop`, then shuts down; returns whether the spool failed.
    fn run_until<'s>(self: Box<Self>, stop: LocalBoxFuture<'s, ()>) -> LocalBoxFuture<'s, bool>;
}

/// The gateway, its addresses and its directory.
pub(super) struct PlayedGateway {
    pub(super) gateway: Box<dyn DemoGateway>,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) hooks: SocketAddr,
    pub(super) directory: PathBuf,
}

impl PlayedGateway {
    pub(super) fn new(gateway: Box<dyn DemoGateway>, directory: &Path) -> Result<Self, CommandError> {
        let find_address = |port_name: &str| {
            let found = gateway.addresses().iter().find(|(name, _)| name == port_name);
            found.map(|(_, address)| *address).ok_or_else(|| format!("`{port_name}` does not listen"))
        };
        let (grpc, http, admin) = (find_address("otlp grpc")?, find_address("otlp http")?, find_address("admin")?);
        let hooks = find_address("claude_code_hooks")?;
        Ok(Self { gateway, grpc, http, admin, hooks, directory: directory.to_path_buf() })
    }

    /// Waits until the spool has no records left for `consumer`.
    pub(super) async fn wait_until_delivered(&self, consumer: &str) -> Result<(), CommandError> {
        let clock = SystemClock::new();
        let waiting = async {
            while self.gateway.waiting_records(consumer) > 0 {
                clock.sleep(POLL_INTERVAL).await;
            }
        };
        let waited = with_timeout(&clock, MAX_WAIT, waiting).await;
        Ok(waited.ok_or_else(|| format!("records are still waiting for `{consumer}`"))?)
    }
}

/// A new directory, accessible to its owner only (0700), and removed on drop unless it is to be kept.
pub(super) struct ScratchDir {
    pub(super) path: PathBuf,
    pub(super) keep: bool,
}

impl ScratchDir {
    /// Creates a directory in `parent`, or else in the system's temporary directory.
    pub(super) fn create(parent: Option<PathBuf>, keep: bool, rng: &dyn Rng) -> Result<Self, CommandError> {
        let parent = parent.unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("tollgate-demo-{}", hex::encode(&rng.id())));
        let created = std::fs::create_dir_all(&parent).and_then(|()| DirBuilder::new().mode(0o700).create(&path));
        created.map_err(|error| format!("can't create {}: {error}", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // An error can't be reported any more.
        drop((!self.keep).then(|| std::fs::remove_dir_all(&self.path)));
    }
}
