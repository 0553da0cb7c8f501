//! Builds exporters and the settings of their outlets; opens no connection. An exporter describes itself in
//! `exporters/spec`; `assemble` assigns exporters to pipelines.

use std::collections::HashMap;
use std::sync::Arc;

use crate::app::configured_component::ConfiguredComponent;
use crate::app::processors::BuiltProcessors;
use crate::app::start_error::StartError;
use crate::components::{ExporterSettings, id_text};
use ::exporters::remote::ExporterDeps;
use config::ComponentId;
use pipeline::plan::AckMode;
use pipeline::{EnginePlan, Exporter, OutletSettings};
use processors::spec::BuiltProcessor;

pub(super) type ExportersById = HashMap<ComponentId, Arc<dyn Exporter>>;

/// Settings of outlets by exporter; an exporter without an entry gets the defaults.
pub(super) type OutletSettingsById = HashMap<Arc<str>, OutletSettings>;

/// Builds one exporter.
///
/// # Errors
/// A TLS file can't be used, or no root certificates are found.
pub fn build_exporter(
    id: &ComponentId,
    settings: &ExporterSettings,
    deps: ExporterDeps,
) -> Result<Arc<dyn Exporter>, StartError> {
    settings.spec().build(id, deps).map_err(|why| StartError::from(why).with_place(format_args!("exporters.{id}")))
}

/// Builds all exporters.
///
/// # Errors
/// See [`build_exporter`].
pub(super) fn build_exporters(
    components: Vec<ConfiguredComponent<ExporterSettings>>,
    deps: &ExporterDeps,
) -> Result<(ExportersById, OutletSettingsById), StartError> {
    let (mut exporters, mut outlets) = (HashMap::new(), OutletSettingsById::new());
    for ConfiguredComponent { id, value: settings } in components {
        outlets.extend(settings.spec().profile().outlet.map(|outlet| (id_text(&id), outlet.clone())));
        let exporter = build_exporter(&id, &settings, deps.clone())?;
        exporters.insert(id, exporter);
    }
    Ok((exporters, outlets))
}

/// Makes the exporters in pipelines with a vault that has `forward: after_put` wait until the content is in the store.
///
/// # Errors
/// An exporter has `ack: offered`, so it keeps no data that could wait.
pub(super) fn wait_for_puts(
    processors: &BuiltProcessors,
    plan: &EnginePlan,
    outlets: &mut OutletSettingsById,
) -> Result<(), StartError> {
    for BuiltProcessor { processor, put_holder, .. } in processors.all() {
        let (Some(put_holder), vault) = (put_holder, processor.id()) else { continue };
        let with_vault =
            plan.pipelines.iter().filter(|pipeline| pipeline.processors.iter().any(|step| step.id() == vault));
        for exporter in with_vault.flat_map(|pipeline| &pipeline.exporters) {
            let outlet: &mut OutletSettings = outlets.entry(Arc::clone(exporter.id())).or_default();
            if outlet.ack == AckMode::Offered {
                let id = exporter.id();
                return Err(StartError::new(format!(
                    "`{id}` has `ack: offered`, which can't be combined with `forward: after_put` of `{vault}`: change one of them"
                )));
            }
            if !outlet.waits_for.contains(put_holder) {
                outlet.waits_for.push(Arc::clone(put_holder));
            }
        }
    }
    Ok(())
}
