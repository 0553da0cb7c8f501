//! [`GatewayProcess`]: a gateway in a process of its own, which can be restarted on the same ports and folder. The
//! process is killed when the value is dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::super::options::POLL_INTERVAL;
use crate::cli::error::CommandError;
use kernel::clock::{Clock, with_timeout};

/// A gateway process.
pub(super) struct GatewayProcess {
    folder: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
    process: Option<process::Child>,
}

impl GatewayProcess {
    /// Writes the configuration into `folder`; starts nothing.
    ///
    /// # Errors
    /// A port, a key or the configuration file can't be made.
    pub(super) fn new(folder: &Path, back_end: SocketAddr, spool_size: &str) -> Result<Self, CommandError> {
        let (http, admin) = (find_free_address()?, find_free_address()?);
        let this = Self { folder: folder.to_path_buf(), http, admin, process: None };
        let generated = this.command(&["vault", "keygen", "--output"]).arg(folder.join("auditor.key")).output();
        let recipient = generated.map_err(|error| format!("can't run {}: {error}", "vault keygen"))?.stdout;
        let recipient = String::from_utf8_lossy(&recipient).trim().to_owned();
        let batch = json!({ "flush_timeout": "20ms", "max_size": "64KiB", "sizer": "bytes" });
        let retry = json!({ "initial_interval": "100ms", "max_interval": "500ms" });
        let exporter = json!({
            "endpoint": format!("http://{back_end}"), "compression": "none", "sending_queue": { "batch": batch }, "retry_on_failure": retry,
        });
        let vault = json!({ "recipients": [recipient], "store": { "directory": folder.join("vault") },
            "object_age": "1s", "index_interval": "1s" });
        let pipeline = json!({
            "receivers": ["otlp"], "exporters": ["otlp_http"], "processors": ["normalize", "cost", "vault", "redact"],
        });
        let config = json!({
            "receivers": { "otlp": { "protocols": { "http": { "endpoint": http.to_string() } } } },
            "processors": { "normalize": {}, "cost": {}, "vault": vault, "redact": {} },
            "exporters": { "otlp_http": exporter },
            "extensions": { "admin": { "endpoint": admin.to_string() } },
            "spool": { "directory": folder.join("spool"), "max_size": spool_size },
            "service": { "extensions": ["admin"], "pipelines": { "traces": pipeline } },
        });
        std::fs::write(this.config_path(), config.to_string())
            .map_err(|error| format!("can't write the configuration: {error}"))?;
        Ok(this)
    }

    fn config_path(&self) -> PathBuf {
        self.folder.join("tollgate.yaml")
    }

    /// A command that runs this program.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tollgate")));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Address for OTLP over HTTP.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// URL of a page that answers while the gateway runs.
    pub(super) fn livez_url(&self) -> String {
        format!("http://{}/livez", self.admin)
    }

    /// Starts the process.
    ///
    /// # Errors
    /// The log can't be written, or the process can't be started.
    pub(super) fn start(&mut self) -> Result<(), CommandError> {
        let log = File::options().create(true).append(true).open(self.folder.join("tollgate.log"));
        let log = log.map_err(|error| format!("can't write a log: {error}"))?;
        let error_log = log.try_clone().map_err(|error| format!("can't write a log: {error}"))?;
        let mut command = self.command(&["run", "--config"]);
        let process = command.arg(self.config_path()).stdout(log).stderr(error_log).spawn();
        self.process = Some(process.map_err(|error| format!("can't start a gateway: {error}"))?);
        Ok(())
    }

    /// Kills the process with SIGKILL.
    ///
    /// # Errors
    /// It does not run, or had exited by itself.
    pub(super) fn kill(&mut self) -> Result<(), CommandError> {
        let Some(mut process) = self.process.take() else {
            return Err(CommandError::Failed("no gateway is running".to_owned()));
        };
        if let Ok(Some(status)) = process.try_wait() {
            return Err(CommandError::Failed(format!("the gateway exited unexpectedly: {status}")));
        }
        let killed = process.kill().and_then(|()| process.wait());
        Ok(killed.map(drop).map_err(|error| format!("can't kill the gateway: {error}"))?)
    }

    /// Sends SIGTERM and returns the exit code.
    ///
    /// # Errors
    /// It does not exit in time.
    pub(super) async fn stop(&mut self, clock: &dyn Clock, timeout: Duration) -> Result<i32, CommandError> {
        let Some(process) = &mut self.process else {
            return Err(CommandError::Failed("no gateway is running".to_owned()));
        };
        kill_process(Pid::from_child(process), Signal::TERM)
            .map_err(|error| format!("can't stop the gateway: {error}"))?;
        let ending = async {
            loop {
                match process.try_wait() {
                    Ok(None) => clock.sleep(POLL_INTERVAL).await,
                    Ok(Some(status)) => return Ok(status.code().unwrap_or(-1)),
                    Err(error) => return Err(CommandError::Failed(format!("can't wait for the gateway: {error}"))),
                }
            }
        };
        let code = with_timeout(clock, timeout, ending)
            .await
            .unwrap_or_else(|| Err(CommandError::Failed("the gateway did not exit in time".to_owned())));
        self.process = None;
        code
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // An error can't be reported any more.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// A free port on loopback.
fn find_free_address() -> Result<SocketAddr, CommandError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(|error| format!("no port is free: {error}"))?)
}
