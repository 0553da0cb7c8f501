//! [`Form`]: how one kind of a vendor's export is read. Forms are data (`config/bills.yaml`, whose head explains the
//! fields, or a file of the user's); `export` reads files with them, and nothing else knows a vendor's columns.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

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
/// Largest file of forms, bytes.
const MAX_FORMS: u64 = 4 << 20;

kernel::word_enum! {
    /// What a line of a bill is for.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub(crate) Kind {
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
        /// A line that no pattern of the form understands.
        Other = "other",
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        Self::parse(&word).ok_or_else(|| format!("there is no kind `{word}`"))
    }
}

impl Kind {
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
pub(crate) enum Shape {
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
    /// How many tokens one of them is, if no word says it.
    r#in: Option<String>,
}

impl TokenCount {
    /// How many tokens 1 is in this row, as a decimal.
    pub(crate) fn one_is(&self, row: &dyn Fields) -> Option<&str> {
        let word = self.unit.as_deref().and_then(|name| row.get(name)).unwrap_or_default();
        self.units.get(&word.trim().to_lowercase()).or(self.r#in.as_ref()).map(String::as_str)
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
struct Skip {
    fields: Vec<String>,
    unless: Vec<String>,
}

/// The field that names the vendor in a file of several, and the rate table's providers by its words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vendors {
    field: String,
    words: BTreeMap<String, String>,
}

fn one() -> String {
    "1".to_owned()
}

/// See the module, and the head of `config/bills.yaml` for the fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    pub(crate) name: String,
    pub(crate) provider: Option<String>,
    #[serde(default)]
    #[allow(dead_code, reason = "where the form is published, for people who read the file")]
    source: String,
    pub(crate) shape: Shape,
    #[serde(default)]
    pub(crate) rows: String,
    pub(crate) needs: Vec<String>,
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
    pub(crate) amount_in: String,
    kind: Option<String>,
    pub(crate) tokens: Option<TokenCount>,
    #[serde(default)]
    pub(crate) counts: BTreeMap<String, String>,
    tier: Option<String>,
    #[serde(default)]
    patterns: Vec<Pattern>,
    #[serde(default)]
    kinds: BTreeMap<String, Kind>,
    #[serde(default)]
    tiers: BTreeMap<String, String>,
    #[serde(default)]
    models: BTreeMap<String, String>,
    /// Amounts of credits in the row.
    pub(crate) credits: Option<String>,
    skip: Option<Skip>,
    vendors: Option<Vendors>,
    /// What was read from words before: exports have millions of rows with the same ones.
    #[serde(skip)]
    known: RefCell<HashMap<String, Reading>>,
}

/// The fields of a row by name.
pub(crate) trait Fields {
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
pub(crate) struct Reading {
    pub(crate) model: String,
    pub(crate) kind: Option<Kind>,
    /// "" = standard; `None`: the row does not say.
    pub(crate) tier: Option<String>,
}

/// The forms of a file, or the built-in ones, in the order in which they are tried.
///
/// # Errors
/// The file can't be read or is no list of forms.
pub(crate) fn load_forms(path: Option<&std::path::Path>) -> Result<Vec<Form>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        forms: Vec<Form>,
    }
    let (name, text) = match path {
        None => ("config/bills.yaml".to_owned(), Cow::Borrowed(BUILTIN)),
        Some(path) => {
            let name = path.display().to_string();
            let text = read_text(path, MAX_FORMS).map_err(|e| format!("{name}: {}", describe_io_error(e.kind())))?;
            (name, Cow::Owned(text))
        }
    };
    let mut forms = config::load::parse_data::<File>(&name, &text).map_err(|problem| problem.to_string())?.forms;
    for form in &mut forms {
        form.compile().map_err(|problem| format!("{name}: form `{}`: {problem}", form.name))?;
    }
    Ok(forms)
}

impl Form {
    fn compile(&mut self) -> Result<(), String> {
        for pattern in &mut self.patterns {
            let syntax = syntax::Config::new().case_insensitive(true);
            let regex = Regex::builder().syntax(syntax).build(&pattern.regex);
            pattern.compiled = Some(regex.map_err(|_| format!("`{}` is not a regular expression", pattern.regex))?);
        }
        let is_count = |word: &&String| *word != WITH_CACHED && Kind::parse(word).is_none();
        match self.counts.keys().find(is_count) {
            Some(word) => Err(format!("`counts` has no kind `{word}`")),
            None => Ok(()),
        }
    }

    /// Whether a row of this shape can be read with the form.
    pub(crate) fn fits(&self, row: &dyn Fields) -> bool {
        self.needs.iter().all(|name| row.get(name).is_some())
    }

    /// Whether the row belongs to another service or vendor.
    pub(crate) fn skips(&self, row: &dyn Fields, provider: &str) -> bool {
        let is_other_service = |skip: &Skip| {
            let texts = skip.fields.iter().filter_map(|name| row.get(name));
            let is_ours = |text: &str| skip.unless.iter().any(|word| text.contains(&word.to_lowercase()));
            !texts.into_iter().any(|text| is_ours(&text.to_lowercase()))
        };
        let is_other_vendor = |vendors: &Vendors| {
            let word = row.get(&vendors.field).unwrap_or_default().trim().to_lowercase();
            vendors.words.get(&word).is_some_and(|vendor| vendor != provider)
        };
        self.skip.as_ref().is_some_and(is_other_service) || self.vendors.as_ref().is_some_and(is_other_vendor)
    }

    /// Model, kind and tier of a row.
    pub(crate) fn read_words(&self, row: &dyn Fields) -> Reading {
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

    fn read_new_words(&self, row: &dyn Fields) -> Reading {
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
        Reading { model: self.models.get(&model).cloned().unwrap_or(model), kind, tier }
    }
}

/// A model's name in lower case, with `-` for blanks and `_`: exports and telemetry write one model in all of these.
pub(crate) fn normalize_model(name: &str) -> String {
    let name = name.to_lowercase();
    let parts = name.split(|c: char| c == '_' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").chars().take(MAX_MODEL).collect()
}

/// The kind of a unit of the rate table.
pub(crate) fn kind_of(unit: Unit) -> Kind {
    match unit {
        Unit::Input => Kind::Input,
        Unit::InputAudio => Kind::InputAudio,
        Unit::InputImage => Kind::InputImage,
        Unit::InputVideo => Kind::InputVideo,
        Unit::CacheRead | Unit::CacheReadAudio | Unit::CacheReadImage => Kind::CacheRead,
        // by definition the price of the short time
        Unit::CacheWrite | Unit::CacheWrite5m | Unit::CacheWrite30m => Kind::CacheWrite5m,
        Unit::CacheWrite1h | Unit::CacheWrite12h => Kind::CacheWrite1h,
        Unit::Output | Unit::OutputVideo | Unit::OutputCitation => Kind::Output,
        Unit::OutputAudio => Kind::OutputAudio,
        Unit::OutputImage => Kind::OutputImage,
        Unit::Reasoning => Kind::Reasoning,
    }
}

/// Word of `counts`: input tokens that include those read from a cache.
pub(crate) const WITH_CACHED: &str = "input_with_cached";
