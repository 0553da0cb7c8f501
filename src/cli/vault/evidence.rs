//! **What**: `tollgate vault evidence`: a folder of evidence for a period, as SOC 2 auditors ask for it. **Invariants**: the folder is
//! new; every file stands in the manifest with its SHA-256, the manifest is written last and signed where a key is given; exit 1 where
//! the vault does not verify, and the folder says so. **Not here**: what is gathered (`vault/evidence`), judging (`vault/verify`).

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::auditors::{self, Sealed};
use super::super::error::{CommandError, Exit};
use super::super::opening_log::OpeningLog;
use super::super::output;
use super::super::runtime::block_on;
use super::chain::Chains;
use super::keys::{public_keys_of, read};
use audit::evidence::{Gathered, Period, gather};
use audit::verify::{Report, verify};
use kernel::clock::{Clock, SystemClock};
use kernel::files;
use kernel::secret::Secret;
use kernel::terminal::escaped;
use vault::chain::note::SigningKey;
use vault::names::rfc3339;

/// Largest file that is taken along, bytes.
const MAX_ATTACHED: u64 = 64 << 20;

/// Options of `vault evidence`.
#[derive(Args)]
#[command(group = ArgGroup::new("auditor").multiple(true).args(["identity", "identity_kms"]))]
pub(crate) struct Evidence {
    #[command(flatten)]
    chains: Chains,
    /// First day, or moment, of arrival (UTC): `2026-11-01`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: String,
    /// The day, or moment, behind the last one: `2026-12-01`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: String,
    /// An auditor's key file: fragments of the period are opened and held against their lines.
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    sealed: Sealed,
    /// The file in which it is noted that fragments are opened, before they are, yours to keep; `none`: it is not noted. Default: the
    /// (first) key file's name with `.openings.jsonl` behind it.
    #[arg(long, value_name = "FILE|none", requires = "auditor")]
    log: Option<PathBuf>,
    /// An anchor that was kept elsewhere; goes into the bundle.
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Public key of who anchored, or a file that holds it.
    #[arg(long, value_name = "KEY|FILE")]
    anchor_key: Vec<String>,
    /// Public keys of those who sign requests to erase, or a file that holds them.
    #[arg(long, value_name = "KEY|FILE")]
    erasers: Vec<String>,
    /// A file to take along: `vault doctor --json`, `vault policy`, a log of openings, a drill's report.
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// Signs the manifest (`vault keygen --signing`).
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// The new folder.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// A day or a moment, as index lines have them.
fn moment(text: &str) -> Result<String, CommandError> {
    let shaped: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match shaped.as_str() {
        "0000-00-00" => Ok(format!("{text}T00:00:00.000000000Z")),
        "0000-00-00T00:00:00Z" => Ok(format!("{}.000000000Z", text.trim_end_matches('Z'))),
        _ => Err(CommandError::Usage("is no time: `2026-11-01` or `2026-11-01T08:00:00Z`".to_owned())),
    }
}

/// Runs `vault evidence`.
pub(super) fn run_evidence(options: &Evidence) -> Result<Exit, CommandError> {
    if options.from >= options.to {
        return Err("--to is not after --from".into());
    }
    let key = options.sign_with.as_deref().map(|path| {
        let key = SigningKey::from_secret(&Secret::new(read(path)?));
        key.map_err(|why| CommandError::Failed(format!("{} {why}", path.display())))
    });
    let key = key.transpose()?;
    if options.output.symlink_metadata().is_ok() {
        return Err(CommandError::Failed(format!("{} exists: a bundle is a new folder", options.output.display())));
    }
    let period = Period { from: options.from.clone(), to: options.to.clone() };
    let mut report = Report::default();
    let mut gathered = Gathered::default();
    block_on(async {
        let (vault, account) = (options.chains.vault()?, options.chains.account());
        let mut wanted = options.chains.options()?;
        (wanted.from, wanted.to) = (Some(period.from.clone()), Some(period.to.clone()));
        wanted.anchors = options.anchor.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        wanted.anchor_keys = public_keys_of("--anchor-key", &options.anchor_key)?;
        wanted.erasers = public_keys_of("--erasers", &options.erasers)?;
        if !(options.identity.is_empty() && options.sealed.is_empty()) {
            let (log, chains) = (options.log.as_deref(), &options.chains);
            let (files, keys) = auditors::keys(&options.identity, &options.sealed, chains.reach()).await?;
            wanted.auditors = keys;
            let log = OpeningLog::of(log, &files, chains.store(), &wanted.auditors)?;
            log.note("evidence", &format!("every fragment from {} to {}", period.from, period.to))?;
        }
        gathered = gather(&vault, &period, account, &wanted.keys).await?;
        report = verify(&vault, &wanted, &mut |_| {}).await?;
        Ok(())
    })?;
    let mut bundle = Bundle::begin(&options.output)?;
    write(&mut bundle, options, &period, &gathered, &report)?;
    let complete = gathered.closed.is_empty();
    bundle.end(&period, (&report, complete), options.chains.store(), key.as_ref())?;
    let mut verified = if report.verified { "verified" } else { "NOT VERIFIED: see verify.txt" }.to_owned();
    if !complete {
        verified.push_str("; NOT COMPLETE: see closed.ndjson");
    }
    if !gathered.unsigned.is_empty() {
        verified.push_str("; left out what nobody signed: see unsigned.ndjson");
    }
    output::print(&format!(
        "{} sessions, {} lines, {} digests, {} erasures; {verified}\n",
        gathered.sessions.len(),
        gathered.lines,
        gathered.digests.len(),
        gathered.erased.len()
    ))?;
    Ok(if report.verified && complete { Exit::Fine } else { Exit::Failed })
}

fn write(
    bundle: &mut Bundle,
    options: &Evidence,
    period: &Period,
    gathered: &Gathered,
    report: &Report,
) -> Result<(), CommandError> {
    bundle.lines("population.ndjson", gathered.sessions.values())?;
    let boundary = gathered.boundary.iter().map(|(what, times)| json!({"what": what, "times": times}));
    bundle.lines("boundary.ndjson", boundary)?;
    let configurations = gathered.configurations.iter().map(|(what, spell)| json!({"what": what, "when": spell}));
    bundle.lines("configurations.ndjson", configurations)?;
    bundle.lines("digests.ndjson", &gathered.digests)?;
    bundle.lines("keys.ndjson", &gathered.keys)?;
    bundle.lines("erased.ndjson", &gathered.erased)?;
    bundle.lines("unsigned.ndjson", &gathered.unsigned)?;
    bundle.lines("closed.ndjson", &gathered.closed)?;
    let json = serde_json::to_string_pretty(report).unwrap_or_default(); // strings and numbers: can't fail
    bundle.file("verify.json", escaped(&json).as_bytes())?;
    let text = report.text() + "\n";
    bundle.file("verify.txt", text.as_bytes())?;
    for (folder, paths) in [("anchors", &options.anchor), ("attached", &options.attach)] {
        for (number, path) in (1..).zip(paths) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().replace(|c: char| !is_plain(c), "_");
            bundle.file(&format!("{folder}/{number:02}-{name}"), &bytes(path)?)?;
        }
    }
    let readme = README.replace("{from}", &period.from).replace("{to}", &period.to);
    let counts = format!(
        "{} index lines, {} of them without session or trace, {} say that one was lost; {} sessions.\n",
        gathered.lines,
        gathered.homeless,
        gathered.gaps,
        gathered.sessions.len()
    );
    bundle.file("README.md", (readme + &counts).as_bytes())
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

fn bytes(path: &Path) -> Result<Vec<u8>, CommandError> {
    use std::io::Read;
    let say = |error: std::io::Error| format!("can't read {}: {error}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(say)?.take(MAX_ATTACHED + 1).read_to_end(&mut bytes).map_err(say)?;
    if bytes.len() as u64 > MAX_ATTACHED {
        Err(CommandError::Failed(format!("{} is too large", path.display())))
    } else {
        Ok(bytes)
    }
}

/// A folder that is being filled.
struct Bundle {
    folder: PathBuf,
    files: Vec<Entry>,
}

/// A file in the manifest.
#[derive(Serialize)]
struct Entry {
    name: String,
    bytes: usize,
    sha256: String,
}

impl Bundle {
    fn begin(folder: &Path) -> Result<Self, CommandError> {
        let made = files::make_folders(folder);
        made.map_err(|error| format!("can't make {}: {error}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), files: Vec::new() })
    }

    fn lines<T: Serialize>(&mut self, name: &str, rows: impl IntoIterator<Item = T>) -> Result<(), CommandError> {
        let mut out = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut out, &row).map_err(|error| error.to_string())?;
            out.push(b'\n');
        }
        self.file(name, &out)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
        self.put(name, bytes)?;
        let sha256 = kernel::hex::encode(&Sha256::digest(bytes));
        self.files.push(Entry { name: name.to_owned(), bytes: bytes.len(), sha256 });
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
        let path = self.folder.join(name);
        let folder = files::make_folders(files::folder_of(&path));
        let written = folder.and_then(|()| files::write_new(&path, bytes));
        written.map_err(|error| CommandError::Failed(format!("can't write {}: {error}", path.display())))
    }

    /// The manifest, `SHA256SUMS` for stock tools, and the signature.
    fn end(
        self,
        period: &Period,
        (report, complete): (&Report, bool),
        store: &str,
        key: Option<&SigningKey>,
    ) -> Result<(), CommandError> {
        let manifest = json!({
            "v": 1,
            "period": period,
            "made": rfc3339(SystemClock::new().now()),
            "by": format!("tollgate {}", env!("CARGO_PKG_VERSION")),
            "store": store,
            "verified": report.verified,
            "complete": complete,
            "heads": report.heads,
            "files": self.files,
        });
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n"; // strings and numbers: can't fail
        self.put("manifest.json", text.as_bytes())?;
        let sums = self.files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name));
        let own = format!("{}  manifest.json\n", kernel::hex::encode(&Sha256::digest(text.as_bytes())));
        self.put("SHA256SUMS", (sums.collect::<String>() + &own).as_bytes())?;
        match key {
            None => Ok(()),
            Some(key) => {
                self.put("manifest.json.sig", &key.sign(text.as_bytes()))?;
                self.put("manifest.json.key", format!("{}\n", key.public()).as_bytes())
            }
        }
    }
}

const README: &str = "# Evidence from {from} to {to}\n
Made from the vault's index and chain. No content is in it. `sha256sum -c SHA256SUMS` checks the files;
`manifest.json.sig` is the Ed25519 signature of `manifest.json` by the key in `manifest.json.key` (compare that key with one you have from
elsewhere).

| file | what it is | SOC 2 criteria it can support |
|---|---|---|
| `population.ndjson` | every session of the period: who (pseudonyms), which agent and version, calls, cost, denials, ids of its keys | PI1.3, PI1.5, CC7.2 |
| `boundary.ndjson` | by session: tools used, what was decided and denied, by whom (`decided_by`), for which agent and user | CC6.1, CC6.3, CC7.2 |
| `configurations.ndjson` | versions of the gateways and SHA-256 of their configuration files, from when to when, from signed digests | CC8.1 |
| `verify.json`, `verify.txt` | what was verified, what was found, what was not looked at; turns that are missing | CC7.2, CC7.3, PI1.4 |
| `digests.ndjson` | signed roots of the period: each minute's, with what was pending and lost | PI1.3, A1.2 |
| `anchors/` | roots that were kept elsewhere | CC7.2 |
| `keys.ndjson` | session keys that are there, how they are sealed | CC6.7, C1.1 |
| `erased.ndjson` | what was erased, why, at whose request, signed by whom | C1.2 |
| `unsigned.ndjson` | objects of index and chain that no key given signed: planted, or about to be signed. Nothing above counts them | CC7.2 |
| `closed.ndjson` | what was signed and could not be read, or is not there: empty where the population is complete | PI1.3 |
| `attached/` | what the operator added: `vault doctor`, policies, drills, logs of openings | CC6.1, CC8.1, A1.2 |

";
