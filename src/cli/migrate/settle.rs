//! Lets the loader judge the result: what it refuses is removed from the draft and reported, until the result loads. So
//! the loader's own tables and checks decide, and a key that tollgate learns later is taken over without a change here.

use std::path::Path;

use config::env::{SubstitutionFileError, SubstitutionLookup};
use config::tree::{NodeValue, TreeNode};
use config::{Problem, ProblemSeverity, load};

use super::comments::render_result;
use super::convert;
use super::draft::{MigrationDraft, SECTIONS};
use super::report::{MigrationEntry, MigrationVerdict};
use super::tree_edit::{list_items, locate, remove_at};
use crate::app::resolve::resolve_config;
use crate::cli::error::CommandError;

/// Most rounds of loading and removing. A round removes every key that it reports.
const MAX_ROUNDS: usize = 40;

/// Knows no variable and no file: they are on the machine that will run the result.
struct OtherMachineLookup;

impl SubstitutionLookup for OtherMachineLookup {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn read_file(&self, _: &str) -> Result<String, SubstitutionFileError> {
        Err(SubstitutionFileError::OtherMachine)
    }
}

/// What to remove from the draft.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum CutPlace {
    /// A component, by its index.
    Part(usize),
    /// The body of tollgate's own step `redact`.
    Redact,
    Limits,
    Telemetry,
    /// The extension `admin`.
    Admin,
    /// A pipeline, by its id in the result.
    Pipeline(String),
}

struct Cut {
    place: CutPlace,
    /// Where in the place; empty for all of it.
    indexes: Vec<usize>,
    key: String,
    line: usize,
    reason: String,
}

/// Removes from the draft what the loader refuses. Returns the text of the result, or `None` if no pipeline is left.
///
/// # Errors
/// The loader refuses the result for another reason than its components.
pub(super) fn settle(draft: &mut MigrationDraft, name: &str) -> Result<Option<String>, CommandError> {
    for _ in 0..MAX_ROUNDS {
        let root = draft.assemble();
        if draft.build_pipelines().is_empty() {
            draft.report_left_out(&root);
            return Ok(None);
        }
        let text = render_result(&root, draft, name);
        let read = resolve_config("the result", &text, &OtherMachineLookup, Path::new("/"));
        let problems = match read.result {
            Ok(_) => read.warnings,
            Err(problems) => problems,
        };
        let (errors, warnings): (Vec<Problem>, Vec<Problem>) =
            problems.into_iter().partition(|problem| problem.severity == ProblemSeverity::Error);
        let written = load::parse_tree(&text).unwrap_or_else(|_| root.clone());
        let errors: Vec<LocatedProblem> = errors.into_iter().map(|problem| locate_problem(problem, &written)).collect();
        let errors: Vec<LocatedProblem> =
            errors.into_iter().filter(|one| !depends_on_variables(one, &written)).collect();
        if errors.is_empty() {
            add_warnings(draft, &root, &warnings);
            draft.report_left_out(&root);
            return Ok(Some(render_result(&root, draft, name)));
        }
        if !apply_cuts(draft, &root, &errors) {
            let shown: Vec<Problem> = errors.into_iter().map(|one| one.problem).collect();
            let shown = read.source.render(&shown, false);
            return Err(CommandError::Failed(format!("the result does not load:\n{}", shown.trim_end())));
        }
    }
    Err(CommandError::Failed(format!("the result does not load after {MAX_ROUNDS} rounds of removing keys")))
}

/// A problem with the path of what it is about.
struct LocatedProblem {
    problem: Problem,
    path: String,
    /// Whether the key itself is the problem, not its value.
    is_of_key: bool,
}

/// Adds the key to the path of a problem with an unknown key, which has the key's position and the path of its map.
fn locate_problem(problem: Problem, written: &TreeNode) -> LocatedProblem {
    let found = locate(written, &problem.path);
    let key = found.node.entries().iter().find(|(key, _)| Some(key.at) == problem.at).map(|(key, _)| key.name.as_str());
    let path = match key {
        Some(key) if problem.path.is_empty() => key.to_owned(),
        Some(key) => format!("{}.{key}", problem.path),
        None => problem.path.clone(),
    };
    LocatedProblem { path, is_of_key: key.is_some(), problem }
}

/// Whether the loader could not judge a value because it has a variable or a file in it.
fn depends_on_variables(one: &LocatedProblem, written: &TreeNode) -> bool {
    let found = locate(written, &one.path);
    let has_reference = |node: &TreeNode| match &node.value {
        NodeValue::Str(text) => text.contains("${env:") || text.contains("${file:"),
        _ => false,
    };
    let has_references = has_reference(found.node) || list_items(found.node).iter().any(has_reference);
    found.is_complete && !one.is_of_key && has_references
}

fn describe_problem(problem: &Problem) -> String {
    if problem.hint.is_empty() { problem.message.clone() } else { format!("{}; {}", problem.message, problem.hint) }
}

fn apply_cuts(draft: &mut MigrationDraft, root: &TreeNode, errors: &[LocatedProblem]) -> bool {
    let mut cuts: Vec<Cut> = errors.iter().filter_map(|one| find_cut(draft, root, one)).collect();
    // From the end to the beginning, so that the indexes of what follows stay right.
    cuts.sort_by(|a, b| (&b.place, &b.indexes).cmp(&(&a.place, &a.indexes)));
    cuts.dedup_by(|a, b| (&a.place, &a.indexes) == (&b.place, &b.indexes));
    let mut is_changed = false;
    for cut in cuts {
        is_changed |= apply_cut(draft, cut);
    }
    is_changed
}

/// The smallest part of the draft that can be removed for a problem. In a processor that is an item of a list, or all
/// of it: an action without its condition would change other data.
fn find_cut(draft: &MigrationDraft, root: &TreeNode, one: &LocatedProblem) -> Option<Cut> {
    let found = locate(root, &one.path);
    let names: Vec<&str> = found.names.iter().map(String::as_str).collect();
    let reason = describe_problem(&one.problem);
    let (place, depth) = match names.as_slice() {
        ["limits", ..] => (CutPlace::Limits, 1),
        ["service", "telemetry", ..] => (CutPlace::Telemetry, 2),
        ["service", "pipelines", id, ..] => (CutPlace::Pipeline((*id).to_owned()), names.len()),
        ["processors", "redact", ..] => (CutPlace::Redact, 2),
        ["extensions", "admin", ..] => (CutPlace::Admin, names.len()),
        [section, id, ..] if SECTIONS.contains(section) => {
            let part = draft.parts.iter().position(|part| part.section == *section && part.id == *id)?;
            (CutPlace::Part(part), 2)
        }
        _ => return None,
    };
    let mut end = found.indexes.len();
    if names.first() == Some(&"processors") {
        let item = names.iter().skip(depth).position(|name| name.starts_with('['));
        end = item.map_or(depth, |item| depth.saturating_add(item).saturating_add(1));
    }
    let indexes = found.indexes.get(depth..end).unwrap_or_default().to_vec();
    let key = names.get(depth..end).unwrap_or_default().join(".").replace(".[", "[");
    Some(Cut { place, indexes, key, line: found.at.line, reason })
}

fn apply_cut(draft: &mut MigrationDraft, cut: Cut) -> bool {
    let Cut { place, indexes, key, line, reason } = cut;
    match place {
        CutPlace::Admin => std::mem::take(&mut draft.has_admin),
        CutPlace::Pipeline(id) => draft.refuse_pipeline(&id, reason),
        CutPlace::Part(index) if indexes.is_empty() => {
            if index >= draft.parts.len() {
                return false;
            }
            let part = draft.parts.remove(index);
            draft.leave_behind(&part, &reason);
            true
        }
        CutPlace::Part(index) => {
            let Some(part) = draft.parts.get_mut(index) else { return false };
            if part.section == "receivers" && (key == "auth" || key.starts_with("auth.")) {
                // Without `auth` every client could send.
                convert::set_client_token(part);
            } else {
                remove_at(&mut part.body, &indexes);
            }
            let (component, line) = (part.component(), if line == 0 { part.at.line } else { line });
            draft.add_entry(MigrationVerdict::Missing, &component, &key, line, reason);
            true
        }
        CutPlace::Redact | CutPlace::Limits | CutPlace::Telemetry => {
            let (body, component) = match place {
                CutPlace::Redact => (&mut draft.redact, "processors.redact"),
                CutPlace::Limits => (&mut draft.limits, "limits"),
                _ => (&mut draft.telemetry, "service.telemetry"),
            };
            remove_at(body, &indexes);
            draft.add_entry(MigrationVerdict::Missing, component, &key, line, reason);
            !indexes.is_empty()
        }
    }
}

/// Records the loader's warnings on keys of the result.
fn add_warnings(draft: &mut MigrationDraft, root: &TreeNode, warnings: &[Problem]) {
    for warning in warnings {
        let found = locate(root, &warning.path);
        let part = draft.parts.iter().find(|part| found.names.starts_with(&[part.section.to_owned(), part.id.clone()]));
        let key = found.names.get(2..).unwrap_or_default().join(".").replace(".[", "[");
        let Some(component) = part.map(|part| part.component()).filter(|_| found.at.line > 0 && !key.is_empty()) else {
            continue;
        };
        let reason = format!("note: {}", describe_problem(warning));
        draft.entries.push(MigrationEntry {
            verdict: MigrationVerdict::Mapped,
            component,
            key,
            line: found.at.line,
            reason,
        });
    }
}
