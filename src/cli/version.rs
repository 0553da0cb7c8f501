//! `tollgate version`: the version; with `--verbose` also what was built in, and which library does which cryptography.

use clap::Args;

use super::common::RejectFileArg;
use crate::app::crypto_module;
use command::error::{CommandError, ExitStatus};
use command::output::print_result;

#[derive(Args, Clone, Copy)]
pub(super) struct VersionArgs {
    /// Also prints the features of this build, and which library does which cryptography.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    _none: RejectFileArg,
}

pub(super) fn run(options: VersionArgs) -> Result<ExitStatus, CommandError> {
    let mut text = format!("tollgate {}\n", env!("CARGO_PKG_VERSION"));
    if options.verbose {
        let features: Vec<&str> = [("fips", cfg!(feature = "fips")), ("kafka", cfg!(feature = "kafka"))]
            .into_iter()
            .filter_map(|(name, is_built)| is_built.then_some(name))
            .collect();
        let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
        let module = crypto_module::running_module();
        let mode = if module.is_fips { "FIPS mode" } else { "not FIPS" };
        text.push_str(&format!(
            "features: {features}\n\
             cryptography: {}, {mode}: TLS, AES-256-GCM (spool, Kafka), SHA-256, HMAC, HKDF, Ed25519, random keys\n\
             vault: age files (X25519, ChaCha20-Poly1305), not by that module and never FIPS\n",
            module.name
        ));
    }
    print_result(&text)
}
