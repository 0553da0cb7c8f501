//! `tollgate report`: the recent failures, or the work of agents on an issue, from a running gateway. Nothing is sent
//! anywhere unless `--post` is given; a token is never printed. `history/report` makes the report.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::ask::{Asker, basic, parsed, part};
use super::common::Common;
use super::error::{CommandError, Exit};
use super::output;
use super::place::{Where, with};
use config::env;
use net::Proxies;

/// Formats of a report.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people and agents.
    Markdown,
    /// For programs (schema in docs/runs.md).
    Json,
}

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    at: Where,
    /// How far back to look: `90m`, `24h`, `2d`.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    since: String,
    /// Number of groups, the largest first.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Samples per group, at most 10.
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// Keys to group spans by, of: exception.slug, build.commit_sha, service.name, error.type, name, tenant.id,
    /// work_tracker.issue_id.
    #[arg(long, default_value = "exception.slug,build.commit_sha,service.name", value_name = "NAMES")]
    by: String,
    /// Format of the report.
    #[arg(long, value_enum, default_value = "markdown")]
    format: Format,
    /// Reports the work of agents on this issue instead of failures.
    #[arg(long, value_name = "ID")]
    issue: Option<String>,
    /// Writes the report as a comment in Jira markup.
    #[arg(long, requires = "issue")]
    jira: bool,
    /// Posts the comment to Jira; needs JIRA_BASE_URL, JIRA_USER and JIRA_API_TOKEN.
    #[arg(long, requires = "jira")]
    post: bool,
}

pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    with(common, &options.at, |gateway| show(gateway, options))
}

async fn show(gateway: Asker, options: &Options) -> Result<(), CommandError> {
    if let Some(issue) = &options.issue {
        return comment(&gateway, options, issue).await;
    }
    let Options { since, limit, samples, by, .. } = options;
    let path = format!("/report?since={}&limit={limit}&samples={samples}&by={}", part(since), part(by));
    match options.format {
        Format::Json => output::print_json(&gateway.get(&path, "application/json").await?),
        Format::Markdown => output::print(&gateway.get(&path, "text/markdown").await?),
    }
}

async fn comment(gateway: &Asker, options: &Options, issue: &str) -> Result<(), CommandError> {
    let path = format!("/report/issue/{}", part(issue));
    let answer = gateway.get(&path, "application/json").await?;
    let answer = parsed(&answer)?;
    let text = answer.get("comment").and_then(Value::as_str).ok_or("the gateway's answer has no comment")?;
    if options.post {
        send(issue, text).await?;
        return output::print(&format!("the comment is on {issue}\n"));
    }
    if options.format == Format::Json { output::print_json(&answer.to_string()) } else { output::print(text) }
}

/// Posts the comment to the issue.
async fn send(issue: &str, text: &str) -> Result<(), CommandError> {
    let needed = |name: &str| env::var(name).filter(|value| !value.is_empty()).ok_or(format!("{name} is not set"));
    let (base, user, token) = (needed("JIRA_BASE_URL")?, needed("JIRA_USER")?, needed("JIRA_API_TOKEN")?);
    let proxies = Proxies::from_env(&env::var).map_err(|error| error.to_string())?;
    let jira = Asker::new(&base, Some(basic(&user, &token)), proxies)?;
    let path = format!("/rest/api/2/issue/{}/comment", part(issue));
    jira.post(&path, json!({"body": text}).to_string()).await.map(drop)
}
