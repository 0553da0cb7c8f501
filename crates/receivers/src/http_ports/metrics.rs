//! The metrics of one port, under the Collector's names. Labels are receiver, transport, outcome and a finite set of
//! reasons. The engine has its own metrics.

use std::sync::Arc;
use std::time::Duration;

use super::reply::RequestRefusal;
use kernel::clock::{Clock, SystemClock};
use net::{ClientAddress, listen};
use otlp::Signal;
use pipeline::{Outcome, Reason};
use telemetry::labels::LabelValues;
use telemetry::refusal_log::RefusalLogLimiter;
use telemetry::{Counter, Meter, names};

/// The metric handles of one port.
pub(crate) struct ReceiverMetrics {
    meter: Meter,
    receiver: String,
    transport: &'static str,
    /// By signal, in the order of [`Signal::ALL`]: accepted, refused and failed items.
    items: [[Counter; 3]; 3],
    /// Requests by outcome.
    success: Counter,
    refused: Counter,
    failure: Counter,
    clock: Arc<dyn Clock>,
    log_limiter: RefusalLogLimiter,
    /// The accounts that `/metrics` names.
    account_labels: Arc<LabelValues>,
}

impl ReceiverMetrics {
    /// Registers the metrics of one `transport` of `receiver`.
    pub(crate) fn new(meter: &Meter, receiver: &str, transport: &'static str) -> Self {
        let labels = [("receiver", receiver), ("transport", transport)];
        let counter = |def| meter.counter(def, &labels);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let requests = |outcome| {
            let labels = [("receiver", receiver), ("transport", transport), ("outcome", outcome)];
            meter.counter(&names::RECEIVER_REQUESTS, &labels)
        };
        Self {
            items: [
                [&names::RECEIVER_ACCEPTED_SPANS, &names::RECEIVER_REFUSED_SPANS, &names::RECEIVER_FAILED_SPANS],
                [&names::RECEIVER_ACCEPTED_POINTS, &names::RECEIVER_REFUSED_POINTS, &names::RECEIVER_FAILED_POINTS],
                [&names::RECEIVER_ACCEPTED_LOGS, &names::RECEIVER_REFUSED_LOGS, &names::RECEIVER_FAILED_LOGS],
            ]
            .map(|signal| signal.map(counter)),
            success: requests("success"),
            refused: requests("refused"),
            failure: requests("failure"),
            log_limiter: RefusalLogLimiter::new(Arc::clone(&clock)),
            clock,
            account_labels: meter.label("account"),
            meter: meter.clone(),
            receiver: receiver.to_owned(),
            transport,
        }
    }

    /// Counts the items of a submitted request by its outcome.
    pub(crate) fn count_items(&self, signal: Signal, items: u64, outcome: &Outcome) {
        let [traces, metrics, logs] = &self.items;
        let [accepted, refused, failed] = match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        };
        match *outcome {
            Outcome::Accepted => accepted.increment(items),
            Outcome::Partial { rejected, .. } => {
                accepted.increment(items.saturating_sub(rejected));
                refused.increment(rejected);
            }
            Outcome::Retry { reason, .. } | Outcome::Refused { reason } => {
                if is_internal_failure(reason) {
                    failed.increment(items)
                } else {
                    refused.increment(items)
                }
            }
        }
    }

    /// Waits for the answer to a request, measures the time, and counts a success.
    pub(crate) async fn time_answer<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut timer = AnswerTimer { metrics: self, began: self.clock.monotonic(), outcome: "abandoned" };
        let answer = answer.await;
        timer.outcome = if answer.is_ok() { "success" } else { "refused" };
        self.success.increment(answer.is_ok().into());
        answer
    }

    /// Counts and logs a refused request of a client at `address`, of `account` if its credential was accepted. The log
    /// gets fixed texts and the configured name of the account, nothing from the request.
    pub(crate) fn record_refusal(&self, refusal: &RequestRefusal, address: ClientAddress, account: Option<&str>) {
        let (label, from) = (refusal.label, address.class());
        if let Some(more) = self.log_limiter.count_refusal(label) {
            tracing::warn!(
                receiver = self.receiver,
                transport = self.transport,
                reason = label,
                status = refusal.http_status.as_u16(),
                why = refusal.violation.as_ref().unwrap_or(&refusal.message),
                from,
                account,
                more,
                "a request was refused; `more` is the number of refusals for this reason since the last such line"
            );
        }
        let is_own_failure = Reason::ALL.iter().any(|reason| reason.label() == label && is_internal_failure(*reason));
        if is_own_failure {
            self.failure.increment(1)
        } else {
            self.refused.increment(1)
        }
        // Each account gives one value, so none can use up the limit of others. The class would multiply them.
        let (account, class) = match account {
            Some(account) => (self.account_labels.value(account, Some(account)), None),
            None => (self.account_labels.value("", None), Some(("from", from))),
        };
        let labels = [
            ("receiver", self.receiver.as_str()),
            ("transport", self.transport),
            ("reason", label),
            ("account", account),
        ];
        let labels: Vec<_> = labels.into_iter().chain(class).collect();
        self.meter.counter(&names::RECEIVER_REJECTIONS, &labels).increment(1);
    }

    pub(crate) fn connection_meters(&self) -> listen::PortMetrics {
        listen::PortMetrics::new(&self.meter, &self.receiver, self.transport)
    }
}

/// Records the time of an answer when it is dropped, so also of one for which the client did not wait.
struct AnswerTimer<'a> {
    metrics: &'a ReceiverMetrics,
    began: Duration,
    outcome: &'static str,
}

impl Drop for AnswerTimer<'_> {
    fn drop(&mut self) {
        let Self { metrics, began, outcome } = *self;
        let labels = [("receiver", &*metrics.receiver), ("transport", metrics.transport), ("outcome", outcome)];
        let seconds = metrics.clock.monotonic().saturating_sub(began).as_secs_f64();
        metrics.meter.histogram(&names::RECEIVER_ANSWER_SECONDS, &labels).record(seconds);
    }
}

/// Whether the reason is tollgate's own failure rather than back-pressure: the Collector's `failed` versus `refused`.
fn is_internal_failure(reason: Reason) -> bool {
    matches!(reason, Reason::Lost | Reason::SpoolFailed | Reason::Quarantined | Reason::NotCleared)
}
