//! The `forward` connector, which merges several pipelines into one or splits one into several. It has no running
//! part: [`joined`] replaces each path from receivers through connectors to exporters by one ordinary pipeline, which
//! is checked, run, committed and answered as one.
//! A record takes the same steps as with hand-copied processors, and each step runs once where paths share it; one
//! commit covers all paths. A ring has no exit and makes no pipeline. `config/joins` reports rings and half-used
//! connectors, `pipeline/route` runs pipelines.

mod config;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use ::config::file::Pipeline;
use ::config::{At, ComponentId, Problem};
use otlp::Signal;

pub use config::{Config, Settings};

/// Maximum number of paths through the connectors of one file.
const MOST: usize = 1000;

/// The pipelines that run: one for each path from receivers through `forwards` to exporters. A pipeline without a
/// `forward` connector stays unchanged.
///
/// # Errors
/// There are more than 1,000 paths.
pub fn joined(pipelines: &[Pipeline], forwards: &HashSet<ComponentId>) -> Result<Vec<Pipeline>, Problem> {
    let mut ways = Ways { pipelines, forwards, found: Vec::new() };
    for pipeline in pipelines {
        let receivers: Vec<_> = pipeline.receivers.iter().filter(|(id, _)| !forwards.contains(id)).cloned().collect();
        if receivers.is_empty() && !pipeline.receivers.is_empty() {
            continue;
        }
        let begin = Pipeline { receivers, processors: Vec::new(), exporters: Vec::new(), ..pipeline.clone() };
        ways.follow(begin, pipeline, &mut Vec::new());
    }
    if ways.found.len() > MOST {
        let what = format!("`forward` connectors make more than {MOST} ways from receivers to exporters");
        return Err(Problem::error(pipelines.first().map(|pipeline| pipeline.at), "service.pipelines", what));
    }
    Ok(ways.found)
}

struct Ways<'p> {
    pipelines: &'p [Pipeline],
    forwards: &'p HashSet<ComponentId>,
    found: Vec<Pipeline>,
}

impl<'p> Ways<'p> {
    /// Extends the path through `next`; `behind` are the pipelines already on the path.
    fn follow(&mut self, way: Pipeline, next: &'p Pipeline, behind: &mut Vec<&'p ComponentId>) {
        if self.found.len() > MOST || behind.contains(&&next.id) {
            return;
        }
        behind.push(&next.id);
        let mut way = way;
        way.processors.extend(next.processors.iter().cloned());
        let (on, out): (Vec<_>, Vec<_>) =
            next.exporters.iter().cloned().partition(|(id, _)| self.forwards.contains(id));
        if !out.is_empty() || next.exporters.is_empty() {
            self.found.push(Pipeline { id: named(&way.id, behind), exporters: out, ..way.clone() });
        }
        for (connector, _) in on {
            let fed = |pipeline: &&Pipeline| {
                pipeline.signal == next.signal && pipeline.receivers.iter().any(|(id, _)| *id == connector)
            };
            for pipeline in self.pipelines.iter().filter(fed) {
                self.follow(way.clone(), pipeline, behind);
            }
        }
        behind.pop();
    }
}

/// The name of a path, such as `traces/in>out`; a single pipeline keeps its name.
fn named(first: &ComponentId, ways: &[&ComponentId]) -> ComponentId {
    if ways.len() < 2 {
        return first.clone();
    }
    let part = |id: &&ComponentId| if id.name.is_empty() { id.kind.clone() } else { id.name.clone() };
    ComponentId { kind: first.kind.clone(), name: ways.iter().map(part).collect::<Vec<_>>().join(">") }
}

/// Reports connectors that a signal enters but never leaves, or the reverse.
pub fn one_sided(pipelines: &[Pipeline], forwards: &HashSet<ComponentId>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let signals: HashSet<Signal> = pipelines.iter().map(|pipeline| pipeline.signal).collect();
    for signal in Signal::ALL.into_iter().filter(|signal| signals.contains(signal)) {
        let of = |pick: fn(&Pipeline) -> &[(ComponentId, At)]| {
            let lines = pipelines.iter().filter(move |pipeline| pipeline.signal == signal);
            lines.flat_map(move |pipeline| pick(pipeline).iter().map(move |(id, at)| (pipeline, id, *at)))
        };
        let (ins, outs) = (|| of(|pipeline| &pipeline.exporters), || of(|pipeline| &pipeline.receivers));
        for (pipeline, id, at) in ins().filter(|(_, id, _)| forwards.contains(*id)) {
            if !outs().any(|(_, other, _)| other == id) {
                problems.push(lost(pipeline, "exporters", id, at, "no pipeline of this signal receives from it"));
            }
        }
        for (pipeline, id, at) in outs().filter(|(_, id, _)| forwards.contains(*id)) {
            if !ins().any(|(_, other, _)| other == id) {
                problems.push(lost(pipeline, "receivers", id, at, "no pipeline of this signal exports to it"));
            }
        }
    }
    problems
}

fn lost(pipeline: &Pipeline, list: &str, id: &ComponentId, at: At, why: &str) -> Problem {
    let hint = "`forward` takes traces to traces, metrics to metrics, logs to logs";
    let path = format!("service.pipelines.{}.{list}", pipeline.id);
    Problem::error(Some(at), path, format!("`{id}`: {why}")).with_hint(hint)
}
