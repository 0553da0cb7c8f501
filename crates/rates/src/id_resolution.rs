//! Resolves a model id to a row of the table: the spellings in which an id is tried, providers, resellers.
//! After each normalisation step the match is exact, never by prefix; if no spelling is listed, its parts must match
//! in another order (`model_parts`). A qualifier that is not listed is never dropped. If the named provider is unknown,
//! no other provider is guessed.

use super::model_parts::{PartsIndex, is_number};
use super::resolved::{ResolvedModel, UnpricedReason};
use super::table::{BorrowedId, RateTable};

/// Suffixes that are cut off a provider's name for a second look-up.
const PROVIDER_SUFFIXES: [&str; 5] = [".chat", ".responses", ".messages", ".completion", ".embedding"];
/// Vendors that come first in a Bedrock model id.
const BEDROCK_VENDORS: &str = "anthropic amazon meta mistral cohere deepseek openai qwen google nvidia writer zai \
    moonshotai ai21 minimax xai twelvelabs moonshot";
/// Vendors on Bedrock and the beginnings of their models' ids.
const MODEL_FAMILIES: [(&str, &str); 8] = [
    ("anthropic", "claude"),
    ("amazon", "nova titan"),
    ("meta", "llama"),
    ("mistral", "mistral mixtral ministral pixtral"),
    ("cohere", "command"),
    ("ai21", "jamba"),
    ("openai", "gpt-oss"),
    ("qwen", "qwen"),
];
/// Separators after a segment of a route: `vertex_ai/gemini…`, `bedrock:us.meta…`.
const ROUTE_ENDS: [char; 2] = ['/', ':'];
/// Segments of a route that are not providers.
const ROUTE_WORDS: [&str; 2] = ["converse", "invoke"];
/// The provider whose ids contain regions and revisions.
pub(super) const AWS: &str = "aws";
/// The provider whose ids end in revisions.
const GOOGLE: &str = "google";
/// Longest id that is looked up, bytes.
const MAX_ID_BYTES: usize = 512;

/// How an id is compared with the listed ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IdMatch {
    Spelling,
    Parts,
}

impl RateTable {
    /// Index of the scope that a Bedrock id's first segment names.
    pub(super) fn scope_index(&self, segment: &str) -> Option<usize> {
        self.scopes.iter().position(|(name, _)| !name.is_empty() && **name == *segment)
    }

    pub(super) fn provider_index(&self, name: &str) -> Option<usize> {
        let lower = name.trim().to_lowercase();
        let stem = PROVIDER_SUFFIXES.iter().find_map(|suffix| lower.strip_suffix(suffix));
        let named = self.names.get(lower.as_str()).or_else(|| self.names.get(stem?)).copied();
        named.or_else(|| self.providers.iter().position(|provider| *provider.key == *lower))
    }

    /// Resolves the first of `models` that can be resolved; the flag says whether an earlier one could not.
    /// Allocates nothing for ids in the cache.
    pub(super) fn resolve(
        &self,
        provider: Option<&str>,
        models: &[&str],
    ) -> Result<(ResolvedModel, bool), UnpricedReason> {
        let provider = provider.filter(|name| !name.trim().is_empty()).unwrap_or("");
        let mut first_failure = None;
        for model in models.iter().filter(|model| !model.trim().is_empty()) {
            if model.len() > MAX_ID_BYTES || provider.len() > MAX_ID_BYTES {
                first_failure = first_failure.or(Some(UnpricedReason::UnknownModel));
                continue;
            }
            let known = self.cache.read().get(&BorrowedId(provider, model)).copied();
            let found = known.unwrap_or_else(|| {
                let found = self.resolve_one(provider, model);
                self.cache.write().insert((provider.into(), (*model).into()), found);
                found
            });
            match found {
                Ok(found) => return Ok((found, first_failure.is_some())),
                Err(reason) => first_failure = first_failure.or(Some(reason)),
            }
        }
        Err(first_failure.unwrap_or(UnpricedReason::NoModel))
    }

    /// Resolves one id for a provider as sent ("" = none), without the cache.
    pub(super) fn resolve_one(&self, provider: &str, model: &str) -> Result<ResolvedModel, UnpricedReason> {
        let found = self.resolve_by(IdMatch::Spelling, provider, model);
        if found == Err(UnpricedReason::UnknownModel) {
            self.resolve_by(IdMatch::Parts, provider, model)
        } else {
            found
        }
    }

    fn resolve_by(&self, by: IdMatch, provider: &str, model: &str) -> Result<ResolvedModel, UnpricedReason> {
        let id = model.trim().to_lowercase();
        let vertex = provider.to_lowercase().contains("vertex") || is_vertex(&id);
        if let Some(found) = self.resolve_alias(&id) {
            return Ok(ResolvedModel { vertex: vertex || found.vertex, ..found });
        }
        if !provider.is_empty() {
            let provider = self.provider_index(provider).ok_or(UnpricedReason::UnknownProvider)?;
            let found = self.find_model(by, provider, &id, vertex);
            return found.or_else(|| self.find_on_bedrock(by, provider, &id)).ok_or(UnpricedReason::UnknownModel);
        }
        if is_bedrock(&id, self) {
            let aws = self.provider_index(AWS).ok_or(UnpricedReason::UnknownModel)?;
            return self.find_model(by, aws, &id, vertex).ok_or(UnpricedReason::UnknownModel);
        }
        // a route that begins with a provider's name names the provider
        if let Some(provider) = id.split_once(ROUTE_ENDS).and_then(|(first, _)| self.names.get(first)) {
            return self.find_model(by, *provider, &id, vertex).ok_or(UnpricedReason::UnknownModel);
        }
        self.infer_vendor(by, &id, vertex)
    }

    /// Some instrumentations name the vendor as provider of a Bedrock call. This is assumed for an id of Bedrock's
    /// shape that the vendor does not list.
    fn find_on_bedrock(&self, by: IdMatch, vendor: usize, id: &str) -> Option<ResolvedModel> {
        let is_vendor = self.providers.get(vendor).is_some_and(|vendor| !vendor.reseller);
        let aws = self.provider_index(AWS).filter(|_| is_vendor && is_bedrock(id, self))?;
        self.find_model(by, aws, id, false)
    }

    /// Resolves an alias of the table, also after an ARN's path.
    pub(super) fn resolve_alias(&self, id: &str) -> Option<ResolvedModel> {
        if self.aliases.is_empty() {
            return None;
        }
        let tail = || id.rsplit_once('/').map(|(_, tail)| tail);
        self.aliases.get(id).or_else(|| self.aliases.get(tail()?)).copied()
    }

    /// The model of the only vendor that lists it, or that lists it by the nearest spelling.
    fn infer_vendor(&self, by: IdMatch, model: &str, vertex: bool) -> Result<ResolvedModel, UnpricedReason> {
        let vendors = self.providers.iter().enumerate().filter(|(_, provider)| !provider.reseller);
        let mut hits: Vec<(usize, usize, ResolvedModel)> = vendors
            .filter_map(|(at, _)| self.find_own_model(by, at, model, vertex).map(|(step, found)| (at, step, found)))
            .collect();
        let listed: Vec<usize> = hits.iter().map(|(at, _, _)| *at).collect();
        hits.retain(|(at, _, _)| {
            let fallback = self.providers.get(*at).map_or(&[][..], |provider| &provider.fallback);
            !fallback.iter().any(|vendor| listed.contains(vendor))
        });
        let nearest = hits.iter().map(|(_, step, _)| *step).min().ok_or(UnpricedReason::UnknownModel)?;
        hits.retain(|(_, step, _)| *step == nearest);
        match hits.pop() {
            Some((_, _, found)) if hits.is_empty() => Ok(found),
            _ => Err(UnpricedReason::AmbiguousProvider),
        }
    }

    /// A provider's model for `id`: its own, in whatever order, or one of its fallback providers'.
    pub(super) fn find_model(&self, by: IdMatch, provider: usize, id: &str, vertex: bool) -> Option<ResolvedModel> {
        let own = |by| Some(self.find_own_model(by, provider, id, vertex)?.1);
        let mut fallback = self.providers.get(provider)?.fallback.iter();
        let other = || fallback.find_map(|seller| Some(self.find_own_model(by, *seller, id, vertex)?.1));
        own(by).or_else(|| own(IdMatch::Parts)).or_else(other)
    }

    /// A provider's own model for `id` (lower case), and the index of the matching spelling.
    fn find_own_model(&self, by: IdMatch, at: usize, id: &str, vertex: bool) -> Option<(usize, ResolvedModel)> {
        let provider = self.providers.get(at)?;
        let catalog = &provider.catalog;
        let aws = &*provider.key == AWS;
        let forms = IdSpellings::spellings_of(id, self, &provider.key);
        let found = |form: &IdSpelling, model: usize| {
            let bedrock = aws.then_some(forms.bedrock_scope);
            let IdSpelling { date_dropped, vendor_inferred, .. } = *form;
            ResolvedModel { provider: at, model, date_dropped, vendor_inferred, vertex, bedrock_scope: bedrock }
        };
        if by == IdMatch::Parts {
            let name = |model: usize| catalog.models.get(model).map_or("", |model| &model.id);
            let index = catalog.parts.get_or_init(|| PartsIndex::build(&catalog.ids, name));
            return forms.list.iter().find_map(|form| Some((0, found(form, index.find(&form.id)?))));
        }
        for (step, form) in forms.list.iter().enumerate() {
            if let Some(model) = catalog.ids.get(form.id.as_str()) {
                return Some((step, found(form, *model)));
            }
        }
        for form in &forms.list {
            if let Some((_, model)) = catalog.patterns.iter().find(|(regex, _)| regex.is_match(form.id.as_str())) {
                return Some((forms.list.len(), found(form, *model)));
            }
        }
        None
    }
}

/// `publishers/google/models/…`, `projects/…`, `vertex_ai/…`, `google-vertex:…`
fn is_vertex(id: &str) -> bool {
    let first = id.split_once(ROUTE_ENDS).map_or("", |(first, _)| first);
    ["publishers", "projects", "vertex_ai", "vertex", "vertexai", "google-vertex"].contains(&first)
}

pub(super) fn is_bedrock_vendor(segment: &str) -> bool {
    BEDROCK_VENDORS.split(' ').any(|vendor| vendor == segment)
}

/// `us.anthropic.claude…`, `amazon.nova…` or an ARN.
fn is_bedrock(id: &str, table: &RateTable) -> bool {
    if id.starts_with("arn:") {
        return true;
    }
    let (first, rest) = id.split_once('.').unwrap_or((id, ""));
    let second = rest.split_once('.').map_or("", |(second, _)| second);
    (is_bedrock_vendor(first) && !rest.is_empty()) || (table.scope_index(first).is_some() && is_bedrock_vendor(second))
}

/// One spelling of an id, and whether it lacks the id's date or has an added vendor.
struct IdSpelling {
    id: String,
    date_dropped: bool,
    vendor_inferred: bool,
}

/// The spellings to try, in order.
struct IdSpellings {
    list: Vec<IdSpelling>,
    bedrock_scope: Option<usize>,
}

impl IdSpellings {
    fn spellings_of(id: &str, table: &RateTable, provider: &str) -> Self {
        let mut forms = Self { list: Vec::new(), bedrock_scope: None };
        let mut id = id.to_owned();
        forms.push_spelling(&id, false);
        let Some(path_dropped) = drop_path(&id) else { return forms };
        id = path_dropped.to_owned();
        forms.push_spelling(&id, false);
        while let Some(rest) = drop_route(&id, table) {
            id = rest.to_owned();
            forms.push_spelling(&id, false);
        }
        for mark in ["[1m]", "@default"] {
            if let Some(rest) = id.strip_suffix(mark) {
                id = rest.to_owned();
                forms.push_spelling(&id, false);
            }
        }
        let mut date_dropped = false;
        if let Some((base, date)) = id.split_once('@').filter(|(_, date)| is_compact_date(date)) {
            // the same snapshot as its vendor spells it
            forms.push_spelling(&format!("{base}-{date}"), false);
            (id, date_dropped) = (base.to_owned(), true);
            forms.push_spelling(&id, date_dropped);
        }
        if provider == AWS {
            forms.push_bedrock_spellings(&mut id, table, date_dropped);
        }
        if let Some((base, other)) = split_date(&id) {
            forms.push_spelling(&format!("{base}-{other}"), date_dropped);
            (id, date_dropped) = (base.to_owned(), true);
            forms.push_spelling(&id, date_dropped);
        }
        if provider == AWS {
            forms.push_vendor_spellings();
        }
        for tail in ["-001", "-latest"] {
            // only Google's ids have revisions of this form
            if let Some(rest) = id.strip_suffix(tail).filter(|_| tail != "-001" || provider == GOOGLE) {
                id = rest.to_owned();
                forms.push_spelling(&id, date_dropped);
            }
        }
        forms
    }

    fn push_bedrock_spellings(&mut self, id: &mut String, table: &RateTable, date_dropped: bool) {
        let scope = id.split_once('.').and_then(|(first, rest)| Some((table.scope_index(first)?, rest.to_owned())));
        if let Some((scope, rest)) = scope {
            (self.bedrock_scope, *id) = (Some(scope), rest);
            self.push_spelling(id, date_dropped);
        }
        for drop in [drop_context, drop_revision, drop_version] {
            if let Some(rest) = drop(id) {
                *id = rest.to_owned();
                self.push_spelling(id, date_dropped);
            }
        }
    }

    /// Some instrumentations leave the vendor out of a Bedrock id (`claude-sonnet-4-5-20250929-v1:0`).
    fn push_vendor_spellings(&mut self) {
        let lacks_vendor = |form: &&IdSpelling| !form.id.contains(['.', '/']) || form.id.starts_with("llama3.");
        let is_of = |id: &str, families: &str| families.split(' ').any(|family| id.starts_with(family));
        let vendor = |id: &str| MODEL_FAMILIES.iter().find(|(_, families)| is_of(id, families)).map(|(own, _)| *own);
        let with_vendor = |form: &IdSpelling| Some((format!("{}.{}", vendor(&form.id)?, form.id), form.date_dropped));
        let added: Vec<(String, bool)> = self.list.iter().filter(lacks_vendor).filter_map(with_vendor).collect();
        let forms = added.into_iter().map(|(id, date_dropped)| IdSpelling { id, date_dropped, vendor_inferred: true });
        self.list.extend(forms);
    }

    fn push_spelling(&mut self, id: &str, date_dropped: bool) {
        if !id.is_empty() && self.list.iter().all(|form| form.id != id) {
            self.list.push(IdSpelling { id: id.to_owned(), date_dropped, vendor_inferred: false });
        }
    }
}

/// The part after a path; `None` for an ARN that does not name the model.
fn drop_path(id: &str) -> Option<&str> {
    if id.starts_with("arn:") {
        let resource = id.splitn(6, ':').nth(5)?;
        let (kind, model) = resource.split_once('/')?;
        return matches!(kind, "inference-profile" | "foundation-model").then_some(model);
    }
    let has_path = ["models/", "publishers/", "projects/"].iter().any(|start| id.starts_with(start));
    let end = id.rfind("models/").filter(|_| has_path).map(|at| at.saturating_add("models/".len()));
    Some(end.and_then(|end| id.get(end..)).unwrap_or(id))
}

fn drop_route<'i>(id: &'i str, table: &RateTable) -> Option<&'i str> {
    let (first, rest) = id.split_once(ROUTE_ENDS)?;
    (ROUTE_WORDS.contains(&first) || table.names.contains_key(first)).then_some(rest)
}

/// `…:48k`
fn drop_context(id: &str) -> Option<&str> {
    let (rest, last) = id.rsplit_once(':')?;
    last.strip_suffix('k').filter(|number| is_number(number)).map(|_| rest)
}

/// `…:0`
fn drop_revision(id: &str) -> Option<&str> {
    id.rsplit_once(':').filter(|(_, last)| is_number(last)).map(|(rest, _)| rest)
}

/// `…-v1`
fn drop_version(id: &str) -> Option<&str> {
    let (rest, last) = id.rsplit_once("-v")?;
    is_number(last).then_some(rest)
}

/// `20250929`, with a valid month and day.
fn is_compact_date(text: &str) -> bool {
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u32>().ok());
    text.len() == 8
        && is_number(text)
        && text.starts_with("20")
        && part(4..6).is_some_and(|month| (1..=12).contains(&month))
        && part(6..8).is_some_and(|day| (1..=31).contains(&day))
}

/// The id without the date at its end, and the date in the other spelling.
pub(super) fn split_date(id: &str) -> Option<(&str, String)> {
    let dashed = id.len().checked_sub(11).and_then(|at| id.split_at_checked(at));
    if let Some((base, date)) = dashed {
        let digits: String = date.chars().filter(|c| *c != '-').collect();
        let has_date_shape = date.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 0 | 5 | 8));
        if has_date_shape && !base.is_empty() && is_compact_date(&digits) {
            return Some((base, digits));
        }
    }
    let (base, date) = id.rsplit_once('-').filter(|(base, date)| !base.is_empty() && is_compact_date(date))?;
    let (year, rest) = date.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    Some((base, format!("{year}-{month}-{day}")))
}
