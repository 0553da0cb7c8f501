//! Loads a command's configuration: from `--config`, or the embedded default with its try-out key. All problems go to
//! stderr at once; a bad configuration ends with exit code 78. The checks are in `app/resolve`.

use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};

use super::common::Common;
use super::data_dir;
use super::error::CommandError;
use super::output::{colour_err, complain};
use crate::app::defaults::{DATA_DIR, TEXT, TRYOUT_RECIPIENT};
use crate::app::keyfile;
use crate::app::resolve::{Read, Typed, Valid, read};
use config::env::{FileError, Lookup, Process};
use config::{Gravity, Problem, Source};
use kernel::secret::Secret;
use kernel::terminal::counted;

/// File name of the try-out auditor's key in the data directory.
pub(super) const TRYOUT_KEY: &str = "auditor.key";

/// The hint when the file can't be read.
const UNREAD: &str =
    "`--config` takes the path of a YAML file; `tollgate print-config > tollgate.yaml` writes one to begin with";

/// A usable configuration.
pub(super) struct Loaded {
    /// As written, with defaults filled in.
    pub(super) typed: Typed,
    /// The validated settings.
    pub(super) valid: Valid,
    /// Whether it is the embedded default.
    pub(super) embedded: bool,
    /// Its text and the digests of files it names.
    pub(super) said: Said,
}

/// The text of a configuration and digests of the files it names by `${file:…}`, to detect changes. It has no `Debug`.
#[derive(Clone, PartialEq)]
pub(super) struct Said {
    text: String,
    files: Vec<Option<[u8; 32]>>,
}

impl Said {
    fn of(text: String) -> Self {
        // A reference in a comment is digested too, which is harmless.
        let named = text.split("${file:").skip(1).filter_map(|rest| rest.split_once('}'));
        let files = named.map(|(path, _)| digest(path)).collect();
        Self { text, files }
    }

    /// The text alone, without the files.
    fn here(text: String) -> Self {
        Self { text, files: Vec::new() }
    }
}

/// The digest of a regular file's text. A pipe can be read only once and counts as unchanged.
fn digest(path: &str) -> Option<[u8; 32]> {
    if !std::fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    let text = Secret::new(Process.file(path).ok()?);
    Some(Sha256::digest(text.expose()).into())
}

/// Whether a command may create files (keys of the embedded default).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    /// The command runs a gateway: `run`.
    Keys,
    /// The command creates nothing, such as `validate` and `print-config`.
    Nothing,
}

/// Whether to read the files that a configuration names by `${file:…}`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Read,
    /// The files are on another machine.
    Elsewhere,
}

/// Reads the configuration for comparison with an earlier reading.
///
/// # Errors
/// The file can't be read.
pub(super) fn said_by(common: &Common) -> Result<Said, CommandError> {
    text_of(common).map(Said::of)
}

fn text_of(common: &Common) -> Result<String, CommandError> {
    match &common.config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| CommandError::Config(format!("can't read {}: {error}: {UNREAD}", path.display()))),
        None => Ok(common.listen.map_or_else(|| TEXT.to_owned(), |listen| listen.put(TEXT))),
    }
}

/// Messages about a configuration, for people and as log lines, without its values.
#[derive(Default)]
pub(super) struct Told {
    /// Text with snippets of the file.
    pub(super) shown: String,
    /// One line per message, for a log.
    pub(super) lines: Vec<String>,
}

impl Told {
    fn line(error: CommandError) -> Self {
        let text = error.to_string();
        Self { shown: format!("error: {text}"), lines: vec![text] }
    }

    fn of(source: &Source, problems: &[Problem]) -> Self {
        let line = |problem: &Problem| {
            let place = problem.at.map_or_else(String::new, |at| format!(" (line {})", at.line));
            let hint = if problem.hint.is_empty() { String::new() } else { format!(": {}", problem.hint) };
            format!("{problem}{place}{hint}")
        };
        let shown = source.render(problems, colour_err()).trim_end().to_owned();
        Self { shown, lines: problems.iter().map(line).collect() }
    }
}

/// Reads and checks the configuration, and prints its warnings.
///
/// # Errors
/// [`CommandError::Problems`] if it can't be used.
pub(super) fn load(common: &Common, make: Make) -> Result<Loaded, CommandError> {
    complaining(loaded(common, (make, Files::Read), |_, _| Vec::new()))
}

/// Like [`load`], but returns warnings and problems instead of printing them.
pub(super) fn load_told(common: &Common, make: Make) -> Result<(Loaded, Told), Told> {
    loaded(common, (make, Files::Read), |_, _| Vec::new())
}

/// Like [`load`], for a configuration of another machine: the files that it names are not read, and their absence is
/// not an error.
///
/// # Errors
/// See [`load`].
pub(super) fn load_alone(common: &Common) -> Result<Loaded, CommandError> {
    complaining(loaded(common, (Make::Nothing, Files::Elsewhere), |_, _| Vec::new()))
}

/// A further check of the settings.
type Look = fn(&Typed, &Valid) -> Vec<Problem>;

/// Like [`load`], with a further check; all problems are reported at once.
///
/// # Errors
/// See [`load`].
pub(super) fn load_with(common: &Common, look: Look) -> Result<Loaded, CommandError> {
    complaining(loaded(common, (Make::Nothing, Files::Read), look))
}

fn complaining(loaded: Result<(Loaded, Told), Told>) -> Result<Loaded, CommandError> {
    let (loaded, warnings) = loaded.map_err(|problems| CommandError::Problems(problems.shown))?;
    if !warnings.shown.is_empty() {
        complain(&warnings.shown);
    }
    Ok(loaded)
}

fn loaded(common: &Common, (make, files): (Make, Files), look: Look) -> Result<(Loaded, Told), Told> {
    let text = text_of(common).map_err(Told::line)?;
    let name =
        common.config.as_ref().map_or_else(|| "the embedded default".to_owned(), |path| path.display().to_string());
    let embedded = common.config.is_none();
    let directory = data_dir::resolve(common.data_dir().as_deref());
    let directory =
        if embedded { directory.map_err(Told::line)? } else { directory.unwrap_or_else(|_| PathBuf::from(".")) };
    // This comes before parsing, so that a change in between is detected.
    let said = if files == Files::Read { Said::of(text) } else { Said::here(text) };
    let text = &said.text;
    let tryout = if embedded { Some(tryout_recipient(&directory, make).map_err(Told::line)?) } else { None };
    let lookup = Defaults { directory: &directory, tryout, files };
    let Read { source, mut warnings, result, faulty } = read(&name, text, &lookup, &directory);
    let seen = result.as_ref().ok().or(faulty.as_deref()).map(|(typed, valid)| look(typed, valid)).unwrap_or_default();
    let (errors, more): (Vec<_>, Vec<_>) = seen.into_iter().partition(|problem| problem.gravity == Gravity::Error);
    warnings.extend(more);
    let result = match result {
        Ok(found) if errors.is_empty() => Ok(found),
        Ok(_) => Err(Vec::new()),
        Err(problems) => Err(problems),
    };
    // Warnings are shown with errors, since both may be corrected at once.
    let result = result.map_err(|mut problems| {
        problems.extend(errors);
        problems.append(&mut warnings);
        problems
    });
    match result {
        Ok((typed, valid)) => {
            let told = if embedded { Told::default() } else { Told::of(&source, &warnings) };
            Ok((Loaded { typed, valid, embedded, said }, told))
        }
        Err(problems) => {
            let mut told = Told::of(&source, &problems);
            told.shown.push_str(&format!("\n{}: {}", source.name(), summary(&problems)));
            Err(told)
        }
    }
}

/// `2 problems, 1 warning`; warnings are counted apart because they need no correction.
fn summary(problems: &[Problem]) -> String {
    let of = |gravity, name: &str| {
        let count = problems.iter().filter(|problem| problem.gravity == gravity).count();
        (count > 0).then(|| counted(count, name))
    };
    [of(Gravity::Error, "problem"), of(Gravity::Warning, "warning")]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// Looks up the environment, and the embedded default's own variables.
struct Defaults<'d> {
    directory: &'d Path,
    tryout: Option<String>,
    files: Files,
}

impl Lookup for Defaults<'_> {
    fn var(&self, name: &str) -> Option<String> {
        match (name, &self.tryout) {
            (DATA_DIR, Some(_)) => Some(self.directory.display().to_string()),
            (TRYOUT_RECIPIENT, Some(recipient)) => Some(recipient.clone()),
            _ => Process.var(name),
        }
    }

    fn file(&self, path: &str) -> Result<String, FileError> {
        match self.files {
            Files::Read => Process.file(path),
            Files::Elsewhere => Err(FileError::Elsewhere),
        }
    }
}

/// The public key of the try-out auditor. Its secret key is kept in the data directory, for trying out only.
fn tryout_recipient(directory: &Path, make: Make) -> Result<String, CommandError> {
    let new = || Secret::new(age::x25519::Identity::generate().to_string().expose_secret().to_owned());
    let path = directory.join(TRYOUT_KEY);
    let key = match make {
        Make::Nothing if !path.exists() => new(),
        _ => keyfile::ensure(&path, new).map_err(|error| error.to_string())?.key,
    };
    let identity: age::x25519::Identity =
        key.expose().parse().map_err(|_| format!("{} holds no age identity", path.display()))?;
    Ok(identity.to_public().to_string())
}
