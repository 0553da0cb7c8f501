//! `limits:` as a user writes it, and the checks that don't depend on the machine. `memory` reads the machine's memory;
//! `pipeline/inlet` enforces the limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::components::ReceiverSettings;
use config::{ByteSize, FieldProblem, TimeSpan};
use pipeline::accounts;
use pipeline::plan::{INFLATE_BYTES, WORKING_FACTOR};

use super::configured_component::ConfiguredComponent;

/// The least memory that holds the gateway and one request.
pub(super) const MIN_MEMORY: ByteSize = ByteSize::mib(128);

/// The number of accounts that a message lists.
const MAX_LISTED_ACCOUNTS: usize = 20;

kernel::with_defaults! {
    /// `limits:`
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct LimitsConfig {
        /// Memory that the process may use; requests are refused before it is reached. Default: the cgroup's limit, or
        /// else the machine's memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub memory: Option<ByteSize>,
        /// Memory that the process may use, in percent of the cgroup's limit or the machine's memory; replaces
        /// `memory`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub memory_percentage: Option<u64>,
        /// Memory that requests in flight may use. Default: 40 % of `memory`, at most 768 MiB.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub in_flight: Option<ByteSize>,
        /// How long a request waits for free memory before the client is asked to retry.
        pub admission_wait: TimeSpan = TimeSpan::seconds(2),
        /// How long a shutdown waits for open requests, and after that for exporters.
        pub shutdown: TimeSpan = TimeSpan::seconds(10),
        /// How long a gateway that was told to end still accepts requests while `/readyz` already fails, so that load
        /// balancers can take it out of service first. A reload does not wait. Default: 0 s.
        pub shutdown_delay: TimeSpan = TimeSpan::seconds(0),
        /// Largest span, log record or data point, as sent; larger ones are refused one by one (`partial_success`).
        pub max_item_size: ByteSize = ByteSize::mib(32),
        /// Rate limit of each account. Default: no limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub per_account: Option<AccountRateConfig>,
        /// Limits of single accounts, in place of `per_account`.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub accounts: BTreeMap<String, AccountRateConfig>,
    }
}

kernel::with_defaults! {
    /// The rate limit of an account. Requests above it are refused with the time to wait (429, RESOURCE_EXHAUSTED).
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct AccountRateConfig {
        /// Requests per second.
        pub requests_per_second: Option<f64>,
        /// Decompressed bytes per second.
        pub bytes_per_second: Option<ByteSize>,
        /// How long an unused allowance can be saved up for later.
        pub burst: TimeSpan = TimeSpan::seconds(2),
    }
}

impl AccountRateConfig {
    fn check(&self, path: &str, problems: &mut Vec<FieldProblem>) {
        let (requests, bytes, zero) = (self.requests_per_second, self.bytes_per_second, "must be more than zero");
        let nothing = "sets no limit: add `requests_per_second`, `bytes_per_second` or both";
        let conditions = [
            (requests.is_some_and(|rate| !rate.is_finite() || rate <= 0.0), ".requests_per_second", zero),
            (bytes.is_some_and(|rate| rate.0 == 0), ".bytes_per_second", zero),
            (self.burst.0.is_zero(), ".burst", zero),
            (requests.is_none() && bytes.is_none(), "", nothing),
        ];
        problems
            .extend(FieldProblem::found(conditions.map(|(holds, key, what)| (holds, format!("{path}{key}"), what))));
    }

    fn to_rate(&self) -> accounts::RateLimit {
        let bytes = self.bytes_per_second.map(|bytes| bytes.0 as f64);
        accounts::RateLimit { requests: self.requests_per_second, bytes, burst: self.burst.0 }
    }
}

impl LimitsConfig {
    /// Checks the limits. Every request that a receiver accepts must fit, or its client would retry forever.
    pub(super) fn check(&self, receivers: &[ConfiguredComponent<ReceiverSettings>]) -> Result<(), Vec<FieldProblem>> {
        let largest = receivers.iter().map(|component| component.value.largest_request()).max().unwrap_or(0) as u64;
        let mut problems = Vec::new();
        self.per_account.iter().for_each(|rate| rate.check("per_account", &mut problems));
        self.accounts.iter().for_each(|(account, rate)| rate.check(&format!("accounts.{account}"), &mut problems));
        // Twice the size: the request as received and as parsed. Inflating takes extra memory.
        let needed = largest.saturating_mul(2).saturating_add(INFLATE_BYTES).saturating_mul(WORKING_FACTOR as u64);
        let (memory, percentage) = (self.memory, self.memory_percentage);
        let is_double = memory.is_some() && percentage.is_some();
        problems.extend(FieldProblem::found([
            (self.max_item_size.0 == 0, "max_item_size", "must be more than zero"),
            (memory.is_some_and(|size| size < MIN_MEMORY), "memory", &*format!("must be at least {MIN_MEMORY}")),
            (
                percentage.is_some_and(|percent| !(1..=100).contains(&percent)),
                "memory_percentage",
                "must be between 1 and 100",
            ),
            (is_double, "memory_percentage", "can't be combined with `memory`: set only one of them"),
        ]));
        // Without `in_flight` the limit is made to fit at start. Invalid receivers are reported on their own.
        if largest == 0 || self.in_flight.is_none_or(|in_flight| in_flight.0 >= needed) {
            return if problems.is_empty() { Ok(()) } else { Err(problems) };
        }
        let (needed, largest) = (ByteSize(needed.next_multiple_of(1 << 20)), ByteSize(largest));
        let message = format!(
            "too small for requests of {largest}, which the receivers accept: set at least {needed}, or lower their \
             `max_recv_msg_size_mib`, `max_request_body_size` and `max_wire_size`"
        );
        problems.push(FieldProblem::new("in_flight", message));
        Err(problems)
    }

    /// Accounts with a limit that no receiver has. Empty if a tokens file is configured, which may name accounts later.
    pub(super) fn find_unknown_accounts(
        &self,
        receivers: &[ConfiguredComponent<ReceiverSettings>],
    ) -> Vec<FieldProblem> {
        // Sealed records of Kafka carry the accounts of the edges, which this configuration does not know.
        let ports: Option<Vec<_>> = receivers.iter().map(|component| component.value.ports()).collect();
        let Some(ports) = ports.filter(|ports| ports.iter().all(|view| view.tokens_file().is_none())) else {
            return Vec::new();
        };
        let known: BTreeSet<Arc<str>> = ports.iter().flat_map(|view| view.accounts()).collect();
        let mut names: Vec<&str> = known.iter().map(|account| &**account).take(MAX_LISTED_ACCOUNTS + 1).collect();
        if names.len() > MAX_LISTED_ACCOUNTS {
            names.truncate(MAX_LISTED_ACCOUNTS);
            names.push("…");
        }
        let unknown = self.accounts.keys().filter(|account| !known.contains(account.as_str()));
        let problem = |account: &String| {
            let what = "no receiver has this account, so the limit has no effect; known accounts";
            FieldProblem::new(format!("accounts.{account}"), format!("{what}: {}", names.join(", ")))
        };
        unknown.map(problem).collect()
    }

    pub fn account_rates(&self) -> accounts::RateLimits {
        let named = self.accounts.iter().map(|(account, rate)| (account.as_str().into(), rate.to_rate()));
        accounts::RateLimits {
            others: self.per_account.as_ref().map(AccountRateConfig::to_rate),
            named: named.collect(),
        }
    }
}
