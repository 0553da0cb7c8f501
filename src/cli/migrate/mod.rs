//! `migrate`: turns a Collector's file into tollgate's. The loader accepts most of such a file
//! (`app/collector_compat`). This adds tollgate's own steps, leaves out the parts that the loader refuses, and prints
//! the rest as `print_config` does, with the loader's notes and each part that was left out as comments. `conditions`
//! translates those of `filter`. Variables stay as written; texts for people contain no values but conditions.

mod conditions;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::print_config::{AUDITOR_COMMENT, AUDITOR_REFERENCE, ConfigPrinter, is_below};
use crate::app::collector_compat::{MEMORY_LIMITER, find_replacement, remove_unused_parts};
use crate::app::resolve::resolve_config;
use command::error::{CommandError, ExitStatus};
use command::output::{print, print_to_stderr, use_colour_on_stderr};
use config::env::OtherMachineLookup;
use config::file::{self, ComponentRefs, ComponentSection, ConfigFile, PipelineConfig};
use config::schema::{DocumentedValue, write_comment};
use config::tree::{MapKey, NodeValue, TreeNode};
use config::{ComponentId, Problem, ProblemSeverity, SourcePosition, load};
use kernel::files::{describe_io_error, read_text, write_new};
use kernel::terminal::format_count;
use otlp::Signal;

/// Largest source, in bytes.
const MAX_SOURCE_BYTES: u64 = 1 << 20;
/// Most rounds of loading and leaving out; a round leaves out at most one part of each component.
const MAX_ROUNDS: usize = 100;
/// tollgate's own steps, in the order that pipelines must keep.
const OWN_STEPS: [&str; 5] = ["normalize", "cost", "runs", "vault", "redact"];
/// The folder of the spool and the vault.
const DATA_FOLDER: &str = "${env:TOLLGATE_DATA_DIR:-/var/lib/tollgate}";
const ABOUT_VAULT: &str = "the content of agents (prompts, completions, tool payloads) is kept here, encrypted, in a \
    folder beside the spool; only the auditor's key opens it. To keep it in S3, see docs/how-to/s3-vault.md";
/// The page about migrating.
const PAGE: &str = "docs/how-to/collector.md";

#[derive(Args)]
pub(super) struct MigrateArgs {
    /// The Collector's configuration file.
    #[arg(value_name = "COLLECTOR.yaml")]
    file: PathBuf,
    /// New file for the configuration, readable by its owner only [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Turns a Collector's file into tollgate's configuration. Fails if parts must be migrated by hand.
pub(super) fn run(options: &MigrateArgs) -> Result<ExitStatus, CommandError> {
    let name = options.file.display().to_string();
    let source = read_text(&options.file, MAX_SOURCE_BYTES).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::FileTooLarge => "larger than 1 MiB".to_owned(),
            io::ErrorKind::InvalidData => "not text in UTF-8".to_owned(),
            kind => describe_io_error(kind),
        };
        CommandError::Failed(format!("can't read {name}: {why}"))
    })?;
    let migration = migrate(&name, &source)?;
    let text = migration.render(&name);
    match &options.output {
        None => print(&text)?,
        Some(path) => write_new(path, text.as_bytes()).map_err(|error| {
            CommandError::Failed(format!("can't write {}: {}", path.display(), describe_io_error(error.kind())))
        })?,
    }
    let by_hand = migration.list_by_hand();
    if by_hand.is_empty() {
        return Ok(ExitStatus::Success);
    }
    print_to_stderr(&format!("{name}: {} to migrate by hand (see {PAGE}):", format_count(by_hand.len(), "part")));
    by_hand.iter().for_each(|line| print_to_stderr(&format!("  {line}")));
    Ok(ExitStatus::Failed)
}

/// A comment on a path of the result.
struct Remark {
    path: String,
    text: String,
    /// Whether the user must do something that `migrate` could not do.
    is_by_hand: bool,
}

/// A Collector's file that becomes tollgate's.
struct Migration {
    file: ConfigFile,
    remarks: Vec<Remark>,
}

/// Fails if the text is not valid YAML or is tollgate's configuration already, or if no pipeline is left.
fn migrate(name: &str, text: &str) -> Result<Migration, CommandError> {
    let read = file::read_collector(name, text, &OtherMachineLookup);
    let Some(file) = read.content else {
        let shown = read.source.render(&read.problems, use_colour_on_stderr());
        return Err(CommandError::Problems(shown.trim_end().to_owned()));
    };
    if let Some(step) = file.processors.iter().find(|part| OWN_STEPS.contains(&part.id.kind.as_str())) {
        let why = "so it is tollgate's configuration already: check it with `tollgate validate --config FILE`";
        let line = step.at.line;
        return Err(CommandError::Failed(format!("{name}:{line}: `{}` is a step of tollgate, {why}", step.id)));
    }
    let mut migration = Migration { file, remarks: Vec::new() };
    for problem in &read.problems {
        if !migration.leave_out(problem) {
            migration.remark(&problem.path, describe(problem), true);
        }
    }
    migration.leave_out_unused();
    migration.convert_conditions();
    migration.keep_written_limit();
    migration.add_own_parts();
    migration.leave_out_refused()?;
    if migration.file.pipelines.is_empty() {
        let by_hand = migration.list_by_hand().join("\n  ");
        let why = "no pipeline can be migrated: none has a receiver and an exporter that tollgate has";
        return Err(CommandError::Failed(format!("{name}: {why}\n  {by_hand}")));
    }
    Ok(migration)
}

fn describe(problem: &Problem) -> String {
    if problem.hint.is_empty() { problem.to_string() } else { format!("{problem}; {}", problem.hint) }
}

/// Why a part was left out; the path of the problem is not repeated if it is the part's.
fn describe_removal(part: &str, problem: &Problem) -> String {
    format!("left out `{part}`: {}", describe(problem).replacen(&format!(" (at `{part}`)"), "", 1))
}

impl Migration {
    fn remark(&mut self, path: &str, text: impl Into<String>, is_by_hand: bool) {
        self.remarks.push(Remark { path: path.to_owned(), text: text.into(), is_by_hand });
    }

    fn list_by_hand(&self) -> Vec<&str> {
        self.remarks.iter().filter(|remark| remark.is_by_hand).map(|remark| remark.text.as_str()).collect()
    }

    /// Removes a component, and its id from pipelines and `service.extensions`.
    fn remove(&mut self, section: &str, id: &ComponentId) {
        for (name, parts) in self.file.sections_mut() {
            parts.retain(|part| name != section || part.id != *id);
        }
        let remove_from = |list: &mut ComponentRefs, sections: &[&str]| {
            list.retain(|(other, _)| !sections.contains(&section) || other != id);
        };
        remove_from(&mut self.file.enabled, &["extensions"]);
        for pipeline in &mut self.file.pipelines {
            remove_from(&mut pipeline.receivers, &["receivers", "connectors"]);
            remove_from(&mut pipeline.processors, &["processors"]);
            remove_from(&mut pipeline.exporters, &["exporters", "connectors"]);
        }
    }

    fn leave_out_unused(&mut self) {
        let lists = self.file.pipelines.iter().flat_map(|one| [&one.receivers, &one.processors, &one.exporters]);
        let used = lists.flatten().chain(&self.file.enabled).map(|(id, _)| id.clone()).collect::<HashSet<_>>();
        let mut unused = Vec::new();
        for (section, parts) in self.file.sections_mut() {
            parts.retain(|part| {
                let is_used = used.contains(&part.id);
                unused.extend((!is_used).then(|| format!("{section}.{}", part.id)));
                is_used
            });
        }
        unused.iter().for_each(|path| self.remark(path, format!("`{path}` is left out: nothing uses it"), false));
    }

    /// Rewrites the conditions of `filter` as rules. A condition that is not simple is left to the user.
    fn convert_conditions(&mut self) {
        let (mut refused, mut emptied) = (Vec::new(), Vec::new());
        let is_empty = |node: &TreeNode| matches!(&node.value, NodeValue::Map(entries) if entries.is_empty());
        for part in self.file.processors.iter_mut().filter(|part| part.id.kind == "filter") {
            let (rules, others) = conditions::convert(&part.id.to_string(), &mut part.body);
            refused.extend(others.into_iter().map(|(key, condition)| (part.id.clone(), key, condition)));
            if !rules.is_empty() {
                put(&mut part.body, "drop", &json!(rules));
            } else if part.body.entries().iter().all(|(key, node)| key.name == "error_mode" || is_empty(node)) {
                emptied.push(part.id.clone());
            }
        }
        for (id, key, condition) in refused {
            let what = format!("`{key}` of `{id}` has a condition that is not simple: `{condition}`");
            let text = format!("{what}; write a rule in `drop`, or keep the filter in a Collector ({PAGE})");
            self.remark(&format!("processors.{id}"), text, true);
        }
        emptied.iter().for_each(|id| self.remove("processors", id));
    }

    /// Takes over a memory limit that is a variable. The loader reckons with its number, which is unknown here.
    fn keep_written_limit(&mut self) {
        let parts = self.file.processors.iter().chain(&self.file.extensions);
        let mut limiters = parts.filter(|part| part.id.kind == MEMORY_LIMITER);
        let text = limiters.find_map(|part| match &part.body.get("limit_mib")?.1.value {
            NodeValue::Str(text) if text.contains("${") => Some(format!("{text}MiB")),
            _ => None,
        });
        text.iter().for_each(|text| put(&mut self.file.limits, "memory", &json!(text)));
    }

    /// Adds tollgate's steps where data enters, a vault and a spool beside each other, and the extension `admin`.
    fn add_own_parts(&mut self) {
        let at = SourcePosition::default();
        let id = |kind: &str| ComponentId { kind: kind.to_owned(), name: String::new() };
        let part = |kind: &str| ComponentSection { id: id(kind), at, body: TreeNode::null(at) };
        let mut used = HashSet::new();
        let mut forwarded_pipelines = Vec::new();
        for pipeline in &mut self.file.pipelines {
            let is_connector = |id: &ComponentId| id.kind == "forward";
            // Data of connectors has passed the steps already, so it gets a pipeline of its own.
            let (forwarded, received): (Vec<_>, Vec<_>) =
                pipeline.receivers.iter().cloned().partition(|(id, _)| is_connector(id));
            if received.is_empty() {
                continue;
            }
            if !forwarded.is_empty() {
                let name = format!("{}-forwarded", pipeline.id.name).trim_start_matches('-').to_owned();
                let id = ComponentId { name, ..pipeline.id.clone() };
                forwarded_pipelines.push(PipelineConfig { id, receivers: forwarded, ..pipeline.clone() });
                pipeline.receivers = received;
            }
            // Metrics have no content.
            let has_content = pipeline.signal != Signal::Metrics;
            let steps = OWN_STEPS.into_iter().filter(|step| has_content || *step == "redact");
            used.extend(steps.clone());
            pipeline.processors.splice(0..0, steps.map(|step| (id(step), at)));
        }
        self.file.pipelines.extend(forwarded_pipelines);
        let mut steps: Vec<_> = OWN_STEPS.into_iter().filter(|step| used.contains(step)).map(part).collect();
        for vault in steps.iter_mut().filter(|step| step.id.kind == "vault") {
            self.remark("processors.vault", ABOUT_VAULT, false);
            put(&mut vault.body, "recipients", &json!([AUDITOR_REFERENCE]));
            put(&mut vault.body, "store", &json!({ "directory": format!("{DATA_FOLDER}/vault") }));
        }
        self.file.processors.splice(0..0, steps);
        put(&mut self.file.spool, "directory", &json!(format!("{DATA_FOLDER}/spool")));
        if !self.file.extensions.iter().any(|part| part.id.kind == "admin") {
            self.file.extensions.push(part("admin"));
            self.file.enabled.push((id("admin"), at));
        }
        self.remark("processors.redact", "replaces private text before data leaves", false);
        self.remark("extensions.admin", "pages, /metrics and probes on 127.0.0.1:8888", false);
    }

    /// Leaves out the parts that the loader refuses until it accepts the rest, which then loses the parts that it
    /// serves in another way.
    fn leave_out_refused(&mut self) -> Result<(), CommandError> {
        for _ in 0..MAX_ROUNDS {
            self.leave_out_unused();
            if self.file.pipelines.is_empty() {
                return Ok(());
            }
            let text = self.render("the result");
            // The loader's positions are those of this text.
            if let Some(file) = file::read("the result", &text, &OtherMachineLookup).content {
                self.file = file;
            }
            let read = resolve_config("the result", &text, &OtherMachineLookup, Path::new("/"));
            let Err(problems) = read.result else {
                read.warnings.iter().for_each(|note| self.remark(&note.path, describe(note), false));
                drop(remove_unused_parts(&mut self.file));
                return Ok(());
            };
            let mut changed: HashSet<String> = HashSet::new();
            let errors = || problems.iter().filter(|problem| problem.severity == ProblemSeverity::Error);
            // Errors of pipelines may follow from those of components, and errors of a component or of an item of a
            // list from its first one.
            for is_of_service in [false, true] {
                for problem in errors().filter(|problem| problem.path.starts_with("service") == is_of_service) {
                    let depth = 2 + usize::from(is_of_service);
                    let owner = match problem.path.split_once(']') {
                        Some((item, _)) => item.to_owned(),
                        None => problem.path.split('.').take(depth).collect(),
                    };
                    if !changed.contains(&owner) && self.leave_out(problem) {
                        changed.insert(owner);
                    }
                }
                if !changed.is_empty() {
                    break;
                }
            }
            if changed.is_empty() {
                let shown = read.source.render(&problems, use_colour_on_stderr());
                return Err(CommandError::Failed(format!("the result does not load:\n{}", shown.trim_end())));
            }
        }
        Err(CommandError::Failed(format!("the result does not load after {MAX_ROUNDS} rounds of leaving out parts")))
    }

    /// Leaves out the part that a problem is about, for the user to do by hand. Returns whether it was found.
    fn leave_out(&mut self, problem: &Problem) -> bool {
        let (at, path) = (problem.at.unwrap_or_default(), problem.path.as_str());
        let owner = self.file.sections_mut().into_iter().find_map(|(section, parts)| {
            let owners = parts.iter_mut().filter(|part| is_below(path, &format!("{section}.{}", part.id)));
            owners.max_by_key(|part| part.id.to_string().len()).map(|part| (section, part))
        });
        let Some((section, part)) = owner else {
            return self.leave_out_of_service(problem).map(|text| self.remark(path, text, true)).is_some();
        };
        let id = part.id.clone();
        let (mut text, is_otlp) = (describe(problem), section == "receivers" && id.kind == "otlp");
        let is_cut = if is_otlp && path.split('.').any(|key| key == "auth") {
            text.push_str("; until then, clients must send the bearer token in TOLLGATE_CLIENT_TOKEN");
            require_client_token(&mut part.body);
            true
        } else if is_otlp && path.contains(".tls") && !path.ends_with("_version") {
            // Without a part of its TLS, the port could be open to more clients.
            false
        } else if section == "processors" {
            remove_item(&mut part.body, at)
        } else {
            part.body.remove_at(at)
        };
        if !is_cut {
            text = describe_removal(&format!("{section}.{id}"), problem);
            self.remove(section, &id);
        }
        let is_needless = find_replacement(section, &id.kind).is_some_and(|(_, is_needless)| is_needless);
        self.remark(&format!("{section}.{id}"), text, !is_needless);
        true
    }

    /// Leaves out a reference or a whole pipeline, or a key outside components. Returns the remark for the user.
    fn leave_out_of_service(&mut self, problem: &Problem) -> Option<String> {
        let (at, path) = (problem.at.unwrap_or_default(), problem.path.as_str());
        let ConfigFile { pipelines, enabled, telemetry, limits, .. } = &mut self.file;
        // A pipeline must not lose a step of ours that other data needs.
        let cut_from = |list: &mut ComponentRefs| {
            let cut = list.iter().position(|(id, other)| *other == at && !OWN_STEPS.contains(&id.kind.as_str()));
            cut.map(|index| list.remove(index).0.to_string())
        };
        let owners = pipelines.iter().enumerate();
        // The path of pipelines that are joined by `forward` names none of them.
        let has_position = |one: &PipelineConfig| {
            [&one.receivers, &one.processors, &one.exporters].into_iter().flatten().any(|(_, other)| *other == at)
        };
        let owners = owners.filter(|(_, one)| {
            is_below(path, &format!("service.pipelines.{}", one.id))
                || (path.starts_with("service.pipelines.") && has_position(one))
        });
        let Some((index, _)) = owners.max_by_key(|(_, one)| one.id.to_string().len()) else {
            if path == "service.extensions" {
                return cut_from(enabled).map(|id| describe_removal(&id, problem));
            }
            let is_cut = (is_below(path, "service.telemetry") && telemetry.remove_at(at))
                || (is_below(path, "limits") && limits.remove_at(at));
            return is_cut.then(|| describe(problem));
        };
        let cut = pipelines.get_mut(index).and_then(|one| {
            [&mut one.receivers, &mut one.processors, &mut one.exporters].into_iter().find_map(cut_from)
        });
        let part = cut.unwrap_or_else(|| format!("service.pipelines.{}", pipelines.remove(index).id));
        Some(describe_removal(&part, problem))
    }

    fn render(&self, name: &str) -> String {
        let prefix = |remark: &Remark| if remark.is_by_hand { "by hand: " } else { "" };
        let remarks = self.remarks.iter().map(|one| (one.path.clone(), format!("{}{}", prefix(one), one.text)));
        let mut printer = ConfigPrinter::with_remarks(remarks.collect());
        let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        let made = format!("tollgate's configuration, made from {name} by `tollgate migrate`.");
        let check = "Check it with `tollgate validate --config FILE`, which needs each variable that is named here.";
        write_comment(&mut printer.text, &format!("{made} {check}"), 0);
        let by_hand = self.list_by_hand().len();
        if by_hand > 0 {
            let text = format!("{} to migrate by hand: see `by hand` below and {PAGE}.", format_count(by_hand, "part"));
            write_comment(&mut printer.text, &text, 0);
        }
        let file = &self.file;
        if file.processors.iter().any(|part| part.id.kind == "vault") {
            printer.text.push_str(AUDITOR_COMMENT);
        }
        for (section, parts) in file.sections() {
            let components = parts.iter().map(|part| (&part.id, DocumentedValue::from_tree(&part.body)));
            printer.print_components(section, &[], components.collect());
        }
        for (name, node) in [("spool", &self.file.spool), ("limits", &self.file.limits)] {
            if !node.entries().is_empty() {
                printer.print_body(&format!("{name}:"), 2, &DocumentedValue::from_tree(node));
            }
        }
        printer.print_service(&self.file, &DocumentedValue::from_tree(&self.file.telemetry));
        printer.text
    }
}

fn put(body: &mut TreeNode, key: &str, value: &Value) {
    let at = SourcePosition::default();
    let value = load::parse_tree(&value.to_string()).unwrap_or_else(|_| TreeNode::null(at));
    body.put(MapKey { at, name: key.to_owned() }, value);
}

/// Keeps a port closed whose authenticator can't be taken over.
fn require_client_token(body: &mut TreeNode) {
    drop((body.remove("protocols.grpc.auth"), body.remove("protocols.http.auth")));
    put(body, "auth", &json!({ "tokens": { "default": ["${env:TOLLGATE_CLIENT_TOKEN}"] } }));
}

/// Removes the list item of a processor that contains a position, if there is one: an action without its condition
/// would change other data.
fn remove_item(body: &mut TreeNode, at: SourcePosition) -> bool {
    let NodeValue::Map(entries) = &mut body.value else { return false };
    entries.iter_mut().any(|(_, node)| {
        let NodeValue::Seq(items) = &mut node.value else { return false };
        let before = items.len();
        items.retain_mut(|item| item.at != at && !item.remove_at(at));
        items.len() < before
    })
}
