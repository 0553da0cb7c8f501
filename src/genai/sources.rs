//! **What**: where facts and tokens of a dialect stand, as slots. **Invariants**: sources are tried in order; the first
//! that is there wins. Who an item belongs to is looked up in the dialect's list, then in the list for all; what it cost
//! only in the dialect's own list where it has one, since a foreign key may mean another number.

use super::keys::Slot;
use super::pattern::Pattern;
use super::schema::{Fields, UsageKeys};
use super::shape;
use super::vocabulary::Compiler;

/// One place of a fact.
pub(super) struct Source {
    pub(super) slot: Slot,
    pub(super) on_resource: bool,
    /// Path into the attribute's JSON text.
    pub(super) json: Vec<String>,
}

impl Source {
    /// `key`, `resource:key` or `key#a.b`.
    fn compile(compiler: &mut Compiler<'_>, text: &str) -> Self {
        let (on_resource, text) = text.strip_prefix("resource:").map_or((false, text), |key| (true, key));
        let (key, path) = text.split_once('#').unwrap_or((text, ""));
        let json = path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        Self { slot: compiler.slot(key), on_resource, json }
    }
}

pub(super) type SourceList = Vec<Source>;

fn list(compiler: &mut Compiler<'_>, names: &[String]) -> SourceList {
    compiler.expand(names).iter().map(|name| Source::compile(compiler, name)).collect()
}

macro_rules! sources {
    (all: $($all:ident)*; own: $($own:ident)*;) => {
        /// The places of every fact of one dialect.
        pub(super) struct Sources {
            $(pub(super) $all: SourceList,)*
            $(pub(super) $own: SourceList,)*
        }

        impl Sources {
            pub(super) fn compile(compiler: &mut Compiler<'_>, own: &Fields, all: Option<&Fields>) -> Self {
                Self {
                    $($all: {
                        let mut places = list(compiler, &own.$all);
                        places.extend(all.map(|all| list(compiler, &all.$all)).unwrap_or_default());
                        places
                    },)*
                    $($own: match all {
                        Some(all) if own.$own.is_empty() => list(compiler, &all.$own),
                        _ => list(compiler, &own.$own),
                    },)*
                }
            }
        }
    };
}

sources! {
    all: session turn iteration user tenant feature actor tool tool_call finish success error status decision
        service_tier speed inference_geo server_address;
    own: run sub_agent operation provider request_model response_model response_id cost;
}

/// The places of every token count of one dialect, and how they overlap.
pub(super) struct UsageSources {
    pub(super) input: SourceList,
    pub(super) output: SourceList,
    pub(super) cache_read: SourceList,
    pub(super) cache_write: SourceList,
    pub(super) cache_write_5m: SourceList,
    pub(super) cache_write_1h: SourceList,
    pub(super) reasoning: SourceList,
    pub(super) total: SourceList,
    pub(super) input_audio: SourceList,
    pub(super) output_audio: SourceList,
    pub(super) cache_read_audio: SourceList,
    pub(super) output_includes_reasoning: bool,
    pub(super) total_by_provider: bool,
    includes_cached: Option<bool>,
    inclusion: Vec<Inclusion>,
}

struct Inclusion {
    scope: Option<Pattern>,
    version: Option<String>,
    provider: Option<String>,
    value: bool,
}

impl UsageSources {
    pub(super) fn compile(compiler: &mut Compiler<'_>, keys: &UsageKeys) -> Self {
        let inclusion = keys.inclusion.iter().map(|rule| Inclusion {
            scope: rule.scope.as_deref().map(Pattern::new),
            version: rule.version.clone(),
            provider: rule.provider.clone(),
            value: rule.value,
        });
        Self {
            inclusion: inclusion.collect(),
            input: list(compiler, &keys.input),
            output: list(compiler, &keys.output),
            cache_read: list(compiler, &keys.cache_read),
            cache_write: list(compiler, &keys.cache_write),
            cache_write_5m: list(compiler, &keys.cache_write_5m),
            cache_write_1h: list(compiler, &keys.cache_write_1h),
            reasoning: list(compiler, &keys.reasoning),
            total: list(compiler, &keys.total),
            input_audio: list(compiler, &keys.input_audio),
            output_audio: list(compiler, &keys.output_audio),
            cache_read_audio: list(compiler, &keys.cache_read_audio),
            output_includes_reasoning: keys.output_includes_reasoning.unwrap_or(true),
            total_by_provider: keys.total_by_provider,
            includes_cached: keys.input_includes_cached,
        }
    }

    /// Whether reported input includes the cached tokens; None when the emitter passes on what the vendor said.
    pub(super) fn includes_cached(&self, scope: &str, version: &str, provider: Option<&str>) -> Option<bool> {
        let fits = |rule: &&Inclusion| {
            rule.scope.as_ref().is_none_or(|pattern| pattern.matches(scope))
                && rule.version.as_ref().is_none_or(|bound| shape::version_fits(bound, version))
                && rule.provider.as_ref().is_none_or(|name| Some(name.as_str()) == provider)
        };
        self.inclusion.iter().find(fits).map(|rule| rule.value).or(self.includes_cached)
    }
}
