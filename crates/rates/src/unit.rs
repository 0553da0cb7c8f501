//! Units in which tokens are sold, fees, and the variables that prices depend on. The sets are finite; a table with an
//! unknown word is refused.

kernel::word_enum! {
    /// Units in which tokens are sold.
    pub Unit {
        /// Uncached text input.
        Input = "input",
        Output = "output",
        /// Input read from a cache.
        CacheRead = "cache_read",
        /// Input written to a cache for a short time.
        CacheWrite = "cache_write",
        /// Written for 5 minutes, if priced separately.
        CacheWrite5m = "cache_write_5m",
        CacheWrite30m = "cache_write_30m",
        CacheWrite1h = "cache_write_1h",
        CacheWrite12h = "cache_write_12h",
        InputAudio = "input_audio",
        InputImage = "input_image",
        InputVideo = "input_video",
        CacheReadAudio = "cache_read_audio",
        CacheReadImage = "cache_read_image",
        OutputAudio = "output_audio",
        OutputImage = "output_image",
        OutputVideo = "output_video",
        OutputCitation = "output_citation",
        /// Reasoning, if priced separately.
        Reasoning = "reasoning",
    }
}

kernel::word_enum! {
    /// Fees charged per use.
    pub Fee {
        /// The call itself: always charged.
        Request = "request",
        WebSearch = "web_search",
        FileSearch = "file_search",
        /// A page that is read.
        DocumentPage = "document_page",
        /// A page that is read with annotations.
        AnnotatedDocumentPage = "annotated_document_page",
        InputTextMessage = "input_text_message",
    }
}

kernel::word_enum! {
    /// Variables that the conditions of an `adjust` entry can test.
    pub Variable {
        /// `flex`, `priority`, `fast`.
        ServiceTier = "service_tier",
        /// `batch`.
        Processing = "processing",
        /// `fast`.
        Speed = "speed",
        /// `us`.
        InferenceGeo = "inference_geo",
        /// `us`, `eu`.
        DataResidency = "data_residency",
        /// `global`, `geo`, `region`, `gov`.
        BedrockScope = "bedrock_scope",
        /// First segment of a Bedrock id.
        BedrockGeo = "bedrock_geo",
        /// `regional`.
        VertexEndpoint = "vertex_endpoint",
        /// `vertex`.
        GooglePlatform = "google_platform",
        /// `HH:MM-HH:MM`, end excluded, may wrap around midnight.
        UtcTime = "utc_time",
        /// `mon` … `sun`.
        UtcWeekday = "utc_weekday",
        /// A reseller's route; no telemetry attribute provides it yet.
        Route = "route",
    }
}

impl Variable {
    pub(super) fn bit(self) -> u32 {
        1 << (self as u32)
    }

    /// Set by the caller. If no rate exists for its value, the list price is an assumption.
    pub(super) fn is_chosen(self) -> bool {
        matches!(self, Self::ServiceTier | Self::Processing | Self::Speed | Self::InferenceGeo | Self::DataResidency)
    }
}
