//! What HTTP requests of all receivers have in common: the encoding of the body, its conversion to a request, and the
//! response to a refused one.
//! An HTTP/1.1 client that is refused while it is still sending gets the response all the same.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, EXPECT};
use http::{HeaderMap, HeaderValue, Response, Version, request};
use hyper::body::{Body as _, Incoming};

use super::auth::Sender;
use super::body_collector::{BodyCollector, ChargedBody};
use super::port::ReceiverPort;
use super::reply::{BodyFormat, RequestRefusal};
use net::collect::discard;
use net::listen::ReplyBody;
use net::spawn::run_blocking;
use net::{ClientAddress, ContentEncoding};
use pipeline::{BytePermit, Outcome, Reason};

/// How long a refused HTTP/1.1 client may keep sending before the response is written.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// Larger bodies are converted on a blocking thread instead of the reactor.
const MAX_INLINE_BYTES: usize = 64 * 1024;

impl ReceiverPort {
    /// Reads a body and inflates it.
    ///
    /// # Errors
    /// The body is too large, too slow or cut off, or its encoding does not fit.
    pub(crate) async fn read_inflated(
        intake: &BodyCollector<'_>,
        encoding: ContentEncoding,
        body: &mut Incoming,
    ) -> Result<ChargedBody, RequestRefusal> {
        let mut permit = BytePermit::new();
        let rope = intake.read_body(body, &mut permit, |_| Ok(())).await.map_err(RequestRefusal::body_failed)?;
        let inflated = intake.inflate(encoding, rope, permit).await;
        inflated.map_err(|error| RequestRefusal::inflate_failed(encoding, &error))
    }

    /// Converts a body to a request, on a blocking thread named `task` if it is large, and to whatever else `convert`
    /// finds in it. During the conversion the budget is charged for the body and `copies` times its size; afterwards
    /// for the size of the request.
    ///
    /// # Errors
    /// The budget has no room, or `convert` refuses the body.
    pub(crate) async fn convert_body<T: Send + 'static>(
        &self,
        intake: &BodyCollector<'_>,
        ChargedBody { bytes, mut permit }: ChargedBody,
        (task, copies): (&'static str, usize),
        convert: impl FnOnce(Bytes) -> Result<(Vec<u8>, T), RequestRefusal> + Send + 'static,
    ) -> Result<(ChargedBody, T), RequestRefusal> {
        let size = bytes.len();
        intake.charge(&mut permit, size.saturating_mul(copies)).await.map_err(RequestRefusal::body_failed)?;
        let work = move || convert(bytes);
        let converted =
            if size <= MAX_INLINE_BYTES { Some(work()) } else { run_blocking(&*self.context.tasks, task, work).await };
        let lost = || RequestRefusal::from_outcome(&Outcome::Retry { after: None, reason: Reason::Lost });
        let (request, found) = converted.ok_or_else(lost)??;
        let missing = request.len().saturating_sub(permit.bytes());
        intake.charge(&mut permit, missing).await.map_err(RequestRefusal::body_failed)?;
        permit.release(permit.bytes().saturating_sub(request.len()));
        Ok((ChargedBody { bytes: Bytes::from(request), permit }, found))
    }

    /// Records a refused request, and gives the response to it after the rest of an HTTP/1.1 body was read.
    pub(crate) async fn answer_refused_http(
        &self,
        parts: &request::Parts,
        mut body: Incoming,
        refusal: &RequestRefusal,
        sender: Option<&Sender>,
    ) -> Response<ReplyBody> {
        let account = sender.map(|sender| &*sender.account);
        self.meters.record_refusal(refusal, ClientAddress::of(&parts.extensions), account);
        let mut response = refusal.http_response(BodyFormat::from_headers(&parts.headers));
        if parts.version < Version::HTTP_2 && !body.is_end_stream() {
            let is_gone = [Reason::TimedOut.label(), Reason::Disconnected.label()].contains(&refusal.label);
            // A client that waits for "100 Continue" sends nothing yet; reading the body would ask it to send.
            if !is_gone && !parts.headers.contains_key(EXPECT) {
                discard(&mut body, self.limits.wire.saturating_mul(2), DISCARD_TIME).await;
            }
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The encoding of a body.
///
/// # Errors
/// The encoding is not supported, or there are several.
pub(crate) fn parse_content_encoding(headers: &HeaderMap) -> Result<ContentEncoding, RequestRefusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let unknown = || {
        let message = format!("this content encoding is not supported; use one of: {}", ContentEncoding::ACCEPTED);
        RequestRefusal::unsupported("encoding", message).with_header("accept-encoding", "gzip, zstd, deflate, identity")
    };
    match (values.next(), values.next()) {
        (None, _) => Ok(ContentEncoding::Identity),
        (Some(value), None) => value.to_str().ok().and_then(ContentEncoding::parse).ok_or_else(unknown),
        (Some(_), Some(_)) => Err(unknown()),
    }
}
