//! **What**: reported tokens made disjoint ([`split`]), with what had to be assumed ([`Flags`]). **Invariants**: never
//! clamped: a count that can't be is bad usage; evidence in the numbers comes before any table.

use super::facts::{Buckets, ItemFacts};

/// What was assumed on the way to a price; the words stand in `tollgate.cost.flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

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
    /// The numbers say that input excludes cached tokens, the table says otherwise.
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
}

/// Disjoint counts of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Text input, neither read from nor written to a cache.
    pub input: u64,
    /// Audio input.
    pub input_audio: u64,
    /// Read from a cache, without audio.
    pub cache_read: u64,
    /// Audio read from a cache.
    pub cache_read_audio: u64,
    /// Written to a cache for a time that was not told.
    pub cache_write: u64,
    /// Written for 5 minutes.
    pub cache_write_5m: u64,
    /// Written for 1 hour.
    pub cache_write_1h: u64,
    /// Output without audio, reasoning included.
    pub output: u64,
    /// Audio output.
    pub output_audio: u64,
    /// The part of output that was reasoning.
    pub reasoning: u64,
    /// What was assumed.
    pub flags: Flags,
}

impl Split {
    /// The size of the prompt.
    pub fn total_input(&self) -> u64 {
        [self.input_audio, self.cache_read, self.cache_read_audio, self.writes()]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// All cache writes.
    pub fn writes(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_5m).saturating_add(self.cache_write_1h)
    }

    /// The buckets as attributes and index rows have them.
    pub fn buckets(&self) -> Buckets {
        Buckets {
            input: self.input.saturating_add(self.input_audio),
            cache_read: self.cache_read.saturating_add(self.cache_read_audio),
            cache_write_5m: self.cache_write.saturating_add(self.cache_write_5m),
            cache_write_1h: self.cache_write_1h,
            output: self.output.saturating_add(self.output_audio),
            reasoning: self.reasoning,
        }
    }
}

/// Vendors whose own API reports input without cached tokens.
const EXCLUSIVE: [&str; 2] = ["anthropic", "aws.bedrock"];

/// Counts that can't be: negative, no numbers, or a part larger than its whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUsage;

/// Makes the counts of `item` disjoint. `vendor` is today's name of who serves the model, where it is known.
///
/// # Errors
/// [`BadUsage`].
pub fn split(item: &ItemFacts, vendor: Option<&str>) -> Result<Split, BadUsage> {
    let usage = &item.usage;
    if usage.bad {
        return Err(BadUsage);
    }
    let mut flags = Flags::default();
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    let (read, reasoning) = (usage.cache_read.unwrap_or(0), usage.reasoning.unwrap_or(0));
    let (short, long) = (usage.cache_write_5m.unwrap_or(0), usage.cache_write_1h.unwrap_or(0));
    let told = short.checked_add(long).ok_or(BadUsage)?;
    let unspecified = usage.cache_write.unwrap_or(0).saturating_sub(told);
    let write = told.checked_add(unspecified).ok_or(BadUsage)?;
    let cached = read.checked_add(write).ok_or(BadUsage)?;
    if usage.input.is_none() != usage.output.is_none() && !input_only(item) {
        flags.add(Flags::PARTIAL_USAGE);
    }
    let exclusive = usage.input.is_none() || is_exclusive(item, vendor, cached, &mut flags);
    let uncached = if exclusive { input } else { input.checked_sub(cached).ok_or(BadUsage)? };
    let spoken = if item.output_includes_reasoning { Some(output) } else { output.checked_add(reasoning) };
    let audio = (usage.input_audio.unwrap_or(0), usage.output_audio.unwrap_or(0), usage.cache_read_audio.unwrap_or(0));
    // audio is a part of what input is: where input includes what was cached, so does audio
    let heard = if exclusive { audio.0 } else { audio.0.checked_sub(audio.2).ok_or(BadUsage)? };
    Ok(Split {
        input: uncached.checked_sub(heard).ok_or(BadUsage)?,
        input_audio: heard,
        cache_read: read.checked_sub(audio.2).ok_or(BadUsage)?,
        cache_read_audio: audio.2,
        cache_write: unspecified,
        cache_write_5m: short,
        cache_write_1h: long,
        output: spoken.and_then(|spoken| spoken.checked_sub(audio.1)).ok_or(BadUsage)?,
        output_audio: audio.1,
        reasoning,
        flags,
    })
}

/// Embeddings and rankings have no output.
fn input_only(item: &ItemFacts) -> bool {
    matches!(item.operation.as_deref(), Some("embeddings" | "rerank"))
}

/// Whether reported input leaves the cached tokens out.
fn is_exclusive(item: &ItemFacts, vendor: Option<&str>, cached: u64, flags: &mut Flags) -> bool {
    let usage = &item.usage;
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
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
            vendor.is_some_and(|vendor| EXCLUSIVE.contains(&vendor))
        },
        |includes| !includes,
    )
}
