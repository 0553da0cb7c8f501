//! `tollgate hook CLIENT`: the command of a client's hook. It posts the event on standard input to a gateway and prints
//! the answer in the client's form. If the gateway can't be asked, `--on-failure` decides. Nothing of an event is
//! printed. The forms are in `receivers/claude_code_hooks`.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use command::admin_client::AdminClient;
use command::error::{CommandError, ExitStatus};
use command::output::{print_json, print_to_stderr};
use command::runtime::block_on;
use command::time_option::parse_duration;
use config::env;
use kernel::secret::Secret;
use net::{ProxyRules, tls};
use receivers::claude_code_hooks::{HOOKS_PATH, HookClient};

/// Largest event, in bytes: that of the receiver's default.
const MAX_EVENT_BYTES: u64 = 32 << 20;
/// An answer that decides nothing. Some clients take an empty output for a failure.
const NO_DECISION: &str = "{}";

#[derive(Args)]
pub(super) struct HookArgs {
    /// claude-code, codex, gemini or cursor.
    client: String,
    /// Base URL of the receiver `claude_code_hooks`. If it wants a token, set TOLLGATE_TOKEN.
    #[arg(long, env = "TOLLGATE_HOOK_ENDPOINT", default_value = "http://127.0.0.1:4319", value_name = "URL")]
    endpoint: String,
    /// PEM certificates to trust, in place of the system's.
    #[arg(long, env = "TOLLGATE_HOOK_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What the agent may do if the gateway is unreachable, refuses, or is too slow: `allow` or `deny`.
    #[arg(long, env = "TOLLGATE_HOOK_ON_FAILURE", default_value = "allow", value_parser = ["allow", "deny"])]
    on_failure: String,
    /// How long to wait for the answer, from `1s` to `60s`. The client's own limit must be longer.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = parse_timeout)]
    timeout: Duration,
}

fn parse_timeout(text: &str) -> Result<Duration, CommandError> {
    let usage = || CommandError::Usage("must be a time from `1s` to `60s`, such as `2s`".to_owned());
    parse_duration(text).filter(|span| (1..=60).contains(&span.as_secs())).ok_or_else(usage)
}

/// Runs `hook`.
pub(super) fn run(options: &HookArgs) -> Result<ExitStatus, CommandError> {
    let client = HookClient::find(&options.client).ok_or_else(|| {
        let known = HookClient::client_names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        CommandError::Usage(format!("unknown client: it must be one of {known}"))
    })?;
    let event = read_event();
    let answer = event.as_ref().map_err(|why| (*why).into()).and_then(|event| block_on(ask(options, event)));
    let why = match answer {
        Ok(answer) => return print_answer(&answer),
        Err(why) => why,
    };
    if options.on_failure == "allow" {
        print_to_stderr(&format!("tollgate hook: the gateway gave no answer, so the agent goes on unchecked: {why}"));
        return print_answer("");
    }
    let reason = format!(
        "tollgate stopped this call, because its gateway gave no answer: {why}. This hook is set to deny in that case."
    );
    // Exit code 2, that of a usage error, stops every client, and its message is the reason.
    let unreadable = |_| CommandError::Usage(reason.clone());
    let denial = event.map_err(str::to_owned).and_then(|event| client.deny(event.as_bytes(), &reason));
    print_answer(&denial.map_err(unreadable)?)
}

fn print_answer(answer: &str) -> Result<ExitStatus, CommandError> {
    print_json(if answer.is_empty() { NO_DECISION } else { answer })?;
    Ok(ExitStatus::Success)
}

/// The event on standard input.
fn read_event() -> Result<String, &'static str> {
    let mut event = Vec::new();
    let read = std::io::stdin().lock().take(MAX_EVENT_BYTES + 1).read_to_end(&mut event);
    read.map_err(|_| "the event can't be read")?;
    if event.len() as u64 > MAX_EVENT_BYTES {
        return Err("the event is larger than 32 MiB");
    }
    String::from_utf8(event).map_err(|_| "the event is not text in UTF-8")
}

/// The gateway's answer: empty or a JSON object.
async fn ask(options: &HookArgs, event: &str) -> Result<String, CommandError> {
    let tls = tls::ClientTlsSettings { ca_file: options.ca.clone(), ..tls::ClientTlsSettings::default() };
    let token = env::var("TOLLGATE_TOKEN").filter(|token| !token.is_empty());
    let authorization = token.map(|token| Secret::new(format!("Bearer {token}")));
    let gateway = AdminClient::with_tls(&options.endpoint, tls, authorization, ProxyRules::direct())?;
    let path = format!("{HOOKS_PATH}{}", options.client);
    let answer = tokio::time::timeout(options.timeout, gateway.post(&path, event.to_owned())).await;
    let answer = answer.map_err(|_| format!("{}: no answer in time", options.endpoint))??;
    // any web server may listen there
    if !answer.is_empty() && serde_json::from_str::<Map<String, Value>>(&answer).is_err() {
        return Err(CommandError::Failed(format!("{}: the answer is not tollgate's", options.endpoint)));
    }
    Ok(answer)
}
