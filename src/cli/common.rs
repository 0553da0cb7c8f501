//! [`CommonArgs`]: the options of every command that reads a configuration.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use super::listen::{ListenAddress, parse_listen_address};
use command::error::CommandError;
use config::env;

/// Options of every command that reads a configuration.
#[derive(Args, Clone, Default)]
pub struct CommonArgs {
    /// Configuration file, or `env:NAME` for the text of an environment variable [default: an embedded configuration
    /// that keeps its data in the data directory].
    #[arg(long, global = true, value_name = "FILE", value_parser = parse_config_source)]
    pub config: Option<ConfigSource>,
    /// Option of the Collector, accepted without effect: tollgate has no feature gates.
    #[arg(long, global = true, hide = true, value_name = "GATES", value_delimiter = ',', allow_hyphen_values = true)]
    pub feature_gates: Vec<String>,
    /// Option of the Collector, refused with an error.
    #[arg(long, global = true, hide = true, value_name = "KEY=VALUE", value_parser = reject_setting)]
    pub set: Vec<String>,
    /// Folder for the vault, spool and keys of the embedded configuration [default: $TOLLGATE_DATA_DIR, or else the XDG
    /// state directory].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for the embedded configuration: gRPC on this port, HTTP on the next, the page (on loopback) on the one
    /// after that [default: 127.0.0.1:4317, :4318 and :8888].
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = parse_listen_address)]
    pub listen: Option<ListenAddress>,
}

impl CommonArgs {
    /// The data directory of the embedded default: the requested one, or else the tollgate folder in the XDG state
    /// directory. Without a home directory nothing is guessed.
    ///
    /// # Errors
    /// There is no home directory; the message says what to set.
    pub(super) fn find_data_dir(&self) -> Result<PathBuf, CommandError> {
        if let Some(path) = self.data_dir() {
            return Ok(path);
        }
        let absolute = |name: &str| env::var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        state.map(|state| state.join("tollgate")).ok_or_else(|| {
            let why =
                "no data directory: neither HOME nor XDG_STATE_HOME is set; use --data-dir DIR or TOLLGATE_DATA_DIR";
            CommandError::Config(why.to_owned())
        })
    }

    /// The requested data directory. An empty environment variable counts as unset.
    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        let from_environment = || env::var("TOLLGATE_DATA_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.data_dir.clone().or_else(from_environment)
    }
}

/// Catches a file given without `--config`, to suggest the option.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct RejectFileArg {
    #[arg(hide = true, value_name = "FILE", value_parser = reject_file)]
    _file: Option<Never>,
}

/// A value that can't exist: parsing always fails.
#[derive(Clone, Copy)]
enum Never {}

fn reject_file(text: &str) -> Result<Never, CommandError> {
    Err(CommandError::Usage(format!("did you mean `--config {text}`?")))
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    File(PathBuf),
    /// The environment variable of this name, as the OpenTelemetry operator passes the configuration of a sidecar.
    Environment(String),
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "env:{name}"),
        }
    }
}

/// Parses `FILE`, `file:FILE` or `env:NAME`, as the Collector and its operator write them.
fn parse_config_source(text: &str) -> Result<ConfigSource, CommandError> {
    if let Some(name) = text.strip_prefix("env:").filter(|name| !name.is_empty()) {
        return Ok(ConfigSource::Environment(name.to_owned()));
    }
    if ["env:", "yaml:", "http:", "https:"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(CommandError::Usage(
            "only files and variables are supported: write `FILE`, `file:FILE` or `env:NAME`".to_owned(),
        ));
    }
    Ok(ConfigSource::File(PathBuf::from(text.strip_prefix("file:").unwrap_or(text))))
}

/// Refuses `--set`, because ignoring it silently would change what runs.
fn reject_setting(_: &str) -> Result<String, CommandError> {
    Err(CommandError::Usage("is not supported: write the setting into the configuration file".to_owned()))
}
