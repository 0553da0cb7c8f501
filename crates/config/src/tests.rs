//! Tests of parsing, typing and checking; bodies of components are tested with their components.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::env::{SubstitutionFileError, SubstitutionLookup};
use super::graph::{ComponentFacts, StepRole, check_pipelines, check_references};
use super::problem::{Problem, SourcePosition, find_nearest};
use super::types::{ByteSize, TimeSpan};
use super::{ComponentId, de, file, load};
use otlp::Signal;

struct Fixed;

impl SubstitutionLookup for Fixed {
    fn var(&self, name: &str) -> Option<String> {
        let value = match name {
            "SET" => "value-of-set",
            "SIGNING_KEY" => "PRIVATE+KEY+tollgate.gateway+00000000+AYtopsecret",
            "PEM" => "-----BEGIN PRIVATE KEY-----\ntopsecret",
            "TOKENS" => "topsecret",
            "FOLDER" => "keys",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError> {
        if path == "/there" {
            Ok("from-file".to_owned())
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, "No such file or directory").into())
        }
    }
}

fn problems_of(text: &str) -> String {
    let file::ParsedFile { source, content: file, mut problems, .. } = file::read("t.yaml", text, &Fixed);
    let problems = match file {
        Some(file) if problems.is_empty() => {
            problems.extend(check_references(&file, &|_, _| None));
            let steps: HashMap<ComponentId, StepRole> = file
                .processors
                .iter()
                .filter_map(|section| {
                    let steps =
                        [StepRole::Normalize, StepRole::Cost, StepRole::Runs, StepRole::Vault, StepRole::Redact];
                    steps.into_iter().find(|step| step.name() == section.id.kind).map(|step| (section.id.clone(), step))
                })
                .collect();
            let third_party: HashSet<ComponentId> = file.exporters.iter().map(|section| section.id.clone()).collect();
            let (none, not_taken, unsampled) = (HashSet::new(), HashSet::new(), HashMap::new());
            let tells: &[Signal] = &[Signal::Logs, Signal::Metrics];
            let joins = file.connectors.iter().map(|section| (section.id.clone(), (StepRole::Runs, tells))).collect();
            let known = ComponentFacts {
                steps: &steps,
                audit_only: &none,
                content_allowed: &none,
                third_party: &third_party,
                missing_endpoints: &not_taken,
                sampled: &unsampled,
                connectors: &joins,
            };
            problems.extend(check_pipelines(&file, &known));
            problems
        }
        _ => problems,
    };
    source.render(&problems, false)
}

const GOOD: &str = "
receivers: { otlp: }
processors: { vault: , redact: , normalize: , cost: }
exporters: { otlp/h: }
service:
  pipelines:
    traces: { receivers: [otlp], processors: [normalize, cost, vault, redact], exporters: [otlp/h] }
";

/// All shape errors are reported at once, each with its position and the nearest key.
#[test]
fn all_shape_errors_at_once() {
    let text = "
recievers: { otlp: }
exporters: { otlp/: }
service:
  pipelnes: {}
  pipelines:
    trace: { receivers: [otlp], exporters: [x] }
    logs: { receivers: otlp, exporters: [Otlp] }
";
    insta::assert_snapshot!(problems_of(text));
}

/// An unset variable and an unreadable file are errors that name the variable and the file; `$$` is a dollar sign.
#[test]
fn substitution_is_strict() {
    let text = GOOD.replace(
        "otlp/h: }",
        "otlp/h: { a: '${env:UNSET}', b: '${file:/gone}', c: '${env:SET}', d: '$$5', e: '${SET}' } }",
    );
    let shown = problems_of(&text);
    assert!(shown.contains("the environment variable `UNSET` is not set"), "{shown}");
    assert!(shown.contains("can't read `/gone`: no such file"), "{shown}");
    assert!(shown.contains("without `env:` or `file:`"), "{shown}");
    assert!(!shown.contains("value-of-set"), "{shown}");
}

/// A key or a token in place of the path of its file is refused, and no later check sees it. (Shown to fail without
/// `find_path_fault`: each value became the path of a missing file, which errors name.)
#[test]
fn secrets_are_no_paths() {
    for (key, value) in [
        ("signing_key", "${env:SIGNING_KEY}"),
        ("signing_key", "PRIVATE+KEY+x+00000000+topsecret"),
        ("signing_key", "${env:TOKENS}"),
        ("key_file", "${env:PEM}"),
        ("key_file", "./${env:PEM}"),
        ("ca_file", "age-secret-key-1topsecretqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"),
        ("directory", "${env:SIGNING_KEY}/vault"),
        ("overlays", "${env:PEM}"),
        ("tokens_file", "${env:TOKENS}"),
        ("tokens_file", "${env:TOKENS}${env:FOLDER}"),
        ("client_key", "${file:/there}"),
    ] {
        let text = GOOD.replace("vault: ,", &format!("vault: {{ {key}: '{value}' }},"));
        let file::ParsedFile { source, content: file, problems, unresolved } = file::read("t.yaml", &text, &Fixed);
        let shown = source.render(&problems, false);
        assert!(problems.len() == 1 && shown.contains(" path"), "{key} {value}: {shown}");
        assert!(!shown.contains("topsecret") && !shown.contains("from-file"), "{shown}");
        let body = file.unwrap().processors.remove(0).body;
        let (_, node) = body.get(key).unwrap();
        assert!(matches!(node.value, super::tree::NodeValue::Null) && unresolved == [node.at], "{key} {value}");
    }
    for (key, value) in [
        ("tokens_file", "tokens"),
        ("tokens_file", "${env:FOLDER}/tokens"),
        ("tokens_file", "./${env:TOKENS}"),
        ("tokens_file", "${env:UNSET:-tokens}"),
        ("directory", "${env:FOLDER}"),
        ("bearer", "${env:TOKENS}"),
        ("keys", "${env:SIGNING_KEY}"),
        // the key of an alert's signature is a value
        ("signing_key", "${env:TOKENS}"),
    ] {
        let text = GOOD.replace("otlp/h: }", &format!("otlp/h: {{ {key}: '{value}' }} }}"));
        assert_eq!(problems_of(&text), "", "{key} {value}");
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Inner {
    size: ByteSize,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Outer {
    inner: Inner,
    #[serde(default)]
    wait: TimeSpan,
    #[serde(default)]
    list: Vec<u8>,
}

fn typed_errors(text: &str) -> Vec<String> {
    let node = load::parse_tree(text).expect("yaml");
    let place = |p: &Problem| p.at.unwrap_or_default();
    let line = |p: &Problem| format!("{}:{} {p} {}", place(p).line, place(p).column, p.hint);
    de::deserialize_partial::<Outer>(&node, "top").1.iter().map(line).collect()
}

/// Pruning finds every error of a nested value, each with its own position and without quoting the value.
#[test]
fn all_type_errors_at_once() {
    let errors = typed_errors("inner: { size: secret1, cuont: 1, text: {} }\nwait: secret2\nlist: [1, secret3, 999]\n");
    insta::assert_snapshot!(errors.join("\n"));
    assert!(!errors.concat().contains("secret"));
}

/// Numbers may be written as text (as from the environment); text keeps its spelling, however YAML would type it.
#[test]
fn scalars_are_retyped_as_wanted() {
    let typed = |text: &str| {
        let (outer, problems) = de::deserialize_partial::<Outer>(&load::parse_tree(text).expect("yaml"), "");
        assert!(problems.is_empty(), "{problems:?}");
        outer.expect("typed")
    };
    let outer = typed("inner: { size: '64MiB', count: '7', text: 007 }");
    assert_eq!((outer.inner.size, outer.inner.count, outer.inner.text.as_str()), (ByteSize::mib(64), 7, "007"));
    assert_eq!(typed("inner: { size: 1, text: 1.10 }").inner.text, "1.10");
}

/// Merge keys, with their position, and alias bombs are refused.
#[test]
fn yaml_traps_are_refused() {
    let problem = load::parse_tree("x: &x { a: 1 }\ny: { <<: *x }\n").err().expect("refused");
    assert!(problem.at.is_some_and(|at| at.line > 0), "{problem}");
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(',')));
    }
    assert!(load::parse_tree(&bomb).is_err());
}

/// Sizes and spans parse their own output, and refuse other text.
#[test]
fn sizes_and_spans_round_trip() {
    for text in ["64MiB", "1", "20GiB", "1500"] {
        let size: ByteSize = serde_json::from_value(text.into()).expect("size");
        assert_eq!(size.to_string(), text);
    }
    for text in ["30s", "200ms", "5m", "400d", "90m", "0s"] {
        let span: TimeSpan = serde_json::from_value(text.into()).expect("span");
        assert_eq!(span.to_string(), text);
    }
    assert!(serde_json::from_value::<TimeSpan>("5".into()).is_err());
    assert!(serde_json::from_value::<ByteSize>("5 apples".into()).is_err());
}

/// A path resolves to the deepest node that exists, also through keys with dots.
#[test]
fn places_are_found_by_path() {
    let node = load::parse_tree("a:\n  b.c: 5\n").expect("yaml");
    assert_eq!(node.nearest_position("a.b.c").line, 2);
    assert_eq!(node.nearest_position("a.x").line, 1);
    assert_eq!(find_nearest("endpiont", ["endpoint", "headers"]), Some("endpoint"));
    assert_eq!(find_nearest("zzz", ["endpoint"]), None);
}

const JOINED: &str = "
receivers: { otlp: }
processors: { vault: , redact: , runs: , cost: }
exporters: { otlp/h: }
connectors: { runs/summaries: }
service:
  pipelines:
    traces: { receivers: [otlp], processors: [cost, runs, vault, redact], exporters: [otlp/h, runs/summaries] }
    logs/runs: { receivers: [runs/summaries], processors: [redact], exporters: [otlp/h] }
    metrics/runs: { receivers: [runs/summaries], processors: [redact], exporters: [otlp/h] }
";

/// A connector joins pipelines; its output needs no vault step, but must be redacted. It is refused if it is used on one side only, if its pipeline lacks its step, as a source of traces, in a
/// cycle, beside tracking steps, or if its id is ambiguous.
#[test]
fn connectors_are_checked() {
    assert_eq!(problems_of(JOINED), "");
    let with = |from: &str, to: &str| {
        assert!(JOINED.contains(from), "{from}");
        problems_of(&JOINED.replace(from, to))
    };
    for (from, to, says) in [
        (", runs/summaries] }", "] }", "but no pipeline exports to it"),
        (
            "[cost, runs, vault, redact]",
            "[cost, vault, redact]",
            "sends the results of `runs`, but the pipeline has no such processor",
        ),
        ("metrics/runs:", "traces/runs:", "sends logs and metrics, not traces"),
        (
            "processors: [redact], exporters: [otlp/h] }\n    metrics",
            "processors: [runs, redact], exporters: [otlp/h, runs/summaries] }\n    metrics",
            "` is fed back into it, which would never end",
        ),
        (
            "receivers: [runs/summaries], processors: [redact], exporters: [otlp/h] }\n    metrics",
            "receivers: [runs/summaries], processors: [cost, redact], exporters: [otlp/h] }\n    metrics",
            "` would track the output of `",
        ),
        ("receivers: { otlp: }", "receivers: { otlp: , runs/summaries: }", "is also in `receivers:`"),
        (
            "logs/runs: { receivers: [runs/summaries], processors: [redact]",
            "logs/runs: { receivers: [runs/summaries], processors: []",
            "has no step: redact",
        ),
    ] {
        let problems = with(from, to);
        assert!(problems.contains(says), "{says} is not in\n{problems}");
    }
    let unused = JOINED
        .replace(", runs/summaries]", "]")
        .replace("receivers: [runs/summaries]", "receivers: [otlp]")
        .replace("processors: [redact]", "processors: [runs, vault, redact]");
    assert!(problems_of(&unused).contains("is in no pipeline and will not run"), "{}", problems_of(&unused));
}

/// An address that a client would interpret differently from its spelling is refused, because data would go elsewhere.
/// (Shown to fail: `:99999` was read as port 80. `tests/cases/config/addresses.yaml` has the messages.)
#[test]
fn addresses_are_read_as_they_are_written() {
    use super::address::{Url, parse_url};
    let plain = |text: &'static str| parse_url(text).unwrap_or_else(|what| panic!("{text}: {what}"));
    assert_eq!(
        plain("https://[::1]:4318/otlp?a=b"),
        Url { tls: true, host: "::1", port: Some(4318), path: "/otlp", query: Some("a=b") }
    );
    for fine in [
        "http://127.0.0.1:65535",
        "http://localhost:1/",
        "https://my_back-end.example.com.",
        "https://backend.test/v1/traces",
        "http://10.0.0.1",
        "https://1password.example",
        "http://h?x",
    ] {
        plain(fine);
    }
    for (wrong, why) in [
        ("http://127.0.0.1:0", "`0` is not a port to connect to: write a number from 1 to 65535"),
        ("http://127.0.0.1:65536/x", "`65536`"),
        ("http://h:080", "`080`"),
        ("http://h:+80", "is not a port"),
        ("http://h:80:81", "brackets"),
        ("http://user:hunter2", "the text after the last `:` is not a port"),
        ("http://user:hunter2@h", "a user"),
        ("http://h\\x", "white space"),
        (" http://h", "must start with"),
        ("http://h ", "white space"),
        ("http://bücher.example", "non-ASCII"),
        ("ftp://h", "must start with"),
        ("h:4317", "must start with"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://?x", "no host"),
        ("http://127.1", "is a number"),
        ("http://0x7f.0.0.1", "is a number"),
        ("http://0x7f000001", "is a number"),
        ("http://1.2.3.256", "is a number"),
        ("http://ex%61mple.com", "the host may contain only letters, digits, `.`, `-` and `_`"),
        ("http://[::g]", "IPv6"),
        ("http://[::1", "brackets"),
        ("http://::1", "brackets"),
    ] {
        let what = parse_url(wrong).err().unwrap_or_else(|| panic!("{wrong} is taken"));
        assert!(what.contains(why) && !what.contains("hunter2"), "{wrong}: {what}");
    }
    for wrong in ["a:70000", "a:+80", "127.1:4317", "[::1]4317", "a b:1", "a:"] {
        assert!(super::Endpoint::parse(wrong).is_err(), "{wrong}");
    }
    assert!(super::Endpoint::parse("127.0.0.1:0").is_ok(), "the system's choice");
}

/// A snippet shows keys, and values that can't be secrets, also through aliases, and nothing else. Text that looks like
/// a sentence is shown only in a comment, not in a value or beside a secret. (Shown to fail: all was masked.)
#[test]
fn snippets_show_what_is_no_secret() {
    let shown = |text: &str| {
        let file::ParsedFile { source, .. } = file::read("t.yaml", text, &Fixed);
        let whole = SourcePosition { offset: 0, len: text.len(), line: 1, column: 1 };
        source.render(&[Problem::error(Some(whole), "", "x")], false)
    };
    for (text, seen) in [
        ("a: { max: 123456 }", "123456"),
        ("a: { on: true }", "true"),
        ("a: { timeout: 10s }", "10s"),
        ("a: { max_size: \"20 gigs\", every: '-5 Minutes' }", "max_size: \"20 gigs\", every: '-5 Minutes'"),
        ("a: { pattern: '\\d+ x' }", "'\\d+ x'"),
        ("a: { endpoint: 'http://h.test:99999/v1/x' }", "'http://h.test:99999/v1/x"),
        ("a: { recipients: [age1notakey] }", "age1notakey"),
        ("a: { rules: [secretz2] }", "secretz2"),
        ("a: { x: '${env:SET}' }", "${env:SET}"),
        ("a: { cert_file: /etc/tollgate/server.pem, directory: './data/vault-2' }", "/etc/tollgate/server.pem"),
        ("a: { name: ORDER_ID, near: 1 }", "ORDER_ID"),
        ("a: { max: 1 } # a volume of its own", "# a volume of its own"),
    ] {
        assert!(shown(text).contains(seen.trim_matches('\'')), "{}", shown(text));
    }
    for text in [
        "a: { password: 123456 }",
        "a: { passwrod: 123456 }",
        "a: { headers: { x-id: 123456 } }",
        "a: { api_key: 123456, basic: [123456] }",
        "a: { endpoint: 'http://user:s123456' }",
        "a: { endpoint: 'http://u:123456@h' }",
        "a: { endpoint: 'http://h/s123456?k=123456#123456' }",
        "a: { url: 'https://hooks.test/abc/s123456' }",
        "a: { preset: s123456 }",
        "a: { anything: s123456 }",
        "a: { max_size: 123456horse, timeout: '12 horses', token: '123456 days', every: 5 days 123456 }",
        "a: { account_id: '1234567890123' }",
        "a: { x: '${env:UNSET:-s123456}' }",
        "a: { pattern: '${env:UNSET:-s123456}' }",
        "a: { x: '${file:/123456}' }",
        "a: { recipients: [AGE-SECRET-KEY-123456] }",
        "a: { x: 1 } # 123456",
        "a: { max: 1 } # token: 123456",
        "a: { max: 1 } # correct horse s123456",
        "a: { password: 1 } # of 123456 it is",
        "a: { name: x123456y, path: /var/s123456z/x, key_file: /etc/123456 }",
        "a: { file: '${env:UNSET:-123456}', directory: '/x@123456' }",
        "a: |\n  x # is not a comment 123456\n",
        "a: 'x\n  # a b c 123456'",
        "a: { token: &t 123456 }\nb: { max: *t }",
        "a: { max: &t 123456 }\nb: { token: *t }",
        "a: \"x\n  # correct horse battery\"",
        "a: |\n  # correct horse battery\n",
        "a: { api_key: 1 } # correct horse battery",
        "# token correct horse battery\na: 1",
        "a: 1 # correct: horse battery",
        "a: x#correct horse battery",
        "a: 1 # horse",
    ] {
        let shown = shown(text);
        assert!(!shown.contains("123456") && !shown.contains("horse"), "{shown}");
    }
}

/// Every text is read back as the same text, as a value, in lists and as a key: a text that YAML takes for a number, or
/// that ends a line, would change a configuration that `migrate` writes. References and numbers stay as written.
#[test]
fn texts_survive_writing() {
    use super::schema::DocumentedValue;
    use super::tree::{MapKey, NodeValue, TreeNode};
    // separated by `␟`
    let texts = "plain␟␟ ␟true␟No␟NULL␟~␟1␟1.10␟0x1f␟1e3␟1_000␟5s␟64MiB␟12e4␟0b1␟0o7␟.inf␟NaN␟- a␟a: b␟a:␟a #b␟#\
        ␟[x]␟{x}␟x, y␟'␟\"␟\\␟a\nb␟\ta␟*a␟&a␟!a␟|␟>␟%a␟@a␟`a`␟é␟\u{7f}␟\u{85}␟\u{2028}␟\u{feff}\
        ␟unix:///a␟http://a:1/b?c=d&e␟0.0.0.0:4317␟1:30␟2001-01-01␟--- a␟...␟<<␟=␟a'b␟?␟? a␟/x";
    let texts: Vec<&str> = texts.split('␟').collect();
    let node = |value: NodeValue| TreeNode { value, ..TreeNode::null(SourcePosition::default()) };
    let text_node = |text: &str| node(NodeValue::Str(text.to_owned()));
    let list = node(NodeValue::Seq(texts.iter().map(|text| text_node(text)).collect()));
    let (mut map, mut tree) = (text_node(""), text_node(""));
    let key = |name: &str| MapKey { at: SourcePosition::default(), name: name.to_owned() };
    texts.iter().for_each(|text| map.put(key(text), text_node(text)));
    tree.put(key("list"), list);
    tree.put(key("flow"), node(NodeValue::Seq(vec![map.clone()])));
    tree.put(key("map"), map);
    let mut yaml = String::new();
    DocumentedValue::from_tree(&tree).write(&mut yaml, 0, false);
    let read = load::parse_tree(&yaml).unwrap_or_else(|problem| panic!("{problem}: {yaml}"));
    let text_of = |node: &TreeNode| match &node.value {
        NodeValue::Str(text) => text.clone(),
        _ => panic!("no text: {yaml}"),
    };
    let list = &read.get("list").unwrap().1;
    assert_eq!((0..texts.len()).map(|index| text_of(list.item(index).unwrap())).collect::<Vec<_>>(), texts);
    for map in [&read.get("map").unwrap().1, read.get("flow").unwrap().1.item(0).unwrap()] {
        let found: Vec<_> = map.entries().iter().map(|(key, node)| (key.name.as_str(), text_of(node))).collect();
        assert_eq!(found, texts.iter().map(|text| (*text, (*text).to_owned())).collect::<Vec<_>>());
    }
    let source = "a: { b: , c: 007, d: 1.5, e: '${env:SET}', f: -3, g: yes, h: '$$5' }";
    let mut tree = load::parse_tree(source).unwrap();
    super::env::resolve_substitutions(&mut tree, &Fixed);
    let mut yaml = String::new();
    DocumentedValue::from_tree(&tree).write(&mut yaml, 0, false);
    assert_eq!(yaml, "a:\n  b: {}\n  c: \"007\"\n  d: 1.5\n  e: \"${env:SET}\"\n  f: -3\n  g: \"yes\"\n  h: \"$$5\"\n");
}

/// A Collector reads `${NAME}` as a variable, and expands merge keys; an unset variable of another machine is no fault.
#[test]
fn a_collectors_file_is_read_as_it_reads_it() {
    let text = "exporters: { a: &a { x: '${A_1}y${B:-c}$$D$', y: '${env:E}' }, b: { <<: *a, y: '${aws:x}' } }";
    let read = file::read_collector("t.yaml", text, &super::env::OtherMachineLookup);
    let exporters = read.content.unwrap().exporters;
    let written = |index: usize, key: &str| {
        let (_, node) = exporters[index].body.get(key).unwrap();
        match (&node.reference, &node.value) {
            (Some(text), _) | (None, super::tree::NodeValue::Str(text)) => text.clone(),
            _ => panic!("no text"),
        }
    };
    assert_eq!(written(0, "x"), "${env:A_1}y${env:B:-c}$$D$");
    assert_eq!((written(0, "y"), written(1, "x")), ("${env:E}".to_owned(), written(0, "x")));
    assert_eq!(written(1, "y"), "${aws:x}");
    let faults: Vec<_> = read.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(faults, ["exporters.b.y", "service"], "{:?}", read.problems);
}
