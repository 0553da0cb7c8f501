//! Checks that `proto/` has OTLP's official descriptors, and that `crates/otlp/src/gen` is generated from `proto/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

const FILES: [&str; 3] =
    ["collector/trace/v1/trace_service", "collector/metrics/v1/metrics_service", "collector/logs/v1/logs_service"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// The protocol's descriptors, of the three signals that tollgate knows.
fn official() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("descriptors");
    set.file.retain(|file| !file.name().contains("profiles") && !file.name().contains("tracez"));
    set
}

/// The descriptors of `proto/`.
fn own() -> FileDescriptorSet {
    let files = FILES.map(|file| root().join(format!("proto/opentelemetry/proto/{file}.proto")));
    let mut compiler = protox::Compiler::new([root().join("proto")]).expect("proto/ is there");
    compiler.include_imports(true).include_source_info(true).open_files(files).expect("proto/ compiles");
    compiler.file_descriptor_set()
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

/// `proto/` has every field and enum value of the protocol, with the same number and type, and nothing else.
#[test]
fn proto_is_the_protocol() {
    let (own, official) = (flat(&own()), flat(&official()));
    assert!(own.len() > 150, "{}", own.len());
    for (name, what) in &official {
        assert_eq!(own.get(name), Some(what), "{name}");
    }
    assert_eq!(own.len(), official.len());
}

/// `gen/` is the code generated from `proto/`. `TOLLGATE_UPDATE=1` rewrites it.
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
    let folder = root().join("crates/otlp/src/gen");
    let new = read(scratch.path());
    if std::env::var("TOLLGATE_UPDATE").is_ok() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("folder");
        for (name, text) in &new {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }
    assert!(read(&folder) == new, "crates/otlp/src/gen differs from proto/: run with TOLLGATE_UPDATE=1");
}
