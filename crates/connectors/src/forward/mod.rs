//! The `forward` connector, which merges several pipelines into one or splits one into several. It has no running part:
//! [`join_pipelines`] replaces each path from receivers through connectors to exporters by one ordinary pipeline, which
//! is checked, run, committed and answered as one. A record takes the same steps as with hand-copied processors, and
//! each step runs once where paths share it; one commit covers all paths. A ring has no exit and makes no pipeline.
//! `config/connectors` reports rings and connectors with one side only, `pipeline/route` runs pipelines.

mod config;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use ::config::file::PipelineConfig;
use ::config::{ComponentId, Problem, SourcePosition};
use otlp::Signal;

pub use config::{ForwardConfig, ForwardSettings};

/// Maximum number of paths through the connectors of one file.
const MAX_PATHS: usize = 1000;

/// The pipelines that run: one for each path from receivers through `forwards` to exporters. A pipeline without a
/// `forward` connector stays unchanged.
///
/// # Errors
/// There are more than 1,000 paths.
pub fn join_pipelines(
    pipelines: &[PipelineConfig],
    forwards: &HashSet<ComponentId>,
) -> Result<Vec<PipelineConfig>, Problem> {
    let mut expansion = PathExpansion { pipelines, forwards, joined_pipelines: Vec::new() };
    for pipeline in pipelines {
        let receivers: Vec<_> = pipeline.receivers.iter().filter(|(id, _)| !forwards.contains(id)).cloned().collect();
        if receivers.is_empty() && !pipeline.receivers.is_empty() {
            continue;
        }
        let start = PipelineConfig { receivers, processors: Vec::new(), exporters: Vec::new(), ..pipeline.clone() };
        expansion.follow(start, pipeline, &mut Vec::new());
    }
    if expansion.joined_pipelines.len() > MAX_PATHS {
        let what =
            format!("`forward` connectors create more than {MAX_PATHS} paths from receivers to exporters; remove some");
        return Err(Problem::error(pipelines.first().map(|pipeline| pipeline.at), "service.pipelines", what));
    }
    Ok(expansion.joined_pipelines)
}

struct PathExpansion<'p> {
    pipelines: &'p [PipelineConfig],
    forwards: &'p HashSet<ComponentId>,
    joined_pipelines: Vec<PipelineConfig>,
}

impl<'p> PathExpansion<'p> {
    /// Extends the path through `next`; `visited` are the pipelines already on the path.
    fn follow(&mut self, mut path: PipelineConfig, next: &'p PipelineConfig, visited: &mut Vec<&'p ComponentId>) {
        if self.joined_pipelines.len() > MAX_PATHS || visited.contains(&&next.id) {
            return;
        }
        visited.push(&next.id);
        path.processors.extend(next.processors.iter().cloned());
        let (forward_exporters, end_exporters): (Vec<_>, Vec<_>) =
            next.exporters.iter().cloned().partition(|(id, _)| self.forwards.contains(id));
        if !end_exporters.is_empty() || next.exporters.is_empty() {
            self.joined_pipelines.push(PipelineConfig {
                id: path_name(&path.id, visited),
                exporters: end_exporters,
                ..path.clone()
            });
        }
        for (connector, _) in forward_exporters {
            let receives_from_connector = |pipeline: &&PipelineConfig| {
                pipeline.signal == next.signal && pipeline.receivers.iter().any(|(id, _)| *id == connector)
            };
            for pipeline in self.pipelines.iter().filter(receives_from_connector) {
                self.follow(path.clone(), pipeline, visited);
            }
        }
        visited.pop();
    }
}

/// The name of a path, such as `traces/in>out`; a single pipeline keeps its name.
fn path_name(first: &ComponentId, pipelines: &[&ComponentId]) -> ComponentId {
    if pipelines.len() < 2 {
        return first.clone();
    }
    let part = |id: &&ComponentId| if id.name.is_empty() { id.kind.clone() } else { id.name.clone() };
    ComponentId { kind: first.kind.clone(), name: pipelines.iter().map(part).collect::<Vec<_>>().join(">") }
}

/// Reports connectors that a signal enters but never leaves, or the reverse.
pub fn check_one_sided(pipelines: &[PipelineConfig], forwards: &HashSet<ComponentId>) -> Vec<Problem> {
    type Listed = fn(&PipelineConfig) -> &[(ComponentId, SourcePosition)];
    let (exporters, receivers): (Listed, Listed) = (|pipeline| &pipeline.exporters, |pipeline| &pipeline.receivers);
    let sides = [
        ("exporters", exporters, receivers, "no pipeline of this signal receives from it"),
        ("receivers", receivers, exporters, "no pipeline of this signal exports to it"),
    ];
    let mut problems = Vec::new();
    let signals: HashSet<Signal> = pipelines.iter().map(|pipeline| pipeline.signal).collect();
    for signal in Signal::ALL.into_iter().filter(|signal| signals.contains(signal)) {
        let users = || pipelines.iter().filter(move |pipeline| pipeline.signal == signal);
        for (list, here, there, why) in sides {
            for pipeline in users() {
                for (id, at) in here(pipeline).iter().filter(|(id, _)| forwards.contains(id)) {
                    if !users().any(|other| there(other).iter().any(|(known, _)| known == id)) {
                        problems.push(one_sided_problem(pipeline, list, id, *at, why));
                    }
                }
            }
        }
    }
    problems
}

fn one_sided_problem(
    pipeline: &PipelineConfig,
    list: &str,
    id: &ComponentId,
    at: SourcePosition,
    why: &str,
) -> Problem {
    let hint = "`forward` only joins pipelines of the same signal: traces to traces, metrics to metrics, logs to logs";
    let path = format!("service.pipelines.{}.{list}", pipeline.id);
    Problem::error(Some(at), path, format!("`{id}`: {why}")).with_hint(hint)
}
