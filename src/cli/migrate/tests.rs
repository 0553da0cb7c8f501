use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::env::{SubstitutionFileError, SubstitutionLookup};
use config::load;

use super::report::{MigrationEntry, MigrationVerdict, render_json, render_text};
use super::tree_edit::{map_node, qualify_references, text_node};
use super::write_yaml::write_yaml;
use super::{MAX_SOURCE_BYTES, MigrateArgs, Migration, migrate, run};
use crate::app::resolve::resolve_config;
use crate::cli::error::{CommandError, ExitStatus};

/// The variables of a text: those of a case's file `env`, and a token for any other name without a default.
struct CaseLookup<'t> {
    env: BTreeMap<String, String>,
    text: &'t str,
}

impl SubstitutionLookup for CaseLookup<'_> {
    fn var(&self, name: &str) -> Option<String> {
        let has_default = self.text.contains(&format!("${{env:{name}:-"));
        let other = match name {
            "COLLECTOR_ENDPOINT" => "collector.example.com:4317",
            _ if name.starts_with("BASIC_AUTH") => "0123456789abcdef",
            _ => "0123456789abcdef0123",
        };
        self.env.get(name).cloned().or_else(|| (!has_default).then(|| other.to_owned()))
    }

    fn read_file(&self, _: &str) -> Result<String, SubstitutionFileError> {
        Ok("0123456789abcdef0123".to_owned())
    }
}

fn cases() -> Vec<PathBuf> {
    let folders = fs::read_dir(fixtures::at("tests/cases/migrate")).unwrap();
    let mut cases: Vec<PathBuf> = folders.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Compares a file of a case with its text; with `TOLLGATE_UPDATE`, writes it first. No text means no file.
fn check_file(path: &Path, text: Option<&str>) {
    if std::env::var_os("TOLLGATE_UPDATE").is_some() {
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
    let found = fs::read_to_string(path).ok();
    assert!(found.as_deref() == text, "{} is out of date: run with TOLLGATE_UPDATE=1", path.display());
}

/// The problems that the loader has with a text, as it prints them.
fn load_problems(text: &str, env: BTreeMap<String, String>) -> String {
    let read = resolve_config("tollgate.yaml", text, &CaseLookup { env, text }, Path::new("/tmp/data"));
    read.result.err().map_or_else(String::new, |problems| read.source.render(&problems, false))
}

/// Every case gives the recorded result and report, and its result loads. To add one, add a folder with a
/// `collector.yaml` (and an `env`, if variables must be addresses), and run with `TOLLGATE_UPDATE=1`.
#[test]
fn cases_give_their_results_which_load() {
    let cases = cases();
    assert!(cases.len() >= 20, "{}", cases.len());
    let mut loaded = 0;
    for case in &cases {
        let source = fs::read_to_string(case.join("collector.yaml")).unwrap();
        let migration =
            migrate("collector.yaml", &source).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        check_file(&case.join("report"), Some(&format!("{}\n", render_text("collector.yaml", &migration.entries))));
        check_file(&case.join("tollgate.yaml"), migration.text.as_deref());
        let Some(text) = migration.text else { continue };
        let env = fs::read_to_string(case.join("env")).unwrap_or_default();
        let env = env.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into()));
        assert_eq!(load_problems(&text, env.collect()), "", "{}\n{text}", case.display());
        loaded += 1;
    }
    assert!(loaded + 3 > cases.len(), "only {loaded} cases have a result");
}

/// Every component of a case is in its report, once: none is dropped silently, and what is reported as mapped is in the
/// result.
#[test]
fn no_component_is_dropped_silently() {
    for case in cases() {
        let source = fs::read_to_string(case.join("collector.yaml")).unwrap();
        let root = config::file::read_collector_tree("collector.yaml", &source).map_err(|failure| failure.1).unwrap();
        let Migration { text, entries } = migrate("collector.yaml", &source).unwrap();
        let result = text.map(|text| load::parse_tree(&text).unwrap_or_else(|problem| panic!("{problem}: {text}")));
        for section in super::draft::SECTIONS {
            let Some((_, components)) = root.get(section) else { continue };
            for (key, _) in components.entries() {
                let component = format!("{section}.{}", key.name);
                let is_own = |entry: &&MigrationEntry| entry.component == component && entry.key.is_empty();
                let own: Vec<_> = entries.iter().filter(is_own).collect();
                assert_eq!(own.len(), 1, "{}: {component}", case.display());
                assert_eq!(own[0].line, key.at.line, "{}: {component}", case.display());
                let found = result.as_ref().and_then(|root| root.get(section)).and_then(|(_, one)| one.get(&key.name));
                let is_mapped = own[0].verdict == MigrationVerdict::Mapped;
                let may_be_renamed = is_mapped && !own[0].reason.is_empty();
                assert!(may_be_renamed || found.is_some() == is_mapped, "{}: {component}", case.display());
            }
        }
    }
}

/// A whole file with one receiver, processor and exporter. Empty lists are left out of it.
fn source(receiver: &str, processor: &str, exporter: &str) -> String {
    let ids = |text: &str| text.split(':').next().filter(|id| !id.is_empty()).unwrap_or_default().trim().to_owned();
    format!(
        "receivers: {{ {receiver} }}\nprocessors: {{ {processor} }}\nexporters: {{ {exporter} }}\n\
         service: {{ pipelines: {{ traces: {{ receivers: [{}], processors: [{}], exporters: [{}] }} }} }}\n",
        ids(receiver),
        ids(processor),
        ids(exporter)
    )
}

const RECEIVER: &str = "otlp: { protocols: { grpc: } }";
const EXPORTER: &str = "otlp: { endpoint: 'backend:4317' }";

fn result(source: &str) -> (String, Vec<String>) {
    let migration = migrate("c.yaml", source).unwrap_or_else(|error| panic!("{error}"));
    let text = migration.text.expect("a result");
    assert_eq!(load_problems(&text, BTreeMap::new()), "", "{text}");
    let line = |entry: &MigrationEntry| {
        let key = if entry.key.is_empty() { String::new() } else { format!(".{}", entry.key) };
        format!("{} {}{key}", entry.verdict.word(), entry.component)
    };
    (text, migration.entries.iter().map(line).collect())
}

fn error_of(source: &str) -> CommandError {
    match migrate("c.yaml", source) {
        Ok(_) => panic!("no error: {source}"),
        Err(error) => error,
    }
}

/// Files that are no YAML, or are made to cost much, are refused with their position, as a bad configuration.
#[test]
fn hostile_files_are_refused() {
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(b'b'..b'j')
            .map(|c| {
                let (name, before) = (char::from(c), char::from(c - 1));
                format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(", "))
            })
            .collect::<String>();
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let merge_bomb = "a: &a { x: 1 }\nb: { <<: [*a, *a, 7] }\n";
    for (text, part) in [
        ("", "the file is empty"),
        ("receivers: {", "no comma or end"),
        ("receivers: { otlp: , otlp: }", "duplicate"),
        ("receivers:\n\totlp:\n", "tab"),
        ("a: b\n---\nc: d\n", "several documents"),
        (bomb.as_str(), "too large, or too many aliases"),
        (deep.as_str(), "recursion limit exceeded"),
        (merge_bomb, "c.yaml"),
        ("a: *b\n", "anchor"),
    ] {
        let error = error_of(text);
        assert_eq!(error.exit_status(), ExitStatus::Config, "{part}");
        let shown = error.to_string();
        assert!(shown.contains(part) && shown.contains("c.yaml"), "{part}: {shown}");
    }
}

/// Files that are YAML but have nothing for tollgate give a report and no result; tollgate's own file is recognised.
#[test]
fn files_without_anything_to_map_are_recognised() {
    let manifest = "apiVersion: v1\nkind: ConfigMap\ndata: { config.yaml: 'receivers: {}' }\n";
    for text in [manifest, "[a, b]", "text", "receivers: x\nservice: y\n", "service: { pipelines: { traces: [otlp] } }"]
    {
        let migration = migrate("c.yaml", text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(migration.text.is_none(), "{text}");
    }
    let own = source(RECEIVER, "redact/x: {}", EXPORTER);
    let error = error_of(&own);
    assert_eq!(error.exit_status(), ExitStatus::Failed);
    assert!(error.to_string().contains("c.yaml:2: `redact/x` is a step of tollgate"), "{error}");
}

/// Text of the file that must not be shown anywhere but in the result.
const SECRET: &str = "hunter2-hunter2-hunter2";

/// No value is in the report, in comments or in errors, however it is wrong; the result has it where it belongs.
#[test]
fn no_value_is_shown() {
    let exporter = format!(
        "otlp: {{ endpoint: 'b:4317', headers: {{ x-key: {SECRET} }}, compression: {SECRET}, \
         tls: {{ min_version: {SECRET} }} }}"
    );
    let processor = format!("redaction: {{ blocked_values: ['{SECRET}('], allowed_keys: [{SECRET}] }}");
    let text = source(RECEIVER, &processor, &exporter);
    let migration = migrate("c.yaml", &text).unwrap();
    let yaml = migration.text.unwrap();
    let report = render_text("c.yaml", &migration.entries) + &render_json("c.yaml", &migration.entries);
    assert!(!report.contains(SECRET), "{report}");
    let lines: Vec<&str> = yaml.lines().filter(|line| line.contains(SECRET)).collect();
    assert_eq!(lines.len(), 1, "{yaml}");
    assert!(!lines[0].contains('#') && lines[0].contains("headers"), "{yaml}");
    let error =
        error_of(&format!("exporters: {{ otlp: {{ headers: {{ a: {SECRET} }}, headers: {{ b: {SECRET} }} }} }}"));
    assert!(!error.to_string().contains(SECRET), "{error}");
}

/// A receiver that asked clients for credentials still does, whatever becomes of its authenticator.
#[test]
fn a_port_with_credentials_is_never_left_open() {
    for (extension, wanted) in [
        ("bearertokenauth: { token: '${env:T}' }", "tokens: { default: [\"${env:T}\"] }"),
        ("bearertokenauth: { token: short }", "TOLLGATE_CLIENT_TOKEN"),
        ("bearertokenauth: {}", "TOLLGATE_CLIENT_TOKEN"),
        (
            "basicauth: { htpasswd: { inline: \"jane:0123456789abcdef\\n\" } }",
            "basic: { default: [jane:0123456789abcdef] }",
        ),
        ("basicauth: { htpasswd: { inline: 'jane:$2y$05$abcdefghijklmnop' } }", "TOLLGATE_CLIENT_TOKEN"),
        ("basicauth: { htpasswd: { file: /etc/htpasswd } }", "TOLLGATE_CLIENT_TOKEN"),
        ("oidc: { issuer_url: 'https://i.example' }", "TOLLGATE_CLIENT_TOKEN"),
        ("unheard_of: {}", "TOLLGATE_CLIENT_TOKEN"),
    ] {
        let id = extension.split(':').next().unwrap();
        let receiver = format!("otlp: {{ protocols: {{ http: {{ auth: {{ authenticator: {id} }} }} }} }}");
        let text = source(&receiver, "", EXPORTER) + &format!("extensions: {{ {extension} }}\n");
        let (yaml, _) = result(&text.replace("service: {", &format!("service: {{ extensions: [{id}],")));
        assert!(yaml.contains(wanted), "{extension}: {yaml}");
    }
}

/// Each key that tollgate does not have is named, at its line; what stays of the component is used.
#[test]
fn unknown_keys_are_named() {
    let exporter = "otlp: { endpoint: 'b:4317', wibble: 1, tls: { wobble: 2 }, keepalive: { time: 30s }, auth: { authenticator: x } }";
    let receiver = "otlp: { protocols: { grpc: { wubble: 3 }, http: { cors: { allowed_origins: ['https://a.example'], wabble: 4 } } } }";
    let (yaml, entries) = result(&source(receiver, "", exporter));
    for path in [
        "missing exporters.otlp.wibble",
        "missing exporters.otlp.tls.wobble",
        "not needed exporters.otlp.keepalive",
        "missing exporters.otlp.auth",
        "missing receivers.otlp.protocols.grpc.wubble",
        "missing receivers.otlp.protocols.http.cors.wabble",
    ] {
        assert!(entries.iter().any(|entry| entry == path), "{path}: {entries:?}");
    }
    assert!(yaml.contains("allowed_origins: [https://a.example]"), "{yaml}");
}

/// A processor whose condition can't be kept is left out as a whole; an action of a list is left out alone.
#[test]
fn an_action_is_never_kept_without_its_condition() {
    let conditional =
        "attributes: { include: { match_type: strict, services: [a] }, actions: [{ key: k, action: delete }] }";
    let (yaml, entries) = result(&source(RECEIVER, conditional, EXPORTER));
    assert!(!yaml.contains("  attributes:"), "{yaml}");
    assert!(entries.contains(&"missing processors.attributes".to_owned()), "{entries:?}");
    let list =
        "attributes: { actions: [{ key: a, action: hash }, { key: b, action: delete }, { key: c, action: convert }] }";
    let (yaml, entries) = result(&source(RECEIVER, list, EXPORTER));
    assert!(yaml.contains("actions: [{ key: b, action: delete }]"), "{yaml}");
    for index in [0, 2] {
        assert!(entries.contains(&format!("missing processors.attributes.actions[{index}]")), "{entries:?}");
    }
}

/// A key that tollgate does not have is left out even if its value is a variable, and so is a value from a source that
/// tollgate does not read; a value that is a variable stays where the loader can't judge it.
#[test]
fn variables_hide_no_unknown_key() {
    let exporter = "otlp: { endpoint: '${env:COLLECTOR_ENDPOINT}', wibble: '${A}', wobble: ['${A}'], \
                    timeout: '${T:-5s}', headers: { a: '${secretsmanager:b}', c: '${D}' } }";
    let (yaml, entries) = result(&source(RECEIVER, "", exporter));
    for key in ["wibble", "wobble", "headers.a"] {
        assert!(entries.contains(&format!("missing exporters.otlp.{key}")), "{entries:?}");
    }
    assert!(yaml.contains("endpoint: \"${env:COLLECTOR_ENDPOINT}\"") && yaml.contains("${env:T:-5s}"), "{yaml}");
    let kafka = "kafka: { brokers: ['${env:COLLECTOR_ENDPOINT}'] }";
    let (yaml, _) = result(&source(kafka, "", EXPORTER));
    assert!(yaml.contains("brokers: [\"${env:COLLECTOR_ENDPOINT}\"]"), "{yaml}");
}

/// Kafka's records are plain OTLP with the Collector's default topics, and an unencrypted connection stays one.
#[test]
fn kafka_keeps_topics_encoding_and_tls() {
    let receiver = "kafka: { brokers: ['b:9092'], topic: t, encoding: otlp_json, initial_offset: latest, \
                    auth: { tls: { ca_file: /ca.pem }, plain_text: { username: u, password: '${env:P}' } } }";
    let exporter = "kafka: { brokers: ['b:9092'], tls: { insecure: true }, \
                    producer: { max_message_bytes: 500000, compression: zstd, required_acks: -1 } }";
    let (yaml, entries) = result(&source(receiver, "", exporter));
    for part in [
        "traces: { topic: t, encoding: otlp_json }",
        "ca_file: /ca.pem",
        "mechanism: PLAIN",
        "encoding: otlp_proto",
        "topic: otlp_spans",
        "max_request_size: 500000",
    ] {
        assert!(yaml.contains(part), "{part}: {yaml}");
    }
    assert_eq!(yaml.matches("tls:").count(), 1, "{yaml}");
    assert!(entries.contains(&"missing receivers.kafka.initial_offset".to_owned()), "{entries:?}");
    assert!(entries.contains(&"not needed exporters.kafka.producer.compression".to_owned()), "{entries:?}");
}

/// Variables stay variables: none is resolved, and the older spellings become the one that the loader reads.
#[test]
fn references_stay_references() {
    for (written, wanted) in [
        ("${env:A}", "${env:A}"),
        ("${A}", "${env:A}"),
        ("x${A_1}y${B}", "x${env:A_1}y${env:B}"),
        ("${env:A:-b}", "${env:A:-b}"),
        ("${A:-b:c}", "${env:A:-b:c}"),
        ("$TOKEN", "${env:TOKEN}"),
        ("Bearer $TOKEN.", "Bearer ${env:TOKEN}."),
        ("pa$sword a$B $1 $", "pa$sword a$B $1 $"),
        ("$$A ${file:/x} ${aws:y}", "$$A ${file:/x} ${aws:y}"),
        ("^a$", "^a$"),
    ] {
        let mut node = map_node([("k", text_node(written, config::SourcePosition::default()))]);
        qualify_references(&mut node);
        assert_eq!(super::tree_edit::text_at(&node, "k"), Some(wanted), "{written}");
    }
}

/// Every text is read back as the same text, in both styles: a text that YAML takes for a number, or that ends a line,
/// would change the configuration.
#[test]
fn texts_survive_writing() {
    let texts = [
        "plain",
        "",
        " ",
        "true",
        "No",
        "null",
        "~",
        "1",
        "1.10",
        "0x1f",
        "1e3",
        "1_000",
        "5s",
        "64MiB",
        "12e4",
        "0b1",
        "0o7",
        ".inf",
        "NaN",
        "- a",
        "a: b",
        "a:",
        "a #b",
        "#",
        "[x]",
        "{x}",
        "x, y",
        "'",
        "\"",
        "\\",
        "a\nb",
        "\ta",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a`",
        "é",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "http://a:1/b?c=d&e",
        "unix:///a",
        "0.0.0.0:4317",
        "1:30",
        "2001-01-01",
        "${env:A}",
        "--- a",
        "...",
        "<<",
        "=",
        "a'b",
        "?",
        "? a",
        "/x",
        "/",
        "a/b-c.d_e:f",
    ];
    let at = config::SourcePosition::default();
    let lists = super::tree_edit::list_node(texts.iter().map(|text| text_node(*text, at)));
    let maps = map_node(texts.iter().map(|text| (*text, text_node(*text, at))));
    let root = map_node([("list", map_node([("in", lists)])), ("map", map_node([("in", maps)]))]);
    let yaml = write_yaml(&root, &|path| vec![format!("comment of {path}\nwith a line # and a \u{7} bell")]);
    let read = load::parse_tree(&yaml).unwrap_or_else(|problem| panic!("{problem}: {yaml}"));
    let list = super::tree_edit::locate(&read, "list.in").node;
    let found: Vec<_> = super::tree_edit::list_items(list).iter().map(super::tree_edit::scalar_text).collect();
    assert_eq!(found, texts.map(Some));
    let (_, map) = read.get("map").unwrap();
    let found: Vec<_> = map.get("in").unwrap().1.entries().iter().map(|(key, _)| key.name.as_str()).collect();
    assert_eq!(found, texts);
    for text in texts {
        let one = write_yaml(&map_node([("a", map_node([("b", text_node(text, at))]))]), &|_| Vec::new());
        let read = load::parse_tree(&one).unwrap();
        assert_eq!(super::tree_edit::text_at(&read.get("a").unwrap().1, "b"), Some(text), "{one}");
    }
}

fn run_in(folder: &Path, source: &[u8], arguments: (Option<&str>, bool)) -> Result<ExitStatus, CommandError> {
    let file = folder.join("collector.yaml");
    fs::write(&file, source).unwrap();
    let output = arguments.0.map(|name| folder.join(name));
    run(&MigrateArgs { file, output, force: arguments.1, json: false })
}

/// Files that can't be read are run-time errors; a file of more than 1 MiB is not parsed at all.
#[test]
fn unreadable_files_are_run_time_errors() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![b' '; usize::try_from(MAX_SOURCE_BYTES).unwrap() + 1];
    for (bytes, part) in [(&large[..], "larger than 1 MiB"), (&[0xff, 0xfe][..], "not text in UTF-8")] {
        let error = run_in(folder.path(), bytes, (None, false)).unwrap_err();
        assert_eq!(error.exit_status(), ExitStatus::Failed, "{part}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let missing = MigrateArgs { file: folder.path().join("none.yaml"), output: None, force: false, json: false };
    assert_eq!(run(&missing).unwrap_err().exit_status(), ExitStatus::Failed);
    let error = run_in(folder.path(), b"a: b", (None, false)).unwrap_err();
    assert!(error.to_string().contains("nothing of it maps"), "{error}");
    assert_eq!(error.exit_status(), ExitStatus::Failed);
}

/// An existing file is replaced only with `--force`, and the source never; a failed migration leaves the file alone.
#[test]
fn files_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let text = source(RECEIVER, "", EXPORTER);
    let output = folder.path().join("t.yaml");
    run_in(folder.path(), text.as_bytes(), (Some("t.yaml"), false)).unwrap();
    let written = fs::read_to_string(&output).unwrap();
    assert_eq!(load_problems(&written, BTreeMap::new()), "");
    fs::write(&output, "mine").unwrap();
    let error = run_in(folder.path(), text.as_bytes(), (Some("t.yaml"), false)).unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    run_in(folder.path(), b"a: b", (Some("t.yaml"), true)).unwrap_err();
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
    run_in(folder.path(), text.as_bytes(), (Some("t.yaml"), true)).unwrap();
    assert_eq!(fs::read_to_string(&output).unwrap(), written);
    let error = run_in(folder.path(), text.as_bytes(), (Some("collector.yaml"), true)).unwrap_err();
    assert!(error.to_string().contains("is the file to migrate"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("collector.yaml")).unwrap(), text);
}

/// The JSON report has the same entries and counts as the text.
#[test]
fn the_json_report_has_every_entry() {
    let migration = migrate("c.yaml", &source(RECEIVER, "batch: {}", "awsxray: {}")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&render_json("c.yaml", &migration.entries)).unwrap();
    assert_eq!(json["components"], serde_json::json!({ "mapped": 1, "not_needed": 1, "missing": 1 }));
    assert_eq!(json["entries"].as_array().unwrap().len(), migration.entries.len());
    assert_eq!(json["entries"][1]["path"], "processors.batch");
    assert_eq!(json["entries"][1]["line"], 2);
    assert!(migration.entries.iter().any(|entry| entry.verdict == MigrationVerdict::Missing));
    assert!(migration.text.unwrap().contains("${env:COLLECTOR_ENDPOINT}"));
}

/// Excluded names become rules only if they are compared by equality; another condition leaves the whole filter out.
#[test]
fn filters_drop_no_more_than_before() {
    let strict = "filter: { spans: { exclude: { match_type: strict, span_names: ['GET /h'] } } }";
    let (yaml, _) = result(&source(RECEIVER, strict, EXPORTER));
    assert!(yaml.contains("names: [\"GET /h\"], include_errors: true"), "{yaml}");
    for other in [
        "spans: { exclude: { match_type: regexp, span_names: ['GET /h'] } }",
        "spans: { exclude: { match_type: strict, span_names: ['a*'] } }",
        "spans: { exclude: { match_type: strict, span_names: [a], services: [b] } }",
        "spans: { include: { match_type: strict, span_names: [a] } }",
        "metrics: { exclude: { match_type: strict, metric_names: [a] }, include: { metric_names: [b] } }",
        "traces: { span: ['name == \"a\"'] }",
    ] {
        let (yaml, entries) = result(&source(RECEIVER, &format!("filter: {{ {other} }}"), EXPORTER));
        assert!(!yaml.contains("  filter:"), "{yaml}");
        assert!(entries.contains(&"missing processors.filter".to_owned()), "{entries:?}");
    }
}

/// A Collector behind tollgate gets what a receiver sends once, although two pipelines led to exporters that it keeps.
#[test]
fn a_collector_behind_gets_nothing_twice() {
    let text = "receivers: { otlp: { protocols: { grpc: } } }\nexporters: { awsxray: , datadog: , otlp: { endpoint: 'b:4317' } }\n\
        service: { pipelines: { traces: { receivers: [otlp], exporters: [awsxray] }, traces/b: { receivers: [otlp], exporters: \
        [datadog, otlp] }, logs: { receivers: [otlp], exporters: [datadog] } } }\n";
    let (yaml, _) = result(text);
    assert_eq!(yaml.matches("otlp/collector]").count(), 2, "{yaml}");
    assert!(yaml.contains("exporters: [otlp] }"), "{yaml}");
}
