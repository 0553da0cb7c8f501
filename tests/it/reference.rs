//! Pages of `docs/reference` that are generated from the product, so that they can't go stale: metrics from
//! `telemetry::names`, reasons from `pipeline::Reason`, commands from `--help`, configuration keys from the schema.
//! `TOLLGATE_UPDATE=1` writes them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use crate::sources::{File, check_generated, files, product, root};

fn head(title: &str, answers: &str) -> String {
    format!("<!-- Made by a test: TOLLGATE_UPDATE=1 cargo test --test it reference -->\n\n# {title}\n\n{answers}\n\n")
}

/// A text for one cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}

/// Every metric that `/metrics` shows, with its kind and help.
#[test]
fn metrics() {
    let mut page = head(
        "Metrics",
        "Which metrics does tollgate export, and what does each mean? All are on `/metrics` of the admin port, in the \
         OpenMetrics\nformat, and can be pushed by OTLP (`service.telemetry.metrics`).",
    );
    page.push_str("```console\n$ curl -s http://127.0.0.1:8888/metrics | grep tollgate_spool\n```\n\n| metric | kind | meaning |\n|---|---|---|\n");
    for metric in telemetry::names::ALL {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            metric.name,
            format!("{:?}", metric.kind).to_lowercase(),
            cell(metric.help)
        );
    }
    check_generated("docs/reference/metrics.md", &page);
}

/// Every reason code, as in metrics, logs and answers to clients.
#[test]
fn reasons() {
    let mut page = head(
        "Reason codes",
        "Why was data refused, retried, quarantined or dropped? A reason code is the same word in metrics (`reason`), logs \
         and the\nanswer to a client. What to do about each: [Operations](../operations.md).",
    );
    page.push_str("| code | text |\n|---|---|\n");
    let codes: BTreeSet<(&str, &str)> =
        pipeline::Reason::ALL.iter().map(|reason| (reason.label(), reason.text())).collect();
    for (code, text) in codes {
        let _ = writeln!(page, "| `{code}` | {} |", cell(text));
    }
    check_generated("docs/reference/reasons.md", &page);
}

/// Every command with its help.
#[test]
fn commands() {
    let mut page = head(
        "Commands",
        "Which commands and options are there? Each command's `--help` prints the same. Exit codes and the format of logs: \
         [Operations](../operations.md).",
    );
    describe(&[], &mut page);
    check_generated("docs/reference/commands.md", &page);
}

/// Adds a command's help, and those of its subcommands.
fn describe(path: &[String], page: &mut String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tollgate")).args(path).arg("--help").env("COLUMNS", "100").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let title = [&["tollgate".to_owned()], path].concat().join(" ");
    let text: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = writeln!(page, "## `{title}`\n\n```text\n{}\n```\n", text.join("\n").trim());
    // below `Commands:` or headings of their own; arguments begin with a bracket
    let commands = help.lines().skip_while(|line| !line.starts_with("Usage:")).take_while(|line| *line != "Options:");
    let names: Vec<&str> = commands
        .filter_map(|line| line.strip_prefix("  ").filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for name in names {
        describe(&[path, &[name.to_owned()]].concat(), page);
    }
}

/// Every key of the configuration, with type, default and meaning, from `config/schema.json`.
#[test]
fn configuration() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root().join("config/schema.json")).unwrap()).unwrap();
    let mut page = head(
        "Configuration keys",
        "Which keys does the configuration have, what is each for, and what is its default? The same with every default as \
         YAML:\n`tollgate print-config --comments`. An editor completes and checks keys with `tollgate schema`.",
    );
    page.push_str("```text\n# yaml-language-server: $schema=tollgate.schema.json     (tollgate schema > tollgate.schema.json)\n```\n\n");
    let mut done = BTreeSet::new();
    let sections = schema["properties"].as_object().unwrap();
    for (name, section) in sections {
        let _ = writeln!(page, "## `{name}`\n");
        if let Some(text) = section["description"].as_str() {
            let _ = writeln!(page, "{}\n", wrap(text));
        }
        keys(&schema, section, name, &mut page, &mut done);
    }
    check_generated("docs/reference/configuration.md", &page);
}

/// Follows a reference to a definition.
fn resolve<'s>(schema: &'s Value, node: &'s Value) -> &'s Value {
    let target = node["$ref"].as_str().or_else(|| {
        let any = node["anyOf"].as_array().or_else(|| node["oneOf"].as_array())?;
        let real: Vec<&Value> = any.iter().filter(|one| one["type"] != "null").collect();
        if let [one] = real[..] { one["$ref"].as_str() } else { None }
    });
    let found = target.and_then(|target| schema.pointer(target.trim_start_matches('#')));
    found.map_or(node, |found| resolve(schema, found))
}

/// Adds a table of the keys of `node`, and one for each map below it.
fn keys(schema: &Value, node: &Value, path: &str, page: &mut String, done: &mut BTreeSet<String>) {
    let node = resolve(schema, node);
    let empty = Map::new();
    let own = node["properties"].as_object().unwrap_or(&empty);
    let kinds = node["patternProperties"].as_object().into_iter().flatten();
    let mut below: Vec<(String, &Value)> =
        kinds.map(|(name, node)| (format!("{path}.{}", pattern(name)), node)).collect();
    if let Some(more) = node.get("additionalProperties").filter(|more| more.is_object()) {
        below.push((format!("{path}.NAME"), more));
    }
    if !own.is_empty() {
        page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for (name, node) in own {
            let real = resolve(schema, node);
            let meaning = node["description"].as_str().or_else(|| real["description"].as_str()).unwrap_or_default();
            let default =
                node.get("default").map(|value| format!("`{}`", cell(&value.to_string()))).unwrap_or_default();
            let _ = writeln!(page, "| `{path}.{name}` | {} | {default} | {} |", kind(schema, node), cell(meaning));
            below.push((format!("{path}.{name}"), node));
        }
        page.push('\n');
    }
    for (path, node) in below {
        let inner = resolve(schema, node);
        let inner = if inner["type"] == "array" { resolve(schema, &inner["items"]) } else { inner };
        let has_keys = ["properties", "patternProperties"].iter().any(|key| inner.get(*key).is_some())
            || inner.get("additionalProperties").is_some_and(Value::is_object);
        if has_keys && done.insert(format!("{path} {}", inner["title"])) && path.matches('.').count() < 7 {
            if let Some(text) = inner["description"].as_str().filter(|_| inner.get("properties").is_some()) {
                let _ = writeln!(page, "### `{path}`\n\n{}\n", wrap(text));
            }
            keys(schema, inner, &path, page, done);
        }
    }
}

/// A component's type from the pattern of its ids, such as `^(otlp|otlp_grpc)(/.+)?$`.
fn pattern(text: &str) -> String {
    text.trim_start_matches("^(").split([')', '|']).next().unwrap_or_default().to_owned()
}

/// The type of a value in words.
fn kind(schema: &Value, node: &Value) -> String {
    let real = resolve(schema, node);
    let words: Vec<String> = real["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|word| format!("`{}`", word.as_str().unwrap_or("null")))
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let consts: Vec<String> = real["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["const"].as_str())
        .map(|word| format!("`{word}`"))
        .collect();
    if !consts.is_empty() {
        return consts.join(", ");
    }
    let alternatives = ["anyOf", "oneOf"].iter().filter_map(|key| real[*key].as_array()).flatten();
    let mut kinds: Vec<String> =
        alternatives.filter(|one| one["type"] != "null").map(|one| kind(schema, one)).collect();
    kinds.dedup();
    if !kinds.is_empty() {
        return kinds.join(" or ");
    }
    match &real["type"] {
        Value::String(one) if one == "array" => match kind(schema, &real["items"]) {
            several if several.contains(" or ") => format!("list of ({several})"),
            one => format!("list of {one}"),
        },
        Value::String(one) if one == "object" => "map".to_owned(),
        Value::String(one) => one.clone(),
        Value::Array(any) => {
            any.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => "text".to_owned(),
    }
}

/// Lines of at most 120 columns.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut line = 0;
    for word in text.split_whitespace() {
        if line > 0 && line + 1 + word.chars().count() > 120 {
            out.push('\n');
            line = 0;
        } else if line > 0 {
            out.push(' ');
            line += 1;
        }
        out.push_str(word);
        line += word.chars().count();
    }
    out
}

/// Literals of the product that look like attributes and are event names, scopes, files or metrics.
const NO_ATTRIBUTES: &str = "tollgate.budgets tollgate.run.summary tollgate.alert tollgate.runs tollgate.log tollgate.yaml tollgate.content. tollgate.context. \
    tollgate.reported. tollgate.dead tollgate.in agent.alerts agent.evaluation.score agent.evaluations \
    agent.fallbacks agent.human_override_count agent.investigations agent.permission_denials agent.runs agent.sessions";

/// Whether this is a metric of runs, sessions or turns.
fn is_metric(name: &str) -> bool {
    ["agent.run.", "agent.session.", "agent.turn."].iter().any(|start| name.starts_with(start))
}

/// The page of attributes has each that the product writes, and no other.
#[test]
fn attributes() {
    let page = fs::read_to_string(root().join("docs/reference/attributes.md")).unwrap();
    let rows: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut sources: String = product().into_iter().map(|file| file.text).collect();
    let hooks = fs::read_to_string(root().join("config/hooks.yaml")).unwrap();
    let attributes = hooks.split("attribute: ").skip(1).filter_map(|rest| rest.split([' ', ',', '}', '\n']).next());
    attributes.for_each(|name| sources.push_str(&format!("\"{name}\"")));
    let literals: BTreeSet<&str> = sources.split('"').collect();
    let is_own = |text: &&str| {
        let rest = ["tollgate.", "gen_ai.payload.", "agent."].iter().find_map(|start| text.strip_prefix(start));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b)))
    };
    let written: BTreeSet<&str> = literals
        .iter()
        .copied()
        .filter(is_own)
        .filter(|text| !NO_ATTRIBUTES.split(' ').any(|known| known == *text) && !is_metric(text))
        .collect();
    let missing: Vec<_> =
        written.iter().filter(|name| !rows.contains(**name) && !rows.contains(&*format!("{name}*"))).collect();
    assert!(written.len() > 80 && missing.is_empty(), "of {} not in the page: {missing:?}", written.len());
    let gone: Vec<_> = rows
        .iter()
        .filter(|row| is_own(&row.trim_end_matches('*')))
        .filter(|row| !sources.contains(&format!("\"{}", row.trim_end_matches('*'))))
        .collect();
    assert!(gone.is_empty(), "in the page, but not in the product: {gone:?}");
}

/// Links between pages lead to a page, and to a heading of it; pictures exist; the book's summary lists every page. Pages
/// of `docs` link to nothing outside of it, which the book would not have.
#[test]
fn links_lead_somewhere() {
    let mut pages = Vec::new();
    files(&root().join("docs"), ".md", &mut pages);
    for name in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "STYLE.md"] {
        pages.push(File::read(name));
    }
    let docs = root().join("docs").canonicalize().unwrap();
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let (mut broken, mut links) = (Vec::new(), 0);
    for page in &pages {
        let place = root().join(&page.path);
        let prose: String = page.text.split("```").step_by(2).collect();
        let links_of_page = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let pictures = ["src=\"", "srcset=\""].into_iter().flat_map(|name| prose.split(name).skip(1));
        for target in links_of_page.chain(pictures.filter_map(|rest| rest.split('"').next())) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { place.clone() } else { place.parent().unwrap().join(path) };
            let there = fs::read_to_string(&file).unwrap_or_default();
            let is_inside = file.canonicalize().is_ok_and(|file| file.starts_with(&docs));
            if !file.exists()
                || (!anchor.is_empty() && file.extension().is_some_and(|e| e == "md") && !has_anchor(&there, anchor))
            {
                broken.push(format!("{}: {target}", page.path));
            } else if page.path.starts_with("docs/") && !is_inside {
                broken.push(format!("{}: {target} is not in `docs`", page.path));
            }
        }
        let inside = page.path.strip_prefix("docs/").filter(|name| *name != "SUMMARY.md");
        if let Some(name) = inside.filter(|name| !summary.contains(&format!("({name})"))) {
            broken.push(format!("docs/SUMMARY.md does not list {name}"));
        }
    }
    assert!(links > 100 && broken.is_empty(), "of {links} links:\n{}", broken.join("\n"));
}

/// Whether a page has a heading, or an HTML anchor, of this id, as code hosts and mdBook make them.
fn has_anchor(page: &str, anchor: &str) -> bool {
    let id = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| id(line.trim_start_matches('#')));
    headings.into_iter().any(|heading| heading == anchor)
        || page.contains(&format!("id=\"{anchor}\""))
        || page.contains(&format!("name=\"{anchor}\""))
}
