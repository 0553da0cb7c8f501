//! [`UndeclaredAgents`] names the services that send agents' operations although neither the configuration nor their
//! resource says that they are agents': beside their GenAI items, theirs are only redacted. Services of
//! `earlier_agents`, which are closed until the configuration declares agents, are named in the same way.
//!
//! Each service is named once, in the log and as a gauge, from which `telemetry/moved_keys` makes the list of the page
//! and of `check`.

use std::sync::Arc;

use parking_lot::Mutex;

use genai::{Facts, ItemRole};
use kernel::bounded_map::BoundedMap;
use kernel::pseudonym::IdPolicy;
use kernel::sha256::Sha256;
use otlp::Payload;
use telemetry::labels::LabelValues;
use telemetry::moved_keys::VaultSummary;
use telemetry::{Meter, SeriesValue, names as metric};

use super::earlier_agents::EarlierAgents;

/// Maximum number of services that are remembered as named. The meter shows fewer.
const MAX_SERVICES: usize = 256;

/// See the module documentation.
pub(super) struct UndeclaredAgents {
    meter: Meter,
    processor: Arc<str>,
    ids: Arc<dyn IdPolicy>,
    service_labels: Arc<LabelValues>,
    /// Services already named, by a digest of account and name.
    named: Mutex<BoundedMap<[u8; 16], (), MAX_SERVICES>>,
}

impl UndeclaredAgents {
    pub(super) fn new(processor: Arc<str>, ids: Arc<dyn IdPolicy>, meter: &Meter) -> Self {
        // The series of the configuration before a reload remain, and this one may declare their services.
        for series in meter.series(&metric::UNDECLARED_AGENT_SERVICES) {
            if let (true, SeriesValue::Gauge(gauge)) = (series.label("processor") == &*processor, &series.value) {
                gauge.set(0.0);
            }
        }
        Self { meter: meter.clone(), processor, ids, service_labels: meter.label("service"), named: Mutex::default() }
    }

    /// Names the services of the batch that send agents' operations and are not declared.
    pub(super) fn observe(&self, account: &str, payload: &Payload, facts: &Facts) {
        let mut last_resource = None;
        for item in facts.items.iter().filter(|item| matches!(item.call, ItemRole::Agent | ItemRole::Tool)) {
            let resource = payload.resource(item.node);
            if !item.of_agent_resource && last_resource.replace(resource) != Some(resource) {
                self.name_service(account, payload.get_str(resource, "service.name").unwrap_or_default(), false);
            }
        }
    }

    /// Names the earlier services that have sent again.
    pub(super) fn observe_earlier(&self, earlier: &EarlierAgents) {
        earlier.visit_named(|account, name| self.name_service(account, name, true));
    }

    fn name_service(&self, account: &str, name: &str, is_closed: bool) {
        let digest = Sha256::short_list(&[account.as_bytes(), name.as_bytes()]);
        let mut named = self.named.lock();
        if named.contains_key(&digest) {
            return;
        }
        named.insert_for(account, digest, (), 1);
        // A name that the redaction rules would change is shown as `other`.
        let is_public = |name: &&str| *self.ids.redact_column(account, name) == **name;
        let service = self.service_labels.value(account, Some(name).filter(is_public).or(Some("other")));
        let closed = if is_closed { "true" } else { "false" };
        let labels = [("processor", &*self.processor), ("service", service), ("closed", closed)];
        let gauge = self.meter.gauge(&metric::UNDECLARED_AGENT_SERVICES, &labels);
        if gauge.value() > 0.0 {
            return;
        }
        gauge.set(1.0);
        let config = VaultSummary::from_meter(&self.meter).agents_lines.join("; ");
        let message = match is_closed {
            true => "an earlier version took this service for an agent's: it stays closed until `agents` is configured",
            false => "this service sends agents' operations and is not declared: only its GenAI items are closed",
        };
        tracing::warn!(processor = &*self.processor, service, config = &*config, "{message}");
    }
}
