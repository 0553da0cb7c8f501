//! **What**: which row of the table a model id means: the forms an id is tried in, providers, resellers.
//! **Invariants**: exact after each step, never by prefix; a qualifier that is not listed is never dropped; whoever is
//! told as provider and not known is not guessed.

use super::table::{Model, Provider, Table};

/// Why a call has no price. The words stand in `tollgate.cost.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unpriced {
    /// The provider does not list the model.
    UnknownModel,
    /// The provider is not in the table.
    UnknownProvider,
    /// No provider was told, and several list the model.
    AmbiguousProvider,
    /// No model was told.
    NoModel,
    /// The model has no rate at the time of the call.
    NoRateAtTime,
    /// A unit was used that has no price.
    MissingUnit,
    /// The counts can't be.
    BadUsage,
}

impl Unpriced {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownModel => "unknown_model",
            Self::UnknownProvider => "unknown_provider",
            Self::AmbiguousProvider => "ambiguous_provider",
            Self::NoModel => "no_model",
            Self::NoRateAtTime => "no_rate_at_time",
            Self::MissingUnit => "missing_unit",
            Self::BadUsage => "bad_usage",
        }
    }
}

/// A model found.
pub(super) struct Found<'t> {
    pub(super) provider: &'t Provider,
    pub(super) model: &'t Model,
    pub(super) date_dropped: bool,
    /// First segment of a Bedrock id, "" without one; None elsewhere.
    pub(super) bedrock_prefix: Option<String>,
}

/// Cut from the end of a provider's name before the second look-up.
const NAME_TAILS: [&str; 5] = [".chat", ".responses", ".messages", ".completion", ".embedding"];
/// Vendors that stand first in a Bedrock model id.
const BEDROCK_VENDORS: [&str; 14] = [
    "anthropic",
    "amazon",
    "meta",
    "mistral",
    "cohere",
    "deepseek",
    "openai",
    "qwen",
    "google",
    "nvidia",
    "writer",
    "zai",
    "moonshotai",
    "ai21",
];
/// Segments of a route that are no provider.
const ROUTE_WORDS: [&str; 2] = ["converse", "invoke"];
/// The provider whose ids carry regions and revisions.
const AWS: &str = "aws";
/// Longest id that is looked at, bytes.
const MAX_ID: usize = 512;

impl Table {
    /// Index of a provider by its name in telemetry.
    fn provider_named(&self, name: &str) -> Option<usize> {
        let lower = name.trim().to_lowercase();
        let tail = NAME_TAILS.iter().find_map(|tail| lower.strip_suffix(tail));
        self.names.get(lower.as_str()).or_else(|| self.names.get(tail?)).copied()
    }

    /// The first of `models` that resolves.
    pub(super) fn resolve(&self, provider: Option<&str>, models: &[&str]) -> Result<Found<'_>, Unpriced> {
        if models.iter().all(|model| model.trim().is_empty()) {
            return Err(Unpriced::NoModel);
        }
        let mut first = None;
        for model in models.iter().filter(|model| !model.trim().is_empty() && model.len() <= MAX_ID) {
            match self.resolve_one(provider, model) {
                Ok(found) => return Ok(found),
                Err(reason) => first = first.or(Some(reason)),
            }
        }
        Err(first.unwrap_or(Unpriced::UnknownModel))
    }

    fn resolve_one(&self, provider: Option<&str>, model: &str) -> Result<Found<'_>, Unpriced> {
        if let Some(name) = provider.filter(|name| !name.trim().is_empty()) {
            let provider = self.provider_named(name).ok_or(Unpriced::UnknownProvider)?;
            return self.at(provider, model).map(|(_, found)| found).ok_or(Unpriced::UnknownModel);
        }
        if is_bedrock(&model.trim().to_lowercase(), self) {
            let aws = self.provider_named(AWS).ok_or(Unpriced::UnknownModel)?;
            return self.at(aws, model).map(|(_, found)| found).ok_or(Unpriced::UnknownModel);
        }
        self.infer(model)
    }

    /// The one vendor that lists the model.
    fn infer(&self, model: &str) -> Result<Found<'_>, Unpriced> {
        let vendors = self.providers.iter().enumerate().filter(|(_, provider)| !provider.reseller);
        let mut hits: Vec<(usize, usize, Found<'_>)> = vendors
            .filter_map(|(at, provider)| self.own(provider, model).map(|(step, found)| (at, step, found)))
            .collect();
        let listed: Vec<usize> = hits.iter().map(|(at, _, _)| *at).collect();
        hits.retain(|(_, _, found)| !found.provider.fallback.iter().any(|vendor| listed.contains(vendor)));
        let nearest = hits.iter().map(|(_, step, _)| *step).min().ok_or(Unpriced::UnknownModel)?;
        hits.retain(|(_, step, _)| *step == nearest);
        match hits.pop() {
            Some((_, _, found)) if hits.is_empty() => Ok(found),
            _ => Err(Unpriced::AmbiguousProvider),
        }
    }

    fn at(&self, provider: usize, model: &str) -> Option<(usize, Found<'_>)> {
        let provider = self.providers.get(provider)?;
        let mut fallback = provider.fallback.iter().filter_map(|at| self.providers.get(*at));
        self.own(provider, model).or_else(|| fallback.find_map(|other| self.own(other, model)))
    }

    /// A provider's own model for `id`, and the number of the form that fits.
    fn own<'t>(&'t self, provider: &'t Provider, id: &str) -> Option<(usize, Found<'t>)> {
        let forms = Forms::of(id, self, &*provider.key == AWS);
        let found = |form: &Form, model: usize| {
            Some(Found {
                provider,
                model: provider.models.get(model)?,
                date_dropped: form.date_dropped,
                bedrock_prefix: (&*provider.key == AWS).then(|| forms.bedrock_prefix.clone()),
            })
        };
        for (step, form) in forms.list.iter().enumerate() {
            if let Some(model) = provider.ids.get(form.id.as_str()) {
                return Some((step, found(form, *model)?));
            }
        }
        for form in &forms.list {
            if let Some((_, model)) = provider.patterns.iter().find(|(regex, _)| regex.is_match(form.id.as_str())) {
                return Some((forms.list.len(), found(form, *model)?));
            }
        }
        None
    }
}

/// `us.anthropic.claude…`, `amazon.nova…` or an ARN.
fn is_bedrock(id: &str, table: &Table) -> bool {
    if id.starts_with("arn:") {
        return true;
    }
    let (first, rest) = id.split_once('.').unwrap_or((id, ""));
    let vendor = |segment: &str| BEDROCK_VENDORS.contains(&segment);
    let second = rest.split_once('.').map_or("", |(second, _)| second);
    (vendor(first) && !rest.is_empty()) || (table.scopes.contains_key(first) && vendor(second))
}

/// One spelling of an id.
struct Form {
    id: String,
    date_dropped: bool,
}

/// The spellings to try, in order.
struct Forms {
    list: Vec<Form>,
    bedrock_prefix: String,
}

impl Forms {
    fn of(id: &str, table: &Table, bedrock: bool) -> Self {
        let mut forms = Self { list: Vec::new(), bedrock_prefix: String::new() };
        let mut id = id.trim().to_lowercase();
        forms.push(&id, false);
        let Some(path_dropped) = drop_path(&id) else { return forms };
        id = path_dropped.to_owned();
        forms.push(&id, false);
        while let Some(rest) = drop_route(&id, table) {
            id = rest.to_owned();
            forms.push(&id, false);
        }
        for mark in ["[1m]", "@default"] {
            if let Some(rest) = id.strip_suffix(mark) {
                id = rest.to_owned();
                forms.push(&id, false);
            }
        }
        let mut dropped = false;
        if let Some((base, date)) = id.split_once('@').filter(|(_, date)| is_compact_date(date)) {
            // the same snapshot, spelled as its vendor does
            forms.push(&format!("{base}-{date}"), false);
            (id, dropped) = (base.to_owned(), true);
            forms.push(&id, dropped);
        }
        if bedrock {
            forms.bedrock(&mut id, table, dropped);
        }
        if let Some((base, other)) = split_date(&id) {
            forms.push(&format!("{base}-{other}"), dropped);
            (id, dropped) = (base.to_owned(), true);
            forms.push(&id, dropped);
        }
        for tail in ["-001", "-latest"] {
            if let Some(rest) = id.strip_suffix(tail) {
                id = rest.to_owned();
                forms.push(&id, dropped);
            }
        }
        forms
    }

    fn bedrock(&mut self, id: &mut String, table: &Table, dropped: bool) {
        let prefix = id.split_once('.').filter(|(first, _)| !first.is_empty() && table.scopes.contains_key(*first));
        if let Some((first, rest)) = prefix {
            (self.bedrock_prefix, *id) = (first.to_owned(), rest.to_owned());
            self.push(id, dropped);
        }
        for drop in [drop_context, drop_revision, drop_version] {
            if let Some(rest) = drop(id) {
                *id = rest.to_owned();
                self.push(id, dropped);
            }
        }
    }

    fn push(&mut self, id: &str, date_dropped: bool) {
        if !id.is_empty() && self.list.iter().all(|form| form.id != id) {
            self.list.push(Form { id: id.to_owned(), date_dropped });
        }
    }
}

/// What stands behind a path; None for an ARN that says nothing about the model.
fn drop_path(id: &str) -> Option<&str> {
    if id.starts_with("arn:") {
        let resource = id.splitn(6, ':').nth(5)?;
        let (kind, model) = resource.split_once('/')?;
        return matches!(kind, "inference-profile" | "foundation-model").then_some(model);
    }
    let pathed = ["models/", "publishers/", "projects/"].iter().any(|start| id.starts_with(start));
    let end = id.rfind("models/").filter(|_| pathed).map(|at| at.saturating_add("models/".len()));
    Some(end.and_then(|end| id.get(end..)).unwrap_or(id))
}

fn drop_route<'i>(id: &'i str, table: &Table) -> Option<&'i str> {
    let (first, rest) = id.split_once('/')?;
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

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `20250929`, with a month and a day that can be.
fn is_compact_date(text: &str) -> bool {
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u32>().ok());
    text.len() == 8
        && is_number(text)
        && text.starts_with("20")
        && part(4..6).is_some_and(|month| (1..=12).contains(&month))
        && part(6..8).is_some_and(|day| (1..=31).contains(&day))
}

/// The id without its date at the end, and the date in the other spelling.
fn split_date(id: &str) -> Option<(&str, String)> {
    let dashed = id.len().checked_sub(11).and_then(|at| id.split_at_checked(at));
    if let Some((base, date)) = dashed {
        let digits: String = date.chars().filter(|c| *c != '-').collect();
        let shaped = date.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 0 | 5 | 8));
        if shaped && !base.is_empty() && is_compact_date(&digits) {
            return Some((base, digits));
        }
    }
    let (base, date) = id.rsplit_once('-').filter(|(base, date)| !base.is_empty() && is_compact_date(date))?;
    let (year, rest) = date.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    Some((base, format!("{year}-{month}-{day}")))
}
