//! `proto/` is the protocol, `gen/` is what is generated from it, `schema.rs` is what the data plane reads by: all equal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const FILES: [&str; 3] =
    ["collector/trace/v1/trace_service", "collector/metrics/v1/metrics_service", "collector/logs/v1/logs_service"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The descriptors of `proto/`.
pub(super) fn own() -> FileDescriptorSet {
    let files = FILES.map(|file| root().join(format!("proto/opentelemetry/proto/{file}.proto")));
    let mut compiler = protox::Compiler::new([root().join("proto")]).expect("proto/ is there");
    compiler.include_imports(true).include_source_info(true).open_files(files).expect("proto/ compiles");
    compiler.file_descriptor_set()
}

/// The descriptors of the crate `opentelemetry-proto`, without profiles and the collector's own.
fn official() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("descriptors");
    set.file.retain(|file| !file.name().contains("profiles") && !file.name().contains("tracez"));
    set
}

/// "package.Message.field" → number, type, label, oneof; "package.Enum.VALUE" → number.
fn flat(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for file in &set.file {
        let package = file.package();
        file.message_type.iter().for_each(|message| flat_message(package, message, &mut all));
        file.enum_type.iter().for_each(|one| flat_enum(package, one, &mut all));
    }
    all
}

fn flat_message(prefix: &str, message: &DescriptorProto, all: &mut BTreeMap<String, String>) {
    let name = format!("{prefix}.{}", message.name());
    for field in &message.field {
        let oneof = field.oneof_index.map(|index| message.oneof_decl[index as usize].name().to_owned());
        let what =
            format!("{} {:?} {} {:?} {oneof:?}", field.number(), field.r#type(), field.type_name(), field.label());
        all.insert(format!("{name}.{}", field.name()), what);
    }
    message.nested_type.iter().for_each(|inner| flat_message(&name, inner, all));
    message.enum_type.iter().for_each(|inner| flat_enum(&name, inner, all));
}

fn flat_enum(prefix: &str, one: &EnumDescriptorProto, all: &mut BTreeMap<String, String>) {
    for value in &one.value {
        all.insert(format!("{prefix}.{}.{}", one.name(), value.name()), value.number().to_string());
    }
}

/// proto/ has every field and enum value of the protocol, with the same number and type, and nothing else.
#[test]
fn proto_is_the_protocol() {
    let (own, official) = (flat(&own()), flat(&official()));
    assert!(own.len() > 150, "{}", own.len());
    for (name, what) in &official {
        assert_eq!(own.get(name), Some(what), "{name}");
    }
    assert_eq!(own.len(), official.len());
}

/// gen/ is what proto/ generates. `TOLLGATE_UPDATE=1` rewrites it.
#[test]
fn gen_is_generated() {
    let scratch = tempfile::tempdir().expect("scratch folder");
    prost_build::Config::new()
        .out_dir(scratch.path())
        .skip_debug(["."])
        .include_file("mod.rs")
        .compile_fds(own())
        .expect("generates");
    let read = |folder: &Path| -> BTreeMap<String, String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
        let text = |path: PathBuf| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap())
        };
        entries.map(|entry| text(entry.expect("entry").path())).collect()
    };
    let folder = root().join("src/otlp/gen");
    let new = read(scratch.path());
    #[allow(clippy::disallowed_methods, reason = "a switch of this test, not of the product")]
    if std::env::var("TOLLGATE_UPDATE").is_ok() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("folder");
        for (name, text) in &new {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }
    assert!(read(&folder) == new, "src/otlp/gen differs from proto/: run with TOLLGATE_UPDATE=1");
}

/// One field of a message that the export requests can hold.
pub(super) struct ProtoField {
    /// Message type, e.g. `.opentelemetry.proto.trace.v1.Span`.
    pub(super) message: String,
    pub(super) field: FieldDescriptorProto,
}

impl ProtoField {
    pub(super) fn repeated(&self) -> bool {
        self.field.label() == Label::Repeated
    }

    pub(super) fn kind(&self) -> Type {
        self.field.r#type()
    }

    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.message.trim_start_matches(".opentelemetry.proto."), self.field.name())
    }
}

/// Every field of every message reachable from the three export requests, by message type.
pub(super) fn reachable() -> BTreeMap<String, Vec<ProtoField>> {
    let set = official();
    let mut messages = BTreeMap::new();
    for file in &set.file {
        for message in &file.message_type {
            collect(&format!(".{}", file.package()), message, &mut messages);
        }
    }
    let mut found = BTreeMap::new();
    let mut open: Vec<String> = ["trace.v1.ExportTrace", "metrics.v1.ExportMetrics", "logs.v1.ExportLogs"]
        .map(|name| format!(".opentelemetry.proto.collector.{name}ServiceRequest"))
        .to_vec();
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let fields: Vec<ProtoField> = messages[&name]
            .field
            .iter()
            .map(|field| ProtoField { message: name.clone(), field: field.clone() })
            .collect();
        let inner = fields.iter().filter(|field| field.kind() == Type::Message);
        open.extend(inner.map(|field| field.field.type_name().to_owned()));
        found.insert(name, fields);
    }
    found
}

fn collect(prefix: &str, message: &DescriptorProto, all: &mut BTreeMap<String, DescriptorProto>) {
    let name = format!("{prefix}.{}", message.name());
    message.nested_type.iter().for_each(|inner| collect(&name, inner, all));
    all.insert(name, message.clone());
}
