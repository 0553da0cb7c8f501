//! Converts reported tokens into disjoint counts ([`split_tokens`]), records the assumptions made on the way
//! ([`PricingFlags`]), and collects everything a price is computed from ([`PriceBasis`]).
//!
//! Counts are never clamped: impossible counts are [`BadUsage`]. Evidence in the numbers takes precedence over any
//! table. Nothing here depends on a rate table, so a call can be priced again with another one.

use serde::{Deserialize, Serialize};

use super::facts::{CallTokenBuckets, ItemFacts, ItemRole, TokenUsage};

/// Assumptions made while pricing a call. Their words are the values of `tollgate.cost.flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PricingFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $word:literal;)*) => {
        impl PricingFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$name, $word)),*];
        }
    };
}

flags! {
    /// Whether the input includes cached tokens was decided by how the vendor's own API reports it.
    ASSUMED = 0, "assumed";
    /// The numbers show that input excludes cached tokens, or that output excludes reasoning, although the dialect says
    /// otherwise.
    INCLUSION_CONFLICT = 1, "inclusion_conflict";
    /// The split of cache writes into 5m and 1h was inferred from the emitter's own cost.
    SPLIT_INFERRED = 2, "split_inferred";
    /// Cache writes without a reported lifetime, priced as 5m.
    SPLIT_UNKNOWN = 3, "split_unknown";
    /// Only input or only output was reported.
    PARTIAL_USAGE = 4, "partial_usage";
    /// The table has no rate for the tier or region, so the list price was used.
    CONTEXT_UNMATCHED = 5, "context_unmatched";
    /// The table marks its rate as incomplete.
    INCOMPLETE_RATE = 6, "incomplete_rate";
    /// A model snapshot that is not listed was priced as its base model.
    DATE_DROPPED = 7, "date_dropped";
    /// A unit without a price was priced as its parent unit.
    UNIT_FALLBACK = 8, "unit_fallback";
    /// This is not the first record of its call.
    LATE_COPY = 9, "late_copy";
    /// Two attributes that spell the same count disagree; the dialect's first one was priced.
    USAGE_CONFLICT = 10, "usage_conflict";
    /// A Bedrock model id came without its vendor prefix, and possibly without its region prefix: priced as in the
    /// call's region.
    VENDOR_INFERRED = 11, "vendor_inferred";
    /// There are more audio, image or video tokens than uncached input: the excess was counted as part of the cached
    /// input.
    PARTS_ASSUMED = 12, "parts_assumed";
    /// The response id was seen before in another trace, with another model or size, so it does not identify the call.
    ID_REUSED = 13, "id_reused";
    /// The operation's name is unknown; its tokens and place suggest that it is a call.
    UNKNOWN_OPERATION = 14, "unknown_operation";
    /// The same answer was billed before with less output; the cost is the difference.
    GROWN = 15, "grown";
    /// The table does not list the model that answered, so the requested model's price was used.
    RESPONSE_MODEL_UNKNOWN = 16, "response_model_unknown";
    /// The call was priced by its span before this log record arrived; the cost is the difference.
    AFTER_SPAN = 17, "after_span";
    /// Part of the cost was billed before on another record, such as a total; the cost is the difference.
    NET = 19, "net";
    /// A token count is under an unrecognized usage key, so it is not in the price. The page lists such keys.
    USAGE_UNRECOGNIZED = 18, "usage_unrecognized";
    /// The call was charged on its log record; this is its first span.
    ON_LOG = 20, "on_log";
    /// A total: the calls below it account for some of its tokens; the cost is the rest's.
    REMAINDER = 21, "remainder";
    /// A span with the sum of this call's tokens and others' was charged before; another call of the sum has the
    /// correction.
    AFTER_SUM = 22, "after_sum";
}

impl PricingFlags {
    /// Returns true if no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets `other`.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn add_if(&mut self, other: Self, is_set: bool) {
        self.0 |= if is_set { other.0 } else { 0 };
    }

    /// The words of the flags that are set, in a fixed order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, word)| *word)
    }

    /// Parses words into flags. Unknown words are ignored.
    pub fn from_words<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let known = words.filter_map(|word| Self::WORDS.iter().find(|(_, known)| *known == word));
        known.fold(Self::default(), |flags, (flag, _)| Self(flags.0 | flag.0))
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Disjoint token counts of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenSplit {
    /// Text input, neither read from nor written to a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub input: u64,
    /// Audio input.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    /// Images in the input.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_image: u64,
    /// Video in the input.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_video: u64,
    /// Input read from a cache, without audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Audio read from a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_audio: u64,
    /// Input written to a cache for a lifetime that was not reported.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Input written to a cache for 5 minutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    /// Input written to a cache for 1 hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Output without audio and images, reasoning included.
    #[serde(skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Audio output.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    /// Images in the output.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_image: u64,
    /// The part of the output that was reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Assumptions made while the counts were made disjoint.
    #[serde(skip)]
    pub flags: PricingFlags,
}

impl TokenSplit {
    /// The size of the prompt in tokens: all input counts, cached ones included.
    pub fn total_input(&self) -> u64 {
        let CallTokenBuckets { input, cache_read, cache_write_5m, cache_write_1h, .. } = self.buckets();
        [cache_read, cache_write_5m, cache_write_1h].into_iter().fold(input, u64::saturating_add)
    }

    /// All cache writes.
    pub fn total_cache_writes(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_5m).saturating_add(self.cache_write_1h)
    }

    /// The coarser buckets used in attributes and index rows.
    pub fn buckets(&self) -> CallTokenBuckets {
        let media = self.input_audio.saturating_add(self.input_image).saturating_add(self.input_video);
        CallTokenBuckets {
            input: self.input.saturating_add(media),
            cache_read: self.cache_read.saturating_add(self.cache_read_audio),
            cache_write_5m: self.cache_write.saturating_add(self.cache_write_5m),
            cache_write_1h: self.cache_write_1h,
            output: self.output.saturating_add(self.output_audio).saturating_add(self.output_image),
            reasoning: self.reasoning,
        }
    }
}

/// Impossible counts: negative, not a number, larger than any real call, or a part larger than its whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUsage;

/// Maximum number of tokens of one kind in one call. A larger count is an emitter's fault and would corrupt the
/// tenant's totals for good.
const MAX_TOKENS: u64 = 1 << 40;

/// The forms in which two layers of one call may report the input: as reported, in total, and without cached tokens.
/// `counts` are the item's disjoint counts, if they could be computed. All `None` if no input was reported.
pub fn input_forms(item: &ItemFacts, counts: Option<&TokenSplit>) -> [Option<u64>; 3] {
    let TokenUsage { input, cache_read, cache_write, cache_write_5m, cache_write_1h, .. } = item.usage;
    if [input, cache_read, cache_write, cache_write_5m, cache_write_1h].iter().all(Option::is_none) {
        return [None; 3];
    }
    [item.usage.input, counts.map(TokenSplit::total_input), counts.map(|counts| counts.input)]
}

/// Makes the counts of `item` disjoint.
///
/// # Errors
/// [`BadUsage`] if the counts are impossible.
pub fn split_tokens(item: &ItemFacts) -> Result<TokenSplit, BadUsage> {
    let usage = &item.usage;
    if usage.invalid_count {
        return Err(BadUsage);
    }
    let mut flags = PricingFlags::default();
    flags.add_if(PricingFlags::USAGE_CONFLICT, usage.conflicting_counts);
    flags.add_if(PricingFlags::UNKNOWN_OPERATION, item.guessed);
    flags.add_if(PricingFlags::USAGE_UNRECOGNIZED, usage.unrecognized_counts);
    flags.add_if(PricingFlags::ASSUMED, usage.undecided_parts);
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    let (read, reasoning) = (usage.cache_read.unwrap_or(0), usage.reasoning.unwrap_or(0));
    let (short, long) = (usage.cache_write_5m.unwrap_or(0), usage.cache_write_1h.unwrap_or(0));
    let with_lifetime = short.checked_add(long).ok_or(BadUsage)?;
    let unspecified = usage.cache_write.unwrap_or(0).saturating_sub(with_lifetime);
    // If the parts exceed their reported sum, the parts are used.
    flags.add_if(PricingFlags::USAGE_CONFLICT, usage.cache_write.is_some_and(|all| all < with_lifetime));
    let write = with_lifetime.checked_add(unspecified).ok_or(BadUsage)?;
    let cached = read.checked_add(write).ok_or(BadUsage)?;
    if [input, output, read, write, reasoning].into_iter().any(|count| count > MAX_TOKENS) {
        return Err(BadUsage);
    }
    let is_partial = usage.input.is_none() != usage.output.is_none() && !has_no_output(item);
    flags.add_if(PricingFlags::PARTIAL_USAGE, is_partial);
    let full_output = if excludes_reasoning(item, cached, &mut flags) {
        output.checked_add(reasoning).ok_or(BadUsage)?
    } else {
        output
    };
    let exclusive = usage.input.is_none() || excludes_cached(item, cached, full_output, &mut flags);
    let uncached = if exclusive { input } else { input.checked_sub(cached).ok_or(BadUsage)? };
    let mut pool =
        InputTokenPool { uncached, read, write: if exclusive { 0 } else { write }, excludes_cached: exclusive };
    let MediaTokens { input: [audio, image, video], output: [audio_out, image_out], read_audio, overflowed } =
        MediaTokens::distribute(usage, &mut pool).ok_or(BadUsage)?;
    flags.add_if(PricingFlags::PARTS_ASSUMED, overflowed);
    let rest = |whole: u64, parts: &[u64]| parts.iter().try_fold(whole, |rest, part| rest.checked_sub(*part));
    Ok(TokenSplit {
        input: pool.uncached,
        input_audio: audio,
        input_image: image,
        input_video: video,
        cache_read: rest(read, &[read_audio]).ok_or(BadUsage)?,
        cache_read_audio: read_audio,
        cache_write: unspecified,
        cache_write_5m: short,
        cache_write_1h: long,
        output: rest(full_output, &[audio_out, image_out]).ok_or(BadUsage)?,
        output_audio: audio_out,
        output_image: image_out,
        reasoning,
        flags,
    })
}

/// Tokens other than text, each a subset of input, output or cache reads.
struct MediaTokens {
    /// Audio, image, video.
    input: [u64; 3],
    /// Audio, image.
    output: [u64; 2],
    read_audio: u64,
    /// Some tokens did not fit into the uncached input.
    overflowed: bool,
}

impl MediaTokens {
    /// Distributes the non-text tokens. Audio follows the input: if the reported input includes cached tokens, so does
    /// the reported audio. The rest of `pool` is text.
    fn distribute(usage: &TokenUsage, pool: &mut InputTokenPool) -> Option<Self> {
        let cached_audio = usage.cache_read_audio.unwrap_or(0);
        let audio = usage.input_audio.unwrap_or(0);
        let uncached_audio = if pool.excludes_cached { audio } else { audio.checked_sub(cached_audio)? };
        pool.read = pool.read.checked_sub(cached_audio)?;
        let read_before = pool.read;
        let audio_taken = pool.take(uncached_audio)?;
        // An emitter that reports cached audio reports all of it, so a remainder is an error.
        if usage.cache_read_audio.is_some() && audio_taken < uncached_audio {
            return None;
        }
        let read_audio = cached_audio.checked_add(read_before.checked_sub(pool.read)?)?;
        let (images, videos) = (usage.input_image.unwrap_or(0), usage.input_video.unwrap_or(0));
        let (images_taken, videos_taken) = (pool.take(images)?, pool.take(videos)?);
        Some(Self {
            input: [audio_taken, images_taken, videos_taken],
            output: [usage.output_audio.unwrap_or(0), usage.output_image.unwrap_or(0)],
            read_audio,
            overflowed: audio_taken < uncached_audio || images_taken < images || videos_taken < videos,
        })
    }
}

/// The input tokens that parts can still be taken from.
struct InputTokenPool {
    uncached: u64,
    read: u64,
    write: u64,
    /// The reported input, and therefore its parts, excludes cached tokens.
    excludes_cached: bool,
}

impl InputTokenPool {
    /// Takes `part` from the pool and returns how much of it is uncached. The rest counts as part of the cache reads,
    /// then of the cache writes.
    fn take(&mut self, part: u64) -> Option<u64> {
        let fits = part.min(self.uncached);
        let beyond = part.checked_sub(fits)?;
        if beyond > 0 && self.excludes_cached {
            return None;
        }
        let cached = beyond.min(self.read);
        self.uncached = self.uncached.checked_sub(fits)?;
        self.read = self.read.checked_sub(cached)?;
        self.write = self.write.checked_sub(beyond.checked_sub(cached)?)?;
        Some(fits)
    }
}

/// Whether the reported output excludes reasoning: because the dialect says so, or because reasoning is larger than the
/// output, or because the total counts both.
fn excludes_reasoning(item: &ItemFacts, cached: u64, flags: &mut PricingFlags) -> bool {
    let usage = &item.usage;
    let (input, output, reasoning) =
        (usage.input.unwrap_or(0), usage.output.unwrap_or(0), usage.reasoning.unwrap_or(0));
    if item.output_excludes_reasoning {
        return true;
    }
    let sum = input.saturating_add(output).saturating_add(reasoning);
    // The total may count the cached tokens instead of reasoning.
    let total_counts_both = reasoning > 0 && reasoning != cached && usage.total == Some(sum);
    let excludes = reasoning > output || total_counts_both;
    flags.add_if(PricingFlags::INCLUSION_CONFLICT, excludes);
    excludes
}

/// Operations without output: embeddings, rankings and the like.
fn has_no_output(item: &ItemFacts) -> bool {
    matches!(item.operation.as_deref(), Some("embeddings" | "rerank" | "moderation"))
}

/// Whether the reported input excludes the cached tokens. `output` includes reasoning.
fn excludes_cached(item: &ItemFacts, cached: u64, output: u64, flags: &mut PricingFlags) -> bool {
    let usage = &item.usage;
    let input = usage.input.unwrap_or(0);
    if cached == 0 {
        return false;
    }
    if input < cached {
        flags.add_if(PricingFlags::INCLUSION_CONFLICT, item.input_includes_cached == Some(true));
        return true;
    }
    let sum = input.saturating_add(output);
    if usage.total == Some(sum.saturating_add(cached)) {
        return true;
    }
    if item.total_by_provider && usage.total == Some(sum) {
        return false;
    }
    flags.add_if(PricingFlags::ASSUMED, item.input_includes_cached.is_none());
    item.input_includes_cached.map_or_else(|| vendor_excludes_cached(item), |includes| !includes)
}

/// Whether the vendor's own API reports input without cached tokens, as Anthropic's and Bedrock's do.
fn vendor_excludes_cached(item: &ItemFacts) -> bool {
    match item.provider.as_deref() {
        Some(provider) => matches!(provider, "anthropic" | "aws.bedrock"),
        None => [&item.response_model, &item.request_model].into_iter().flatten().any(|model| {
            let model = model.trim().to_lowercase();
            model.contains("claude") || model.starts_with("arn:") || model.contains("amazon.nova")
        }),
    }
}

/// The kind of endpoint that a price depends on, from the host that was called (also with a port, or as a URL): `us` or
/// `eu` (OpenAI's data residency), `regional` (a single Vertex location).
pub fn endpoint_kind(host: &str) -> Option<&'static str> {
    let host = host.trim();
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next()?;
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    let host = host.split(':').next()?.trim_end_matches('.');
    let (first, rest) = host.split_once('.')?;
    if rest.eq_ignore_ascii_case("api.openai.com") {
        return ["us", "eu"].into_iter().find(|geo| first.eq_ignore_ascii_case(geo));
    }
    first.to_ascii_lowercase().ends_with("-aiplatform").then_some("regional")
}

/// Everything a call's price is computed from except the rate table. Stored in the index row.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PriceBasis {
    /// Start of the call, Unix ns.
    pub time: u64,
    /// Current provider name. `None` = inferred from the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The response's model, then the requested model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The rate table's id of the model, if the reported model names could not be kept unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<String>,
    /// Digest of the tenant-specific overlays used for the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// Disjoint token counts.
    pub units: TokenSplit,
    /// The part of `units` that was already billed on an earlier record; this record is charged the difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_before: Option<TokenSplit>,
    /// Service tier, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Speed mode, such as `fast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// The region where the model ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// The kind of endpoint, see [`endpoint_kind`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The emitter's own cost, kept if the split of cache writes could be inferred from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
    /// Number of web searches.
    #[serde(skip_serializing_if = "is_zero")]
    pub web_searches: u64,
    /// Number of file searches.
    #[serde(skip_serializing_if = "is_zero")]
    pub file_searches: u64,
    /// Cached tokens were assumed to be excluded from the reported input, because nothing reported says otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// The tokens of several calls: their number chooses no price tier, and there is no fee per request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_total: bool,
    /// Assumptions made while the counts were made disjoint: words of [`PricingFlags`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

impl PriceBasis {
    /// Takes over model and provider reported later by an ancestor. If the counts were made disjoint without knowing
    /// the provider, they are adjusted to the provider's way of reporting.
    pub fn inherit(&mut self, model: Option<&str>, provider: Option<&str>) {
        if self.models.is_empty() {
            self.models.extend(model.map(str::to_owned));
        }
        let Some(provider) = provider.filter(|_| self.provider.is_none()) else { return };
        self.provider = Some(provider.to_owned());
        let assumed = self.flags.iter().any(|flag| flag == "assumed");
        let was_exclusive = assumed && self.exclusive;
        let is_exclusive = assumed && matches!(provider, "anthropic" | "aws.bedrock");
        let cached = self.units.cache_read.saturating_add(self.units.total_cache_writes());
        if is_exclusive && !was_exclusive {
            self.units.input = self.units.input.saturating_add(cached);
        } else if was_exclusive && !is_exclusive {
            self.units.input = self.units.input.saturating_sub(cached);
        }
        self.exclusive = is_exclusive;
    }

    /// The basis of `item`, called at `time` (Unix ns). `None` if the counts are impossible.
    pub fn from_facts(item: &ItemFacts, time: u64) -> Option<Self> {
        let units = split_tokens(item).ok()?;
        let context = item.context.as_deref();
        Some(Self {
            time,
            provider: item.provider.clone(),
            models: [&item.response_model, &item.request_model].into_iter().flatten().cloned().collect(),
            listed: None,
            contract: None,
            units,
            billed_before: item.cost.as_ref().and_then(|cost| cost.billed_before.as_deref().copied()),
            service_tier: context.and_then(|context| context.service_tier.clone()),
            speed: context.and_then(|context| context.speed.clone()),
            inference_geo: context.and_then(|context| context.inference_geo.clone()),
            endpoint: context.and_then(|context| endpoint_kind(context.server_address.as_deref()?)).map(str::to_owned),
            reported: item.reported_cost.clone().filter(|_| units.cache_write > 0),
            web_searches: context.map_or(0, |context| context.web_searches),
            file_searches: context.map_or(0, |context| context.file_searches),
            exclusive: units.flags.contains(PricingFlags::ASSUMED) && vendor_excludes_cached(item),
            is_total: matches!(item.call, ItemRole::Agent | ItemRole::TurnEnd),
            flags: units.flags.words().map(str::to_owned).collect(),
        })
    }
}
