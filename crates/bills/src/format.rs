//! [`ExportFormat`]: how one kind of a vendor's export is read. Formats are data (`config/bills.yaml`, whose head
//! explains the fields, and files of users); `export` reads files with them, and nothing else knows a vendor's columns.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use serde::Deserialize;

use kernel::files::{describe_io_error, read_text};
use rates::Unit;

const BUILTIN: &str = include_str!("../../../config/bills.yaml");
/// Most different rows whose words are remembered.
const MAX_KNOWN: usize = 20_000;
/// Longest name of a model, characters.
const MAX_MODEL: usize = 128;
/// Largest file of formats, bytes.
const MAX_FORMATS: u64 = 4 << 20;

kernel::word_enum! {
    /// What a line of a bill is for.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub(crate) ChargeKind {
        Input = "input",
        InputAudio = "input_audio",
        InputImage = "input_image",
        InputVideo = "input_video",
        CacheRead = "cache_read",
        /// Cache writes whose lifetime is not named.
        CacheWrite = "cache_write",
        CacheWrite5m = "cache_write_5m",
        CacheWrite1h = "cache_write_1h",
        Output = "output",
        OutputAudio = "output_audio",
        OutputImage = "output_image",
        /// Part of the output, unless it is priced separately.
        Reasoning = "reasoning",
        /// Tokens whose kind is not known.
        Tokens = "tokens",
        /// Searches and other uses that are no tokens.
        Fee = "fee",
        Credit = "credit",
        /// A line that takes off what a contract says.
        Discount = "discount",
        Tax = "tax",
        /// A line that no pattern of the format understands.
        Other = "other",
    }
}

impl TryFrom<String> for ChargeKind {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        Self::parse(&word).ok_or_else(|| format!("there is no kind `{word}`"))
    }
}

impl ChargeKind {
    pub(crate) fn is_tokens(self) -> bool {
        !matches!(self, Self::Fee | Self::Credit | Self::Discount | Self::Tax | Self::Other)
    }

    /// The kind that contains this one in exports with fewer kinds.
    pub(crate) fn parent(self) -> Option<Self> {
        match self {
            Self::CacheWrite5m | Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::InputAudio | Self::InputImage | Self::InputVideo | Self::CacheRead | Self::CacheWrite => {
                Some(Self::Input)
            }
            Self::OutputAudio | Self::OutputImage | Self::Reasoning => Some(Self::Output),
            Self::Input | Self::Output => Some(Self::Tokens),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileType {
    Csv,
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenCount {
    pub(crate) field: String,
    /// The field that names the unit, and how many tokens its words are.
    unit: Option<String>,
    #[serde(default)]
    units: BTreeMap<String, String>,
    /// Tokens per unit where the row names no known unit.
    tokens_per_unit: Option<String>,
}

impl TokenCount {
    /// How many tokens 1 is in this row, as a decimal.
    pub(crate) fn one_is(&self, row: &dyn ExportRow) -> Option<&str> {
        let word = self.unit.as_deref().and_then(|name| row.get(name)).unwrap_or_default();
        self.units.get(&word.trim().to_lowercase()).or(self.tokens_per_unit.as_ref()).map(String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    fields: Vec<String>,
    regex: String,
    #[serde(skip)]
    compiled: Option<Regex>,
}

/// Rows of other services.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFilter {
    fields: Vec<String>,
    only_if_contains: Vec<String>,
}

/// The field that names the vendor in a file of several, and the rate table's providers by its words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorFilter {
    field: String,
    words: BTreeMap<String, String>,
}

fn one() -> String {
    "1".to_owned()
}

/// See the module, and the head of `config/bills.yaml` for the fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportFormat {
    pub(crate) name: String,
    pub(crate) provider: Option<String>,
    #[serde(default)]
    #[allow(dead_code, reason = "for people who read the file")]
    source: String,
    pub(crate) file_type: FileType,
    #[serde(default)]
    pub(crate) rows: String,
    pub(crate) required_fields: Vec<String>,
    pub(crate) time_zone: String,
    pub(crate) start: String,
    pub(crate) end: Option<String>,
    #[serde(default)]
    pub(crate) currency: Vec<String>,
    pub(crate) currency_is: Option<String>,
    #[serde(default)]
    pub(crate) model: Vec<String>,
    pub(crate) amount: Option<String>,
    #[serde(default = "one")]
    pub(crate) amount_unit: String,
    kind: Option<String>,
    pub(crate) tokens: Option<TokenCount>,
    #[serde(default)]
    pub(crate) counts: BTreeMap<String, String>,
    tier: Option<String>,
    #[serde(default)]
    patterns: Vec<Pattern>,
    #[serde(default)]
    kinds: BTreeMap<String, ChargeKind>,
    #[serde(default)]
    tiers: BTreeMap<String, String>,
    #[serde(default)]
    models: BTreeMap<String, String>,
    /// Amounts of credits in the row.
    pub(crate) credits: Option<String>,
    skip: Option<ServiceFilter>,
    vendors: Option<VendorFilter>,
    /// What was read from words before: exports have millions of rows with the same ones.
    #[serde(skip)]
    known: RefCell<HashMap<String, RowWords>>,
}

/// The fields of a row by name.
pub(crate) trait ExportRow {
    fn get(&self, name: &str) -> Option<String>;

    /// All of the row, to recognise it again.
    fn text(&self) -> String;

    /// The texts of a field of the objects in an array, named `array.field`.
    fn list(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }
}

/// What the words of a row say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowWords {
    pub(crate) model: String,
    pub(crate) kind: Option<ChargeKind>,
    /// "" = standard; `None`: the row does not say.
    pub(crate) tier: Option<String>,
}

/// The formats of a file, and then the built-in ones, in the order in which they are tried.
///
/// # Errors
/// The file can't be read or has no formats.
pub(crate) fn load_formats(path: Option<&Path>) -> Result<Vec<ExportFormat>, String> {
    let mut formats = Vec::new();
    if let Some(path) = path {
        let name = path.display().to_string();
        let text =
            read_text(path, MAX_FORMATS).map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
        formats = parse_formats(&name, &text)?;
    }
    formats.extend(parse_formats("config/bills.yaml", BUILTIN)?);
    Ok(formats)
}

fn parse_formats(name: &str, text: &str) -> Result<Vec<ExportFormat>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct FormatFile {
        formats: Vec<ExportFormat>,
    }
    let mut formats =
        config::load::parse_data::<FormatFile>(name, text).map_err(|problem| problem.to_string())?.formats;
    for format in &mut formats {
        format.compile().map_err(|problem| format!("{name}: format `{}`: {problem}", format.name))?;
    }
    Ok(formats)
}

impl ExportFormat {
    fn compile(&mut self) -> Result<(), String> {
        for pattern in &mut self.patterns {
            let syntax = syntax::Config::new().case_insensitive(true);
            let regex = Regex::builder().syntax(syntax).build(&pattern.regex);
            pattern.compiled = Some(regex.map_err(|_| format!("`{}` is not a regular expression", pattern.regex))?);
        }
        let is_count = |word: &&String| *word != WITH_CACHED && ChargeKind::parse(word).is_none();
        match self.counts.keys().find(is_count) {
            Some(word) => Err(format!("`counts` has no kind `{word}`")),
            None => Ok(()),
        }
    }

    /// Whether a row has the fields of this format.
    pub(crate) fn fits(&self, row: &dyn ExportRow) -> bool {
        self.required_fields.iter().all(|name| row.get(name).is_some())
    }

    /// Whether the row belongs to another service or vendor.
    pub(crate) fn skips(&self, row: &dyn ExportRow, provider: &str) -> bool {
        let is_other_service = |skip: &ServiceFilter| {
            let texts = skip.fields.iter().filter_map(|name| row.get(name));
            let is_ours = |text: &str| skip.only_if_contains.iter().any(|word| text.contains(&word.to_lowercase()));
            !texts.into_iter().any(|text| is_ours(&text.to_lowercase()))
        };
        let is_other_vendor = |vendors: &VendorFilter| {
            let word = row.get(&vendors.field).unwrap_or_default().trim().to_lowercase();
            vendors.words.get(&word).is_some_and(|vendor| vendor != provider)
        };
        self.skip.as_ref().is_some_and(is_other_service) || self.vendors.as_ref().is_some_and(is_other_vendor)
    }

    /// Model, kind and tier of a row.
    pub(crate) fn read_words(&self, row: &dyn ExportRow) -> RowWords {
        let fields = self.patterns.iter().flat_map(|pattern| &pattern.fields);
        let fields = fields.chain(&self.kind).chain(&self.tier).chain(&self.model);
        let words = fields.map(|name| row.get(name).unwrap_or_default()).collect::<Vec<_>>().join("\u{1f}");
        if let Some(known) = self.known.borrow().get(&words) {
            return known.clone();
        }
        let reading = self.read_new_words(row);
        let mut known = self.known.borrow_mut();
        if known.len() < MAX_KNOWN {
            known.insert(words, reading.clone());
        }
        reading
    }

    fn read_new_words(&self, row: &dyn ExportRow) -> RowWords {
        let word = |text: &str| Some(text.trim().to_lowercase()).filter(|word| !word.is_empty());
        let field = |name: &String| word(&row.get(name)?);
        let mut model = self.model.iter().find_map(field);
        let mut kind = self.kind.as_ref().and_then(field).and_then(|word| self.kinds.get(&word).copied());
        let mut tier = self.tier.as_ref().and_then(field).and_then(|word| self.tiers.get(&word).cloned());
        let texts = self.patterns.iter().flat_map(|pattern| pattern.fields.iter().map(move |name| (pattern, name)));
        for (pattern, name) in texts {
            let (Some(regex), Some(text)) = (&pattern.compiled, row.get(name)) else { continue };
            let mut captures = regex.create_captures();
            regex.captures(&*text, &mut captures);
            let group = |name: &str| word(text.get(captures.get_group_by_name(name)?.range())?);
            model = model.or_else(|| group("model"));
            kind = kind.or_else(|| group("kind").and_then(|word| self.kinds.get(&word).copied()));
            tier = tier.or_else(|| group("tier").and_then(|word| self.tiers.get(&word).cloned()));
        }
        let model = normalize_model(&model.unwrap_or_default());
        RowWords { model: self.models.get(&model).cloned().unwrap_or(model), kind, tier }
    }
}

/// A model's name in lower case, with `-` for blanks and `_`: exports and telemetry write one model in all of these.
pub(crate) fn normalize_model(name: &str) -> String {
    let name = name.to_lowercase();
    let parts = name.split(|c: char| c == '_' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").chars().take(MAX_MODEL).collect()
}

/// The kind of a unit of the rate table.
pub(crate) fn kind_of(unit: Unit) -> ChargeKind {
    match unit {
        Unit::Input => ChargeKind::Input,
        Unit::InputAudio => ChargeKind::InputAudio,
        Unit::InputImage => ChargeKind::InputImage,
        Unit::InputVideo => ChargeKind::InputVideo,
        Unit::CacheRead | Unit::CacheReadAudio | Unit::CacheReadImage => ChargeKind::CacheRead,
        // by definition the price of the short time
        Unit::CacheWrite | Unit::CacheWrite5m | Unit::CacheWrite30m => ChargeKind::CacheWrite5m,
        Unit::CacheWrite1h | Unit::CacheWrite12h => ChargeKind::CacheWrite1h,
        Unit::Output | Unit::OutputVideo | Unit::OutputCitation => ChargeKind::Output,
        Unit::OutputAudio => ChargeKind::OutputAudio,
        Unit::OutputImage => ChargeKind::OutputImage,
        Unit::Reasoning => ChargeKind::Reasoning,
    }
}

/// Word of `counts`: input tokens that include those read from a cache.
pub(crate) const WITH_CACHED: &str = "input_with_cached";
