//! The attribute slots from which the facts and tokens of a dialect are read. Sources are tried in order and the first
//! one present wins.
//!
//! Most facts are looked up in the dialect's list and then in the list for all dialects. Run, sub-agent, operation,
//! provider, models, response id and cost use only the dialect's own list if it has one, because a foreign key may mean
//! something else.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::claims::claimed_source;
use super::facts::{TokenBucket, TokenUsage};
use super::keys::SlotIndex;
use super::label_shape;
use super::pattern::KeyPattern;
use super::schema::NameList;
use super::vocabulary::VocabularyCompiler;

/// One location of a fact.
pub(super) struct FactSource {
    pub(super) slot: SlotIndex,
    pub(super) on_resource: bool,
    /// Accept text values only.
    pub(super) text: bool,
    /// Path into the attribute's JSON text, or a single step `^words`: see [`super::value_paths::header_number`].
    pub(super) json: Vec<KeyPattern>,
}

impl FactSource {
    /// Parses `key`, `resource:key`, `text:key`, `key#a.b` or `key#^words`.
    fn compile(compiler: &mut VocabularyCompiler, source: &str) -> Self {
        let (on_resource, source) = source.strip_prefix("resource:").map_or((false, source), |rest| (true, rest));
        let (text, source) = source.strip_prefix("text:").map_or((false, source), |rest| (true, rest));
        let (key, path) = source.split_once('#').unwrap_or((source, ""));
        let json = path.split('.').filter(|step| !step.is_empty()).map(KeyPattern::new).collect();
        Self { slot: compiler.slot_for_key(key), on_resource, text, json }
    }

    /// Returns true if the source is a whole attribute of the item.
    pub(super) fn is_plain(&self) -> bool {
        !self.on_resource && !self.text && self.json.is_empty()
    }
}

pub(super) type SourceList = Vec<FactSource>;

/// Suffix of the lists of counts that are read for calls only.
const IN_CONTENT: &str = "_in_content";

pub(super) fn compile_list(compiler: &mut VocabularyCompiler, names: &[String]) -> SourceList {
    names.iter().map(|name| FactSource::compile(compiler, name)).collect()
}

/// Declares a dialect's lists of sources twice: as read from `config/dialects.yaml`, and compiled. A list under `all`
/// is extended with the list for all dialects. A list under `own` replaces that list, unless it is empty.
macro_rules! source_lists {
    (
        $lists:ident => $sources:ident;
        all: $($all:ident)*;
        own: $($own:ident)*;
        $($(#[$doc:meta])* $rule:ident: $type:ty,)*
    ) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $lists {
            $(pub(super) $all: NameList,)*
            $(pub(super) $own: NameList,)*
            $($(#[$doc])* $rule: $type,)*
        }

        pub(super) struct $sources {
            $(pub(super) $all: SourceList,)*
            $(pub(super) $own: SourceList,)*
        }

        impl $sources {
            pub(super) fn compile(compiler: &mut VocabularyCompiler, own: &$lists, all: Option<&$lists>) -> Self {
                Self {
                    $($all: {
                        let mut sources = compile_list(compiler, &own.$all);
                        sources.extend(all.map(|all| compile_list(compiler, &all.$all)).unwrap_or_default());
                        sources
                    },)*
                    $($own: match all {
                        Some(all) if own.$own.is_empty() => compile_list(compiler, &all.$own),
                        _ => compile_list(compiler, &own.$own),
                    },)*
                }
            }

            /// The list with this name.
            pub(super) fn list(&self, name: &str) -> Option<&[FactSource]> {
                let all = [$((stringify!($all), &self.$all),)* $((stringify!($own), &self.$own),)*];
                all.into_iter().find(|(known, _)| *known == name).map(|(_, list)| list.as_slice())
            }
        }
    };
}

// The sources of facts. `run`: the agent invocation, if the dialect reports one; otherwise the run is derived from the
// spans. `claimed_user`: made from `user`, never listed. `sub_agent`: who acted, if the dialect distinguishes it from
// the main agent. `trace` and `span`: for a record whose own fields are empty. `exit_code`: any value other than 0 is a
// failure, whatever `success` says. The searches are charged by use, not by token. `credential`: the kind of credential
// of a call (`billing` in the dialects file).
source_lists! {
    FactSourceLists => Sources;
    all: session turn iteration trace span user claimed_user tenant feature actor tool tool_call finish success
        exit_code error status decision service_tier speed inference_geo server_address web_searches file_searches;
    own: run sub_agent operation provider request_model response_model response_id cost credential;
}

impl FactSourceLists {
    /// Makes `claimed_user` from `user`, in the same order.
    pub(super) fn add_claims(&mut self) {
        let attributes = self.user.iter().filter(|source| !source.contains('#') && !source.starts_with("text:"));
        self.claimed_user = attributes.map(|source| claimed_source(source)).collect();
    }
}

/// Which keys a dialect reads by their words.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UsageSpelling {
    /// None: only lists count.
    Listed,
    /// Those in a namespace for usage.
    #[default]
    Namespaces,
    /// All: the emitter is not described.
    Any,
}

/// The sources of token counts, and how the counts overlap.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageSourceLists {
    /// Which keys are read by their words.
    spelling: UsageSpelling,
    /// Absent = decided by the provider, or not known.
    input_includes_cached: Option<bool>,
    /// Tried in order before `input_includes_cached`.
    inclusion: Vec<InclusionRule>,
    /// Absent = true.
    output_includes_reasoning: Option<bool>,
    /// Tried in order before `output_includes_reasoning`.
    reasoning_inclusion: Vec<InclusionRule>,
    /// The total is the provider's figure, not a sum that the instrumentation made.
    pub(super) total_by_provider: bool,
    /// Provider pattern. For these providers the part of the total beyond input and output is reasoning, if no
    /// reasoning is reported.
    reasoning_in_total: Option<KeyPattern>,
    /// The other keys: words of [`TokenBucket`], whose sources go before the words of keys. Sources `_in_content` are
    /// read for calls only, and only if nothing else is found.
    #[serde(flatten)]
    counts: BTreeMap<String, NameList>,
}

/// The sources of every token count of one dialect, and the rules for how the counts overlap.
pub(super) struct UsageSources {
    pub(super) data: UsageSourceLists,
    /// By bucket.
    counts: Vec<SourceList>,
    counts_in_content: Vec<SourceList>,
}

/// Whether the calls of some emitters include cached tokens in their input (or reasoning in their output): an exception
/// to `input_includes_cached` or `output_includes_reasoning`. All conditions given must match.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InclusionRule {
    scope: Option<KeyPattern>,
    /// `>=1.2`, `<=0.1.12`, `<2`, `>1`, `0.30.x` or an exact version.
    version: Option<String>,
    /// Current provider name, or a pattern for it.
    provider: Option<KeyPattern>,
    /// The requested model, or a pattern for it.
    model: Option<KeyPattern>,
    /// At least one of these attributes is present.
    has: NameList,
    /// None of these attributes is present.
    lacks: NameList,
    /// The answer: whether the count is included. Absent = not known: the numbers and the provider decide.
    value: Option<bool>,
    /// The marker bits of `has` and `lacks`.
    #[serde(skip)]
    marks: (u128, u128),
}

/// The emitter of a call, as matched by the inclusion rules.
#[derive(Clone, Copy)]
pub(super) struct Emitter<'a> {
    pub(super) scope: &'a str,
    pub(super) version: &'a str,
    pub(super) provider: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    /// Marker bits of the item's attributes.
    pub(super) marks: u128,
}

impl InclusionRule {
    fn matches_emitter(&self, emitter: Emitter<'_>) -> bool {
        let (has, lacks) = self.marks;
        let matches = |pattern: &Option<KeyPattern>, name: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| name.is_some_and(|name| pattern.matches(name)))
        };
        matches(&self.scope, Some(emitter.scope))
            && self.version.as_ref().is_none_or(|bound| label_shape::version_satisfies(bound, emitter.version))
            && matches(&self.provider, emitter.provider)
            && matches(&self.model, emitter.model)
            && (has == 0 || has & emitter.marks != 0)
            && lacks & emitter.marks == 0
    }
}

/// The value of the first matching rule, else `default`.
fn first_match(rules: &[InclusionRule], emitter: Emitter<'_>, default: Option<bool>) -> Option<bool> {
    rules.iter().find(|rule| rule.matches_emitter(emitter)).map_or(default, |rule| rule.value)
}

impl UsageSources {
    pub(super) fn compile(compiler: &mut VocabularyCompiler, mut data: UsageSourceLists) -> Self {
        for rule in data.inclusion.iter_mut().chain(&mut data.reasoning_inclusion) {
            rule.marks = (compiler.allocate_mark(&rule.has), compiler.allocate_mark(&rule.lacks));
        }
        let known = |name: &String| TokenBucket::parse(name.strip_suffix(IN_CONTENT).unwrap_or(name)).is_some();
        if let Some(name) = data.counts.keys().find(|name| !known(name)) {
            compiler.record_problem(format!("usage.{name} is no count of tokens; see TokenBucket for their names"));
        }
        let mut compile_counts = |suffix: &str| {
            let list = |bucket: &TokenBucket| data.counts.get(&format!("{}{suffix}", bucket.as_str()));
            let lists = TokenBucket::ALL.iter().map(|bucket| list(bucket).map(Vec::as_slice).unwrap_or_default());
            lists.map(|list| compile_list(compiler, list)).collect()
        };
        Self { counts: compile_counts(""), counts_in_content: compile_counts(IN_CONTENT), data }
    }

    /// Whether keys are read by their words. `bare`: those in no namespace for usage.
    pub(super) fn reads(&self, bare: bool) -> bool {
        self.data.spelling == UsageSpelling::Any || (self.data.spelling == UsageSpelling::Namespaces && !bare)
    }

    /// The sources of a count. `in_content`: those that are read for calls only.
    pub(super) fn list(&self, bucket: TokenBucket, in_content: bool) -> &[FactSource] {
        let lists = if in_content { &self.counts_in_content } else { &self.counts };
        lists.get(bucket as usize).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the reported input includes the cached tokens. `None` if the emitter passes on the vendor's number
    /// unchanged.
    pub(super) fn includes_cached(&self, emitter: Emitter<'_>) -> Option<bool> {
        first_match(&self.data.inclusion, emitter, self.data.input_includes_cached)
    }

    /// Reasoning tokens that only show as a difference between the total and input plus output.
    pub(super) fn hidden_reasoning(&self, usage: &TokenUsage, provider: Option<&str>) -> Option<u64> {
        let is_in_total =
            self.data.reasoning_in_total.as_ref().zip(provider).is_some_and(|(pattern, name)| pattern.matches(name));
        let (input, output, total) = (usage.input?, usage.output?, usage.total?);
        let hidden = total.checked_sub(input)?.checked_sub(output)?;
        (is_in_total && usage.reasoning.is_none() && hidden > 0).then_some(hidden)
    }

    /// Whether the reported output includes reasoning.
    pub(super) fn includes_reasoning(&self, emitter: Emitter<'_>) -> bool {
        first_match(&self.data.reasoning_inclusion, emitter, None)
            .or(self.data.output_includes_reasoning)
            .unwrap_or(true)
    }
}
