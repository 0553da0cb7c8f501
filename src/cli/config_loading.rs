//! Loads a command's configuration: from `--config`, or the embedded default with its try-out key. All problems go to
//! stderr at once; a bad configuration ends with exit code 78. The checks are in `app/resolve`.

use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;

use super::common::{CommonArgs, ConfigSource};
use crate::app::defaults::{DATA_DIR_VARIABLE, DEFAULT_CONFIG, TRYOUT_RECIPIENT_VARIABLE};
use crate::app::resolve::{ResolvedConfig, TypedConfig, ValidSettings, resolve_config};
use command::error::CommandError;
use command::keyfile::{self, TRYOUT_KEY};
use command::output::{print_to_stderr, use_colour_on_stderr};
use config::env::{self, ProcessLookup, SubstitutionFileError, SubstitutionLookup};
use config::{MaskedSource, Problem, ProblemSeverity};
use kernel::files::{describe_io_error, read_text as read_text_file};
use kernel::hex;
use kernel::secret::Secret;
use kernel::sha256::Sha256;
use kernel::terminal::format_count;

/// Largest configuration file, in bytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// The hint when the file can't be read.
const READ_HINT: &str =
    "`--config` needs the path of a YAML file; create one with `tollgate print-config > tollgate.yaml`";

/// A usable configuration.
pub(super) struct LoadedConfig {
    /// As written, with defaults filled in.
    pub(super) typed: TypedConfig,
    pub(super) valid: ValidSettings,
    /// Whether this is the embedded default.
    pub(super) embedded: bool,
    /// The recipient of the embedded default, if its secret key was not stored because the command creates no files.
    pub(super) temporary_recipient: Option<String>,
    /// The configuration's text and the digests of the files that it names.
    pub(super) snapshot: ConfigSnapshot,
}

/// The text of a configuration and digests of the files it names by `${file:…}`, to detect changes. It has no `Debug`.
#[derive(Clone, PartialEq)]
pub(super) struct ConfigSnapshot {
    text: String,
    files: Vec<Option<[u8; 32]>>,
}

impl ConfigSnapshot {
    fn with_files(text: String) -> Self {
        // A reference in a comment is digested too, which is harmless.
        let named = text.split("${file:").skip(1).filter_map(|rest| rest.split_once('}'));
        let files = named.map(|(path, _)| file_digest(path)).collect();
        Self { text, files }
    }

    /// A short hash of the text, to compare replicas with each other and with the file. The files that it names are
    /// left out: they hold secrets.
    pub(super) fn short_hash(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        hex::encode(digest.first_chunk::<4>().unwrap_or(&[0; 4]))
    }
}

/// The digest of a regular file's text. A pipe can be read only once and counts as unchanged.
fn file_digest(path: &str) -> Option<[u8; 32]> {
    if !std::fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    let text = Secret::new(ProcessLookup.read_file(path).ok()?);
    Some(Sha256::digest(text.expose()))
}

/// What a command may do with files: keys of the embedded default, and those that a configuration names by `${file:…}`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileAccess {
    /// The command runs a gateway, and creates the try-out key: `run`.
    Create,
    /// The command creates nothing, such as `explain` and `print-config`.
    Read,
    /// The files are on another machine: they are not read, and their absence is not an error.
    None,
}

/// Reads the configuration for comparison with an earlier reading.
///
/// # Errors
/// The file can't be read.
pub(super) fn read_snapshot(common: &CommonArgs) -> Result<ConfigSnapshot, CommandError> {
    read_text(common).map(ConfigSnapshot::with_files)
}

fn read_text(common: &CommonArgs) -> Result<String, CommandError> {
    match &common.config {
        Some(ConfigSource::Environment(name)) => env::var(name).ok_or_else(|| {
            CommandError::Config(format!("the environment variable {name} is not set, or is not text: {READ_HINT}"))
        }),
        Some(ConfigSource::File(path)) => read_text_file(path, MAX_CONFIG_BYTES).map_err(|error| {
            let why = describe_io_error(error.kind());
            CommandError::Config(format!("can't read {}: {why}: {READ_HINT}", path.display()))
        }),
        None => Ok(common.listen.map_or_else(|| DEFAULT_CONFIG.to_owned(), |listen| listen.apply_to(DEFAULT_CONFIG))),
    }
}

/// Messages about a configuration, for people and as log lines, without its values.
#[derive(Default)]
pub(super) struct ConfigMessages {
    /// Text with snippets of the file.
    pub(super) rendered: String,
    /// One line per message, for a log.
    pub(super) lines: Vec<String>,
}

impl ConfigMessages {
    fn from_error(error: CommandError) -> Self {
        let text = error.to_string();
        Self { rendered: format!("error: {text}"), lines: vec![text] }
    }

    fn from_problems(source: &MaskedSource, problems: &[Problem]) -> Self {
        let line = |problem: &Problem| {
            let position = problem.at.map_or_else(String::new, |at| format!(" (line {})", at.line));
            let hint = if problem.hint.is_empty() { String::new() } else { format!(": {}", problem.hint) };
            format!("{problem}{position}{hint}")
        };
        let rendered = source.render(problems, use_colour_on_stderr()).trim_end().to_owned();
        Self { rendered, lines: problems.iter().map(line).collect() }
    }
}

/// Reads and checks the configuration. Its warnings are left out: `validate` and the start of a gateway print them, so
/// that they don't come with every command.
///
/// # Errors
/// [`CommandError::Problems`] if it can't be used.
pub(super) fn load_config(common: &CommonArgs, access: FileAccess) -> Result<LoadedConfig, CommandError> {
    let loaded = load_with_messages(common, access);
    loaded.map(|(loaded, _)| loaded).map_err(|problems| CommandError::Problems(problems.rendered))
}

/// Like [`load_config`], but returns warnings and problems instead of printing them.
pub(super) fn load_with_messages(
    common: &CommonArgs,
    access: FileAccess,
) -> Result<(LoadedConfig, ConfigMessages), ConfigMessages> {
    load_and_check(common, access, |_, _| Vec::new())
}

type ExtraCheck = fn(&TypedConfig, &ValidSettings) -> Vec<Problem>;

/// Like [`load_config`], with a further check; all problems are reported at once, and warnings are printed.
///
/// # Errors
/// See [`load_config`].
pub(super) fn load_with_warnings(
    common: &CommonArgs,
    access: FileAccess,
    extra_check: ExtraCheck,
) -> Result<LoadedConfig, CommandError> {
    let loaded = load_and_check(common, access, extra_check);
    let (loaded, warnings) = loaded.map_err(|problems| CommandError::Problems(problems.rendered))?;
    if !warnings.rendered.is_empty() {
        print_to_stderr(&warnings.rendered);
    }
    Ok(loaded)
}

fn load_and_check(
    common: &CommonArgs,
    access: FileAccess,
    extra_check: ExtraCheck,
) -> Result<(LoadedConfig, ConfigMessages), ConfigMessages> {
    let text = read_text(common).map_err(ConfigMessages::from_error)?;
    let name = common.config.as_ref().map_or_else(|| "the embedded default".to_owned(), ToString::to_string);
    let embedded = common.config.is_none();
    let directory = common.find_data_dir();
    let directory = if embedded {
        directory.map_err(ConfigMessages::from_error)?
    } else {
        directory.unwrap_or_else(|_| PathBuf::from("."))
    };
    // The snapshot is taken before parsing, so that a later change of a named file is detected.
    let snapshot = match access {
        FileAccess::Create | FileAccess::Read => ConfigSnapshot::with_files(text),
        FileAccess::None => ConfigSnapshot { text, files: Vec::new() },
    };
    let text = &snapshot.text;
    let tryout = embedded.then(|| tryout_recipient(&directory, access)).transpose();
    let tryout = tryout.map_err(ConfigMessages::from_error)?;
    let key_exists = directory.join(TRYOUT_KEY).exists();
    let temporary_recipient = tryout.clone().filter(|_| !key_exists);
    let lookup = DefaultLookup { directory: &directory, tryout, access };
    let ResolvedConfig { source, mut warnings, result, usable_parts } =
        resolve_config(&name, text, &lookup, &directory);
    let parts = result.as_ref().ok().or(usable_parts.as_deref());
    let extra_problems = parts.map(|(typed, valid)| extra_check(typed, valid)).unwrap_or_default();
    let (errors, extra_warnings): (Vec<_>, Vec<_>) =
        extra_problems.into_iter().partition(|problem| problem.severity == ProblemSeverity::Error);
    warnings.extend(extra_warnings);
    match result {
        Ok((typed, valid)) if errors.is_empty() => {
            let messages =
                if embedded { ConfigMessages::default() } else { ConfigMessages::from_problems(&source, &warnings) };
            Ok((LoadedConfig { typed, valid, embedded, temporary_recipient, snapshot }, messages))
        }
        unusable => {
            // Warnings are shown with errors, since both may be corrected at once.
            let problems = unusable.err().unwrap_or_default();
            let problems: Vec<_> = problems.into_iter().chain(errors).chain(warnings).collect();
            let mut messages = ConfigMessages::from_problems(&source, &problems);
            messages.rendered.push_str(&format!("\n{}: {}", source.name(), count_problems(&problems)));
            Err(messages)
        }
    }
}

/// `2 problems, 1 warning`; warnings are counted apart because they need no correction.
fn count_problems(problems: &[Problem]) -> String {
    let counted = |severity, name: &str| {
        let count = problems.iter().filter(|problem| problem.severity == severity).count();
        (count > 0).then(|| format_count(count, name))
    };
    let counts = [counted(ProblemSeverity::Error, "problem"), counted(ProblemSeverity::Warning, "warning")];
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Looks up the environment, and the embedded default's own variables.
struct DefaultLookup<'d> {
    directory: &'d Path,
    tryout: Option<String>,
    access: FileAccess,
}

impl SubstitutionLookup for DefaultLookup<'_> {
    fn var(&self, name: &str) -> Option<String> {
        match (name, &self.tryout) {
            (DATA_DIR_VARIABLE, Some(_)) => Some(self.directory.display().to_string()),
            (TRYOUT_RECIPIENT_VARIABLE, Some(recipient)) => Some(recipient.clone()),
            _ => ProcessLookup.var(name),
        }
    }

    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError> {
        match self.access {
            FileAccess::Create | FileAccess::Read => ProcessLookup.read_file(path),
            FileAccess::None => Err(SubstitutionFileError::OtherMachine),
        }
    }

    fn is_other_machine(&self) -> bool {
        self.access == FileAccess::None
    }
}

/// The public key of the try-out auditor. Its secret key is kept in the data directory, for trying out only.
fn tryout_recipient(directory: &Path, access: FileAccess) -> Result<String, CommandError> {
    let new = || Secret::new(age::x25519::Identity::generate().to_string().expose_secret().to_owned());
    let path = directory.join(TRYOUT_KEY);
    let key = match access {
        FileAccess::Read | FileAccess::None if !path.exists() => new(),
        _ => keyfile::read_or_create(&path, new).map_err(|error| error.to_string())?.key,
    };
    let identity: age::x25519::Identity =
        key.expose().parse().map_err(|_| format!("{} contains no age identity", path.display()))?;
    Ok(identity.to_public().to_string())
}
