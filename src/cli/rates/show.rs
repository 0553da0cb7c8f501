//! `tollgate rates show`: the prices of a table, the prices a configuration uses, or the changes by overlays. Overlays
//! are implemented in `rates`.

use clap::Args;
use serde_json::json;

use super::render_rates;
use super::tables::{print_pretty_json, read_table};
use crate::cli::common::CommonArgs;
use crate::cli::config_loading::{FileAccess, load_config};
use crate::components::ProcessorSettings;
use command::error::{CommandError, ExitStatus};
use command::output::print;
use processors::cost::CostSettings;
use rates::{EffectiveTable, ListedModel, RateTable, TableSource};

/// Options of `rates show`.
#[derive(Args)]
pub(crate) struct ShowRatesArgs {
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

pub(super) fn run(options: &ShowRatesArgs, common: &CommonArgs) -> Result<ExitStatus, CommandError> {
    if common.config.is_none() {
        let source = read_table(&options.rates)?;
        let table = source.compile()?;
        let Some(model) = &options.model else { return print_summary(&source, &table, options.json) };
        return print_models(model, &table, &source.find_models(model), options.json);
    }
    let settings = find_cost_settings(common, options.processor.as_deref())?;
    let (base, overlays) = (settings.load_base()?, settings.load_overlays()?);
    let effective = EffectiveTable::build_explained(&base, &overlays, options.tenant.as_deref())?;
    match &options.model {
        _ if options.overlays => print_changes(&effective, options),
        Some(model) => print_models(model, &effective.table, &effective.find_models(model), options.json),
        None => print_summary(&base, &effective.table, options.json),
    }
}

/// The settings of the selected `cost` processor, or of the only one.
pub(super) fn find_cost_settings(common: &CommonArgs, wanted: Option<&str>) -> Result<CostSettings, CommandError> {
    let placed = load_config(common, FileAccess::Read)?.valid.processors.into_iter();
    let mut found: Vec<(String, CostSettings)> = placed
        .filter_map(|placed| match placed.value {
            ProcessorSettings::Cost(settings) => Some((placed.id.to_string(), settings)),
            _ => None,
        })
        .filter(|(id, _)| wanted.is_none_or(|wanted| wanted == id))
        .collect();
    match (found.pop(), found.as_slice()) {
        (Some((_, settings)), []) => Ok(settings),
        (Some((last, _)), other_processors) => {
            let ids: Vec<&str> = other_processors.iter().map(|(id, _)| id.as_str()).chain([last.as_str()]).collect();
            Err(CommandError::Usage(format!(
                "several processors price calls; select one with --processor {}",
                ids.join("|")
            )))
        }
        (None, _) => {
            Err(CommandError::Failed("the configuration has no such `cost` processor in a pipeline".to_owned()))
        }
    }
}

fn print_summary(source: &TableSource, table: &RateTable, as_json: bool) -> Result<ExitStatus, CommandError> {
    if as_json {
        let providers: Vec<_> = (source.summary().into_iter())
            .map(|(provider, models, ids)| json!({"provider": provider, "models": models, "ids": ids}))
            .collect();
        print_pretty_json(&json!({"version": table.version(), "sha256": table.digest(), "providers": providers}))?;
        return Ok(ExitStatus::Success);
    }
    let mut text = format!("{}: {}\n\n", table.stamp(), table.size_summary());
    for (provider, models, ids) in source.summary() {
        text.push_str(&format!("{provider:<24} {models:>5} models {ids:>5} ids\n"));
    }
    print(&text)?;
    Ok(ExitStatus::Success)
}

fn print_models(
    wanted: &str,
    table: &RateTable,
    listed: &[ListedModel],
    as_json: bool,
) -> Result<ExitStatus, CommandError> {
    if listed.is_empty() {
        let hint = table.nearest_id(None, wanted).map_or(String::new(), |id| format!("; the nearest id is {id}"));
        return Err(CommandError::Failed(format!("{} has no entry for `{wanted}`{hint}", table.stamp())));
    }
    if as_json {
        let models: Vec<_> = listed.iter().map(render_rates::model_json).collect();
        print_pretty_json(&json!({"version": table.version(), "sha256": table.digest(), "models": models}))?;
    } else {
        print(&listed.iter().map(render_rates::model_text).collect::<String>())?;
    }
    Ok(ExitStatus::Success)
}

fn print_changes(effective: &EffectiveTable, options: &ShowRatesArgs) -> Result<ExitStatus, CommandError> {
    let wanted = options.model.as_ref().map(|model| model.trim().to_lowercase());
    let changes = effective.changes.iter();
    let shown =
        changes.filter(|change| wanted.as_ref().is_none_or(|wanted| change.place.to_lowercase().contains(wanted)));
    if options.json {
        let list: Vec<_> = shown.map(render_rates::change_json).collect();
        let table = &effective.table;
        print_pretty_json(&json!({"version": table.version(), "sha256": table.digest(), "changes": list}))?;
    } else {
        let lines: String = shown.map(render_rates::change_text).collect();
        print(&format!("{}\n{}", effective.table.stamp(), if lines.is_empty() { "  no changes\n" } else { &lines }))?;
    }
    Ok(ExitStatus::Success)
}
