//! `tollgate setup CLIENT`: prints the settings that point a client at this gateway, or writes them into the client's
//! file. The clients are data (`client_catalog`); `receiver_endpoint` finds the gateway's address, `settings_file`
//! changes the text of a file, `write` the file. A secret is never printed: the header line names a variable. Settings
//! go to stdout, remarks to stderr.

pub mod client_catalog;
mod env_file;
mod json_file;
mod receiver_endpoint;
mod settings_document;
mod settings_file;
mod toml_file;
mod write;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;

use client_catalog::{ClientCatalog, ClientEntry, ClientProtocol, ProtocolFamily, SetupTarget};
use command::error::{CommandError, ExitStatus};
use command::output::{print, print_result, print_to_stderr};
use config::address;
use receiver_endpoint::{ReceiverEndpoint, parse_endpoint};
use receivers::otlp::OtlpReceiverSettings;
use settings_file::{FileFormat, merge_settings};
use write::{WrittenSettings, write_settings};

/// The ports that clients expect, with their protocols.
const USUAL_PORTS: [(u16, ProtocolFamily); 2] = [(4317, ProtocolFamily::Grpc), (4318, ProtocolFamily::Http)];

/// Where the receiver of hooks listens by default.
const HOOKS_ENDPOINT: &str = "http://127.0.0.1:4319";

#[derive(Args)]
pub struct SetupArgs {
    /// claude-code, codex, gemini, opencode, qwen-code, goose, droid; in a vendor's console: claude-platform, cursor,
    /// cowork; or a program of your own: python, node, go, java, rust. Without a name, lists them.
    client: Option<String>,
    /// Base URL of the gateway [default: that of the configuration's OTLP receiver].
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    endpoint: Option<String>,
    /// Protocol: `http/protobuf`, `http/json` or `grpc` [default: the client's best one that the receiver has].
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Prints the line that names the credential, if `--endpoint` is a gateway that wants a token.
    #[arg(long, requires = "endpoint")]
    token: bool,
    /// Leaves prompts, answers and the arguments and results of tools switched off at the client.
    #[arg(long)]
    no_content: bool,
    /// Prints or writes the hooks with which budgets stop claude-code, codex, gemini or cursor, not the telemetry
    /// settings. The endpoint is then that of the receiver `claude_code_hooks` [default: http://127.0.0.1:4319].
    #[arg(long, requires = "client")]
    budgets: bool,
    /// Writes the settings into the client's file, and keeps a copy of the file before beside it.
    #[arg(long, requires = "client")]
    write: bool,
    /// The file to write [default: the client's own].
    #[arg(long, value_name = "PATH", requires = "write")]
    file: Option<PathBuf>,
}

/// The OTLP receivers of the configuration.
pub type ListReceivers<'s> = &'s dyn Fn() -> Result<Vec<OtlpReceiverSettings>, CommandError>;

/// Runs `setup`.
pub fn run(options: &SetupArgs, receivers: ListReceivers<'_>) -> Result<ExitStatus, CommandError> {
    let catalog = ClientCatalog::builtin()?;
    let Some(client) = &options.client else { return print_result(&list_clients(&catalog)) };
    let client = &catalog.into_client(client, options.budgets)?;
    let (target, notes) = resolve_target(receivers, options, client)?;
    let changes = client.file_changes(&target, !options.no_content);
    let mut remarks = Vec::new();
    let Some(file) = &client.file else {
        if options.write {
            return Err(CommandError::Usage(format!(
                "{} has no settings file: run `tollgate setup {}` without `--write` and enter the printed fields in \
                 its console",
                client.title, client.name
            )));
        }
        return print_lines(client, &target, ClientEntry::console_lines(&changes), &notes);
    };
    if options.write {
        let path = options.file.clone().map_or_else(|| client.settings_path(), |path| Ok(Some(path)))?;
        let path = path.ok_or_else(|| {
            CommandError::Usage(format!(
                "{} has no settings file of its own: name one that it loads with `--file PATH`, such as `--file {}`",
                client.title,
                file.names.first().map_or("", |name| name)
            ))
        })?;
        let written = write_settings(&path, file.format, &changes)?;
        print(&describe_written(&path.display().to_string(), &written))?;
    } else {
        let merged = merge_settings(file.format, "", &changes).map_err(|fault| fault.to_string())?;
        if file.format == FileFormat::Env {
            let exports = merged.text.lines().map(|line| format!("export {line}")).collect();
            return print_lines(client, &target, exports, &notes);
        }
        print(&merged.text)?;
        let path = client.settings_path()?.map_or_else(String::new, |path| format!(" {}", path.display()));
        remarks.push(format!("# Put this into{path}, or let `tollgate setup {} --write` do it.", client.name));
    }
    remarks.extend(notes.iter().map(|note| format!("# {note}.")));
    let steps = client.step_lines(&target).into_iter();
    remarks.extend(steps.map(|line| format!("# {line}")));
    let shell = client.shell_lines(&target);
    if !shell.is_empty() {
        remarks.push(format!("# In the shell that starts {}:", client.title));
        remarks.extend(shell);
    }
    remarks.extend(authorization_remarks(client, &target));
    remarks.iter().for_each(|line| print_to_stderr(line));
    Ok(ExitStatus::Success)
}

fn list_clients(catalog: &ClientCatalog) -> String {
    let clients = catalog.clients.iter().map(|client| format!("{:<16} {}\n", client.name, client.title));
    clients.collect::<String>() + "\n`tollgate setup NAME` prints a client's settings; `--write` writes them.\n"
}

/// The lines about the credential, with a remark before them.
fn authorization_remarks(client: &ClientEntry, target: &SetupTarget<'_>) -> Vec<String> {
    let lines = client.authorization_lines(target);
    let remark = (!lines.is_empty()).then(|| "# The receiver wants a credential:".to_owned());
    remark.into_iter().chain(lines).collect()
}

/// Prints a program's variables or a console's fields, and the rest as comments.
fn print_lines(
    client: &ClientEntry,
    target: &SetupTarget<'_>,
    settings: Vec<String>,
    notes: &[String],
) -> Result<ExitStatus, CommandError> {
    let steps = client.step_lines(target).into_iter().map(|line| format!("# {line}"));
    let notes = notes.iter().map(|note| format!("# {note}."));
    let settings = settings.into_iter();
    let lines: Vec<String> = settings.chain(authorization_remarks(client, target)).chain(notes).chain(steps).collect();
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(ExitStatus::Success)
}

/// The address, protocol and credential for a client, and what its user should know.
fn resolve_target<'c>(
    receivers: ListReceivers<'_>,
    options: &SetupArgs,
    client: &'c ClientEntry,
) -> Result<(SetupTarget<'c>, Vec<String>), CommandError> {
    let protocols: Vec<&ClientProtocol> = match &options.protocol {
        None => client.protocols.iter().collect(),
        Some(name) => client.protocols.iter().filter(|protocol| protocol.name == *name).collect(),
    };
    let Some(first) = protocols.first().copied() else {
        let known = client.protocols.iter().map(|protocol| format!("`{}`", protocol.name)).collect::<Vec<_>>();
        return Err(CommandError::Usage(format!("{} sends {}", client.title, known.join(" or "))));
    };
    let of_hooks = options.budgets.then(|| HOOKS_ENDPOINT.to_owned());
    if let Some(endpoint) = &options.endpoint.clone().or(of_hooks) {
        let scheme = options.token.then_some("Bearer");
        let notes = endpoint_notes(client, endpoint, first.family(), !options.no_content);
        return Ok((SetupTarget { endpoint: endpoint.clone(), protocol: first, scheme }, notes));
    }
    let mut families: Vec<ProtocolFamily> = protocols.iter().map(|protocol| protocol.family()).collect();
    families.dedup();
    let (receiver, family) = ReceiverEndpoint::of_settings(&receivers()?, &families)?;
    let protocol = protocols.into_iter().find(|protocol| protocol.family() == family).unwrap_or(first);
    let mut notes = receiver.notes;
    notes.extend(endpoint_notes(client, &receiver.url, family, !options.no_content));
    Ok((SetupTarget { endpoint: receiver.url, protocol, scheme: receiver.scheme }, notes))
}

/// Remarks on an address that is valid but may not be meant.
fn endpoint_notes(client: &ClientEntry, endpoint: &str, family: ProtocolFamily, with_content: bool) -> Vec<String> {
    let Ok(url) = address::parse_url(endpoint) else { return Vec::new() };
    let mut notes = Vec::new();
    if client.file.is_none() && !url.tls {
        notes.push(format!(
            "{} can't send to this address: pass with `--endpoint` an `https://` URL that it can reach",
            client.title
        ));
        return notes;
    }
    let usual = USUAL_PORTS.iter().find(|(port, _)| Some(*port) == url.port);
    if usual.is_some_and(|(_, usual)| *usual != family) {
        notes.push(
            "port 4317 is usually gRPC's and 4318 HTTP's: check that `--protocol` and the port belong together"
                .to_owned(),
        );
    }
    let is_loopback = url.host == "localhost" || url.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if !url.tls && !is_loopback && with_content {
        notes.push("prompts and answers travel unencrypted to another machine: use TLS, or `--no-content`".to_owned());
    }
    notes
}

fn describe_written(path: &str, written: &WrittenSettings) -> String {
    let WrittenSettings { merged, backup, link_target } = written;
    let kept = merged.kept.iter().map(|key| format!("  kept {key} as it is\n"));
    if merged.is_unchanged() {
        return format!("{path}: already set, nothing was written\n") + &kept.collect::<String>();
    }
    let mut text = format!("{path}: written\n");
    if let Some(target) = link_target {
        text.push_str(&format!("  it is a link: {} was changed\n", target.display()));
    }
    if let Some(backup) = backup {
        text.push_str(&format!("  the file before is {}\n", backup.display()));
    }
    let lines = [("added", &merged.added), ("changed", &merged.changed), ("removed", &merged.removed)];
    text.extend(lines.iter().flat_map(|(what, keys)| keys.iter().map(move |key| format!("  {what} {key}\n"))));
    text.extend(kept);
    text
}
