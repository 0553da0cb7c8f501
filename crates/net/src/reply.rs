//! [`ReplyBody`]: the response body of every server in tollgate.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub(super) type ReplyBodyError = Box<dyn std::error::Error + Send + Sync>;

pub type ReplyBody = UnsyncBoxBody<Bytes, ReplyBodyError>;
