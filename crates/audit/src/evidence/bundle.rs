//! [`EvidenceBundle`]: a period's evidence as a folder of files. The manifest lists every file with its SHA-256; it is
//! written last, and signed if a key is given. No file is overwritten. Neighbour: `evidence` gathers the data.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::{DigestEvidence, EvidencePeriod, PeriodEvidence};
use crate::error::{ReadError, Result};
use crate::verify::VerifyReport;
use kernel::clock::UnixNanos;
use kernel::files;
use kernel::sha256::Sha256;
use kernel::terminal::{escape_json, format_count};
use vault::chain::digest::ChainDigest;
use vault::chain::note::SigningKey;
use vault::object_names::rfc3339;

/// Size of the largest file that can be attached, bytes.
const MAX_ATTACHED: u64 = 64 << 20;

/// The text of the folder's README.md, with placeholders for the period.
const README: &str = include_str!("bundle_readme.md");

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
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut folder = BundleFolder::create(folder)?;
        self.write_files(&mut folder)?;
        folder.finish(self)
    }

    fn write_files(&self, folder: &mut BundleFolder) -> Result<()> {
        let gathered = self.gathered;
        folder.write_lines("population.ndjson", gathered.sessions.values())?;
        let actions = gathered.actions.iter().map(|(action, times)| json!({"action": action, "occurrences": times}));
        folder.write_lines("tools_and_decisions.ndjson", actions)?;
        let configurations = gathered.configurations.iter();
        let configurations = configurations.map(|(one, period)| json!({"configuration": one, "period": period}));
        folder.write_lines("configurations.ndjson", configurations)?;
        let recipients = gathered.recipients.iter();
        let recipients = recipients.map(|(sealed_to, period)| json!({"sealed_to": sealed_to, "period": period}));
        folder.write_lines("recipients.ndjson", recipients)?;
        folder.write_lines("digests.ndjson", gathered.digests.iter().map(digest_row))?;
        let seal = "age v1, X25519";
        let keys = gathered.keys.iter().map(|(name, id)| json!({"name": name, "key_id": id, "encryption": seal}));
        folder.write_lines("keys.ndjson", keys)?;
        folder.write_lines("erasures.ndjson", &gathered.erasures)?;
        folder.write_lines("unsigned.ndjson", &gathered.unsigned)?;
        folder.write_lines("unreadable.ndjson", &gathered.unreadable)?;
        let json = serde_json::to_string_pretty(self.report).unwrap_or_default(); // strings and numbers: can't fail
        folder.write_file("verify.json", escape_json(&json).as_bytes())?;
        let text = self.report.text() + "\n";
        folder.write_file("verify.txt", text.as_bytes())?;
        for (subfolder, paths) in [("anchors", self.anchors), ("attached", self.attached)] {
            for (number, path) in (1..).zip(paths) {
                let is_unusual = |letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '.' | '-' | '_');
                let name = path.file_name().unwrap_or_default().to_string_lossy().replace(is_unusual, "_");
                folder.write_file(&format!("{subfolder}/{number:02}-{name}"), &read_attachment(path)?)?;
            }
        }
        let readme = README.replace("{from}", &self.period.from).replace("{to}", &self.period.to);
        let counts = format!(
            "{}, {} without session or trace, {} that record a lost line; {}.\n",
            format_count(gathered.lines, "index line"),
            gathered.without_session,
            gathered.gaps,
            format_count(gathered.sessions.len(), "session")
        );
        folder.write_file("README.md", (readme + &counts).as_bytes())
    }
}

/// A signed digest as evidence: its checkpoint (`note`), the lines that were acknowledged but not yet in the store
/// (`pending`) or lost (`gaps`), and the gateway's version and the hash of its configuration (`made_by`).
fn digest_row(DigestEvidence { name, sha256, digest }: &DigestEvidence) -> serde_json::Value {
    let ChainDigest { account, writer, epoch, n, end, tree_size, root, note, counters, made_by, .. } = digest;
    json!({
        "name": name, "sha256": sha256, "account": account, "writer": writer, "epoch": epoch, "n": n, "end": end,
        "tree_size": tree_size, "root": root, "note": note, "pending": counters.pending, "gaps": counters.gaps,
        "made_by": made_by,
    })
}

fn read_attachment(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let to_error = |error: std::io::Error| ReadError::new(format!("can't read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(to_error)?.take(MAX_ATTACHED + 1).read_to_end(&mut bytes).map_err(to_error)?;
    if bytes.len() as u64 > MAX_ATTACHED {
        Err(ReadError::new(format!("{} is too large", path.display())))
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
    fn create(path: &Path) -> Result<Self> {
        files::make_folders(path).map_err(|error| ReadError::new(format!("can't make {}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), files: Vec::new() })
    }

    fn write_lines<T: Serialize>(&mut self, name: &str, rows: impl IntoIterator<Item = T>) -> Result<()> {
        let mut bytes = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut bytes, &row).map_err(|error| ReadError::new(error.to_string()))?;
            bytes.push(b'\n');
        }
        self.write_file(name, &bytes)
    }

    fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_unlisted(name, bytes)?;
        let sha256 = kernel::hex::encode(&Sha256::digest(bytes));
        self.files.push(ManifestEntry { name: name.to_owned(), bytes: bytes.len(), sha256 });
        Ok(())
    }

    /// Writes a file that the manifest does not list.
    fn write_unlisted(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let parent = files::make_folders(files::parent_folder(&path));
        let written = parent.and_then(|()| files::write_new(&path, bytes));
        written.map_err(|error| ReadError::new(format!("can't write {}: {error}", path.display())))
    }

    /// Writes the manifest, `SHA256SUMS` for stock tools, and the signature.
    fn finish(self, bundle: &EvidenceBundle<'_>) -> Result<()> {
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
