//! [`RequestPlayer`]: sends the session's requests over a socket, and reads pages. It sends OTLP/HTTP protobuf, one
//! request after another, and each must be accepted completely. `session` makes the requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use kernel::clock::Clock;
use net::client::{self, ClientSettings, HttpClient};
use net::{ProxyRules, Spawn};

use super::session::RecordedRequest;
use crate::cli::error::CommandError;

/// The longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A client of the gateway.
pub(super) struct RequestPlayer {
    client: HttpClient,
    clock: Arc<dyn Clock>,
}

impl RequestPlayer {
    /// A client that uses no proxy.
    ///
    /// # Errors
    /// The client can't be built.
    pub(super) fn new(tasks: Arc<dyn Spawn>, clock: Arc<dyn Clock>) -> Result<Self, CommandError> {
        let client = HttpClient::build(&ClientSettings::default(), Arc::new(ProxyRules::direct()), tasks)?;
        Ok(Self { client, clock })
    }

    /// Sends all requests; returns the longest time to an answer.
    ///
    /// # Errors
    /// The first request that was not accepted.
    pub(super) async fn send_all(
        &self,
        gateway: SocketAddr,
        requests: &[RecordedRequest],
    ) -> Result<Duration, CommandError> {
        let mut slowest = Duration::ZERO;
        for request in requests {
            let uri = format!("http://{gateway}/v1/{}", request.signal.as_str());
            let began = self.clock.monotonic();
            let answer = self.send(Method::POST, &uri, request.body.clone()).await?;
            slowest = slowest.max(self.clock.monotonic().saturating_sub(began));
            // A full success is an empty message in protobuf.
            if !answer.is_empty() {
                return Err(CommandError::Failed(format!("{uri} accepted only a part of the request")));
            }
        }
        Ok(slowest)
    }

    /// Reads a page.
    ///
    /// # Errors
    /// There is no answer, or its status is not 200.
    pub(super) async fn read_page(&self, uri: &str) -> Result<Bytes, CommandError> {
        self.send(Method::GET, uri, Bytes::new()).await
    }

    async fn send(&self, method: Method, uri: &str, body: Bytes) -> Result<Bytes, CommandError> {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(client::upload_body(Bytes::new(), body))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let answer = self.client.send(request).await.map_err(|error| format!("{uri}: {error}"))?;
            let status = answer.status();
            let body = client::read_response(answer.into_body(), MAX_ANSWER_BYTES).await;
            let (body, _) = body.map_err(|_| format!("{uri}: the answer can't be read"))?;
            if status == StatusCode::OK { Ok(body) } else { Err(CommandError::Failed(format!("{uri}: {status}"))) }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| format!("{uri}: no answer in time"))?
    }
}
