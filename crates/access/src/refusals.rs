//! [`RefusalRecorder`]: counts and logs the requests and logins that a port refuses.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;

use kernel::clock::SystemClock;
use net::ClientAddress;
use telemetry::refusal_log::RefusalLogLimiter;
use telemetry::{Meter, names};

/// The beginning of the cookie of a session, behind `__Host-` with TLS.
const SESSION_COOKIE: &[u8] = b"tollgate=";

/// Counts and logs refused requests, so that guesses at credentials are seen.
pub(crate) struct RefusalRecorder {
    meter: Meter,
    log_limiter: RefusalLogLimiter,
}

impl RefusalRecorder {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self { meter: meter.clone(), log_limiter: RefusalLogLimiter::new(Arc::new(SystemClock::new())) }
    }

    /// Records an answer that refuses `request`.
    pub(crate) fn record(&self, request: &Parts, answer: &Response) {
        // browsers send cookies of other ports of the host, too
        let has_session = (request.headers.get_all(header::COOKIE).iter())
            .any(|cookies| cookies.as_bytes().windows(SESSION_COOKIE.len()).any(|part| part == SESSION_COOKIE));
        let has_credential = has_session || request.headers.contains_key(header::AUTHORIZATION);
        let reason = match answer.status() {
            StatusCode::UNAUTHORIZED if has_credential => "wrong_credential",
            StatusCode::UNAUTHORIZED => "no_credential",
            StatusCode::FORBIDDEN => "forbidden",
            _ => return,
        };
        self.count(reason, ClientAddress::of(&request.extensions));
    }

    /// Counts and logs a refusal. The log gets fixed texts and nothing from the request.
    pub(crate) fn count(&self, reason: &'static str, address: ClientAddress) {
        let from = address.class();
        self.meter.counter(&names::ADMIN_REJECTIONS, &[("reason", reason), ("from", from)]).increment(1);
        if let Some(more) = self.log_limiter.count_refusal(reason) {
            tracing::warn!(
                reason,
                from,
                more,
                "a request was refused for its credential or role; `more` is the number of refusals for this reason since the last \
                 such line that were not logged"
            );
        }
    }
}
