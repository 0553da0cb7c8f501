//! **What**: the first page: what came in, what went out, what it cost, where the content is. **Invariants**: made
//! from the text of `/metrics` alone; works without script; everything is escaped. **Not here**: routes (`mod`).

use askama::Template;

use super::super::names::{self, Def};
use super::super::samples::{Sample, parse};

/// One row: what, value, the metric it comes from.
struct Row {
    what: String,
    value: String,
    metric: String,
}

struct Panel {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    version: &'static str,
    troubles: &'a [(String, &'static str)],
    panels: Vec<Panel>,
}

/// Renders the page from the text of `/metrics`.
///
/// # Errors
/// The template's.
pub(super) fn render(metrics: &str, troubles: &[(String, &'static str)]) -> Result<String, askama::Error> {
    let samples = parse(metrics);
    let panels = PANELS.iter().map(|(title, defs)| Panel { title, rows: rows(&samples, defs) }).collect();
    Page { version: env!("CARGO_PKG_VERSION"), troubles, panels }.render()
}

/// Panels and the metrics they show.
static PANELS: &[(&str, &[&Def])] = &[("Build", &[&names::INFO])];

fn rows(samples: &[Sample], defs: &[&Def]) -> Vec<Row> {
    let mut rows: Vec<(f64, Row)> = Vec::new();
    for def in defs {
        for sample in samples.iter().filter(|sample| sample.name == def.name) {
            let labels: Vec<String> = sample.labels.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let what = if labels.is_empty() { def.help.trim().to_owned() } else { labels.join(" · ") };
            rows.push((sample.number(), Row { what, value: sample.value.clone(), metric: def.name.to_owned() }));
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}
