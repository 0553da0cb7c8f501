//! Problems that an operator should know of although the gateway is ready: data flows, or clients are asked to retry by
//! what `/readyz` says. They are made from the metrics alone, so that page, JSON and alerts agree.

use super::meter::Meter;
use super::names;

/// Why an older configuration runs.
const OLD_CONFIGURATION: &str =
    "runs an older configuration than the file's, which can't be used: see the log, or run `tollgate validate`";
/// Why a component does nothing.
const BROKERS_AWAY: &str = "no broker of Kafka answers: nothing is read or written, and the lag is unknown";
/// Why data stays in the spool.
const UNREAD: &str = "data waits for it in the spool, and nothing reads it: see `tollgate spool list`";

/// The present problems beside those of [`super::Health`], with the part that each is about.
pub fn find_notices(meter: &Meter) -> Vec<(String, &'static str)> {
    let is_old = meter.values(&names::CONFIG_LAST_RELOAD_SUCCESS).contains(&0.0);
    let configuration = is_old.then(|| ("configuration".to_owned(), OLD_CONFIGURATION));
    let kafka = meter.series(&names::KAFKA_REACHABLE).into_iter().filter(|series| series.number() == Some(0.0));
    let named = kafka.map(|series| {
        let receiver = series.label("receiver");
        let part = if receiver.is_empty() {
            format!("exporter {}", series.label("exporter"))
        } else {
            format!("receiver {receiver}")
        };
        (part, BROKERS_AWAY)
    });
    let unread = meter.series(&names::SPOOL_UNREAD_SECONDS).into_iter();
    let unread = unread.map(|series| (series.label("consumer").to_owned(), UNREAD));
    configuration.into_iter().chain(named).chain(unread).collect()
}
