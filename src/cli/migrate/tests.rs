use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::env::{OtherMachineLookup, SubstitutionFileError, SubstitutionLookup};
use config::file;

use super::{MAX_SOURCE_BYTES, MigrateArgs, Migration, migrate, run};
use crate::app::resolve::resolve_config;
use command::error::{CommandError, ExitStatus};

/// The variables of a text: those of a case's file `env`, an auditor's key, and a token for any other name without a
/// default.
struct CaseLookup<'t> {
    env: BTreeMap<String, String>,
    text: &'t str,
}

impl SubstitutionLookup for CaseLookup<'_> {
    fn var(&self, name: &str) -> Option<String> {
        let has_default = self.text.contains(&format!("${{env:{name}:-"));
        let other = match name {
            "AUDITOR_PUBLIC_KEY" => "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
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

/// The problems that the loader has with a text, as it prints them.
fn load_problems(text: &str, env: BTreeMap<String, String>) -> String {
    let read = resolve_config("tollgate.yaml", text, &CaseLookup { env, text }, Path::new("/tmp/data"));
    read.result.err().map_or_else(String::new, |problems| read.source.render(&problems, false))
}

/// Every case gives the recorded result, which loads, keeps content, and names each component of the source: as a
/// component or in a comment. To add a case, add a folder with a `collector.yaml` (and an `env`, if variables must be
/// addresses), and run with `TOLLGATE_UPDATE=1`.
#[test]
fn cases_give_their_results_which_load() {
    let cases = cases();
    assert!(cases.len() >= 10, "{}", cases.len());
    for case in &cases {
        let source = fs::read_to_string(case.join("collector.yaml")).unwrap();
        let migration =
            migrate("collector.yaml", &source).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let (text, path) = (migration.render("collector.yaml"), case.join("tollgate.yaml"));
        if std::env::var_os("TOLLGATE_UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        assert!(recorded == text, "{} is out of date: run with TOLLGATE_UPDATE=1\n{text}", path.display());
        let env = fs::read_to_string(case.join("env")).unwrap_or_default();
        let env = env.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into()));
        assert_eq!(load_problems(&text, env.collect()), "", "{}\n{text}", case.display());
        assert!(!text.contains("none"), "{text}");
        let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" # ", " ");
        let file = file::read_collector("", &source, &OtherMachineLookup).content.unwrap();
        for (section, parts) in file.sections() {
            for part in parts {
                let (path, line) = (format!("{section}.{}", part.id), format!("\n  {}:", part.id));
                let is_named = words.contains(&path) || words.contains(&format!("`{}`", part.id));
                assert!(is_named || text.contains(&line), "{}: {path}\n{text}", case.display());
            }
        }
    }
}

const RECEIVER: &str = "otlp: { protocols: { grpc: } }";
const EXPORTER: &str = "otlp: { endpoint: 'backend:4317' }";

/// A whole file with one receiver, processor and exporter.
fn source(receiver: &str, processor: &str, exporter: &str) -> String {
    let id = |text: &str| text.split(':').next().unwrap_or_default().trim().to_owned();
    format!(
        "receivers: {{ {receiver} }}\nprocessors: {{ {processor} }}\nexporters: {{ {exporter} }}\n\
         service: {{ pipelines: {{ traces: {{ receivers: [{}], processors: [{}], exporters: [{}] }} }} }}\n",
        id(receiver),
        id(processor),
        id(exporter)
    )
}

/// The result, which loads, and the number of parts to migrate by hand.
fn result(source: &str) -> (String, usize) {
    let migration: Migration = migrate("c.yaml", source).unwrap_or_else(|error| panic!("{error}"));
    let text = migration.render("c.yaml");
    assert_eq!(load_problems(&text, BTreeMap::new()), "", "{text}");
    (text, migration.list_by_hand().len())
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
    for (text, part) in [
        ("", "the file is empty"),
        ("receivers: {", "no comma or end"),
        ("receivers: { otlp: , otlp: }", "duplicate"),
        ("a: b\n---\nc: d\n", "several documents"),
        (bomb.as_str(), "too large, or too many aliases"),
        (deep.as_str(), "recursion limit exceeded"),
    ] {
        let error = error_of(text);
        assert_eq!(error.exit_status(), ExitStatus::Config, "{part}");
        let shown = error.to_string();
        assert!(shown.contains(part) && shown.contains("c.yaml"), "{part}: {shown}");
    }
}

/// Files that have nothing for tollgate give an error that says why, and so does tollgate's own file.
#[test]
fn files_without_anything_to_map_are_recognised() {
    let logs = source("filelog: {}", "batch: {}", EXPORTER);
    for text in ["apiVersion: v1\nkind: ConfigMap\n", "[a, b]", "text", "receivers: x\nservice: y\n", logs.as_str()] {
        let error = error_of(text);
        assert_eq!(error.exit_status(), ExitStatus::Failed);
        assert!(error.to_string().contains("no pipeline can be migrated"), "{error}");
    }
    assert!(error_of(&logs).to_string().contains("keep this receiver in a Collector"));
    let error = error_of(&source(RECEIVER, "redact/x: {}", EXPORTER));
    assert!(error.to_string().contains("c.yaml:2: `redact/x` is a step of tollgate"), "{error}");
}

/// No value of a key is in comments, however it is wrong; the result has a secret where it belongs.
#[test]
fn no_value_is_shown() {
    const SECRET: &str = "hunter2-hunter2-hunter2";
    let exporter = format!(
        "otlp: {{ endpoint: 'b:4317', headers: {{ x-key: {SECRET} }}, compression: {SECRET}, wibble: {SECRET}, \
         tls: {{ min_version: {SECRET} }} }}"
    );
    let (yaml, by_hand) = result(&source(RECEIVER, "batch: {}", &exporter));
    assert_eq!(by_hand, 3, "{yaml}");
    let lines: Vec<&str> = yaml.lines().filter(|line| line.contains(SECRET)).collect();
    assert_eq!(lines, [format!("      x-key: {SECRET}")], "{yaml}");
    let error = error_of(&format!("exporters: {{ otlp: {{ headers: {{ a: {SECRET} }}, headers: {{ b: 1 }} }} }}"));
    assert!(!error.to_string().contains(SECRET), "{error}");
}

/// A receiver that asked clients for credentials still does, and one whose client authority can't be read is left out.
#[test]
fn a_port_with_credentials_is_never_left_open() {
    let receiver = "otlp: { protocols: { grpc: , http: { auth: { authenticator: oidc } } } }";
    let text = source(receiver, "batch: {}", EXPORTER) + "extensions: { oidc: { issuer_url: 'https://i.example' } }\n";
    let (yaml, by_hand) = result(&text.replace("service: {", "service: { extensions: [oidc],"));
    assert!(yaml.contains("      tokens:\n        default: [\"${env:TOLLGATE_CLIENT_TOKEN}\"]"), "{yaml}");
    assert_eq!(by_hand, 2, "{yaml}");
    let receiver = "otlp: { protocols: { grpc: { tls: { cert_file: /c, key_file: /k, client_ca_file: [7] } } } }";
    let error = error_of(&source(receiver, "batch: {}", EXPORTER));
    assert!(error.to_string().contains("no pipeline can be migrated"), "{error}");
}

/// A processor whose condition can't be kept is left out as a whole; an action of a list is left out alone.
#[test]
fn an_action_is_never_kept_without_its_condition() {
    let conditional =
        "attributes: { include: { match_type: strict, services: [a] }, actions: [{ key: k, action: delete }] }";
    let (yaml, by_hand) = result(&source(RECEIVER, conditional, EXPORTER));
    assert!(!yaml.contains("  attributes:") && by_hand == 1, "{yaml}");
    let list =
        "attributes: { actions: [{ key: a, action: hash }, { key: b, action: delete }, { key: c, action: convert }] }";
    let (yaml, by_hand) = result(&source(RECEIVER, list, EXPORTER));
    assert!(yaml.contains("actions: [{ key: b, action: delete }]") && by_hand == 2, "{yaml}");
    let legacy = "filter: { spans: { include: { match_type: strict, span_names: [a] } } }";
    let (yaml, by_hand) = result(&source(RECEIVER, legacy, EXPORTER));
    assert!(!yaml.contains("  filter:") && by_hand == 1, "{yaml}");
}

/// Variables stay variables, also those without `env:`; an unknown key is left out even if its value is a variable, and
/// so is a value from a source that tollgate does not read.
#[test]
fn variables_stay_variables() {
    let exporter = "otlp: { endpoint: '${ENDPOINT}', wibble: '${A}', timeout: '${T:-5s}', \
                    headers: { a: '${secretsmanager:b}', c: 'Bearer ${env:D}', d: '$$5', e: '$TOKEN' } }";
    let limiter = "memory_limiter: { limit_mib: '${LIMIT}' }";
    let migration = migrate("c.yaml", &source(RECEIVER, limiter, exporter)).unwrap_or_else(|error| panic!("{error}"));
    let yaml = migration.render("c.yaml");
    for part in
        ["\"${env:ENDPOINT}\"", "\"${env:T:-5s}\"", "\"Bearer ${env:D}\"", "d: \"$$5\"", "memory: \"${env:LIMIT}MiB\""]
    {
        assert!(yaml.contains(part), "{part}: {yaml}");
    }
    for key in ["    wibble:", "      a:", "      e:"] {
        assert!(!yaml.contains(key), "{key}: {yaml}");
    }
    assert_eq!(migration.list_by_hand().len(), 3, "{yaml}");
}

/// A condition becomes a rule only if it drops the same items; any other is named, for the user to do by hand.
#[test]
fn filters_drop_no_more_than_before() {
    for (condition, rule) in [
        (r#"attributes["url.path"] == "/healthz""#, r#"attributes: { url.path: /healthz }"#),
        (r#"name == "GET /h" and attributes["a"] == "b""#, r#"names: ["GET /h"], attributes: { a: b }"#),
        (r#"IsMatch(span.name, "^GET /h\\.x.*y$")"#, r#"names: ["GET /h.x*y"]"#),
        (r#"IsMatch(resource.attributes["service.name"], "probe")"#, r#"resource: { service.name: "*probe*" }"#),
    ] {
        let filter = format!("filter: {{ traces: {{ span: ['{condition}'] }} }}");
        let (yaml, by_hand) = result(&source(RECEIVER, &filter, EXPORTER));
        let rule = format!("{{ name: filter-1, signals: [traces], {rule}, include_errors: true }}");
        assert!(yaml.contains(&rule) && by_hand == 0, "{condition}: {yaml}");
    }
    for condition in [
        r#"attributes["a"] != "b""#,
        r#"not attributes["a"] == "b""#,
        r#"attributes["a"] == "b" or name == "c""#,
        r#"attributes["a"] == "b*""#,
        r#"attributes["a"] == 200"#,
        r#"attributes["a"] == "200""#,
        r#"name == "a" and name == "b""#,
        r#"IsMatch(name, "/h.x")"#,
        r#"IsMatch(name, "/(a|b)")"#,
        r#"IsMatch(name, "\\d")"#,
        r#"kind == SPAN_KIND_SERVER"#,
        r#"spanevent.name == "a""#,
    ] {
        let filter = format!("filter: {{ traces: {{ span: ['{condition}', 'name == \"a\"'] }} }}");
        let (yaml, by_hand) = result(&source(RECEIVER, &filter, EXPORTER));
        assert!(yaml.contains("drop: [{ name: filter-1, signals: [traces], names: [a],") && by_hand == 1, "{yaml}");
        let words = yaml.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("`{condition}`")), "{condition}: {yaml}");
        let alone = format!("filter: {{ traces: {{ span: ['{condition}'] }} }}");
        let (yaml, by_hand) = result(&source(RECEIVER, &alone, EXPORTER));
        assert!(!yaml.contains("  filter:") && by_hand == 1, "{yaml}");
    }
}

fn run_in(folder: &Path, source: &[u8], output: Option<&str>) -> Result<ExitStatus, CommandError> {
    let file = folder.join("collector.yaml");
    fs::write(&file, source).unwrap();
    run(&MigrateArgs { file, output: output.map(|name| folder.join(name)) })
}

/// Files that can't be read are run-time errors, and no existing file is overwritten. The exit code says whether
/// something is left to do.
#[test]
fn files_are_read_and_written_with_care() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![b' '; usize::try_from(MAX_SOURCE_BYTES).unwrap() + 1];
    for (bytes, part) in [(&large[..], "larger than 1 MiB"), (&[0xff, 0xfe][..], "not text in UTF-8")] {
        let error = run_in(folder.path(), bytes, None).unwrap_err();
        assert_eq!(error.exit_status(), ExitStatus::Failed, "{part}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let text = source(RECEIVER, "batch: {}", EXPORTER);
    assert_eq!(run_in(folder.path(), text.as_bytes(), Some("t.yaml")).unwrap(), ExitStatus::Success);
    let written = fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    assert_eq!(load_problems(&written, BTreeMap::new()), "");
    for name in ["t.yaml", "collector.yaml"] {
        let error = run_in(folder.path(), text.as_bytes(), Some(name)).unwrap_err();
        assert!(error.to_string().contains("can't write"), "{error}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("collector.yaml")).unwrap(), text);
    let left = source(RECEIVER, "transform: {}", EXPORTER);
    assert_eq!(run_in(folder.path(), left.as_bytes(), Some("u.yaml")).unwrap(), ExitStatus::Failed);
}
