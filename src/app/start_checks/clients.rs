//! Builds the clients that a start would build, and discards them. `check` also sends each back end an empty request
//! of each signal that it receives.

use std::sync::Arc;

use crate::app::configured_component::admin_ports;
use crate::app::exporters::build_exporter;
use crate::app::own_metrics;
use crate::app::valid_settings::ValidSettings;
use access::oidc::OidcClient;
use command::tasks::command_services;
use config::{ComponentId, env};
use exporters::remote::ExporterDeps;
use exporters::spec::ExportTarget;
use net::{ProxyError, ProxyRules};
use otlp::Signal;
use pipeline::{ExportRequest, Exporter, Outcome};
use vault::store::probe::ProbeCheck;

/// Services of clients whose metrics are discarded. Use them in a runtime.
///
/// # Errors
/// A proxy set in the environment can't be used.
fn exporter_deps() -> Result<ExporterDeps, ProxyError> {
    let services = command_services(ProxyRules::from_env(&env::var)?);
    Ok(ExporterDeps { services, partitioner: Arc::default() })
}

/// The faults of clients that prevent a start.
pub(super) fn find_client_faults(valid: &ValidSettings) -> Vec<String> {
    let deps = match exporter_deps() {
        Ok(deps) => deps,
        Err(why) => return vec![why.to_string()],
    };
    let mut faults = Vec::new();
    for placed in &valid.exporters {
        // Building a file exporter would open the file that the running round still has open. The others read no more
        // than the files that were checked.
        if let ExportTarget::Server { .. } = placed.value.spec().profile().target {
            faults.extend(build_exporter(&placed.id, &placed.value, deps.clone()).err().map(|error| error.text));
        }
    }
    faults.extend(own_metrics::build_export_tasks(valid.own_metrics.clone(), &deps).err().map(|why| why.text));
    for (id, admin) in admin_ports(&valid.extensions) {
        let settings = admin.auth.as_ref().and_then(|auth| auth.oidc.clone());
        let client = settings.map(|settings| OidcClient::build(settings, deps.services.clone()));
        faults.extend(client.and_then(Result::err).map(|why| format!("extensions.{id}.auth.oidc: {why}")));
    }
    faults
}

pub(super) async fn check_back_ends(valid: &ValidSettings) -> Vec<ProbeCheck> {
    let deps = match exporter_deps() {
        Ok(deps) => deps,
        Err(why) => {
            let failure = (why.to_string(), "correct the variable of the environment".to_owned());
            return vec![ProbeCheck::new("the proxies of the environment can be used", Err(failure))];
        }
    };
    let signals = |id: &ComponentId| -> Vec<Signal> {
        let is_sent = |signal: &Signal| {
            let is_exporter = |(exporter, _): &(ComponentId, _)| exporter == id;
            let mut pipelines = valid.pipelines.iter().filter(|pipeline| pipeline.signal == *signal);
            pipelines.any(|pipeline| pipeline.exporters.iter().any(is_exporter))
        };
        Signal::ALL.into_iter().filter(is_sent).collect()
    };
    let mut results = Vec::new();
    for placed in &valid.exporters {
        // `brokers` asks Kafka about its topics: a record is no question.
        let ExportTarget::Server { .. } = placed.value.spec().profile().target else { continue };
        let id = &placed.id;
        let exporter = match build_exporter(id, &placed.value, deps.clone()) {
            Ok(exporter) => exporter,
            Err(why) => {
                let failure = (why.text, "check the file that the error names".to_owned());
                results.push(ProbeCheck::new(format!("`{id}` can be built"), Err(failure)));
                continue;
            }
        };
        for signal in signals(id) {
            let signal_name = signal.as_str();
            let answer = send_empty_request(&*exporter, signal).await;
            results.push(match answer {
                // MLflow and others call an empty request malformed, and take every other.
                Err((reason, _)) if reason == "HTTP 400" => {
                    let description = format!("`{id}` answers {signal_name}, and refuses an empty request (HTTP 400)");
                    ProbeCheck::new(description, Ok(()))
                }
                answer => ProbeCheck::new(format!("`{id}` accepts {signal_name}"), answer),
            });
        }
    }
    results
}

async fn send_empty_request(exporter: &dyn Exporter, signal: Signal) -> Result<(), (String, String)> {
    let request = ExportRequest { signal, account: "default".into(), body: otlp::MergedRequest::default(), items: 0 };
    let reason = match exporter.send(&request).await {
        Outcome::Accepted | Outcome::Partial { .. } => return Ok(()),
        Outcome::Retry { reason, .. } | Outcome::Refused { reason } => reason,
    };
    Err(match exporter.last_failure() {
        Some(failure) => (failure.reason, failure.remedy.to_owned()),
        None => (reason.text().to_owned(), "see the back end's log".to_owned()),
    })
}
