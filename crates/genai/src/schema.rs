//! The shape of `config/dialects.json` as serde reads it. Unknown keys are refused. `vocabulary` compiles it for run
//! time; the grammar of key patterns is described in `pattern`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::attribute_types::AttributeType;
use super::detect::ClauseDefinition;
use super::facts::{BillingBasis, ContentPart, ItemRole};
use super::key_shapes::KeyShape;
use super::keys::KeyListDefinitions;
use super::pattern::NamePatterns;
use super::provider_names::ProviderWordLists;
use super::sources::{FactSourceLists, UsageSourceLists};
use super::statements::StatementLists;
use super::usage_words::UsageWordsDefinition;

/// A list of names or patterns.
pub(super) type NameList = Vec<String>;

/// The whole file, whose names are borrowed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "'de: 'static"))]
pub(super) struct DialectsFile {
    pub(super) providers: ProviderWordLists,
    /// Operation or span kind as sent, in lower case → current `gen_ai.operation.name`.
    pub(super) operations: BTreeMap<String, String>,
    /// Current operation names that are sold by image, second or page, with or without tokens.
    pub(super) media: NameList,
    /// Kind of credential as sent, in lower case → how calls with it are billed; others by the rate table.
    pub(super) billing: BTreeMap<String, BillingBasis>,
    pub(super) keys: KeyListDefinitions,
    /// The words of keys that count tokens.
    pub(super) usage_words: UsageWordsDefinition,
    /// Attributes of the semantic conventions that hold labels (`config/semconv.yaml`).
    #[serde(default)]
    pub(super) registry: BTreeMap<String, KeyShape>,
    /// Span and log events that carry content in every dialect.
    pub(super) events: Vec<EventDefinition>,
    /// Attributes that identify an item in every dialect. A dialect's own lists come first.
    pub(super) identity: FactSourceLists,
    /// Resource attributes, one of which shows that the resource is an agent's.
    pub(super) agent_resources: BTreeMap<String, NamePatterns>,
    /// Attributes that list other attributes as content.
    pub(super) caller_supplied_keys: CallerKeyAttributes,
    /// How statements to databases and caches are read.
    #[serde(default)]
    pub(super) statements: StatementLists,
    /// The types that the conventions give to attributes that are not content.
    #[serde(default)]
    pub(super) types: BTreeMap<AttributeType, NameList>,
    /// Facts that are reported only inside content and are not content themselves.
    #[serde(default)]
    pub(super) extract: Vec<ExtractDefinition>,
    /// Attributes with the output that a test of an agent expects, and with the actual one.
    pub(super) outputs: OutputKeys,
    /// By priority.
    pub(super) dialects: Vec<DialectDefinition>,
}

/// Attributes that list other attributes as content.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallerKeyAttributes {
    /// Holds a JSON schema; its properties name the attributes.
    pub(super) schema: String,
    /// Holds a message template; the names in braces name the attributes.
    pub(super) template: String,
    /// Holds the filled-in template: if a span has it as its name, the name is content.
    pub(super) message: String,
}

/// Sources of a fact inside content (the first one present wins), and the attribute that the fact is written to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtractDefinition {
    /// Restricts the rule to one dialect.
    #[serde(default)]
    pub(super) dialect: Option<&'static str>,
    pub(super) from: NameList,
    pub(super) to: &'static str,
    /// Divides a positive number, to convert its unit; the target is a double. Other values are ignored.
    #[serde(default)]
    pub(super) divide: Option<f64>,
}

/// The keys of outputs that tests of agents compare.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputKeys {
    pub(super) expected: NameList,
    pub(super) actual: NameList,
}

/// An event that carries content: a span event or a log event of this name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventDefinition {
    pub(super) name: String,
    pub(super) part: ContentPart,
    /// The attributes that are content. Absent: all text attributes.
    #[serde(default)]
    pub(super) attributes: Option<NameList>,
    /// Whether a log record's body is content.
    #[serde(default)]
    pub(super) body: bool,
}

/// A rule for the kind of an item. The first rule whose conditions all hold wins.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallRuleDefinition {
    pub(super) role: ItemRole,
    pub(super) span: NamePatterns,
    pub(super) log: NameList,
    pub(super) operation: NamePatterns,
    pub(super) equals: BTreeMap<String, NameList>,
    /// Matches only if tokens are reported.
    pub(super) usage: bool,
    /// Matches only a span without a parent.
    pub(super) root: bool,
    /// The agent invocation is one turn of a conversation. It has no enclosing agent, whatever its parent span is.
    pub(super) turn: bool,
    /// The same call is reported on another signal too.
    pub(super) on_two_signals: bool,
    /// For a call on two signals: clients can be configured to send this signal without the other.
    pub(super) may_lack_other_signal: bool,
    /// A copy that counts as the call itself if its span never arrives.
    pub(super) counts_if_no_span: bool,
    /// An item of this kind is a failure.
    pub(super) failed: bool,
    /// The permission decision of an item of this kind, if the item does not report one.
    pub(super) decision: Option<String>,
    /// Attribute that counts the model calls reported elsewhere. If it is absent or 0 and the request holds no model
    /// call of the trace, this item is the only carrier of its tokens and is billed.
    pub(super) bill_unless: Option<String>,
}

/// Content of one dialect.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ContentDefinition {
    pub(super) attributes: BTreeMap<ContentPart, NameList>,
    pub(super) events: Vec<EventDefinition>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DialectDefinition {
    pub(super) name: &'static str,
    pub(super) detect: Vec<ClauseDefinition>,
    /// Prefix removed from log event names before they are compared.
    pub(super) event_prefix: String,
    pub(super) calls: Vec<CallRuleDefinition>,
    /// Spans and log events, other than tool calls, whose error text is a tool's output.
    pub(super) tool_items: NamePatterns,
    /// Tokens count only on spans with no tokens on any span below.
    pub(super) leaves_only: bool,
    /// All its model calls have names in `calls`: another item with tokens may be a sum of them, and has no price.
    pub(super) names_its_calls: bool,
    /// The tokens on an agent's span may also be those of its earlier invocations.
    pub(super) agents_accumulate: bool,
    /// Model calls take model and provider from the nearest ancestor span that has one.
    pub(super) inherit_model: bool,
    /// Emitted by a vendor's own SDK, below or beside an instrumentation's span of the same call.
    pub(super) from_vendor_sdk: bool,
    /// The dialect is also recognised where a logger wrapped its line: one or two levels down in a log's body, or in an
    /// attribute.
    pub(super) wrapped_in_log_lines: bool,
    /// Provider to use if none is reported.
    pub(super) default_provider: Option<String>,
    pub(super) fields: FactSourceLists,
    pub(super) usage: UsageSourceLists,
    pub(super) content: ContentDefinition,
    /// Keys that hold labels without blanks (enumerations, server names) in this dialect, but are too generic to treat
    /// so everywhere.
    pub(super) labels: NameList,
}
