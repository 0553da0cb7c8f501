//! [`CommonArgs`]: the options of every command that reads a configuration.

use std::path::PathBuf;

use clap::Args;

use super::error::CommandError;
use super::listen::{ListenAddress, parse_listen_address};
use config::env;

/// Options of every command that reads a configuration.
#[derive(Args, Clone, Default)]
pub struct CommonArgs {
    /// Configuration file [default: an embedded configuration that keeps its data in the data directory].
    #[arg(long, global = true, value_name = "FILE", value_parser = parse_config_path)]
    pub config: Option<PathBuf>,
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

/// Parses `FILE`, or `file:FILE` as the Collector's operator writes it.
fn parse_config_path(text: &str) -> Result<PathBuf, CommandError> {
    let is_other_scheme = ["env:", "yaml:", "http:", "https:"].iter().any(|scheme| text.starts_with(scheme));
    if is_other_scheme {
        return Err(CommandError::Usage("only files are supported: write `FILE` or `file:FILE`".to_owned()));
    }
    Ok(PathBuf::from(text.strip_prefix("file:").unwrap_or(text)))
}

/// Refuses `--set`, because ignoring it silently would change what runs.
fn reject_setting(_: &str) -> Result<String, CommandError> {
    Err(CommandError::Usage("is not supported: write the setting into the configuration file".to_owned()))
}
