//! The outer shape of the configuration file: component sections, and the service with its pipelines. Component bodies
//! stay untyped nodes, which `src/components.rs` types, so that this crate knows no component. All shape problems are
//! collected before returning. Checks across components are in `graph`.

use otlp::Signal;

use super::env::{self, SubstitutionLookup};
use super::id::ComponentId;
use super::load;
use super::problem::{MaskedSource, Problem, SourcePosition, find_nearest};
use super::snippet;
use super::tree::{MapKey, NodeValue, TreeNode};

/// Component ids as listed in the file, with their positions.
pub type ComponentRefs = Vec<(ComponentId, SourcePosition)>;

/// One configured component, its body not yet typed.
#[derive(Clone)]
pub struct ComponentSection {
    pub id: ComponentId,
    pub at: SourcePosition,
    pub body: TreeNode,
}

/// One pipeline as written in the file.
#[derive(Clone)]
pub struct PipelineConfig {
    /// The id, such as `traces` or `traces/second`.
    pub id: ComponentId,
    /// The signal named by the type of its id.
    pub signal: Signal,
    pub at: SourcePosition,
    pub receivers: ComponentRefs,
    /// Processors in the order written, each with its position.
    pub processors: ComponentRefs,
    pub exporters: ComponentRefs,
}

/// A parsed configuration file.
#[derive(Clone)]
pub struct ConfigFile {
    /// Components under `receivers:`.
    pub receivers: Vec<ComponentSection>,
    /// Components under `processors:`.
    pub processors: Vec<ComponentSection>,
    /// Components under `exporters:`.
    pub exporters: Vec<ComponentSection>,
    /// Components under `connectors:`.
    pub connectors: Vec<ComponentSection>,
    /// Components under `extensions:`.
    pub extensions: Vec<ComponentSection>,
    /// Ids listed in `service.extensions`.
    pub enabled: ComponentRefs,
    /// Pipelines under `service.pipelines`.
    pub pipelines: Vec<PipelineConfig>,
    /// The untyped node `service.telemetry`.
    pub telemetry: TreeNode,
    pub spool: TreeNode,
    pub pseudonyms: TreeNode,
    pub limits: TreeNode,
}

impl ConfigFile {
    /// The components by section.
    pub fn sections(&self) -> [(&'static str, &[ComponentSection]); 5] {
        [
            ("receivers", &self.receivers),
            ("processors", &self.processors),
            ("exporters", &self.exporters),
            ("connectors", &self.connectors),
            ("extensions", &self.extensions),
        ]
    }

    /// The components of a section.
    pub fn section(&self, name: &str) -> &[ComponentSection] {
        self.sections().into_iter().find(|(section, _)| *section == name).map_or(&[], |(_, components)| components)
    }

    /// As [`Self::sections`].
    pub fn sections_mut(&mut self) -> [(&'static str, &mut Vec<ComponentSection>); 5] {
        [
            ("receivers", &mut self.receivers),
            ("processors", &mut self.processors),
            ("exporters", &mut self.exporters),
            ("connectors", &mut self.connectors),
            ("extensions", &mut self.extensions),
        ]
    }

    /// Whether a pipeline or `service.extensions` names this component of a section.
    pub fn uses(&self, section: &str, id: &ComponentId) -> bool {
        let is_in = |list: &ComponentRefs| list.iter().any(|(listed, _)| listed == id);
        let is_in_pipeline = |pipeline: &PipelineConfig| match section {
            "receivers" => is_in(&pipeline.receivers),
            "processors" => is_in(&pipeline.processors),
            "exporters" => is_in(&pipeline.exporters),
            "connectors" => is_in(&pipeline.receivers) || is_in(&pipeline.exporters),
            _ => false,
        };
        self.pipelines.iter().any(is_in_pipeline) || (section == "extensions" && is_in(&self.enabled))
    }
}

const TOP_LEVEL_KEYS: [&str; 9] =
    ["receivers", "processors", "exporters", "connectors", "extensions", "service", "spool", "pseudonyms", "limits"];

/// As much of a file as could be parsed, with its problems: a [`ConfigFile`], or a tree whose shape was not checked.
pub struct ParsedFile<T> {
    /// The masked text that problems are rendered against.
    pub source: MaskedSource,
    /// The file's content, substitutions resolved; `None` if the text is not valid YAML.
    pub content: Option<T>,
    /// The problems found so far.
    pub problems: Vec<Problem>,
    /// Scalars whose `${…}` could not be resolved, and lists with such an item. Further problems at these positions
    /// follow from that one.
    pub unresolved: Vec<SourcePosition>,
}

/// Parses a file and resolves its substitutions. Problems do not stop it, so that later checks can add theirs.
pub fn read(name: &str, text: &str, lookup: &dyn SubstitutionLookup) -> ParsedFile<ConfigFile> {
    parse_shape(read_tree(name, text, lookup))
}

/// Parses a file of any shape and resolves its substitutions.
pub fn read_tree(name: &str, text: &str, lookup: &dyn SubstitutionLookup) -> ParsedFile<TreeNode> {
    resolve_tree(name, text, load::parse_tree(text), lookup)
}

/// Parses a Collector's file. Merge keys (`<<`) are expanded, and `${NAME}` is read as `${env:NAME}`.
pub fn read_collector(name: &str, text: &str, lookup: &dyn SubstitutionLookup) -> ParsedFile<ConfigFile> {
    let root = load::parse_collector_tree(text).map(|mut root| {
        root.visit_strings("", &mut |_, node| env::qualify_variables(node));
        root
    });
    parse_shape(resolve_tree(name, text, root, lookup))
}

fn parse_shape(tree: ParsedFile<TreeNode>) -> ParsedFile<ConfigFile> {
    let ParsedFile { source, content, mut problems, unresolved } = tree;
    let content = content.map(|root| ShapeParser { problems: &mut problems }.parse_file(&root));
    ParsedFile { source, content, problems, unresolved }
}

fn resolve_tree(
    name: &str,
    text: &str,
    root: Result<TreeNode, Problem>,
    lookup: &dyn SubstitutionLookup,
) -> ParsedFile<TreeNode> {
    let mut root = match root {
        Ok(root) => root,
        Err(problem) => {
            let source = MaskedSource::new(name, text, &snippet::visible_syntax(text));
            return ParsedFile { source, content: None, problems: vec![problem], unresolved: Vec::new() };
        }
    };
    let source = MaskedSource::new(name, text, &snippet::visible_ranges(&root, text));
    let (problems, unresolved) = env::resolve_substitutions(&mut root, lookup);
    ParsedFile { source, content: Some(root), problems, unresolved }
}

struct ShapeParser<'p> {
    problems: &'p mut Vec<Problem>,
}

impl ShapeParser<'_> {
    fn report_error(
        &mut self,
        at: SourcePosition,
        path: impl Into<String>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem::error(Some(at), path, what).with_hint(hint));
    }

    fn parse_file(&mut self, root: &TreeNode) -> ConfigFile {
        self.check_keys(root, "", &TOP_LEVEL_KEYS);
        let empty = TreeNode::null(root.at);
        let node_at = |name: &str| root.get(name).map_or(&empty, |(_, node)| node).clone();
        let service = node_at("service");
        self.check_keys(&service, "service", &["extensions", "pipelines", "telemetry"]);
        let pipelines = match service.get("pipelines") {
            Some((_, node)) => self.parse_pipelines(node),
            None => {
                let at = root.get("service").map_or(root.at, |(key, _)| key.at);
                self.report_error(
                    at,
                    "service",
                    "no pipelines",
                    "add `service.pipelines`, e.g. `traces: { receivers: [otlp], processors: […], exporters: […] }`",
                );
                Vec::new()
            }
        };
        let enabled = service.get("extensions").map(|(_, node)| self.parse_references(node, "service.extensions"));
        ConfigFile {
            receivers: self.parse_sections(&node_at("receivers"), "receivers"),
            processors: self.parse_sections(&node_at("processors"), "processors"),
            exporters: self.parse_sections(&node_at("exporters"), "exporters"),
            connectors: self.parse_sections(&node_at("connectors"), "connectors"),
            extensions: self.parse_sections(&node_at("extensions"), "extensions"),
            enabled: enabled.unwrap_or_default(),
            pipelines,
            telemetry: service.get("telemetry").map_or(empty.clone(), |(_, node)| node.clone()),
            spool: node_at("spool"),
            pseudonyms: node_at("pseudonyms"),
            limits: node_at("limits"),
        }
    }

    /// Reports each key of `node` that is not in `known`; if `node` is not a map, reports that.
    fn check_keys(&mut self, node: &TreeNode, path: &str, known: &[&str]) {
        if !matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
            self.report_error(node.at, path, "expected a map", "");
        }
        for (key, _) in node.entries().iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let hint = find_nearest(&key.name, known.iter().copied()).map_or_else(
                || format!("expected one of: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let path = join_path(path, &key.name);
            self.report_error(key.at, path, format!("unknown key `{}`", key.name), hint);
        }
    }

    fn parse_sections(&mut self, node: &TreeNode, path: &str) -> Vec<ComponentSection> {
        if !matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
            self.report_error(node.at, path, "expected a map of components", "");
        }
        let mut sections = Vec::new();
        for (key, body) in node.entries() {
            if let Some(id) = self.parse_id(key, path) {
                sections.push(ComponentSection { id, at: key.at, body: body.clone() });
            }
        }
        sections
    }

    fn parse_id(&mut self, key: &MapKey, path: &str) -> Option<ComponentId> {
        match ComponentId::parse(&key.name) {
            Ok(id) => Some(id),
            Err(what) => {
                self.report_error(key.at, join_path(path, &key.name), what, "");
                None
            }
        }
    }

    fn parse_pipelines(&mut self, node: &TreeNode) -> Vec<PipelineConfig> {
        if node.entries().is_empty() {
            self.report_error(node.at, "service.pipelines", "no pipelines", "");
        }
        let mut pipelines = Vec::new();
        for (key, body) in node.entries() {
            let path = join_path("service.pipelines", &key.name);
            let (id, signal) = match self.parse_id(key, "service.pipelines") {
                Some(id) => {
                    let signal = self.parse_signal(key, &id, &path);
                    (id, signal)
                }
                // The name is reported; the pipeline is still read, so that errors inside it are reported too
                None => {
                    let signal = key.name.split('/').next().and_then(Signal::from_name).unwrap_or(Signal::Traces);
                    (ComponentId { kind: key.name.clone(), name: String::new() }, signal)
                }
            };
            self.check_keys(body, &path, &["receivers", "processors", "exporters"]);
            let mut references = |name: &str| {
                body.get(name).map(|(_, node)| self.parse_references(node, &join_path(&path, name))).unwrap_or_default()
            };
            let (receivers, processors, exporters) =
                (references("receivers"), references("processors"), references("exporters"));
            for (name, list) in [("receivers", &receivers), ("exporters", &exporters)] {
                if list.is_empty() {
                    self.report_error(key.at, path.clone(), format!("no {name}"), "");
                }
            }
            pipelines.push(PipelineConfig { id, signal, at: key.at, receivers, processors, exporters });
        }
        pipelines
    }

    /// Returns the signal of a pipeline. For a misspelt signal it reports the error and returns the most similar one,
    /// so that errors inside the pipeline are reported too.
    fn parse_signal(&mut self, key: &MapKey, id: &ComponentId, path: &str) -> Signal {
        if let Some(signal) = Signal::from_name(&id.kind) {
            return signal;
        }
        let near = find_nearest(&id.kind, Signal::ALL.iter().map(|signal| signal.as_str()));
        let hint =
            near.map_or("expected one of: traces, metrics, logs".to_owned(), |near| format!("did you mean `{near}`?"));
        self.report_error(key.at, path, format!("`{}` is not a signal", id.kind), hint);
        near.and_then(Signal::from_name).unwrap_or(Signal::Traces)
    }

    fn parse_references(&mut self, node: &TreeNode, path: &str) -> ComponentRefs {
        let NodeValue::Seq(items) = &node.value else {
            if !matches!(node.value, NodeValue::Null) {
                self.report_error(node.at, path, "expected a list of component ids", "");
            }
            return Vec::new();
        };
        let mut references = ComponentRefs::new();
        for item in items {
            let id = match &item.value {
                NodeValue::Str(text) => ComponentId::parse(text).ok(),
                _ => None,
            };
            match id {
                None => self.report_error(item.at, path, "not a component id", "write `type` or `type/name`"),
                Some(id) if references.iter().any(|(other, _)| *other == id) => {
                    self.report_error(item.at, path, format!("`{id}` is listed twice; remove one"), "");
                }
                Some(id) => references.push((id, item.at)),
            }
        }
        references
    }
}

fn join_path(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
