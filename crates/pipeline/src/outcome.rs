//! [`Outcome`]: the four things that can happen to a batch, and [`Reason`]: why. [`Reason`] is finite: it is the metric
//! label, the log field and the text for clients (which may name an exporter of the configuration). It never holds
//! payload.
//! The crates `receivers` (`otlp/reply.rs`) and `exporters` (`outcome.rs`) translate outcomes to and from statuses.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Longest wait before a retry that a back end can ask for; longer ones are shortened to this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The data is safe (or delivered): the sender may discard it.
    Accepted,
    /// Accepted except for `rejected` items, which must not be sent again.
    Partial {
        /// Number of items refused.
        rejected: u64,
        /// Why.
        reason: Reason,
    },
    /// Not accepted now; the same bytes may be sent again.
    Retry {
        /// Wait before the retry, if known.
        after: Option<Duration>,
        /// Why.
        reason: Reason,
    },
    /// Refused for good: the same bytes would be refused again.
    Refused {
        /// Why.
        reason: Reason,
    },
}

impl Outcome {
    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Partial { .. } => "partial",
            Self::Retry { .. } => "retry",
            Self::Refused { .. } => "refused",
        }
    }

    /// Joins the outcomes of a batch of `items` items that had to satisfy two parties, e.g. two exporters. A retry wins
    /// over every other outcome. If one party refused the batch and the other accepted at least a part, the result is
    /// `Partial` with all items as rejected (an upper bound), because a retry would duplicate the accepted copy.
    #[must_use]
    pub fn join(self, other: Self, items: u64) -> Self {
        match (self, other) {
            (Self::Accepted, outcome) | (outcome, Self::Accepted) if !matches!(outcome, Self::Refused { .. }) => {
                outcome
            }
            (Self::Retry { after, reason }, Self::Retry { after: other_after, .. }) => {
                Self::Retry { after: after.max(other_after), reason }
            }
            (retry @ Self::Retry { .. }, _) | (_, retry @ Self::Retry { .. }) => retry,
            (refused @ Self::Refused { .. }, Self::Refused { .. }) => refused,
            (Self::Refused { reason }, _) | (_, Self::Refused { reason }) => Self::Partial { rejected: items, reason },
            (Self::Partial { rejected, reason }, Self::Partial { rejected: other_rejected, reason: other_reason }) => {
                match rejected >= other_rejected {
                    true => Self::Partial { rejected, reason },
                    false => Self::Partial { rejected: other_rejected, reason: other_reason },
                }
            }
            (outcome, Self::Accepted) | (Self::Accepted, outcome) => outcome,
        }
    }
}

/// The text for clients about an exporter whose `max_pending` is reached. It is a leaked string, one per exporter for
/// the life of the process, so that a [`Reason`] stays `Copy` and small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingFullText(&'static str);

/// The leaked texts, by exporter.
static PENDING_FULL_TEXTS: Mutex<BTreeMap<String, PendingFullText>> = Mutex::new(BTreeMap::new());

impl PendingFullText {
    /// Stands for the texts of all exporters in [`Reason::ALL`].
    const UNKNOWN_EXPORTER: Self = Self("the data pending for an exporter has reached its `max_pending`");

    /// The text for this exporter.
    pub fn for_exporter(exporter: &str) -> Self {
        let text = || format!("the data pending for exporter `{exporter}` has reached its `max_pending`");
        *PENDING_FULL_TEXTS
            .lock()
            .entry(exporter.to_owned())
            .or_insert_with(|| Self(Box::leak(text().into_boxed_str())))
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $text:literal;)*) => {
        /// Why a batch was not accepted, or not as a whole.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// The `max_pending` of one of the batch's exporters is reached.
            PendingFull(PendingFullText),
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)* Self::PendingFull(PendingFullText::UNKNOWN_EXPORTER)];
            /// The metric label.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* Self::PendingFull(_) => "pending_full" }
            }
            /// The text for clients and logs.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::PendingFull(PendingFullText(text)) => text }
            }
        }
    };
}

reasons! {
    /// The body is not the protobuf or JSON it claims to be.
    Malformed = "malformed", "the body is not a valid OTLP request";
    /// Larger than the limit, before or after decompression.
    TooLarge = "too_large", "the request is larger than the limit";
    /// The byte budget stayed full for the whole admission wait.
    Overloaded = "overloaded", "too many requests are in progress";
    /// The process is near its memory limit.
    LowMemory = "low_memory", "the gateway is low on memory";
    /// The spool reached its size limit, or the disk is full.
    SpoolFull = "spool_full", "the spool is full";
    /// The spool can't be written.
    SpoolFailed = "spool_failed", "the spool can't be written";
    /// The gateway is shutting down.
    ShuttingDown = "shutting_down", "the gateway is shutting down";
    /// The batch disappeared without a result.
    Lost = "lost", "the request ended without a result";
    /// The client's connection ended before the body did.
    Disconnected = "disconnected", "the connection ended before the request did";
    /// The client was too slow.
    TimedOut = "timed_out", "the request took too long";
    /// The account exceeds its rate limit.
    RateLimited = "rate_limited", "the account exceeded its rate limit";
    /// Spans have ids of the wrong length, or with only zeros.
    BadIds = "bad_ids", "items with ids of the wrong length, or all zero, were refused";
    /// Items are larger than the limit.
    ItemTooLarge = "item_too_large", "items larger than the limit (`limits.max_item_size`) were refused";
    /// Some items for [`Reason::BadIds`], others for [`Reason::ItemTooLarge`].
    BadItems = "bad_items", "items with ids of the wrong length or all zero, and items larger than the limit, were refused";
    /// No pipeline takes this signal.
    NoPipeline = "no_pipeline", "no pipeline accepts this signal from this receiver";
    /// A processor failed on these items; they are quarantined.
    Quarantined = "quarantined", "items that could not be processed were not forwarded";
    /// The back end could not be reached, or asked for a retry.
    Unavailable = "unavailable", "the back end is not available";
    /// The back end refused the credential or the path.
    Denied = "denied", "the back end refused the credential or the address";
    /// The back end refused the data.
    BadData = "bad_data", "the back end refused the data";
    /// The request is larger than the exporter's limit and can't be split; it was not sent to the back end.
    AboveLimit = "above_max_request_size", "the item is larger than the exporter's `max_request_size`";
    /// The external recogniser gave no answer, without which the texts may not be forwarded.
    RecogniserUnavailable = "recogniser_unavailable", "the external recogniser did not check the texts";
    /// No recipient of the vault may open the content.
    NoRecipient = "no_recipient", "no recipient of the vault may open this account's content";
    /// The batch's clearance does not satisfy the exporter.
    NotCleared = "not_cleared", "the batch is not cleared for this exporter";
}

impl Reason {
    /// The outcome for a sender whose batch was kept back for this reason: whether and when the same bytes may be sent
    /// again.
    pub fn outcome(self) -> Outcome {
        let retry = |seconds: u64| Outcome::Retry { after: Some(Duration::from_secs(seconds)), reason: self };
        match self {
            Self::Malformed
            | Self::TooLarge
            | Self::NoPipeline
            | Self::Quarantined
            | Self::BadData
            | Self::AboveLimit
            | Self::BadIds
            | Self::ItemTooLarge
            | Self::BadItems
            | Self::NotCleared => Outcome::Refused { reason: self },
            Self::SpoolFull | Self::PendingFull(_) | Self::NoRecipient => retry(10),
            Self::RecogniserUnavailable => retry(5),
            Self::LowMemory => retry(2),
            Self::Overloaded | Self::RateLimited | Self::SpoolFailed | Self::ShuttingDown => retry(1),
            Self::Lost | Self::Disconnected | Self::TimedOut | Self::Unavailable | Self::Denied => {
                Outcome::Retry { after: None, reason: self }
            }
        }
    }
}

/// Joins the results of two exporters; if there is only one, returns it.
pub(super) fn join_results(earlier: Option<Outcome>, result: Outcome, items: u64) -> Outcome {
    match earlier {
        None => result,
        Some(earlier) => earlier.join(result, items),
    }
}

/// The client's answer: the exporters' result, joined with the engine's own outcome if that is not `Accepted`.
pub(super) fn final_answer(engine_outcome: Outcome, joined_result: Option<Outcome>, items: u64) -> Outcome {
    match (engine_outcome, joined_result) {
        (engine_outcome, None) => engine_outcome,
        (Outcome::Accepted, Some(result)) => result,
        (engine_outcome, Some(result)) => engine_outcome.join(result, items),
    }
}
