//! **What**: what a look-up of a model id gives: a place in the table ([`Resolved`]) or why there is no price
//! ([`Unpriced`]). **Not here**: the look-up (`ids`).

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
    /// The call tells no counts: streaming without `stream_options.include_usage`, for instance.
    NoUsage,
}

/// How to get a price for calls of [`Unpriced::NoUsage`], as the end of a sentence.
pub const NO_USAGE_HINT: &str = "have the client report usage, for OpenAI's streams with stream_options.include_usage";

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
            Self::NoUsage => "no_usage",
        }
    }
}

/// A model found, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) provider: usize,
    pub(super) model: usize,
    pub(super) date_dropped: bool,
    /// The emitter left the vendor out of the id; it was found by the family's name.
    pub(super) vendor_inferred: bool,
    /// Called through Vertex.
    pub(super) vertex: bool,
    /// Where the provider's ids carry regions: index of the first segment in the table's scopes, if it has one.
    pub(super) bedrock: Option<Option<usize>>,
}
