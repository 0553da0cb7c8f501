//! **What**: reported tokens made disjoint ([`split`]), with what had to be assumed ([`Flags`]), and all that a price
//! is made from ([`Basis`]). **Invariants**: never clamped: a count that can't be is bad usage; evidence in the numbers
//! comes before any table; nothing here depends on a rate table, so that a call can be priced again under another one.

use serde::{Deserialize, Serialize};

use super::facts::{Buckets, ItemFacts, Usage};

/// What was assumed on the way to a price; the words stand in `tollgate.cost.flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $word:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$name, $word)),*];
        }
    };
}

flags! {
    /// Whether input includes cached tokens was taken from the vendor's own API.
    ASSUMED = 0, "assumed";
    /// The numbers say that input excludes cached tokens, or output reasoning; the table says otherwise.
    INCLUSION_CONFLICT = 1, "inclusion_conflict";
    /// The 5m/1h split was found from the emitter's own cost.
    SPLIT_INFERRED = 2, "split_inferred";
    /// Cache writes without a split, priced as 5m.
    SPLIT_UNKNOWN = 3, "split_unknown";
    /// Only input or only output was reported.
    PARTIAL_USAGE = 4, "partial_usage";
    /// A tier or region that the table has no rate for: list price.
    CONTEXT_UNMATCHED = 5, "context_unmatched";
    /// The table says that its rate is not complete.
    INCOMPLETE_RATE = 6, "incomplete_rate";
    /// A snapshot that is not listed was priced as its model.
    DATE_DROPPED = 7, "date_dropped";
    /// A unit without a price took its parent's.
    UNIT_FALLBACK = 8, "unit_fallback";
    /// Not the first record of its call.
    LATE_COPY = 9, "late_copy";
    /// Two spellings of one count say different numbers; the dialect's first one was priced.
    USAGE_CONFLICT = 10, "usage_conflict";
    /// A Bedrock id came without its vendor, and with it perhaps without its region: the region's own price.
    VENDOR_INFERRED = 11, "vendor_inferred";
    /// More audio, images or video than uncached input: the rest was taken as a part of the cached input.
    PARTS_ASSUMED = 12, "parts_assumed";
    /// The response's id was seen before, in another trace and of another model or size: it identifies nothing.
    ID_REUSED = 13, "id_reused";
    /// The operation has a name that nobody knows; its tokens and its place say that it is a call.
    UNKNOWN_OPERATION = 14, "unknown_operation";
    /// The same answer came before with less output: the cost is that of what came since.
    GROWN = 15, "grown";
    /// The table does not list the model that answered: priced as the model that was asked for.
    RESPONSE_MODEL_UNKNOWN = 16, "response_model_unknown";
    /// The call was priced by its span before this log of it came: this is the difference.
    AFTER_SPAN = 17, "after_span";
}

impl Flags {
    /// No flag at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets `other`.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The words, in a fixed order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, word)| *word)
    }

    /// The flags of words; unknown ones are left out.
    pub fn of_words<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let mut flags = Self::default();
        for word in words {
            Self::WORDS.iter().filter(|(_, known)| *known == word).for_each(|(flag, _)| flags.add(*flag));
        }
        flags
    }
}

fn none(count: &u64) -> bool {
    *count == 0
}

/// Disjoint counts of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// Text input, neither read from nor written to a cache.
    #[serde(skip_serializing_if = "none")]
    pub input: u64,
    /// Audio input.
    #[serde(skip_serializing_if = "none")]
    pub input_audio: u64,
    /// Images in the input.
    #[serde(skip_serializing_if = "none")]
    pub input_image: u64,
    /// Video in the input.
    #[serde(skip_serializing_if = "none")]
    pub input_video: u64,
    /// Read from a cache, without audio.
    #[serde(skip_serializing_if = "none")]
    pub cache_read: u64,
    /// Audio read from a cache.
    #[serde(skip_serializing_if = "none")]
    pub cache_read_audio: u64,
    /// Written to a cache for a time that was not told.
    #[serde(skip_serializing_if = "none")]
    pub cache_write: u64,
    /// Written for 5 minutes.
    #[serde(skip_serializing_if = "none")]
    pub cache_write_5m: u64,
    /// Written for 1 hour.
    #[serde(skip_serializing_if = "none")]
    pub cache_write_1h: u64,
    /// Output without audio and images, reasoning included.
    #[serde(skip_serializing_if = "none")]
    pub output: u64,
    /// Audio output.
    #[serde(skip_serializing_if = "none")]
    pub output_audio: u64,
    /// Images in the output.
    #[serde(skip_serializing_if = "none")]
    pub output_image: u64,
    /// The part of output that was reasoning.
    #[serde(skip_serializing_if = "none")]
    pub reasoning: u64,
    /// What was assumed.
    #[serde(skip)]
    pub flags: Flags,
}

impl Split {
    /// The size of the prompt.
    pub fn total_input(&self) -> u64 {
        [self.input_audio, self.input_image, self.input_video, self.cache_read, self.cache_read_audio, self.writes()]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// All cache writes.
    pub fn writes(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_5m).saturating_add(self.cache_write_1h)
    }

    /// The buckets as attributes and index rows have them.
    pub fn buckets(&self) -> Buckets {
        let heard = self.input_audio.saturating_add(self.input_image).saturating_add(self.input_video);
        Buckets {
            input: self.input.saturating_add(heard),
            cache_read: self.cache_read.saturating_add(self.cache_read_audio),
            cache_write_5m: self.cache_write.saturating_add(self.cache_write_5m),
            cache_write_1h: self.cache_write_1h,
            output: self.output.saturating_add(self.output_audio).saturating_add(self.output_image),
            reasoning: self.reasoning,
        }
    }
}

/// Counts that can't be: negative, no numbers, more than any call has, or a part larger than its whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUsage;

/// Tokens of one kind in one call: more are a fault of the emitter, and would spoil a tenant's totals for good.
const MOST: u64 = 1 << 40;

/// How large an input may be called by two layers of one call: as reported, whole, outside of caches. `counts` are the
/// item's, if they can be told apart. None where nothing was told of it.
pub fn input_forms(item: &ItemFacts, counts: Option<&Split>) -> [Option<u64>; 3] {
    let Usage { input, cache_read, cache_write, cache_write_5m, cache_write_1h, .. } = item.usage;
    if [input, cache_read, cache_write, cache_write_5m, cache_write_1h].iter().all(Option::is_none) {
        return [None; 3];
    }
    [item.usage.input, counts.map(Split::total_input), counts.map(|counts| counts.input)]
}

/// Makes the counts of `item` disjoint.
///
/// # Errors
/// [`BadUsage`].
pub fn split(item: &ItemFacts) -> Result<Split, BadUsage> {
    let usage = &item.usage;
    if usage.bad {
        return Err(BadUsage);
    }
    let mut flags = Flags::default();
    if usage.conflict {
        flags.add(Flags::USAGE_CONFLICT);
    }
    if item.guessed {
        flags.add(Flags::UNKNOWN_OPERATION);
    }
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    let (read, reasoning) = (usage.cache_read.unwrap_or(0), usage.reasoning.unwrap_or(0));
    let (short, long) = (usage.cache_write_5m.unwrap_or(0), usage.cache_write_1h.unwrap_or(0));
    let told = short.checked_add(long).ok_or(BadUsage)?;
    let unspecified = usage.cache_write.unwrap_or(0).saturating_sub(told);
    if usage.cache_write.is_some_and(|all| all < told) {
        // the parts say more than their sum: the parts are taken
        flags.add(Flags::USAGE_CONFLICT);
    }
    let write = told.checked_add(unspecified).ok_or(BadUsage)?;
    let cached = read.checked_add(write).ok_or(BadUsage)?;
    if [input, output, read, write, reasoning].into_iter().any(|count| count > MOST) {
        return Err(BadUsage);
    }
    if usage.input.is_none() != usage.output.is_none() && !input_only(item) {
        flags.add(Flags::PARTIAL_USAGE);
    }
    let spoken =
        if is_apart(item, cached, &mut flags) { output.checked_add(reasoning).ok_or(BadUsage)? } else { output };
    let exclusive = usage.input.is_none() || is_exclusive(item, cached, spoken, &mut flags);
    let uncached = if exclusive { input } else { input.checked_sub(cached).ok_or(BadUsage)? };
    let mut room = Room { uncached, read, write: if exclusive { 0 } else { write }, exclusive };
    let Parts { input: [audio, image, video], output: [audio_out, image_out], read_audio, assumed } =
        Parts::of(usage, &mut room).ok_or(BadUsage)?;
    if assumed {
        flags.add(Flags::PARTS_ASSUMED);
    }
    let rest = |whole: u64, parts: &[u64]| parts.iter().try_fold(whole, |rest, part| rest.checked_sub(*part));
    Ok(Split {
        input: room.uncached,
        input_audio: audio,
        input_image: image,
        input_video: video,
        cache_read: rest(read, &[read_audio]).ok_or(BadUsage)?,
        cache_read_audio: read_audio,
        cache_write: unspecified,
        cache_write_5m: short,
        cache_write_1h: long,
        output: rest(spoken, &[audio_out, image_out]).ok_or(BadUsage)?,
        output_audio: audio_out,
        output_image: image_out,
        reasoning,
        flags,
    })
}

/// Tokens that are no text, each a subset of input, output or cache read.
struct Parts {
    /// Audio, image, video.
    input: [u64; 3],
    /// Audio, image.
    output: [u64; 2],
    read_audio: u64,
    /// Some did not fit in the uncached input.
    assumed: bool,
}

impl Parts {
    /// Audio is a part of what input is: where input includes what was cached, so does audio. What is left of `room` is
    /// text.
    fn of(usage: &Usage, room: &mut Room) -> Option<Self> {
        let told = usage.cache_read_audio.unwrap_or(0);
        let audio = usage.input_audio.unwrap_or(0);
        let heard = if room.exclusive { audio } else { audio.checked_sub(told)? };
        room.read = room.read.checked_sub(told)?;
        let before = room.read;
        let fits = room.take(heard)?;
        // whoever tells the cached audio tells all of it
        if usage.cache_read_audio.is_some() && fits < heard {
            return None;
        }
        let read_audio = told.checked_add(before.checked_sub(room.read)?)?;
        let (seen, watched) = (usage.input_image.unwrap_or(0), usage.input_video.unwrap_or(0));
        let (image, video) = (room.take(seen)?, room.take(watched)?);
        Some(Self {
            input: [fits, image, video],
            output: [usage.output_audio.unwrap_or(0), usage.output_image.unwrap_or(0)],
            read_audio,
            assumed: fits < heard || image < seen || video < watched,
        })
    }
}

/// Input that parts can be of.
struct Room {
    uncached: u64,
    read: u64,
    write: u64,
    /// Input, and so its parts, leaves the cached tokens out.
    exclusive: bool,
}

impl Room {
    /// Takes `part`: how much of it is uncached. What does not fit there is a part of what was read from a cache, then
    /// of what was written to one.
    fn take(&mut self, part: u64) -> Option<u64> {
        let fits = part.min(self.uncached);
        let beyond = part.checked_sub(fits)?;
        if beyond > 0 && self.exclusive {
            return None;
        }
        let cached = beyond.min(self.read);
        self.uncached = self.uncached.checked_sub(fits)?;
        self.read = self.read.checked_sub(cached)?;
        self.write = self.write.checked_sub(beyond.checked_sub(cached)?)?;
        Some(fits)
    }
}

/// Whether reported output leaves reasoning out: a part larger than its whole is none, whatever the table says, nor is
/// what the total counts beside it.
fn is_apart(item: &ItemFacts, cached: u64, flags: &mut Flags) -> bool {
    let usage = &item.usage;
    let (input, output, reasoning) =
        (usage.input.unwrap_or(0), usage.output.unwrap_or(0), usage.reasoning.unwrap_or(0));
    if !item.output_includes_reasoning {
        return true;
    }
    let sum = input.saturating_add(output).saturating_add(reasoning);
    // a total may count the cached tokens instead
    let counted = reasoning > 0 && reasoning != cached && usage.total == Some(sum);
    let apart = reasoning > output || counted;
    if apart {
        flags.add(Flags::INCLUSION_CONFLICT);
    }
    apart
}

/// Embeddings, rankings and the like have no output.
fn input_only(item: &ItemFacts) -> bool {
    matches!(item.operation.as_deref(), Some("embeddings" | "rerank" | "moderation"))
}

/// Whether reported input leaves the cached tokens out. `output` includes reasoning.
fn is_exclusive(item: &ItemFacts, cached: u64, output: u64, flags: &mut Flags) -> bool {
    let usage = &item.usage;
    let input = usage.input.unwrap_or(0);
    if cached == 0 {
        return false;
    }
    if input < cached {
        if item.input_includes_cached == Some(true) {
            flags.add(Flags::INCLUSION_CONFLICT);
        }
        return true;
    }
    let sum = input.saturating_add(output);
    if usage.total == Some(sum.saturating_add(cached)) {
        return true;
    }
    if item.total_by_provider && usage.total == Some(sum) {
        return false;
    }
    item.input_includes_cached.map_or_else(
        || {
            flags.add(Flags::ASSUMED);
            reports_exclusive(item)
        },
        |includes| !includes,
    )
}

/// Whether the vendor's own API reports input without cached tokens: Anthropic's and Bedrock's do.
fn reports_exclusive(item: &ItemFacts) -> bool {
    match item.provider.as_deref() {
        Some(provider) => matches!(provider, "anthropic" | "aws.bedrock"),
        None => [&item.response_model, &item.request_model].into_iter().flatten().any(|model| {
            let model = model.trim().to_lowercase();
            model.contains("claude") || model.starts_with("arn:") || model.contains("amazon.nova")
        }),
    }
}

/// The kinds of endpoint that prices depend on, by the host (also with a port, or as a URL) that was called: `us` and
/// `eu` (where OpenAI keeps data), `regional` (Vertex in one location).
pub fn endpoint(host: &str) -> Option<&'static str> {
    let host = host.trim();
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next()?;
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    let host = host.split(':').next()?.trim_end_matches('.');
    let (first, rest) = host.split_once('.')?;
    if rest.eq_ignore_ascii_case("api.openai.com") {
        return ["us", "eu"].into_iter().find(|geo| first.eq_ignore_ascii_case(geo));
    }
    let tail = first.len().checked_sub("-aiplatform".len()).and_then(|at| first.get(at..));
    tail.filter(|tail| tail.eq_ignore_ascii_case("-aiplatform")).map(|_| "regional")
}

/// All that a call's price is made from, but for the table: what an index row keeps.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Basis {
    /// Start of the call, Unix ns.
    pub time: u64,
    /// Provider, in today's words; none = inferred from the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The response's model, then the request's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The table's id of the model it was priced as, where its own names could not be kept as they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<String>,
    /// The overlays of its tenant alone that priced it: a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// Disjoint tokens.
    pub units: Split,
    /// Of these, what the call was billed for by an earlier record: the rest is the price of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_before: Option<Split>,
    /// Tier, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// `fast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Where it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// See [`endpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The emitter's own cost, where a split of cache writes could be found from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
    /// Web searches.
    #[serde(skip_serializing_if = "none")]
    pub web_searches: u64,
    /// File searches.
    #[serde(skip_serializing_if = "none")]
    pub file_searches: u64,
    /// Cached tokens were taken as not in the reported input, for want of anything that says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// What was assumed while tokens were made disjoint: words of [`Flags`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

impl Basis {
    /// Takes over what an ancestor told later. Where the tokens were made disjoint without knowing the provider, they
    /// are made so again.
    pub fn inherit(&mut self, model: Option<&str>, provider: Option<&str>) {
        if self.models.is_empty() {
            self.models.extend(model.map(str::to_owned));
        }
        let Some(provider) = provider.filter(|_| self.provider.is_none()) else { return };
        self.provider = Some(provider.to_owned());
        let assumed = self.flags.iter().any(|flag| flag == "assumed");
        let was = assumed && self.exclusive;
        let is = assumed && matches!(provider, "anthropic" | "aws.bedrock");
        let cached = self.units.cache_read.saturating_add(self.units.writes());
        if is && !was {
            self.units.input = self.units.input.saturating_add(cached);
        } else if was && !is {
            self.units.input = self.units.input.saturating_sub(cached);
        }
        self.exclusive = is;
    }

    /// What `item` says, called at `time` (Unix ns); none when its counts can't be.
    pub fn of(item: &ItemFacts, time: u64) -> Option<Self> {
        let units = split(item).ok()?;
        let context = item.context.as_deref();
        Some(Self {
            time,
            provider: item.provider.clone(),
            models: [&item.response_model, &item.request_model].into_iter().flatten().cloned().collect(),
            listed: None,
            contract: None,
            units,
            billed_before: item.cost.as_ref().and_then(|cost| cost.before.as_deref().copied()),
            service_tier: context.and_then(|context| context.service_tier.clone()),
            speed: context.and_then(|context| context.speed.clone()),
            inference_geo: context.and_then(|context| context.inference_geo.clone()),
            endpoint: context.and_then(|context| endpoint(context.server_address.as_deref()?)).map(str::to_owned),
            reported: item.reported_cost.clone().filter(|_| units.cache_write > 0),
            web_searches: context.map_or(0, |context| context.web_searches),
            file_searches: context.map_or(0, |context| context.file_searches),
            exclusive: units.flags.contains(Flags::ASSUMED) && reports_exclusive(item),
            flags: units.flags.words().map(str::to_owned).collect(),
        })
    }
}
