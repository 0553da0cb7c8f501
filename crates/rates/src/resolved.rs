//! The result of looking up a model id: an entry of the table ([`ResolvedModel`]), or the reason why there is no price
//! ([`UnpricedReason`]). `id_resolution` does the look-up.

kernel::word_enum! {
    /// Why a call has no price; its word is written to `tollgate.cost.reason`.
    pub UnpricedReason {
        /// The provider does not list the model.
        UnknownModel = "unknown_model",
        /// The provider is not in the table.
        UnknownProvider = "unknown_provider",
        /// The call names no provider, and several list the model.
        AmbiguousProvider = "ambiguous_provider",
        /// The call names no model.
        NoModel = "no_model",
        /// The model has no rate at the time of the call.
        NoRateAtTime = "no_rate_at_time",
        /// The call uses a unit that has no price.
        MissingUnit = "missing_unit",
        /// The token counts are contradictory.
        BadUsage = "bad_usage",
        /// The call reports no token counts: streaming without `stream_options.include_usage`, for instance.
        NoUsage = "no_usage",
        /// The client's dialect does not know the item that reports the tokens.
        UnknownOperation = "unknown_operation",
    }
}

/// How to get a price for calls of [`UnpricedReason::NoUsage`], as the end of a sentence.
pub const NO_USAGE_HINT: &str = "have the client report usage, for OpenAI's streams with stream_options.include_usage";

/// An entry of the table, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ResolvedModel {
    pub(super) provider: usize,
    pub(super) model: usize,
    pub(super) date_dropped: bool,
    /// The id lacked the vendor, which was found by the name of the family.
    pub(super) vendor_inferred: bool,
    /// Called through Vertex.
    pub(super) vertex: bool,
    /// For providers whose ids contain regions: index of the id's first segment in the table's scopes, if it has one.
    pub(super) bedrock_scope: Option<Option<usize>>,
}
