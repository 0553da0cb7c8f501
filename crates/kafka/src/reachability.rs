//! Whether the brokers of a component answer. Reading and writing alone don't show it: without requests nothing is
//! written, and the library's polls return nothing while no broker answers.

use std::time::Duration;

use crate::client::{BrokerClient, BrokerFault};
use kernel::clock::{Clock, with_timeout};

/// How often the brokers are asked.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the brokers about `topic` again and again, and reports each time whether they answered. Any answer counts, also
/// a refusal. It never ends.
pub async fn watch_brokers(
    client: &dyn BrokerClient,
    topic: &str,
    clock: &dyn Clock,
    report: impl Fn(bool) + Send + Sync,
) {
    loop {
        let answer = with_timeout(clock, ASK_TIMEOUT, client.describe_topic(topic)).await;
        let is_answer = |fault| !matches!(fault, BrokerFault::Unavailable | BrokerFault::ClientFailed);
        report(answer.is_some_and(|answer| answer.map_or_else(|error| is_answer(error.fault), |_| true)));
        clock.sleep(ASK_INTERVAL).await;
    }
}
