//! **What**: which web pages may send: the answers that browsers ask for (CORS). **Why**: SDKs in pages send OTLP/HTTP
//! from another origin. **Invariants**: off unless configured; an origin that is not allowed gets no header, so that
//! its browser keeps the answer from it; it is no protection against anybody but browsers. **Not here**: who a client
//! is (`auth`).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use config::glob::matches;

/// Headers that clients of OTLP send.
const USUAL: &str = "content-type, content-encoding, authorization, traceparent, tracestate, baggage, user-agent";

/// Which pages, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Origins; `*` stands for any characters.
    pub origins: Vec<String>,
    /// Headers besides the usual ones; `*`: any.
    pub headers: Vec<String>,
    /// Headers of answers that they may read.
    pub exposed: Vec<String>,
    /// Seconds; 0: as the browser likes.
    pub max_age: u32,
}

impl Settings {
    fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|pattern| matches(pattern.as_bytes(), origin))
    }

    /// The headers of any answer to a page that may send.
    pub(super) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = request.get(ORIGIN) else { return };
        answer.append(VARY, HeaderValue::from_static("origin"));
        if !self.allows(origin.as_bytes()) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = ["retry-after".to_owned()].into_iter().chain(self.exposed.iter().cloned()).collect::<Vec<_>>();
        if let Ok(exposed) = HeaderValue::from_str(&exposed.join(", ")) {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The headers by which a browser's question is answered; None: it is no question.
    pub(super) fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<HeaderMap> {
        let origin = request.get(ORIGIN)?;
        if *method != Method::OPTIONS || !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut answer = HeaderMap::new();
        self.mark(request, &mut answer);
        if !self.allows(origin.as_bytes()) {
            return Some(answer);
        }
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let any = self.headers.iter().any(|header| header == "*");
        let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().filter(|_| any);
        let listed = || {
            let all: Vec<&str> = [USUAL].into_iter().chain(self.headers.iter().map(String::as_str)).collect();
            HeaderValue::from_str(&all.join(", ")).ok()
        };
        if let Some(headers) = asked.or_else(listed) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        if self.max_age > 0 {
            answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age));
        }
        Some(answer)
    }
}
