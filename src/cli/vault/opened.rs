//! `tollgate vault get`: opens fragments by a reference, or by the index lines of a trace, a span or a leaf. Whatever
//! can be opened is printed, even if something else fails. Each opening is logged before it happens. Opening is in
//! `audit/read`.

use std::io::{self, IsTerminal};

use clap::Args;

use super::super::error::{CommandError, Exit};
use super::super::output;
use super::super::runtime::block_on;
use super::keys::public_keys;
use super::source::{Source, open, print};
use audit::read::{Leaf, Lines, Opener, Query, Wanted, get, get_lines};
use kernel::terminal::escaped;

/// Options of `vault get`; one of the first selectors is required.
#[derive(Args)]
pub(crate) struct Get {
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
    from: Source,
}

/// Runs `vault get`.
pub(super) fn run_get(options: &Get) -> Result<Exit, CommandError> {
    let Get { uri, range, trace, span, leaf, account, key, from } = options;
    block_on(async {
        let (leaf, keys) = (leaf.as_deref().map(Leaf::parse).transpose()?, public_keys(key)?);
        let (vault, auditors, log) = open(from).await?;
        let what = [uri, trace, span, &options.leaf].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        log.note("get", &what)?;
        let (mut opener, mut text) = (Opener::new(&vault, auditors), Vec::new());
        let got = match uri {
            Some(uri) => {
                let wanted = Wanted { uri: uri.clone(), range: range.clone() };
                get(&vault, &mut opener, &wanted, &mut text).await
            }
            None => {
                let (account, trace, span) = (account.clone(), trace.clone(), span.clone());
                let query = Query { account, trace, span, ..Query::default() };
                get_lines(&vault, &mut opener, &Lines { query, leaf, keys }, &mut text).await
            }
        };
        // Print what could be opened before reporting other errors.
        print(&for_terminal(text))?;
        output::tell("elsewhere", opener.moved());
        got?.map_err(|error| error.to_string())?;
        Ok(Exit::Fine)
    })
}

/// Escapes terminal control characters on a terminal, which is equivalent JSON; a file or pipe gets the bytes
/// unchanged.
fn for_terminal(json: Vec<u8>) -> Vec<u8> {
    if !io::stdout().is_terminal() {
        return json;
    }
    escaped(&String::from_utf8_lossy(&json)).into_bytes()
}
