//! [`same_model`] and [`RateTable::is_same_model`]: whether two ids mean the same model. A call answered by another
//! model is a fallback, one answered by the same model at the second attempt a retry; `gpt-5` and `gpt-5-mini` share a
//! prefix but are two models. Listed ids are compared by their rows, rows of different providers by the model's name.
//! Other ids are compared by name, without path, date and revision. `id_resolution` finds rows.

use std::sync::{Arc, LazyLock};

use super::id_resolution::{AWS, IdMatch, is_bedrock_vendor, split_date};
use super::model_parts::{is_number, normalize_parts};
use super::resolved::ResolvedModel;
use super::source::TableSource;
use super::table::RateTable;

/// The built-in table; never `None` in a released program.
static BUILTIN_TABLE: LazyLock<Option<Arc<RateTable>>> =
    LazyLock::new(|| TableSource::builtin().and_then(|source| source.compile_shared()).ok());

/// [`RateTable::is_same_model`] for the built-in table, without overlays.
pub fn same_model(provider: &str, one: &str, other: &str) -> bool {
    match BUILTIN_TABLE.as_ref() {
        Some(table) => table.is_same_model(provider, one, other),
        None => one.is_empty() || other.is_empty() || bare_name(one) == bare_name(other),
    }
}

impl RateTable {
    /// Whether two ids, as sent, mean the same model of `provider` ("" = unknown). An empty id equals any model.
    pub fn is_same_model(&self, provider: &str, one: &str, other: &str) -> bool {
        if one.is_empty() || other.is_empty() || one.eq_ignore_ascii_case(other) {
            return true;
        }
        let row = |id: &str| {
            let (found, _) = self.resolve(Some(provider), &[id]).or_else(|_| self.resolve(None, &[id])).ok()?;
            Some(self.without_region(found))
        };
        match (row(one), row(other)) {
            (Some(one), Some(other)) if one.provider == other.provider => one.model == other.model,
            // Bedrock's row and the vendor's: one model at two prices
            (Some(one), Some(other)) => {
                self.seller_free_name(self.canonical_id(one)) == self.seller_free_name(self.canonical_id(other))
            }
            _ => self.seller_free_name(one) == self.seller_free_name(other),
        }
    }

    /// For a row of a single region on Bedrock (`us-gov-east-1/anthropic.claude…`): the model's general row.
    fn without_region(&self, row: ResolvedModel) -> ResolvedModel {
        let aws = self.providers.get(row.provider).is_some_and(|provider| &*provider.key == AWS);
        let model = self.canonical_id(row).rsplit_once('/').filter(|_| aws).map(|(_, model)| model);
        model.and_then(|model| self.find_model(IdMatch::Spelling, row.provider, model, false)).unwrap_or(row)
    }

    fn canonical_id(&self, row: ResolvedModel) -> &str {
        self.model(row).map_or("", |(_, model)| &model.id)
    }

    /// The parts of a model's name, independent of the seller: those of `claude-sonnet-4-5` for
    /// `us.anthropic.claude-sonnet-4-5-20250929-v1:0` and for `anthropic/claude-4.5-sonnet`.
    fn seller_free_name(&self, id: &str) -> String {
        let id = bare_name(id);
        let drop_segment = |id, is_dropped: &dyn Fn(&str) -> bool| match str::split_once(id, '.') {
            Some((first, rest)) if is_dropped(first) => rest,
            _ => id,
        };
        let rest = drop_segment(&id, &|first| self.scope_index(first).is_some());
        let rest = drop_segment(rest, &is_bedrock_vendor);
        normalize_parts(rest)
    }
}

/// An id without path, `-latest`, date (`-20250929`, `-2025-09-29`, `-0613`, `@20250929`) and revision (`-001`,
/// `-v1:0`).
fn bare_name(id: &str) -> String {
    let id = id.rsplit('/').next().unwrap_or(id).to_ascii_lowercase();
    let mut rest = id.split('@').next().unwrap_or(&id);
    while let Some((front, tail)) = rest.rsplit_once('-').filter(|(front, _)| !front.is_empty()) {
        let is_revision = tail.strip_prefix('v').is_some_and(|number| is_number(&number.replace(':', "")));
        let without_stamp = (tail == "latest" || is_revision || is_stamp(tail)).then_some(front);
        let Some(name) = without_stamp.or_else(|| Some(split_date(rest)?.0)) else { break };
        rest = name;
    }
    rest.to_owned()
}

/// `20250929`, `0613`, `001`.
fn is_stamp(tail: &str) -> bool {
    matches!(tail.len(), 3 | 4 | 8) && is_number(tail)
}
