//! **What**: the shape of `config/dialects.yaml`, as serde reads it. **Invariants**: unknown keys are refused.
//! **Not here**: what it means at run time (`vocabulary`). The grammar of key patterns is told in `pattern`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::facts::Part;
use super::keys::{ADDRESSES, AGENT, CALL, CHAT, ERROR_TYPES, GENERIC, GLOBAL, SPOKEN, STATEMENTS, SetId, TOOL_ERRORS};
use super::typed::Kind;

/// The schema this code reads.
pub(super) const SCHEMA: u32 = 1;

/// A list of names or patterns; `@name` pulls in a shared list.
pub(super) type List = Vec<String>;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    pub(super) schema: u32,
    pub(super) version: String,
    pub(super) lists: BTreeMap<String, List>,
    /// Provider as sent, in lower case → today's `gen_ai.provider.name`.
    pub(super) providers: BTreeMap<String, String>,
    /// Provider values that name a framework, not a vendor.
    pub(super) frameworks: List,
    /// Operation or span kind as sent, in lower case → today's `gen_ai.operation.name`.
    pub(super) operations: BTreeMap<String, String>,
    /// Operations of today's words that are sold by image, second or page, with or without tokens.
    pub(super) media: List,
    pub(super) keys: Keys,
    /// Attributes of the semantic conventions that hold labels (`config/semconv.yaml`).
    #[serde(default)]
    pub(super) registry: BTreeMap<String, Shape>,
    /// Span and log events that carry content whatever the dialect.
    pub(super) events: Vec<Event>,
    /// What identifies an item, whatever the dialect; a dialect's own lists come first.
    pub(super) identity: Fields,
    /// Attributes that name others which hold content.
    pub(super) named_by: NamedBy,
    /// Who is a cache.
    #[serde(default)]
    pub(super) caches: Caches,
    /// The types that the conventions give to attributes that are no content.
    #[serde(default)]
    pub(super) types: BTreeMap<Kind, List>,
    /// What stands only inside content and is no content.
    #[serde(default)]
    pub(super) extract: Vec<Extract>,
    pub(super) dialects: Vec<Dialect>,
}

/// Attributes that name others which hold content.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedBy {
    /// A JSON schema: its properties.
    pub(super) schema: String,
    /// A message template: the names in braces.
    pub(super) template: String,
    /// The filled-in template: a span with this name has content for a name.
    pub(super) message: String,
}

/// What says that an item talks to a cache.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Caches {
    /// Attributes that name the system.
    pub(super) system: List,
    /// Parts of names of systems that are caches, in lower case.
    pub(super) is: List,
}

/// Places of a fact, of which the first that tells it holds, and the attribute that it is written to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extract {
    /// Only in this dialect.
    #[serde(default)]
    pub(super) dialect: Option<String>,
    pub(super) from: List,
    pub(super) to: String,
}

/// Roles of attribute keys, whatever the dialect.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) secret: List,
    pub(super) pii: List,
    /// Keys of a user's id or name, beside those under which a dialect tells its user.
    #[serde(default)]
    pub(super) persons: List,
    pub(super) error_text: List,
    pub(super) redact: List,
    pub(super) label: List,
    content: BTreeMap<PartName, List>,
    /// Content on an agent's items only, where nothing else says anything: patterns of keys.
    #[serde(default)]
    agent_content: BTreeMap<PartName, List>,
    /// Keys of `content` that mean other things too.
    #[serde(default)]
    generic: BTreeMap<PartName, List>,
    /// Keys that stand beside content.
    #[serde(default)]
    call_marks: BTreeMap<PartName, List>,
    /// Keys that are content in a map that has a chat's shape.
    #[serde(default)]
    chat: BTreeMap<PartName, List>,
    /// Addresses, whose parts are judged one by one on an agent's items.
    #[serde(default)]
    addresses: BTreeMap<PartName, List>,
    /// Statements, of which commands alone stay where an agent talks to a cache.
    #[serde(default)]
    statements: BTreeMap<PartName, List>,
    /// Keys that are content in a map that names a speaker.
    #[serde(default)]
    spoken: BTreeMap<PartName, List>,
    /// Keys of `error_text` that hold a tool's output on an item of a tool.
    #[serde(default)]
    tool_errors: BTreeMap<PartName, List>,
    /// Those of them under which a word is the error's type and stays.
    #[serde(default)]
    tool_error_types: BTreeMap<PartName, List>,
    /// Values of `type` and `object` that give a map that shape.
    #[serde(default)]
    pub(super) chat_types: List,
    /// Words behind which plain text quotes a user or a model.
    #[serde(default)]
    pub(super) announce: List,
    /// People and machines that speak at the beginnings of lines of a dialogue: one of each makes it one.
    #[serde(default)]
    pub(super) people: List,
    #[serde(default)]
    pub(super) machines: List,
}

impl Keys {
    /// The lists that hold whatever the dialect.
    pub(super) fn sets(&self) -> [(SetId, &BTreeMap<PartName, List>); 10] {
        [
            (GLOBAL, &self.content),
            (AGENT, &self.agent_content),
            (GENERIC, &self.generic),
            (CALL, &self.call_marks),
            (CHAT, &self.chat),
            (TOOL_ERRORS, &self.tool_errors),
            (ERROR_TYPES, &self.tool_error_types),
            (SPOKEN, &self.spoken),
            (ADDRESSES, &self.addresses),
            (STATEMENTS, &self.statements),
        ]
    }
}

/// The shape of the values of an attribute of the semantic conventions.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    Label,
    Path,
    Enum,
    Id,
    Host,
    Version,
}

impl Shape {
    /// Whether a value with a blank does not fit it.
    pub(super) fn is_strict(self) -> bool {
        !matches!(self, Self::Label | Self::Path)
    }
}

/// The words for [`Part`].
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(super) enum PartName {
    Input,
    Output,
    System,
    Tools,
    ToolArgs,
    ToolResult,
    Other,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Input => Self::Input,
            PartName::Output => Self::Output,
            PartName::System => Self::System,
            PartName::Tools => Self::Tools,
            PartName::ToolArgs => Self::ToolArgs,
            PartName::ToolResult => Self::ToolResult,
            PartName::Other => Self::Other,
        }
    }
}

/// An event that carries content: a span event or a log event of this name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) part: PartName,
    /// Which attributes are content; none given = all that are text.
    #[serde(default)]
    pub(super) attributes: Option<List>,
    /// Whether a log record's body is content.
    #[serde(default)]
    pub(super) body: bool,
}

/// Where facts stand. Entries are `key`, `resource:key`, `text:key`, `key#json.path`, `key#^words` or `span.name`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fields {
    pub(super) session: List,
    /// The id of the agent invocation, only where the dialect tells one (elsewhere the spans tell).
    pub(super) run: List,
    /// The id of the sub-agent that acted, only where the dialect tells it apart from the main one.
    pub(super) sub_agent: List,
    pub(super) turn: List,
    pub(super) iteration: List,
    /// Trace and span id of a record that has none of its own.
    pub(super) trace: List,
    pub(super) span: List,
    pub(super) user: List,
    pub(super) tenant: List,
    pub(super) feature: List,
    pub(super) actor: List,
    pub(super) operation: List,
    pub(super) provider: List,
    pub(super) request_model: List,
    pub(super) response_model: List,
    pub(super) response_id: List,
    pub(super) tool: List,
    pub(super) tool_call: List,
    pub(super) finish: List,
    pub(super) success: List,
    /// Of a program that a tool ran: any other than 0 is a failure, whatever `success` says.
    pub(super) exit_code: List,
    pub(super) error: List,
    pub(super) status: List,
    pub(super) decision: List,
    pub(super) cost: List,
    pub(super) service_tier: List,
    pub(super) speed: List,
    pub(super) inference_geo: List,
    pub(super) server_address: List,
    /// Counts of what is charged by use, not by token.
    pub(super) web_searches: List,
    pub(super) file_searches: List,
}

/// Where tokens stand and what they mean.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UsageKeys {
    pub(super) input: List,
    pub(super) output: List,
    pub(super) cache_read: List,
    pub(super) cache_write: List,
    pub(super) cache_write_5m: List,
    pub(super) cache_write_1h: List,
    pub(super) reasoning: List,
    /// Looked up for calls alone, where the lists above find nothing: places inside content.
    pub(super) cache_read_inside: List,
    pub(super) cache_write_inside: List,
    pub(super) reasoning_inside: List,
    pub(super) total: List,
    pub(super) input_audio: List,
    pub(super) output_audio: List,
    pub(super) cache_read_audio: List,
    pub(super) input_image: List,
    pub(super) output_image: List,
    pub(super) input_video: List,
    /// Absent = by provider or not known.
    pub(super) input_includes_cached: Option<bool>,
    /// Tried in order before `input_includes_cached`.
    pub(super) inclusion: Vec<Inclusion>,
    /// Absent = true.
    pub(super) output_includes_reasoning: Option<bool>,
    /// Tried in order before `output_includes_reasoning`.
    pub(super) reasoning_inclusion: Vec<Inclusion>,
    pub(super) total_by_provider: bool,
    /// Of these providers (a pattern), what the total holds beyond input and output is reasoning that nothing else
    /// tells.
    pub(super) reasoning_in_total: Option<String>,
}

/// An exception to `input_includes_cached`; all that is given must match.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inclusion {
    #[serde(default)]
    pub(super) scope: Option<String>,
    /// `>=1.2`, `<=0.1.12`, `<2`, `>1`, `0.30.x` or an exact version.
    #[serde(default)]
    pub(super) version: Option<String>,
    /// Today's provider name, or a pattern of it.
    #[serde(default)]
    pub(super) provider: Option<String>,
    /// One of these attributes is there.
    #[serde(default)]
    pub(super) has: List,
    /// None of these is.
    #[serde(default)]
    pub(super) lacks: List,
    /// Absent = not known: the numbers and the provider decide.
    #[serde(default)]
    pub(super) value: Option<bool>,
}

/// One way to recognise a dialect: all that is given must hold.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Clause {
    pub(super) scope: List,
    pub(super) not_scope: List,
    /// Schema URL of the scope.
    pub(super) schema: List,
    pub(super) resource: BTreeMap<String, List>,
    pub(super) has: List,
    /// One of each of these too.
    pub(super) also: Vec<List>,
    pub(super) lacks: List,
    pub(super) equals: BTreeMap<String, List>,
    pub(super) span: List,
    pub(super) span_event: List,
    pub(super) log: List,
    pub(super) log_body: List,
    /// A log event has the name of its scope.
    pub(super) event_is_scope: bool,
    pub(super) metric: List,
}

/// What an item is.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Is {
    Model,
    Copy,
    Tool,
    Agent,
    TurnEnd,
    SessionEnd,
    Permission,
    Other,
}

/// A rule for what an item is: the first one wins whose conditions all hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallRule {
    pub(super) is: Is,
    #[serde(default)]
    pub(super) span: List,
    #[serde(default)]
    pub(super) log: List,
    #[serde(default)]
    pub(super) operation: List,
    #[serde(default)]
    pub(super) equals: BTreeMap<String, List>,
    /// Only when tokens are reported.
    #[serde(default)]
    pub(super) usage: bool,
    /// Only a span without a parent.
    #[serde(default)]
    pub(super) root: bool,
    /// The agent invocation is a turn of a conversation: no agent is above it, whatever its parent is.
    #[serde(default)]
    pub(super) turn: bool,
    /// The same call comes on another signal too.
    #[serde(default)]
    pub(super) twin: bool,
    /// Of a twin: clients may be told to send this signal without the other.
    #[serde(default)]
    pub(super) alone: bool,
    /// A copy that is the call itself where its span never comes.
    #[serde(default)]
    pub(super) if_no_span: bool,
    /// Such an item is a failure by itself.
    #[serde(default)]
    pub(super) failed: bool,
    /// What such an item decides by itself, where it does not tell.
    #[serde(default)]
    pub(super) decision: Option<String>,
    /// Attribute that counts the model calls told elsewhere: when it is absent or 0 and the request holds no model call
    /// of the trace, this item's tokens are the only ones.
    #[serde(default)]
    pub(super) bill_unless: Option<String>,
}

/// Content of one dialect.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Content {
    pub(super) attributes: BTreeMap<PartName, List>,
    pub(super) events: Vec<Event>,
}

/// One dialect.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dialect {
    pub(super) name: String,
    pub(super) priority: u32,
    pub(super) detect: Vec<Clause>,
    /// Cut from the front of log event names before they are compared.
    #[serde(default)]
    pub(super) event_prefix: String,
    #[serde(default)]
    pub(super) calls: Vec<CallRule>,
    /// Spans and log events beside tool calls whose error text is a tool's output.
    #[serde(default)]
    pub(super) tool_items: List,
    /// Tokens count only where no span below carries some.
    #[serde(default)]
    pub(super) leaves_only: bool,
    /// Model calls take model and provider from the nearest span above that has one.
    #[serde(default)]
    pub(super) inherit: bool,
    /// Made by a vendor's SDK itself, below or beside an instrumentation's span of the same call.
    #[serde(default)]
    pub(super) inner: bool,
    /// Known too where a logger wrapped it: a level or two down in a log's body, or in an attribute.
    #[serde(default)]
    pub(super) nested: bool,
    /// Provider where none is told.
    #[serde(default)]
    pub(super) default_provider: Option<String>,
    #[serde(default)]
    pub(super) fields: Fields,
    #[serde(default)]
    pub(super) usage: UsageKeys,
    #[serde(default)]
    pub(super) content: Content,
    /// Keys too common for all to know that hold words without blanks here: enumerations, names of servers.
    #[serde(default)]
    pub(super) labels: List,
}
