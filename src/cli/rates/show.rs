//! `tollgate rates show`: the prices of a table, the prices a configuration uses, or the changes by overlays. Overlays
//! are implemented in `rates`.

use clap::Args;
use serde_json::json;

use super::report;
use super::tables::{pretty, source};
use crate::cli::common::Common;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::print;
use crate::cli::source::{Make, load};
use crate::components::ProcessorSettings;
use processors::cost::Settings;
use rates::{Effective, Listed, Source, Table};

/// Options of `rates show`.
#[derive(Args)]
pub(crate) struct Options {
    /// Id of a model, `provider/id`, or a part of one.
    model: Option<String>,
    /// The table: a file, or the built-in one.
    #[arg(long, default_value = "builtin", value_name = "FILE", conflicts_with = "config")]
    rates: String,
    /// Shows the changes by the overlays of `--config` instead of all prices.
    #[arg(long, requires = "config")]
    overlays: bool,
    /// Includes the overlays of this tenant.
    #[arg(long, value_name = "NAME", requires = "config")]
    tenant: Option<String>,
    /// The `cost` processor, if there are several.
    #[arg(long, value_name = "ID", requires = "config")]
    processor: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, common: &Common) -> Result<Exit, CommandError> {
    if common.config.is_none() {
        let source = source(&options.rates)?;
        let table = source.compile()?;
        let Some(model) = &options.model else { return summary(&source, &table, options.json) };
        return models(model, &table, &source.listed(model), options.json);
    }
    let settings = settings(common, options.processor.as_deref())?;
    let (base, overlays) = (settings.base()?, settings.overlays()?);
    let effective = Effective::explained(&base, &overlays, options.tenant.as_deref())?;
    match &options.model {
        _ if options.overlays => changes(&effective, options),
        Some(model) => models(model, &effective.table, &effective.listed(model), options.json),
        None => summary(&base, &effective.table, options.json),
    }
}

/// The settings of the selected `cost` processor, or of the only one.
fn settings(common: &Common, wanted: Option<&str>) -> Result<Settings, CommandError> {
    let placed = load(common, Make::Nothing)?.valid.processors.into_iter();
    let mut found: Vec<(String, Settings)> = placed
        .filter_map(|placed| match placed.what {
            ProcessorSettings::Cost(settings) => Some((placed.id.to_string(), settings)),
            _ => None,
        })
        .filter(|(id, _)| wanted.is_none_or(|wanted| wanted == id))
        .collect();
    match (found.pop(), found.as_slice()) {
        (Some((_, settings)), []) => Ok(settings),
        (Some((last, _)), others) => {
            let ids: Vec<&str> = others.iter().map(|(id, _)| id.as_str()).chain([last.as_str()]).collect();
            Err(CommandError::Usage(format!("several processors price calls, name one: --processor {}", ids.join("|"))))
        }
        (None, _) => Err(CommandError::Failed("no such processor prices calls in this configuration".to_owned())),
    }
}

fn summary(source: &Source, table: &Table, as_json: bool) -> Result<Exit, CommandError> {
    if as_json {
        let providers: Vec<_> = (source.summary().into_iter())
            .map(|(provider, models, ids)| json!({"provider": provider, "models": models, "ids": ids}))
            .collect();
        pretty(&json!({"version": table.version(), "sha256": table.digest(), "providers": providers}))?;
        return Ok(Exit::Fine);
    }
    let mut text = format!("{}: {}\n\n", table.stamp(), table.size());
    for (provider, models, ids) in source.summary() {
        text.push_str(&format!("{provider:<24} {models:>5} models {ids:>5} ids\n"));
    }
    print(&text)?;
    Ok(Exit::Fine)
}

fn models(wanted: &str, table: &Table, listed: &[Listed], as_json: bool) -> Result<Exit, CommandError> {
    if listed.is_empty() {
        let hint = table.nearest(None, wanted).map_or(String::new(), |id| format!("; the nearest id is {id}"));
        return Err(CommandError::Failed(format!("{} lists no `{wanted}`{hint}", table.stamp())));
    }
    if as_json {
        let models: Vec<_> = listed.iter().map(report::listed).collect();
        pretty(&json!({"version": table.version(), "sha256": table.digest(), "models": models}))?;
    } else {
        print(&listed.iter().map(report::listed_text).collect::<String>())?;
    }
    Ok(Exit::Fine)
}

fn changes(effective: &Effective, options: &Options) -> Result<Exit, CommandError> {
    let wanted = options.model.as_ref().map(|model| model.trim().to_lowercase());
    let changes = effective.changes.iter();
    let shown =
        changes.filter(|change| wanted.as_ref().is_none_or(|wanted| change.place.to_lowercase().contains(wanted)));
    if options.json {
        let list: Vec<_> = shown.map(report::change).collect();
        let table = &effective.table;
        pretty(&json!({"version": table.version(), "sha256": table.digest(), "changes": list}))?;
    } else {
        let lines: String = shown.map(report::change_text).collect();
        print(&format!("{}\n{}", effective.table.stamp(), if lines.is_empty() { "  no changes\n" } else { &lines }))?;
    }
    Ok(Exit::Fine)
}
