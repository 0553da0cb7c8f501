//! Which items are an agent's, and what stays of them, as configured. An agent's items are *closed*: text stays on them
//! only in the shape that its key allows (`docs/decisions/0001-agent-items-and-content.md`). The answer depends on the
//! item, its resource and this configuration alone, so all replicas give the same.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use otlp::{NodeId, Payload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Services that are agents' by configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredAgents {
    /// The services with these names (`service.name`).
    Named(BTreeSet<String>),
    /// Every service.
    All,
}

impl Default for DeclaredAgents {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

/// Treatment of text on agents' items under keys that no list names. Listed content always goes to the vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "UnlistedTextOption")]
pub enum UnlistedTextPolicy {
    /// Text is content, except numbers, generated ids and one identifier (`payments-core`). Maps and bytes are always
    /// content.
    #[default]
    Text,
    /// All text, maps, lists and bytes are content. Numbers and booleans stay.
    All,
    /// Text stays, redacted and capped. If a new client puts its prompts under a new key, they are forwarded until that
    /// key is listed.
    Keep,
}

/// Which database statements keep only their form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "StatementOption")]
pub enum StatementPolicy {
    /// Those on agents' items.
    #[default]
    Closed,
    /// All.
    Parsed,
}

/// The identity of a service within an account.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceIdentity<'p> {
    /// `service.name`.
    pub name: &'p str,
    /// `service.instance.id` if the service has no name of its own, else empty: replicas are one service.
    pub instance: &'p str,
}

/// The default `service.name` of SDKs. Many services share it, so it identifies none of them.
const DEFAULT_SERVICE_NAME: &str = "unknown_service";

impl<'p> ServiceIdentity<'p> {
    /// The service of a resource. `None`: the resource identifies none.
    pub fn from_resource(payload: &'p Payload, resource: NodeId) -> Option<Self> {
        let text = |key: &str| payload.get_str(resource, key).unwrap_or_default();
        let (name, instance) = (text("service.name"), text("service.instance.id"));
        let is_unnamed = name.starts_with(DEFAULT_SERVICE_NAME);
        let is_known = !name.is_empty() && (!is_unnamed || !instance.is_empty());
        is_known.then_some(Self { name, instance: if is_unnamed { instance } else { "" } })
    }
}

/// The agents' services that an earlier version had learned. They stay closed until the configuration declares agents.
pub trait EarlierAgentServices: Any + Send + Sync {
    /// Returns true if the service of the account was an agent's.
    fn contains(&self, account: &str, service: &ServiceIdentity<'_>) -> bool;
}

/// See the module documentation.
#[derive(Clone, Default)]
pub struct ClosedItemPolicy {
    /// Declared agents.
    pub agents: DeclaredAgents,
    /// Agents of an earlier version, if there are any.
    pub earlier_agents: Option<Arc<dyn EarlierAgentServices>>,
    /// Treatment of text under keys that no list names.
    pub unlisted: UnlistedTextPolicy,
    /// Keys whose texts of at most 256 bytes stay (redacted), although no list names the keys.
    pub keep: BTreeSet<String>,
    /// Keys whose texts never stay.
    pub never: BTreeSet<String>,
    /// Treatment of database statements.
    pub statements: StatementPolicy,
}

/// As written: the earlier agents are no setting.
impl PartialEq for ClosedItemPolicy {
    fn eq(&self, other: &Self) -> bool {
        let settings = |policy: &Self| {
            (policy.agents.clone(), policy.unlisted, policy.keep.clone(), policy.never.clone(), policy.statements)
        };
        settings(self) == settings(other)
    }
}

impl ClosedItemPolicy {
    /// Returns true if every item of the service is closed by configuration.
    pub(super) fn closes_service(&self, account: &str, service: Option<&ServiceIdentity<'_>>) -> bool {
        let is_earlier = |service: &ServiceIdentity<'_>| {
            self.earlier_agents.as_ref().is_some_and(|earlier| earlier.contains(account, service))
        };
        match &self.agents {
            DeclaredAgents::All => true,
            DeclaredAgents::Named(names) => {
                service.is_some_and(|service| names.contains(service.name) || is_earlier(service))
            }
        }
    }
}
