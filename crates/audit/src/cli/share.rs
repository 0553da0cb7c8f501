//! `tollgate vault share` and `tollgate vault combine`, for session keys that several auditors open together: one
//! auditor writes their shares of a session's keys into a file for another. The work is in `audit/shares`.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use clap::Args;
use zeroize::Zeroizing;

use super::opening::{OpeningArgs, RequestedOpenings};
use super::vault_args::{VaultArgs, print_bytes};
use crate::folders::KeySelection;
use crate::shares::{MAX_SHARE_FILE, collect_shares, combine_all, parse_shares};
use command::error::{CommandError, ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use kernel::files;
use kernel::terminal::{escape_unsafe, format_count};
use vault::key_shares::KeyShare;
use vault::seal::parse_recipient;

/// Options of `vault share`.
#[derive(Args)]
pub struct ShareArgs {
    /// The request for the session, with two signatures (`vault open-request`, `vault approve`).
    #[arg(requires_all = ["openers", "sign_with"])]
    request: PathBuf,
    #[command(flatten)]
    opening: OpeningArgs,
    /// Only this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Public key (`age1…`) of the auditor who asked: only this auditor can open the file. Without it, the file is
    /// plain text.
    #[arg(long, value_name = "age1…")]
    recipient: Option<String>,
    /// The new file; mode 0600, never overwritten.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    vault: VaultArgs,
}

/// Options for shares that other auditors opened.
#[derive(Args)]
pub(crate) struct GivenShares {
    /// File from another auditor's `vault share`, for keys that several auditors open together; may be repeated. An
    /// auditor who is present can give their own `--identity` instead.
    #[arg(long, value_name = "FILE")]
    share: Vec<PathBuf>,
    /// Requests, if enough auditors are present.
    #[command(flatten)]
    pub(crate) requested: Box<RequestedOpenings>,
}

impl GivenShares {
    /// The shares in the files.
    ///
    /// # Errors
    /// A file can't be read or opened, or holds no shares.
    pub(crate) fn read(&self, auditors: &[age::x25519::Identity]) -> Result<Vec<KeyShare>> {
        let mut shares = Vec::new();
        for path in &self.share {
            let with_path = |why: String| CommandError::Failed(format!("--share {}: {why}", path.display()));
            let file = read_limited(path).map_err(|error| with_path(error.to_string()))?;
            shares.extend(parse_shares(&file, auditors).map_err(|error| with_path(error.to_string()))?);
        }
        Ok(shares)
    }
}

fn read_limited(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(MAX_SHARE_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Runs `vault share`.
pub(super) fn run_share(options: &ShareArgs) -> Result<ExitStatus> {
    let recipient = options.recipient.as_deref().map(parse_recipient).transpose();
    let recipient = recipient.map_err(|why| format!("--recipient {why}"))?;
    // reserve the file first: if it can't be written, the request must not be used up
    reserve_file(&options.output)?;
    let (text, status) = write_shares(options, recipient).inspect_err(|_| {
        let is_unused = options.output.metadata().is_ok_and(|file| file.len() == 0);
        // if the removal fails, an empty file stays, and a person must remove it
        drop(is_unused.then(|| std::fs::remove_file(&options.output)));
    })?;
    output::print(&text)?;
    Ok(status)
}

/// Creates an empty file (0600); a link in its place is not followed.
fn reserve_file(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(CommandError::Failed(format!("{} exists already", path.display())))
        }
        Err(error) => Err(CommandError::Failed(format!("can't write {}: {error}", path.display()))),
    }
}

/// Records the opening, writes the shares into the reserved file, and returns a report on them.
fn write_shares(options: &ShareArgs, recipient: Option<age::x25519::Recipient>) -> Result<(String, ExitStatus)> {
    let (collected, session) = block_on(async {
        let (vault, auditors, log) = options.vault.open().await?;
        let permitted = options.opening.record(&options.request, &options.vault, &auditors).await?;
        let selection = KeySelection { tenant: options.tenant.clone(), ..permitted.keys };
        let session = selection.session.clone().unwrap_or_default();
        let receiver = options.recipient.as_deref().unwrap_or("a plain file");
        log.record_opening(None, "share", &format!("shares of session {session} for {receiver}"))?;
        Ok((collect_shares(&vault, &auditors, &selection).await?, session))
    })?;
    output::print_notes("not shared", &collected.refused);
    if collected.shares.is_empty() {
        return Err(CommandError::Failed(match collected.without_shares {
            0 => format!("no key of session {} with a share for the given identities", escape_unsafe(&session)),
            count => format!("{count} keys of this session need no shares: each of their recipients opens them alone"),
        }));
    }
    let mut lines = Zeroizing::new(Vec::new());
    for share in &collected.shares {
        lines.extend_from_slice(&share.to_line().ok_or("a share can't be written")?);
    }
    let sealed = recipient.as_ref().map(|recipient| age::encrypt(recipient, &lines)).transpose();
    let sealed = sealed.map_err(|_| "the shares can't be sealed to --recipient")?;
    files::replace_file(&options.output, sealed.as_deref().unwrap_or(&lines))
        .map_err(|error| format!("can't write {}: {error}", options.output.display()))?;
    let form = if sealed.is_some() { "sealed to --recipient" } else { "in plain text: keep the file secret" };
    let text = format!("{} written, {form}\n", format_count(collected.shares.len(), "share"));
    let status = if collected.refused.is_empty() { ExitStatus::Success } else { ExitStatus::Failed };
    Ok((text, status))
}

/// Runs `vault combine`: shares on stdin, session keys on stdout, in the form that `age -d -i` reads.
pub(super) fn run_combine() -> Result<ExitStatus> {
    let mut file = Zeroizing::new(Vec::new());
    let read = io::stdin().lock().take(MAX_SHARE_FILE).read_to_end(&mut file);
    read.map_err(|error| format!("stdin can't be read: {error}"))?;
    let mut failures = Vec::new();
    let mut keys = Zeroizing::new(String::new());
    for (place, key) in combine_all(parse_shares(&file, &[])?) {
        match key {
            Ok(key) => {
                keys.push_str(&format!("# {}\n", escape_unsafe(&place)));
                keys.push_str(key.to_string().expose_secret());
                keys.push('\n');
            }
            Err(why) => failures.push(format!("{place}: {why}")),
        }
    }
    print_bytes(keys.as_bytes())?;
    output::print_notes("not combined", &failures);
    Ok(if failures.is_empty() { ExitStatus::Success } else { ExitStatus::Failed })
}
