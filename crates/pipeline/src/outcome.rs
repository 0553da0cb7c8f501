//! **What**: the only four things that can happen to a batch, and why. **Invariants**: [`Reason`] is finite: it is the
//! metric label, the log field and the client's text (which may name an exporter of the configuration); it never holds
//! payload. **Not here**: statuses of a protocol (`receivers/otlp/reply`, `exporters/otlp/verdict`).

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

/// A back end that asks for more time is asked again after this.
pub const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Safe (or delivered): the sender may forget it.
    Accepted,
    /// Accepted but for `rejected` items, which must not be sent again.
    Partial {
        /// Items refused.
        rejected: u64,
        /// Why.
        reason: Reason,
    },
    /// Not now; the same bytes may be sent again.
    Retry {
        /// When, if known.
        after: Option<Duration>,
        /// Why.
        reason: Reason,
    },
    /// Never: the same bytes would be refused again.
    Refused {
        /// Why.
        reason: Reason,
    },
}

impl Outcome {
    /// What a sender is told of a batch of `items` items that had to satisfy two: the whole truth about both. Who must
    /// come again must; who was refused by one and taken by the other must not, and is told how many went astray at
    /// most.
    #[must_use]
    pub fn join(self, other: Self, items: u64) -> Self {
        match (self, other) {
            (Self::Accepted, one) | (one, Self::Accepted) if !matches!(one, Self::Refused { .. }) => one,
            (Self::Retry { after, reason }, Self::Retry { after: other, .. }) => {
                Self::Retry { after: after.max(other), reason }
            }
            (retry @ Self::Retry { .. }, _) | (_, retry @ Self::Retry { .. }) => retry,
            (refused @ Self::Refused { .. }, Self::Refused { .. }) => refused,
            (Self::Refused { reason }, _) | (_, Self::Refused { reason }) => Self::Partial { rejected: items, reason },
            (Self::Partial { rejected, reason }, Self::Partial { rejected: other, reason: also }) => {
                match rejected >= other {
                    true => Self::Partial { rejected, reason },
                    false => Self::Partial { rejected: other, reason: also },
                }
            }
            (one, Self::Accepted) | (Self::Accepted, one) => one,
        }
    }
}

/// An exporter that has as much waiting as may, in the words for clients. As small as a number, so that a [`Reason`]
/// is: the words are kept as long as the process lives, once for each exporter that it ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Full(&'static str);

/// The words, by exporter.
static FULL: Mutex<BTreeMap<String, Full>> = Mutex::new(BTreeMap::new());

impl Full {
    /// What is said where nobody knows which.
    const SOMEBODY: Self = Self("as much waits for an exporter as its `max_pending` allows");

    /// For this exporter of the configuration.
    pub fn of(exporter: &str) -> Self {
        let words = || format!("as much waits for the exporter `{exporter}` as its `max_pending` allows");
        *FULL.lock().entry(exporter.to_owned()).or_insert_with(|| Self(Box::leak(words().into_boxed_str())))
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $text:literal;)*) => {
        /// Why a batch was not simply accepted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// As much waits for one of the batch's exporters as may.
            PendingFull(Full),
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)* Self::PendingFull(Full::SOMEBODY)];
            /// The metric label.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* Self::PendingFull(_) => "pending_full" }
            }
            /// The text for clients and logs.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::PendingFull(Full(text)) => text }
            }
        }
    };
}

reasons! {
    /// The body is not the protobuf or JSON it claims to be.
    Malformed = "malformed", "the body is not a valid OTLP request";
    /// Larger than the limit, before or after decompression.
    TooLarge = "too_large", "the request is larger than the limit";
    /// The byte budget stayed full for the admission wait.
    Overloaded = "overloaded", "too many requests are being worked on";
    /// The process is near the limit of its memory.
    LowMemory = "low_memory", "memory is short";
    /// The spool reached its size bound or the disk is full.
    SpoolFull = "spool_full", "the spool is full";
    /// The spool can't be written.
    SpoolFailed = "spool_failed", "the spool can't be written";
    /// The gateway is shutting down.
    ShuttingDown = "shutting_down", "the gateway is shutting down";
    /// The batch vanished without a verdict.
    Lost = "lost", "the request was not finished";
    /// The client's connection ended before the body did.
    Disconnected = "disconnected", "the connection ended before the request did";
    /// The client was too slow.
    TimedOut = "timed_out", "the request took too long";
    /// The account sends more than it may.
    RateLimited = "rate_limited", "the account sends more than it may";
    /// Spans whose ids have the wrong length or are all zero.
    BadIds = "bad_ids", "items with ids of the wrong length, or all zero, were refused";
    /// Items over the limit.
    ItemTooLarge = "item_too_large", "items larger than the limit (`limits.max_item_size`) were refused";
    /// Both.
    BadItems = "bad_items", "items with ids of the wrong length or all zero, and items larger than the limit, were refused";
    /// No pipeline takes this signal.
    NoPipeline = "no_pipeline", "no pipeline takes this signal";
    /// A processor failed on these items; they are quarantined.
    Quarantined = "quarantined", "items that could not be processed were kept back";
    /// The back end could not be reached or asked for a retry.
    Unavailable = "unavailable", "the back end is not available";
    /// The back end refused the credential or the path.
    Denied = "denied", "the back end refused the credential or the address";
    /// The back end refused the data.
    BadData = "bad_data", "the back end refused the data";
    /// More than this exporter may send in one request, and it can't be divided; the back end was not asked.
    AboveLimit = "above_max_request_size", "the item is larger than the exporter's `max_request_size`";
    /// The external recogniser gave no answer, and texts may not go on without one.
    Held = "held", "the texts could not be checked";
    /// The batch's clearance does not satisfy the exporter.
    NotCleared = "not_cleared", "the batch may not go to this exporter";
}

impl Reason {
    /// What a sender is told whose batch was kept back for this reason: whether and when the same bytes may come again.
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
            Self::SpoolFull | Self::PendingFull(_) => retry(10),
            Self::Held => retry(5),
            Self::LowMemory => retry(2),
            Self::Overloaded | Self::RateLimited | Self::SpoolFailed | Self::ShuttingDown => retry(1),
            Self::Lost | Self::Disconnected | Self::TimedOut | Self::Unavailable | Self::Denied => {
                Outcome::Retry { after: None, reason: self }
            }
        }
    }
}
