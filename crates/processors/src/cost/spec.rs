//! The wiring of the `cost` processor: its tables, the names that its metrics may show, and the task that refreshes the
//! tables.

use std::sync::Arc;

use config::FieldProblem;
use kernel::files::parent_folder;
use otlp::Signal;
use rates::RatesError;

use super::config::ExchangeSource;
use super::refresh::RatesRefreshTask;
use super::{CostProcessor, CostSettings};
use crate::spec::{
    BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorProfile, ProcessorSpec, ProcessorTask,
    ProcessorUnusable,
};

impl ProcessorSpec for CostSettings {
    fn profile(&self) -> ProcessorProfile<'_> {
        ProcessorProfile { providers: Some(&self.config.providers), ..ProcessorProfile::default() }
    }

    fn build(&self, id: &Arc<str>, signals: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult {
        let settings = Self { signals: signals.to_vec(), ..self.clone() };
        let cost = CostProcessor::new(Arc::clone(id), &settings, Arc::clone(&deps.vocabulary), &deps.services.meter)
            .map_err(|error| ProcessorUnusable::Rates { field: self.setting_at_fault(&error), error })?;
        let cost = Arc::new(cost.with_ids(Arc::clone(&deps.ids)));
        if deps.storage.is_some() {
            cost.warnings().iter().for_each(|warning| tracing::warn!("price overlay: {warning}"));
        }
        let to_warning = |warning: String| FieldProblem::new("overlays", warning);
        let mut built = BuiltProcessor::new(Arc::clone(&cost) as Arc<dyn pipeline::Processor>);
        built.rate_tables = Some(cost.shelf());
        built.seats = Some(Arc::clone(&cost.ledger.seats));
        built.tracker_slot = Some(cost.tracker_slot());
        built.warnings = cost.warnings().into_iter().map(to_warning).collect();
        if let (Some(refresh), Some(storage)) = (self.refresh.clone(), &deps.storage) {
            let folder = parent_folder(&storage.spool.settings().directory);
            let task = RatesRefreshTask::build(cost, settings, refresh, deps, folder);
            let task = Arc::new(task.map_err(ProcessorUnusable::RatesRefresh)?);
            let loaded = Arc::clone(&task);
            let prepare = Box::new(move || loaded.load_saved_table());
            built.task = Some(ProcessorTask { name: "rates", prepare, run: Box::new(|stop| Box::pin(task.run(stop))) });
        }
        Ok(built)
    }
}

impl CostSettings {
    /// The setting that can't be used: the error begins with its file's path, or with the provider's name.
    fn setting_at_fault(&self, error: &RatesError) -> String {
        let begins_with = |name: &str| error.0.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        let overlay = self.overlays.iter().position(|path| begins_with(&path.display().to_string()));
        let exchange = match &self.exchange {
            Some(ExchangeSource::File(_, path)) => begins_with(&path.display().to_string()),
            _ => false,
        };
        let provider = || self.config.providers.keys().find(|name| begins_with(name));
        let overlay = overlay.map(|at| format!("overlays[{at}]"));
        let exchange = exchange.then(|| "exchange.file".to_owned());
        let setting = overlay.or(exchange).or_else(|| provider().map(|name| format!("providers.{name}")));
        setting.unwrap_or_else(|| "rates".to_owned())
    }
}
