//! **What**: [`ReplyBody`]: what every server of ours answers with.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// Any error.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of an answer.
pub type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;
