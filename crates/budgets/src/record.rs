//! [`BudgetRecord`]: an answer other than yes, or a grant, as a span of tollgate's own. It goes through pipelines like
//! everything else: the `runs` processor changes the ledger by it, `vault` writes a line of kind `decision`, back ends
//! show it. Only a request that tollgate made itself (`Trust::Internal`) can carry one: `normalize` removes the
//! attributes from all others.

use otlp::r#gen::opentelemetry::proto;
use otlp::{NodeId, Payload};
use prost::Message as _;
use proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::common::v1::any_value::Value;
use proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::resource::v1::Resource;
use proto::trace::v1::span::SpanKind;
use proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::names::Names;
use crate::words::{Measure, Scope};

/// Name of the span.
pub const RECORD_SPAN: &str = "tollgate.budget.decision";
/// Name of its instrumentation scope.
pub const INSTRUMENTATION_SCOPE: &str = "tollgate.budgets";

kernel::word_enum! {
    /// What a record says.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub RecordKind {
        /// The agent had to ask its user.
        Ask = "ask",
        /// The agent was stopped.
        Deny = "deny",
        /// More was allowed to one key, for a time.
        Grant = "grant",
    }
}

/// An answer other than yes, or a grant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BudgetRecord {
    pub kind: RecordKind,
    /// The budget's name; of a grant "" for all budgets of the scope.
    pub budget: String,
    pub scope: Scope,
    /// Whose budget, in the form that pages show.
    pub key: String,
    /// Nobody was stopped: the budget only records.
    pub shadow: bool,
    pub measure: Measure,
    /// 1e-18 USD, or a number; of a grant 0.
    pub spent: i128,
    /// The limit; of a grant what is added to it.
    pub limit: i128,
    /// Number of equal answers since the last record that have none of their own.
    pub repeats: u64,
    /// Of a grant: when it ends, unix ns.
    pub until: u64,
    /// Of a grant: who gave it, and why.
    pub granted_by: String,
    pub reason: String,
}

const KIND: &str = "tollgate.budget.decision";
const BUDGET: &str = "tollgate.budget.name";
const SCOPE: &str = "tollgate.budget.scope";
const KEY: &str = "tollgate.budget.key";
const SHADOW: &str = "tollgate.budget.shadow";
const MEASURE: &str = "tollgate.budget.measure";
const SPENT: &str = "tollgate.budget.spent";
const LIMIT: &str = "tollgate.budget.limit";
const REPEATS: &str = "tollgate.budget.repeats";
const UNTIL: &str = "tollgate.budget.until";
const WHO: &str = "tollgate.budget.granted_by";
const WHY: &str = "tollgate.budget.reason";

impl BudgetRecord {
    /// A record of one answer, or the part of a grant that both have. `used`: measure, what is spent, limit.
    pub fn new(kind: RecordKind, budget: String, scope: Scope, key: String, used: (Measure, i128, i128)) -> Self {
        let (measure, spent, limit) = used;
        let (shadow, repeats, until, granted_by, reason) = Default::default();
        Self { kind, budget, scope, key, shadow, measure, spent, limit, repeats, until, granted_by, reason }
    }

    /// `spent` and `limit` as decimal text: USD, or numbers.
    pub fn amount_texts(&self) -> [String; 2] {
        [self.spent, self.limit].map(|number| self.measure.decimal(number))
    }

    /// Reads the record of a span. The caller knows that tollgate made it.
    pub fn read(payload: &Payload, node: NodeId) -> Option<Self> {
        let text = |key: &str| payload.get_str(node, key);
        let kind = RecordKind::parse(text(KIND)?)?;
        let measure = Measure::parse(text(MEASURE)?)?;
        let number = |key| payload.get(node, key).and_then(|value| u64::try_from(value.as_count()?).ok()).unwrap_or(0);
        Some(Self {
            kind,
            budget: text(BUDGET)?.to_owned(),
            scope: Scope::parse(text(SCOPE)?)?,
            key: text(KEY)?.to_owned(),
            shadow: text(SHADOW).is_some(),
            measure,
            spent: measure.parse_decimal(text(SPENT)?)?,
            limit: measure.parse_decimal(text(LIMIT)?)?,
            repeats: number(REPEATS),
            until: number(UNTIL),
            granted_by: text(WHO).unwrap_or_default().to_owned(),
            reason: text(WHY).unwrap_or_default().to_owned(),
        })
    }

    /// An OTLP request with one span per record at `now` (unix ns). `id` makes trace and span ids.
    /// `names`: of the question, as the client named them.
    pub fn encode(records: &[Self], names: &Names, now: u64, mut id: impl FnMut() -> [u8; 16]) -> Vec<u8> {
        let trace = id();
        let spans = records.iter().map(|record| Span {
            trace_id: trace.to_vec(),
            span_id: id().iter().take(8).copied().collect(),
            name: RECORD_SPAN.to_owned(),
            kind: SpanKind::Internal as i32,
            start_time_unix_nano: now,
            end_time_unix_nano: now,
            attributes: record.attributes(names),
            ..Span::default()
        });
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let scope = InstrumentationScope { name: INSTRUMENTATION_SCOPE.to_owned(), version, ..Default::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: spans.collect(), ..Default::default() }];
        let resource = Resource { attributes: vec![text_attribute("service.name", "tollgate")], ..Default::default() };
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn attributes(&self, names: &Names) -> Vec<KeyValue> {
        let [spent, limit] = self.amount_texts();
        let texts = [
            (KIND, self.kind.as_str()),
            (BUDGET, &self.budget),
            (SCOPE, self.scope.as_str()),
            (KEY, &self.key),
            (SHADOW, if self.shadow { "true" } else { "" }),
            (MEASURE, self.measure.as_str()),
            (SPENT, &spent),
            (LIMIT, &limit),
            (WHO, &self.granted_by),
            (WHY, &self.reason),
        ];
        let always = [BUDGET, KEY];
        let mut attributes: Vec<KeyValue> = (texts.into_iter())
            .filter(|(key, text)| !text.is_empty() || always.contains(key))
            .map(|(key, text)| text_attribute(key, text))
            .collect();
        let named = [
            ("session.id", &names.session),
            ("tollgate.run.id", &names.run),
            ("user.id", &names.user),
            ("tenant.id", &names.tenant),
            ("agent.feature", &names.feature),
            ("work_tracker.issue_id", &names.issue),
        ];
        attributes.extend(named.into_iter().filter_map(|(key, name)| Some(text_attribute(key, name.as_deref()?))));
        let numbers = [(REPEATS, self.repeats), (UNTIL, self.until)].into_iter().filter(|(_, number)| *number > 0);
        let int = |number| Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX));
        attributes.extend(numbers.map(|(key, number)| attribute(key, int(number))));
        attributes
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text_attribute(key: &str, text: &str) -> KeyValue {
    attribute(key, Value::StringValue(text.to_owned()))
}
