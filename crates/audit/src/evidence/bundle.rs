//! [`EvidenceBundle`]: a period's evidence as a folder of files. The manifest lists every file with its SHA-256; it is
//! written last, and signed if a key is given. No file is overwritten. Neighbour: `evidence` gathers the data.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::{EvidencePeriod, PeriodEvidence};
use crate::error::ReadError;
use crate::verify::VerifyReport;
use kernel::clock::UnixNanos;
use kernel::files;
use kernel::sha256::Sha256;
use kernel::terminal::{escape_json, format_count};
use vault::chain::note::SigningKey;
use vault::object_names::rfc3339;

/// Size of the largest file that can be attached, bytes.
const MAX_ATTACHED: u64 = 64 << 20;

/// The data from which the folder is written.
pub struct EvidenceBundle<'b> {
    pub period: &'b EvidencePeriod,
    pub gathered: &'b PeriodEvidence,
    /// Result of verification.
    pub report: &'b VerifyReport,
    /// The vault's location as the user gave it.
    pub store: &'b str,
    /// Files with anchors that are stored outside the vault.
    pub anchors: &'b [PathBuf],
    /// Files that the operator adds.
    pub attached: &'b [PathBuf],
    /// Signs the manifest, if given.
    pub key: Option<&'b SigningKey>,
    /// Time of creation.
    pub made: UnixNanos,
}

impl EvidenceBundle<'_> {
    /// Writes the folder, which must not exist.
    ///
    /// # Errors
    /// A file can't be read or written, or is too large.
    pub fn write(&self, folder: &Path) -> Result<(), ReadError> {
        let mut folder = BundleFolder::create(folder)?;
        self.write_files(&mut folder)?;
        folder.finish(self)
    }

    fn write_files(&self, folder: &mut BundleFolder) -> Result<(), ReadError> {
        folder.write_lines("population.ndjson", self.gathered.sessions.values())?;
        let actions =
            self.gathered.actions.iter().map(|(action, times)| json!({"action": action, "occurrences": times}));
        folder.write_lines("tools_and_decisions.ndjson", actions)?;
        let configurations = self
            .gathered
            .configurations
            .iter()
            .map(|(configuration, period)| json!({"configuration": configuration, "period": period}));
        folder.write_lines("configurations.ndjson", configurations)?;
        let recipients = self
            .gathered
            .recipients
            .iter()
            .map(|(sealed_to, period)| json!({"sealed_to": sealed_to, "period": period}));
        folder.write_lines("recipients.ndjson", recipients)?;
        folder.write_lines("digests.ndjson", &self.gathered.digests)?;
        folder.write_lines("keys.ndjson", &self.gathered.keys)?;
        folder.write_lines("erasures.ndjson", &self.gathered.erasures)?;
        folder.write_lines("unsigned.ndjson", &self.gathered.unsigned)?;
        folder.write_lines("unreadable.ndjson", &self.gathered.unreadable)?;
        let json = serde_json::to_string_pretty(self.report).unwrap_or_default(); // strings and numbers: can't fail
        folder.write_file("verify.json", escape_json(&json).as_bytes())?;
        let text = self.report.text() + "\n";
        folder.write_file("verify.txt", text.as_bytes())?;
        for (subfolder, paths) in [("anchors", self.anchors), ("attached", self.attached)] {
            for (number, path) in (1..).zip(paths) {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .replace(|character: char| !is_file_name_char(character), "_");
                folder.write_file(&format!("{subfolder}/{number:02}-{name}"), &read_attachment(path)?)?;
            }
        }
        let readme = README.replace("{from}", &self.period.from).replace("{to}", &self.period.to);
        let counts = format!(
            "{}, {} without session or trace, {} that record a lost line; {}.\n",
            format_count(self.gathered.lines, "index line"),
            self.gathered.without_session,
            self.gathered.gaps,
            format_count(self.gathered.sessions.len(), "session")
        );
        folder.write_file("README.md", (readme + &counts).as_bytes())
    }
}

fn is_file_name_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_')
}

fn read_attachment(path: &Path) -> Result<Vec<u8>, ReadError> {
    use std::io::Read;
    let to_error =
        |error: std::io::Error| ReadError::from_io_error(&error, format!("can't read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(to_error)?.take(MAX_ATTACHED + 1).read_to_end(&mut bytes).map_err(to_error)?;
    if bytes.len() as u64 > MAX_ATTACHED {
        Err(ReadError::Invalid(format!("{} is too large", path.display())))
    } else {
        Ok(bytes)
    }
}

/// A folder that is being filled.
struct BundleFolder {
    path: PathBuf,
    /// The files written so far that the manifest lists.
    files: Vec<ManifestEntry>,
}

#[derive(Serialize)]
struct ManifestEntry {
    name: String,
    bytes: usize,
    sha256: String,
}

impl BundleFolder {
    fn create(path: &Path) -> Result<Self, ReadError> {
        files::make_folders(path)
            .map_err(|error| ReadError::from_io_error(&error, format!("can't make {}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), files: Vec::new() })
    }

    fn write_lines<T: Serialize>(&mut self, name: &str, rows: impl IntoIterator<Item = T>) -> Result<(), ReadError> {
        let mut bytes = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut bytes, &row).map_err(|error| ReadError::Unavailable(error.to_string()))?;
            bytes.push(b'\n');
        }
        self.write_file(name, &bytes)
    }

    fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReadError> {
        self.write_unlisted(name, bytes)?;
        let sha256 = kernel::hex::encode(&Sha256::digest(bytes));
        self.files.push(ManifestEntry { name: name.to_owned(), bytes: bytes.len(), sha256 });
        Ok(())
    }

    /// Writes a file that the manifest does not list.
    fn write_unlisted(&self, name: &str, bytes: &[u8]) -> Result<(), ReadError> {
        let path = self.path.join(name);
        let parent = files::make_folders(files::parent_folder(&path));
        let written = parent.and_then(|()| files::write_new(&path, bytes));
        written.map_err(|error| ReadError::from_io_error(&error, format!("can't write {}: {error}", path.display())))
    }

    /// Writes the manifest, `SHA256SUMS` for stock tools, and the signature.
    fn finish(self, bundle: &EvidenceBundle<'_>) -> Result<(), ReadError> {
        let manifest = json!({
            "schema": 1,
            "period": bundle.period,
            "generated_at": rfc3339(bundle.made),
            "generated_by": format!("tollgate {}", env!("CARGO_PKG_VERSION")),
            "store": bundle.store,
            "verified": bundle.report.verified,
            "complete": bundle.gathered.is_complete(),
            "heads": bundle.report.heads,
            "files": self.files,
        });
        // strings and numbers: serialising can't fail
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n";
        self.write_unlisted("manifest.json", text.as_bytes())?;
        let sums = self.files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name));
        let manifest_sum = format!("{}  manifest.json\n", kernel::hex::encode(&Sha256::digest(text.as_bytes())));
        self.write_unlisted("SHA256SUMS", (sums.collect::<String>() + &manifest_sum).as_bytes())?;
        match bundle.key {
            None => Ok(()),
            Some(key) => {
                self.write_unlisted("manifest.json.sig", &key.sign(text.as_bytes()))?;
                self.write_unlisted("manifest.json.key", format!("{}\n", key.public()).as_bytes())
            }
        }
    }
}

const README: &str = "# Evidence from {from} to {to}\n
Made from the vault's index and chain, without any content. `sha256sum -c SHA256SUMS` checks the files;
`manifest.json.sig` is the Ed25519 signature of `manifest.json` by the key in `manifest.json.key` (compare \
that key with one you have from
elsewhere).

| file | what it is | SOC 2 criteria it can support |
|---|---|---|
| `population.ndjson` | every session of the period: who (pseudonyms), which agent and version, calls, cost, denials, ids of its keys | PI1.3, PI1.5, CC7.2 |
| `tools_and_decisions.ndjson` | by session: tools used, permission decisions and denials, who decided (`decided_by`), for which agent and user | CC6.1, CC6.3, CC7.2 |
| `configurations.ndjson` | versions of the gateways and SHA-256 of their configuration files, from when to when, from signed digests | CC8.1 |
| `recipients.ndjson` | public keys to which the gateways sealed each account's content, with their limits, from when to when, from signed digests. Copies that `vault rewrap` made for others are in `keys.ndjson` (`KEY-….age`); its operator's log of openings names their recipients | CC6.1, CC6.3, C1.1 |
| `verify.json`, `verify.txt` | what was verified, found and not checked; missing turns | CC7.2, CC7.3, PI1.4 |
| `digests.ndjson` | signed roots of the period, one a minute, with the number of pending and lost lines | PI1.3, A1.2 |
| `anchors/` | anchors: signed roots that were stored outside the vault | CC7.2 |
| `keys.ndjson` | existing session keys, and how they are sealed | CC6.7, C1.1 |
| `erasures.ndjson` | erasures: content, reason, requester and signers | C1.2 |
| `unsigned.ndjson` | index and chain objects not signed by a given key: planted, or not signed yet. No other file counts them | CC7.2 |
| `unreadable.ndjson` | signed objects that are missing or could not be read; empty if the population is complete | PI1.3 |
| `attached/` | files added by the operator: `vault doctor`, policies, drills, logs of openings | CC6.1, CC8.1, A1.2 |

";
