//! `tollgate vault get`: opens fragments by a reference, or by the index lines of a trace, a span or a leaf. All
//! content that can be opened is printed, even if other content can't. Each opening is logged before it
//! happens. Opening is in `audit/read`.

use std::io::{self, IsTerminal};

use clap::Args;

use super::opening::PermittedOpening;
use super::public_keys::read_public_keys;
use super::share::GivenShares;
use super::vault_args::{VaultArgs, print_bytes};
use crate::read::{ContentReference, FragmentOpener, IndexQuery, LeafId, LineSelection, get, get_lines};
use command::error::{ExitStatus, Result};
use command::output;
use command::runtime::block_on;
use kernel::terminal::escape_json;

/// Options of `vault get`; one of the first selectors is required.
#[derive(Args)]
pub struct GetArgs {
    /// `s3://bucket/name`, `file:///name`, or the object's name.
    #[arg(required_unless_present_any = ["trace", "span", "leaf"])]
    uri: Option<String>,
    /// The range attribute (`gen_ai.payload.range`) [default: every fragment of the object].
    #[arg(long, value_name = "bytes=FIRST-LAST", requires = "uri")]
    range: Option<String>,
    /// Every fragment named by index lines of this trace.
    #[arg(long, value_name = "ID", conflicts_with_all = ["uri", "leaf"])]
    trace: Option<String>,
    /// Every fragment named by index lines of this span.
    #[arg(long, value_name = "ID", conflicts_with_all = ["uri", "leaf"])]
    span: Option<String>,
    /// The fragment named by this index line, as shown in spans (`gen_ai.payload.leaf`).
    #[arg(long, value_name = "WRITER/EPOCH/NUMBER", conflicts_with = "uri")]
    leaf: Option<String>,
    /// With lines: only those of this account.
    #[arg(long, conflicts_with = "uri")]
    account: Option<String>,
    /// With lines: public key of the writer's signer, or a file that contains it. Only lines it signed are followed;
    /// without it, anyone who may write to the index can forge a line. Needs read access to the chain too.
    #[arg(long, value_name = "KEY|FILE", conflicts_with = "uri")]
    key: Vec<String>,
    #[command(flatten)]
    shares: GivenShares,
    #[command(flatten)]
    vault: VaultArgs,
}

/// Runs `vault get`.
pub(super) fn run_get(options: &GetArgs) -> Result<ExitStatus> {
    let GetArgs { uri, range, trace, span, leaf, account, key, shares, vault: vault_args } = options;
    block_on(async {
        let (leaf, keys) = (leaf.as_deref().map(LeafId::parse).transpose()?, read_public_keys(key)?);
        let (vault, auditors, log) = vault_args.open().await?;
        let opened = [uri, trace, span, &options.leaf].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        log.record_opening(None, "get", &opened)?;
        let given = shares.read(&auditors)?;
        let openings = PermittedOpening::now(&shares.requested.record(vault_args, &auditors).await?);
        let (mut opener, mut text) = (FragmentOpener::for_openings(&vault, auditors, openings), Vec::new());
        opener.shares = given;
        let result = match uri {
            Some(uri) => {
                let reference = ContentReference { uri: uri.clone(), range: range.clone() };
                get(&mut opener, &reference, &mut text).await
            }
            None => {
                let (account, trace, span) = (account.clone(), trace.clone(), span.clone());
                let query = IndexQuery { account, trace, span, ..IndexQuery::default() };
                get_lines(&mut opener, &LineSelection { query, leaf, keys }, &mut text).await
            }
        };
        // Print what could be opened before reporting other errors.
        print_bytes(&escape_for_terminal(text))?;
        output::print_notes("read from another location", &opener.alternative_reads);
        result?.map_err(|error| error.to_string())?;
        Ok(ExitStatus::Success)
    })
}

/// Escapes terminal control characters on a terminal, which is equivalent JSON; a file or pipe gets the bytes
/// unchanged.
fn escape_for_terminal(json: Vec<u8>) -> Vec<u8> {
    if !io::stdout().is_terminal() {
        return json;
    }
    escape_json(&String::from_utf8_lossy(&json)).into_bytes()
}
