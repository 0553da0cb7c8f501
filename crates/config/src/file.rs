//! The outer shape of the configuration file: component sections, and the service with its pipelines. Component bodies
//! stay untyped nodes, which `src/components.rs` types, so that this crate knows no component. All shape problems are
//! collected before returning. Checks across components are in `graph`.

use otlp::Signal;

use super::env::{self, Lookup};
use super::id::ComponentId;
use super::load;
use super::problem::{At, Problem, Source, nearest};
use super::shown;
use super::tree::{Key, Node, Val};

/// One configured component, its body not yet typed.
#[derive(Clone)]
pub struct Section {
    /// Its id, the key of the section.
    pub id: ComponentId,
    /// Position of its key.
    pub at: At,
    /// Its untyped body.
    pub body: Node,
}

/// One pipeline as written in the file.
#[derive(Clone)]
pub struct Pipeline {
    /// The id, such as `traces` or `traces/second`.
    pub id: ComponentId,
    /// The signal named by the type of its id.
    pub signal: Signal,
    /// Position of its key.
    pub at: At,
    /// Receivers, each with its position in the file.
    pub receivers: Vec<(ComponentId, At)>,
    /// Processors in the order written, each with its position.
    pub processors: Vec<(ComponentId, At)>,
    /// Exporters, each with its position.
    pub exporters: Vec<(ComponentId, At)>,
}

/// A parsed configuration file.
#[derive(Clone)]
pub struct File {
    /// Components under `receivers:`.
    pub receivers: Vec<Section>,
    /// Components under `processors:`.
    pub processors: Vec<Section>,
    /// Components under `exporters:`.
    pub exporters: Vec<Section>,
    /// Components under `connectors:`.
    pub connectors: Vec<Section>,
    /// Components under `extensions:`.
    pub extensions: Vec<Section>,
    /// Ids listed in `service.extensions`.
    pub enabled: Vec<(ComponentId, At)>,
    /// Pipelines under `service.pipelines`.
    pub pipelines: Vec<Pipeline>,
    /// The untyped node `service.telemetry`.
    pub telemetry: Node,
    /// The untyped node `spool`.
    pub spool: Node,
    /// The untyped node `pseudonyms`.
    pub pseudonyms: Node,
    /// The untyped node `limits`.
    pub limits: Node,
}

const TOP: [&str; 9] =
    ["receivers", "processors", "exporters", "connectors", "extensions", "service", "spool", "pseudonyms", "limits"];

/// The result of [`read`]: as much of the file as could be parsed, with its problems.
pub struct Reading {
    /// The masked text that problems are rendered against.
    pub source: Source,
    /// The file's shape; `None` if the text is not valid YAML.
    pub file: Option<File>,
    /// The problems found so far.
    pub problems: Vec<Problem>,
    /// Scalars whose `${…}` could not be resolved. Further problems at these positions follow from that one.
    pub unresolved: Vec<At>,
}

/// Parses a file and resolves its substitutions. Problems do not stop it, so that later checks can add theirs.
pub fn read(name: &str, text: &str, lookup: &dyn Lookup) -> Reading {
    let mut root = match load::tree(text) {
        Ok(root) => root,
        Err(problem) => {
            let source = Source::opaque(name);
            return Reading { source, file: None, problems: vec![problem], unresolved: Vec::new() };
        }
    };
    let mut keys = Vec::new();
    root.keys(&mut keys);
    keys.extend(shown::places(&root, text));
    let source = Source::new(name, text, &keys);
    let (mut problems, unresolved) = env::resolve(&mut root, lookup);
    let file = Some(Shape { problems: &mut problems }.file(&root));
    Reading { source, file, problems, unresolved }
}

struct Shape<'p> {
    problems: &'p mut Vec<Problem>,
}

impl Shape<'_> {
    fn error(&mut self, at: At, path: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::error(Some(at), path, what).with_hint(hint));
    }

    fn file(&mut self, root: &Node) -> File {
        self.keys(root, "", &TOP);
        let empty = Node::null(root.at);
        let part = |name: &str| root.get(name).map_or(&empty, |(_, node)| node).clone();
        let service = part("service");
        self.keys(&service, "service", &["extensions", "pipelines", "telemetry"]);
        let pipelines = match service.get("pipelines") {
            Some((_, node)) => self.pipelines(node),
            None => {
                let at = root.get("service").map_or(root.at, |(key, _)| key.at);
                self.error(
                    at,
                    "service",
                    "no pipelines",
                    "add `service.pipelines`, e.g. `traces: { receivers: [otlp], processors: […], exporters: […] }`",
                );
                Vec::new()
            }
        };
        let enabled = service.get("extensions").map(|(_, node)| self.references(node, "service.extensions"));
        File {
            receivers: self.sections(&part("receivers"), "receivers"),
            processors: self.sections(&part("processors"), "processors"),
            exporters: self.sections(&part("exporters"), "exporters"),
            connectors: self.sections(&part("connectors"), "connectors"),
            extensions: self.sections(&part("extensions"), "extensions"),
            enabled: enabled.unwrap_or_default(),
            pipelines,
            telemetry: service.get("telemetry").map_or(empty.clone(), |(_, node)| node.clone()),
            spool: part("spool"),
            pseudonyms: part("pseudonyms"),
            limits: part("limits"),
        }
    }

    /// Reports keys of `node` that are not in `known`, or that `node` is not a map.
    fn keys(&mut self, node: &Node, path: &str, known: &[&str]) {
        if !matches!(node.value, Val::Map(_) | Val::Null) {
            self.error(node.at, path, "expected a map", "");
        }
        for (key, _) in node.entries().iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let hint = nearest(&key.name, known.iter().copied()).map_or_else(
                || format!("expected one of: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let path = join(path, &key.name);
            self.error(key.at, path, format!("unknown key `{}`", key.name), hint);
        }
    }

    fn sections(&mut self, node: &Node, path: &str) -> Vec<Section> {
        if !matches!(node.value, Val::Map(_) | Val::Null) {
            self.error(node.at, path, "expected a map of components", "");
        }
        let mut sections = Vec::new();
        for (key, body) in node.entries() {
            if let Some(id) = self.id(key, path) {
                sections.push(Section { id, at: key.at, body: body.clone() });
            }
        }
        sections
    }

    fn id(&mut self, key: &Key, path: &str) -> Option<ComponentId> {
        match ComponentId::parse(&key.name) {
            Ok(id) => Some(id),
            Err(what) => {
                self.error(key.at, join(path, &key.name), what, "");
                None
            }
        }
    }

    fn pipelines(&mut self, node: &Node) -> Vec<Pipeline> {
        if node.entries().is_empty() {
            self.error(node.at, "service.pipelines", "no pipelines", "");
        }
        let mut pipelines = Vec::new();
        for (key, body) in node.entries() {
            let path = join("service.pipelines", &key.name);
            let (id, signal) = match self.id(key, "service.pipelines") {
                Some(id) => {
                    let signal = self.signal(key, &id, &path);
                    (id, signal)
                }
                // the name is reported; the pipeline is still read, so that errors inside it are reported too
                None => {
                    let signal = key.name.split('/').next().and_then(Signal::named).unwrap_or(Signal::Traces);
                    (ComponentId { kind: key.name.clone(), name: String::new() }, signal)
                }
            };
            self.keys(body, &path, &["receivers", "processors", "exporters"]);
            let mut list = |name: &str| {
                body.get(name).map(|(_, node)| self.references(node, &join(&path, name))).unwrap_or_default()
            };
            let (receivers, processors, exporters) = (list("receivers"), list("processors"), list("exporters"));
            for (name, list) in [("receivers", &receivers), ("exporters", &exporters)] {
                if list.is_empty() {
                    self.error(key.at, path.clone(), format!("no {name}"), "");
                }
            }
            pipelines.push(Pipeline { id, signal, at: key.at, receivers, processors, exporters });
        }
        pipelines
    }

    /// Returns the signal of a pipeline. For a misspelt signal it reports the error and returns the most similar one,
    /// so that errors inside the pipeline are reported too.
    fn signal(&mut self, key: &Key, id: &ComponentId, path: &str) -> Signal {
        if let Some(signal) = Signal::named(&id.kind) {
            return signal;
        }
        let near = nearest(&id.kind, Signal::ALL.iter().map(|signal| signal.as_str()));
        let hint =
            near.map_or("expected one of: traces, metrics, logs".to_owned(), |near| format!("did you mean `{near}`?"));
        self.error(key.at, path, format!("`{}` is not a signal", id.kind), hint);
        near.and_then(Signal::named).unwrap_or(Signal::Traces)
    }

    fn references(&mut self, node: &Node, path: &str) -> Vec<(ComponentId, At)> {
        let Val::Seq(items) = &node.value else {
            if !matches!(node.value, Val::Null) {
                self.error(node.at, path, "expected a list of component ids", "");
            }
            return Vec::new();
        };
        let mut references: Vec<(ComponentId, At)> = Vec::new();
        for item in items {
            let id = match &item.value {
                Val::Str(text) => ComponentId::parse(text).ok(),
                _ => None,
            };
            match id {
                None => self.error(item.at, path, "not a component id", "write `type` or `type/name`"),
                Some(id) if references.iter().any(|(other, _)| *other == id) => {
                    self.error(item.at, path, format!("`{id}` stands here twice"), "");
                }
                Some(id) => references.push((id, item.at)),
            }
        }
        references
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
