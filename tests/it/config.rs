//! Tests of the generated configuration, the examples, and every configuration error as a user sees it.

use crate::sources::{blocks_of, check_generated, manual, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::env::{SubstitutionFileError, SubstitutionLookup};
use config::load;
use serde_json::Value as Json;
use tollgate::app::{defaults, resolve};
use tollgate::components::ExtensionSettings;

pub(crate) struct Everything;

impl SubstitutionLookup for Everything {
    fn var(&self, name: &str) -> Option<String> {
        let known = BTreeMap::from([
            ("TOLLGATE_DATA_DIR", "/tmp/data"),
            ("TOLLGATE_TRYOUT_RECIPIENT", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"),
            ("AUDITOR_PUBLIC_KEY", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"),
            ("AUDITOR_1", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"),
            ("AUDITOR_2", "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"),
            ("AUDITOR_3", "age1m68g6traknda6q3mkzfxv8lm8zvjt6k97dzjspch59pxqscehq3q6709u6"),
            ("DEVELOPERS_KEY", "age1m68g6traknda6q3mkzfxv8lm8zvjt6k97dzjspch59pxqscehq3q6709u6"),
            ("FLEET_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("PSEUDONYM_KEY", "long enough a key"),
        ]);
        known
            .get(name)
            .map(|value| (*value).to_owned())
            .or_else(|| (!name.contains("UNSET")).then(|| "value".to_owned()))
    }

    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError> {
        if path.contains("spool-key") {
            return Ok("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned());
        }
        if path.contains("-token") || path.contains("pseudonym-key") {
            return Ok("long enough a token".to_owned());
        }
        if path.contains("missing") {
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, "No such file or directory").into())
        } else {
            Ok("value".to_owned())
        }
    }
}

fn problems(name: &str, text: &str) -> String {
    let read = resolve::resolve_config(name, text, &Everything, Path::new("/tmp/data"));
    match read.result {
        Ok(_) => String::new(),
        Err(problems) => read.source.render(&problems, false),
    }
}

/// `config/default.yaml` is what the code generates, and it loads.
#[test]
fn default_yaml_is_generated_and_loads() {
    let text = defaults::generate();
    check_generated("config/default.yaml", &text);
    assert_eq!(problems("default.yaml", &text), "");
}

/// The output of `validate` for a configuration, valid or not.
fn said(name: &str, text: &str) -> String {
    let read = resolve::resolve_config(name, text, &Everything, Path::new("/tmp/data"));
    let problems = read.result.err().unwrap_or(read.warnings);
    read.source.render(&problems, false)
}

/// The hint for a leaking path is complete: the configuration loads once it is written as suggested, with a recipient.
#[test]
fn the_hint_of_a_leaking_path_is_whole() {
    let file = |processors: &str, steps: &str| {
        format!(
            "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: 127.0.0.1:4318 }} }} }} }}\nprocessors: {{ {processors} }}\n\
             exporters: {{ otlp: {{ endpoint: 'https://back.test' }} }}\n\
             service: {{ pipelines: {{ traces: {{ receivers: [otlp], processors: [{steps}], exporters: [otlp] }} }} }}\n"
        )
    };
    for (own, steps) in [("normalize: {}", "normalize"), ("cost: {}, redact/own: {}", "cost, redact/own")] {
        let hint = said("t.yaml", &file(own, steps));
        let written: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
        let bodies = written.iter().filter(|one| one.starts_with("vault: {") || one.starts_with("redact: {"));
        let bodies: String = bodies.map(|body| format!(", {body}")).collect();
        let list = written.iter().find_map(|one| one.strip_prefix("processors: [")?.strip_suffix(']')).unwrap();
        let recipient = "age1k6zjds6qgkjvedkr5a6yf3ejyx0wrm62agcu0l7a9k69qd5hhgqquw9a0p";
        let whole = file(&format!("{own}{bodies}"), list).replace("age1…", recipient);
        assert!(!said("t.yaml", &whole).contains("error: "), "{whole}\n{}", said("t.yaml", &whole));
    }
}

#[test]
fn examples_load() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("config/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(problems(&path.display().to_string(), &text), "");
        seen += 1;
    }
    assert!(seen >= 3);
}

/// The configuration of the Kubernetes example loads, and the example defines everything that it names; changes of its
/// ConfigMap arrive; Prometheus reaches the admin port.
#[test]
fn the_sidecar_names_only_what_is_there() {
    let manifest = fs::read_to_string(root().join("deploy/kubernetes/sidecar.yaml")).unwrap();
    let objects: Vec<Json> =
        manifest.split("\n---\n").map(|one| load::parse_data("sidecar", one).ok().unwrap()).collect();
    let find = |kind: &str, name: &str| {
        let found = objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name} is not there"))
    };
    let set = &find("StatefulSet", "agent")["spec"];
    let pod = &set["template"]["spec"];
    let service = find("Service", set["serviceName"].as_str().unwrap());
    assert_eq!(service["spec"]["clusterIP"], "None");
    find("ServiceAccount", pod["serviceAccountName"].as_str().unwrap());
    let config = find("ConfigMap", "tollgate")["data"]["config.yaml"].as_str().unwrap();
    assert_eq!(problems("sidecar", config), "");
    let secrets = find("Secret", pod["volumes"][1]["secret"]["secretName"].as_str().unwrap());
    for name in config.split("/etc/tollgate/secrets/").skip(1).filter_map(|rest| rest.split('}').next()) {
        assert!(secrets["stringData"][name].is_string(), "{name}");
    }
    let gateway = &pod["initContainers"][0];
    for variable in gateway["env"].as_array().unwrap() {
        let from = &variable["valueFrom"]["configMapKeyRef"];
        let map = find("ConfigMap", from["name"].as_str().unwrap());
        assert!(map["data"][from["key"].as_str().unwrap()].is_string(), "{from}");
    }
    assert!(!gateway.to_string().contains("\"subPath\"") && gateway["args"].to_string().contains("\"--watch\""));
    assert!(config.contains("endpoint: 0.0.0.0:8888") && config.contains("scraper: [\"${file:"), "{config}");
    let port = &service["spec"]["ports"][0]["targetPort"];
    assert!(
        gateway["ports"].as_array().unwrap().iter().any(|one| one["name"] == *port && one["containerPort"] == 8888)
    );
}

/// Each file in tests/cases/config is an invalid or questionable configuration; its snapshot is what the user sees.
#[test]
fn wrong_configurations_say_what_is_wrong() {
    let folder = root().join("tests/cases/config");
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    cases.sort();
    assert!(cases.len() >= 5);
    for path in cases {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = said(&format!("{name}.yaml"), &text);
        assert!(!shown.is_empty(), "{name} was accepted without a word");
        assert!(!shown.contains("s3cr3t"), "{name} shows a value:\n{shown}");
        insta::with_settings!({ snapshot_path => folder.clone(), prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

/// A stanza of the Collector can be pasted in: each key that works differently gets a note and is not an error.
#[test]
fn the_collectors_queue_and_retry_are_accepted_with_notes() {
    let stanza = |keys: &str| {
        format!(
            "receivers: {{ otlp: }}\nexporters:\n  otlphttp:\n    endpoint: https://backend.test\n    trust: internal\n{keys}\n\
             service: {{ pipelines: {{ logs: {{ receivers: [otlp], exporters: [otlphttp] }} }} }}\n"
        )
    };
    let notes = |keys: &str| {
        let text = stanza(keys);
        let read = resolve::resolve_config("c.yaml", &text, &Everything, Path::new("/tmp/data"));
        assert!(read.result.is_ok(), "{keys}");
        read.warnings.iter().map(|note| note.path.replace("exporters.otlphttp.", "")).collect::<Vec<_>>()
    };
    let collectors = "
    sending_queue:
      enabled: true
      num_consumers: 10
      queue_size: 1000
      sizer: requests
      storage: file_storage
      batch: { flush_timeout: 200ms, min_size: 8192, max_size: 0 }
    retry_on_failure: { enabled: true, initial_interval: 5s, multiplier: 1.5, max_interval: 30s, max_elapsed_time: 300s }";
    assert_eq!(
        notes(collectors),
        [
            "sending_queue.queue_size",
            "sending_queue.sizer",
            "sending_queue.storage",
            "sending_queue.batch.min_size",
            "sending_queue.batch.max_size",
            "retry_on_failure.max_elapsed_time",
        ]
    );
    let ours = "
    sending_queue: { num_consumers: 2, batch: { flush_timeout: 1s, sizer: bytes, min_size: 1MiB, max_size: 2MiB } }
    retry_on_failure: { initial_interval: 1s, max_interval: 10s, max_elapsed_time: 0 }";
    assert_eq!(notes(ours), [""; 0]);
}

/// A Collector's file loads, and has the notes that `tests/cases/otelcol-notes.yaml` lists.
fn load_collectors_file(name: &str) -> (resolve::TypedConfig, resolve::ValidSettings) {
    let read_case = |name: &str| fs::read_to_string(root().join("tests/cases").join(name)).unwrap();
    let read = resolve::resolve_config(name, &read_case(name), &Everything, Path::new("/tmp/data"));
    let loaded = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    let mut notes: Vec<&str> = read.warnings.iter().map(|note| note.path.as_str()).collect();
    notes.sort_unstable();
    let wanted = load::parse_data::<Json>("notes", &read_case("otelcol-notes.yaml")).ok().unwrap();
    assert_eq!(serde_json::json!(notes), wanted[name]);
    loaded
}

/// A typical Collector file loads; a note for each part says what it became.
#[test]
fn a_collectors_file_loads_with_notes() {
    let (typed, valid) = load_collectors_file("otelcol.yaml");
    assert_eq!(typed.processors.len(), 3);
    let processors =
        |at: usize| valid.pipelines[at].processors.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>();
    assert_eq!(processors(0), ["redact", "resource", "attributes/team"]);
}

/// Settings of connections, pools, buffers and the Collector's own log have no effect: each gets a note and none
/// prevents the start. A path for probes is served, because failing probes would end the pod.
#[test]
fn a_collectors_tuning_is_told_and_no_error() {
    let (_, valid) = load_collectors_file("otelcol-gateway.yaml");
    let path = valid.extensions.iter().find_map(|placed| match &placed.value {
        ExtensionSettings::HealthCheck(health) => Some(health.path.as_str()),
        ExtensionSettings::Admin(_) => None,
    });
    assert_eq!(path, Some("/healthz"));
}

/// Supplies the variables and files that the manual's blocks name.
pub(crate) struct Manual;

impl SubstitutionLookup for Manual {
    fn var(&self, name: &str) -> Option<String> {
        let is_known = name.contains("AUDITOR") || name == "DEVELOPERS_KEY";
        match name {
            _ if is_known => Everything.var(name),
            _ if name.contains("URL") => Some("https://hooks.example.com/x".to_owned()),
            // two tokens of a page differ
            _ if name.ends_with("TOKEN") => Some(format!("a-value-of-16-bytes-or-more-{name}")),
            _ => Some("a-value-of-16-bytes-or-more".to_owned()),
        }
    }

    fn read_file(&self, path: &str) -> Result<String, SubstitutionFileError> {
        Everything.read_file(path)
    }
}

/// Completes a block to a whole configuration.
fn completed(block: &str) -> String {
    let recipient = "recipients: [\"${env:AUDITOR_1}\"]";
    let mut whole = match block.starts_with("store:") {
        true => format!("processors:\n  vault:\n    {recipient}\n    {block}"),
        false => block.replace("base64 of the Ed25519 key", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    };
    let tree = load::parse_tree(&whole).unwrap_or_else(|problem| panic!("{problem}: {block}"));
    let ids = |section: &str| {
        let entries = tree.get(section).map(|(_, node)| node.entries()).unwrap_or_default();
        entries.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let or = |ids: String, other: &str| if ids.is_empty() { other.to_owned() } else { ids };
    let receivers = or(ids("receivers"), "otlp");
    let (processors, exporters) = match ids("exporters") {
        named if named.is_empty() => (ids("processors"), "debug".to_owned()),
        named => (or(ids("processors"), "vault, redact"), named),
    };
    let pipelines = format!(
        "pipelines: {{ logs: {{ receivers: [{receivers}], processors: [{processors}], exporters: [{exporters}] }} }}"
    );
    match tree.get("service") {
        Some((_, service)) if service.get("pipelines").is_some() => {}
        Some(_) => whole.push_str(&format!("  {pipelines}\n")),
        None => whole.push_str(&format!("service: {{ extensions: [{}], {pipelines} }}\n", ids("extensions"))),
    }
    let processors =
        format!("{{ normalize: , cost: , runs: , vault: {{ {recipient}, store: {{ directory: /tmp/v }} }}, redact: }}");
    for (section, body) in [
        ("receivers", "{ otlp: }"),
        ("processors", processors.as_str()),
        ("exporters", "{ debug: { trust: internal }, otlp/honeycomb: { preset: honeycomb, api_key: k } }"),
    ] {
        if tree.get(section).is_none() {
            whole.push_str(&format!("{section}: {body}\n"));
        }
    }
    whole
}

/// Every YAML block in the manual loads, alone or completed, so that a user who copies it is not refused. (Regression
/// test: a password in the README was one letter too short.)
#[test]
fn the_manuals_configurations_load() {
    let mut seen = 0;
    for page in manual() {
        for block in blocks_of("yaml", &page.text) {
            // a table of prices, which `overlays` names, a Collector's own files, and who may use `vault serve`
            if ["# contract.yaml", "# formats.yaml", "# collector-", "# access.yaml"]
                .iter()
                .any(|first| block.starts_with(first))
            {
                continue;
            }
            let whole = completed(&block);
            let read = resolve::resolve_config(&page.path, &whole, &Manual, Path::new("/tmp/data"));
            if let Err(problems) = &read.result {
                panic!("{}\n{whole}", read.source.render(problems, false));
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

/// A Collector's `memory_limiter` becomes a limit that refuses no later than the Collector's soft limit, with a note;
/// an explicit `limits` key takes precedence.
#[test]
fn a_memory_limiter_becomes_a_limit() {
    let limits = |body: &str, more: &str| {
        let text = format!(
            "receivers: {{ otlp: }}\nprocessors: {{ memory_limiter: {{ {body} }} }}\nexporters: {{ debug: {{ trust: internal }} }}\n{more}\nservice: {{ pipelines: {{ logs: {{ receivers: [otlp], processors: [memory_limiter], exporters: [debug] }} }} }}\n"
        );
        let read = resolve::resolve_config("c", &text, &Everything, Path::new("/tmp/data"));
        let (_, valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
        let told: String = read.warnings.iter().map(|note| note.message.as_str()).collect();
        (valid.limits.memory.map(|size| size.to_string()), valid.limits.memory_percentage, told)
    };
    for (body, memory, percent) in [
        ("check_interval: 1s, limit_mib: 2000", Some("2000MiB"), None),
        ("limit_mib: 2000, spike_limit_mib: 100", Some("2000MiB"), None),
        ("limit_mib: 2000, spike_limit_mib: 800", Some("1500MiB"), None),
        ("limit_mib: '${env:UNSET:-1000}'", Some("1000MiB"), None),
        ("limit_mib: 50", Some("128MiB"), None),
        ("limit_mib: 2000, limit_percentage: 10", Some("2000MiB"), None),
        ("limit_percentage: 80", None, Some(80)),
        ("limit_percentage: 80, spike_limit_percentage: 20", None, Some(75)),
        ("limit_percentage: 50, spike_limit_percentage: 5", None, Some(50)),
        ("check_interval: 1s", None, None),
    ] {
        let (found, percentage, told) = limits(body, "");
        assert_eq!((found.as_deref(), percentage), (memory, percent), "{body}");
        assert!(told.contains("`memory_limiter`"), "{told}");
        assert!((told.contains("became `limits.memory") || percent.or(memory.map(|_| 0)).is_none()), "{told}");
    }
    // above the Collector's own limit, which must be reported
    assert!(limits("limit_mib: 100", "").2.contains("128MiB`, the minimum for the gateway"));
    assert!(!limits("limit_mib: 2000", "").2.contains("the least"));
    let (memory, _, told) = limits("limit_mib: 2000", "limits: { memory: 1GiB }");
    assert_eq!(memory.as_deref(), Some("1GiB"));
    assert!(told.contains("is not used"), "{told}");
}

/// A step that changes or drops items must come after the steps that need to see all of them.
#[test]
fn steps_that_drop_stand_last() {
    let text = |order: &str| {
        format!(
            "receivers: {{ otlp: }}\nprocessors:\n  redact:\n  filter: {{ presets: [codex] }}\n  filter/2: {{ sampling: {{ ratio: 0.5 }} }}\n  resource: {{ attributes: [{{ key: a, action: delete }}] }}\nexporters: {{ debug: }}\nservice: {{ pipelines: {{ metrics: {{ receivers: [otlp], processors: [{order}], exporters: [debug] }} }} }}\n"
        )
    };
    assert_eq!(problems("c", &text("redact, filter, resource, filter/2")), "");
    for wrong in
        ["filter, redact, filter/2, resource", "redact, filter, filter/2", "resource, redact, filter, filter/2"]
    {
        let told = problems("c", &text(wrong));
        let misplaced = told.contains("` must come before `") && told.contains("then all others");
        assert_eq!(misplaced, !wrong.starts_with("redact"), "{told}");
    }
}

/// A limit for an account that no receiver has is probably a typing error and gets a note, unless a tokens file may
/// define the account. (Regression test: such a limit was loaded without a note.)
#[test]
fn limits_of_accounts_that_nobody_has_are_noted() {
    let notes = |auth: &str| {
        let text = format!(
            "receivers: {{ otlp: {{ {auth} protocols: {{ http: {{ endpoint: '127.0.0.1:4318' }} }} }} }}\n\
             exporters: {{ debug: {{ trust: internal }} }}\n\
             limits: {{ accounts: {{ acme: {{ requests_per_second: 1 }}, default: {{ requests_per_second: 1 }} }} }}\n\
             service: {{ pipelines: {{ traces: {{ receivers: [otlp], exporters: [debug] }} }} }}\n"
        );
        let read = resolve::resolve_config("t.yaml", &text, &Everything, Path::new("/tmp/data"));
        assert!(read.result.is_ok());
        read.warnings.iter().map(|note| format!("{}: {}", note.path, note.message)).collect::<Vec<_>>()
    };
    let told = |account: &str, known: &str| {
        vec![format!(
            "limits.accounts.{account}: no receiver has this account, so the limit has no effect; known accounts: {known}"
        )]
    };
    assert_eq!(notes(""), told("acme", "default"));
    assert_eq!(
        notes("auth: { tokens: { acme: [aaaaaaaaaaaaaaaa] }, basic: { beta: ['u:aaaaaaaaaaaaaaaaa'] } },"),
        told("default", "acme, beta")
    );
    assert_eq!(notes("auth: { tokens_file: /run/tokens },"), [""; 0]);
}

/// The replacement suggested for a Collector's `hash` can be pasted.
#[test]
fn the_remedy_for_hash_loads() {
    let cases = fs::read_to_string(root().join("tests/cases/config/collectors-blocks.snap")).unwrap();
    let (_, rest) = cases.split_once("write the keyed `redact: { custom: [{ name: ACCOUNT_ID").unwrap();
    let (tail, _) = rest.split_once('`').unwrap();
    let redact = format!("redact: {{ custom: [{{ name: ACCOUNT_ID{tail}");
    let text = format!(
        "receivers: {{ otlp: }}\nprocessors: {{ {redact} }}\nexporters: {{ debug: {{ trust: internal }} }}\n\
         service: {{ pipelines: {{ traces: {{ receivers: [otlp], processors: [redact], exporters: [debug] }} }} }}\n"
    );
    assert_eq!(problems("remedy.yaml", &text), "");
}
