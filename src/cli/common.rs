//! **What**: [`Common`]: options of every command that reads a configuration.

use std::path::PathBuf;

use clap::Args;

use super::error::CommandError;
use super::listen::{Listen, listen};
use config::env;

/// Options of every command that reads a configuration.
#[derive(Args, Clone, Default)]
pub struct Common {
    /// Configuration file; without one an embedded default runs under the data directory.
    #[arg(long, global = true, value_name = "FILE", value_parser = file)]
    pub config: Option<PathBuf>,
    /// Of a Collector; there are none here.
    #[arg(long, global = true, hide = true, value_name = "GATES", value_delimiter = ',', allow_hyphen_values = true)]
    pub feature_gates: Vec<String>,
    /// Of a Collector; not taken here.
    #[arg(long, global = true, hide = true, value_name = "KEY=VALUE", value_parser = no_setting)]
    pub set: Vec<String>,
    /// Where the embedded default keeps its vault, spool and keys [default: $TOLLGATE_DATA_DIR, else the XDG state
    /// directory].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the embedded default listens: gRPC at this port, HTTP at the next, the page (on loopback) at the one after
    /// [default: 127.0.0.1:4317, :4318 and :8888].
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = listen)]
    pub listen: Option<Listen>,
}

impl Common {
    /// The data directory that was asked for. A variable that is empty asks for none, as an unset one.
    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        let of_environment = || env::var("TOLLGATE_DATA_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.data_dir.clone().or_else(of_environment)
    }
}

/// A file without `--config` before it, which is told what it lacks.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct NoFile {
    #[arg(hide = true, value_name = "FILE", value_parser = no_file)]
    _file: Option<Never>,
}

/// What is never there.
#[derive(Clone, Copy)]
enum Never {}

fn no_file(text: &str) -> Result<Never, CommandError> {
    Err(CommandError::Usage(format!("did you mean `--config {text}`?")))
}

/// A file as the Collector's operator names it, too: `file:/path`.
fn file(text: &str) -> Result<PathBuf, CommandError> {
    let other = ["env:", "yaml:", "http:", "https:"].iter().any(|scheme| text.starts_with(scheme));
    if other {
        return Err(CommandError::Usage("only a file is read, `FILE` or `file:FILE`".to_owned()));
    }
    Ok(PathBuf::from(text.strip_prefix("file:").unwrap_or(text)))
}

/// Left out without a word it would change what runs.
fn no_setting(_: &str) -> Result<String, CommandError> {
    Err(CommandError::Usage("is not taken here: write it into the configuration".to_owned()))
}
