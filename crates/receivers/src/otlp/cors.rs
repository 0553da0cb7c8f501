//! Which web pages may send (CORS): SDKs in pages send OTLP/HTTP from another origin.
//! CORS is off unless configured. A page from another origin gets no CORS headers, so its browser withholds the
//! response from it; CORS does not protect against clients other than browsers. `auth` authenticates clients.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use super::config::CorsConfig;
use config::glob::matches;

/// Request headers that OTLP clients send.
const DEFAULT_HEADERS: &str =
    "content-type, content-encoding, authorization, traceparent, tracestate, baggage, user-agent";

impl CorsConfig {
    /// Whether a page of this origin may send.
    pub(super) fn allows(&self, origin: &[u8]) -> bool {
        self.allowed_origins.iter().any(|pattern| matches(pattern.as_bytes(), origin))
    }

    /// Adds the CORS headers to the response of an ordinary request.
    pub(super) fn add_headers(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origin) = request.get(ORIGIN) else { return };
        response.append(VARY, HeaderValue::from_static("origin"));
        if !self.allows(origin.as_bytes()) {
            return;
        }
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed =
            ["retry-after".to_owned()].into_iter().chain(self.exposed_headers.iter().cloned()).collect::<Vec<_>>();
        if let Ok(exposed) = HeaderValue::from_str(&exposed.join(", ")) {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The headers that answer a browser's preflight request; `None` if the request is not one.
    pub(super) fn preflight_headers(&self, method: &Method, request: &HeaderMap) -> Option<HeaderMap> {
        let origin = request.get(ORIGIN)?;
        if *method != Method::OPTIONS || !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = HeaderMap::new();
        self.add_headers(request, &mut response);
        if !self.allows(origin.as_bytes()) {
            return Some(response);
        }
        response.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let allows_any_header = self.allowed_headers.iter().any(|header| header == "*");
        let requested = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().filter(|_| allows_any_header);
        let listed = || {
            let names: Vec<&str> =
                [DEFAULT_HEADERS].into_iter().chain(self.allowed_headers.iter().map(String::as_str)).collect();
            HeaderValue::from_str(&names.join(", ")).ok()
        };
        if let Some(headers) = requested.or_else(listed) {
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        if self.max_age > 0 {
            response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age));
        }
        Some(response)
    }
}
