//! `tollgate report`: the recent failures, or the work of agents on an issue, from a running gateway. Nothing is sent
//! anywhere unless `--post` is given; a token is never printed. `history/report` makes the report.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use command::admin_client::AdminPortArgs;
use command::admin_client::{AdminClient, basic_auth, parse_json, percent_encode};
use command::error::{CommandError, ExitStatus};
use command::output;
use command::time_option::parse_duration;
use config::env;
use net::ProxyRules;

/// Formats of a report.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For people and agents.
    Markdown,
    /// For programs (schema in docs/runs.md).
    Json,
}

#[derive(Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
    /// How far back to look: `90m`, `24h`, `2d`.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = check_since)]
    since: String,
    /// Number of groups, the largest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Samples per group, at most 10.
    #[arg(long, default_value_t = 1)]
    samples: usize,
    /// Keys to group spans by, of: exception.slug, build.commit_sha, service.name, error.type, name, tenant.id,
    /// work_tracker.issue_id.
    #[arg(long, default_value = "exception.slug,build.commit_sha,service.name", value_name = "NAMES")]
    by: String,
    /// Format of the report.
    #[arg(long, value_enum, default_value = "markdown")]
    format: ReportFormat,
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

/// Checks the text here, so that a malformed one is a usage error; the server parses it again.
fn check_since(text: &str) -> Result<String, CommandError> {
    let usage = || CommandError::Usage("must be a time such as `90m`, `24h` or `2d`".to_owned());
    parse_duration(text).map(|_| text.to_owned()).ok_or_else(usage)
}

pub(super) fn run(common: &CommonArgs, options: &ReportArgs) -> Result<ExitStatus, CommandError> {
    run_with_client(common, &options.admin_port, |gateway| print_report(gateway, options))
}

async fn print_report(gateway: AdminClient, options: &ReportArgs) -> Result<(), CommandError> {
    if let Some(issue) = &options.issue {
        return print_issue_comment(&gateway, options, issue).await;
    }
    let ReportArgs { since, limit, samples, by, .. } = options;
    let path =
        format!("/report?since={}&limit={limit}&samples={samples}&by={}", percent_encode(since), percent_encode(by));
    match options.format {
        ReportFormat::Json => output::print_json(&gateway.get(&path, "application/json").await?),
        ReportFormat::Markdown => output::print(&gateway.get(&path, "text/markdown").await?),
    }
}

async fn print_issue_comment(gateway: &AdminClient, options: &ReportArgs, issue: &str) -> Result<(), CommandError> {
    let path = format!("/report/issue/{}", percent_encode(issue));
    let answer = gateway.get(&path, "application/json").await?;
    let answer = parse_json(&answer)?;
    let text = answer.get("comment").and_then(Value::as_str).ok_or("the gateway's answer has no comment")?;
    if options.post {
        post_to_jira(issue, text).await?;
        return output::print(&format!("posted the comment on {issue}\n"));
    }
    if options.format == ReportFormat::Json { output::print_json(&answer.to_string()) } else { output::print(text) }
}

async fn post_to_jira(issue: &str, comment: &str) -> Result<(), CommandError> {
    let required_var =
        |name: &str| env::var(name).filter(|value| !value.is_empty()).ok_or(format!("{name} is not set"));
    let (base, user, token) =
        (required_var("JIRA_BASE_URL")?, required_var("JIRA_USER")?, required_var("JIRA_API_TOKEN")?);
    let proxies = ProxyRules::from_env(&env::var).map_err(|error| error.to_string())?;
    let jira = AdminClient::new(&base, Some(basic_auth(&user, &token)), proxies)?;
    let path = format!("/rest/api/2/issue/{}/comment", percent_encode(issue));
    jira.post(&path, json!({"body": comment}).to_string()).await.map(drop)
}
