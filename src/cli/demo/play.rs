//! **What**: [`Player`]: sends over a real socket, and reads the page's port. **Invariants**: OTLP/HTTP protobuf, one
//! request after the other, each must be accepted whole. **Not here**: what is sent (`session`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use kernel::clock::Clock;
use net::client::{self, Client, Settings};
use net::{Proxies, Spawn};

use super::session::Request;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer.
const MAX_ANSWER: usize = 16 << 20;

/// A client of the gateway.
pub(super) struct Player {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Player {
    /// A client that goes through no proxy.
    ///
    /// # Errors
    /// One line.
    pub(super) fn new(tasks: Arc<dyn Spawn>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let client =
            Client::build(&Settings::default(), Arc::new(Proxies::none()), tasks).map_err(|error| error.to_string())?;
        Ok(Self { client, clock })
    }

    /// Sends all requests; gives the longest time to an answer.
    ///
    /// # Errors
    /// One line about the first that was not accepted.
    pub(super) async fn play(&self, to: SocketAddr, requests: &[Request]) -> Result<Duration, String> {
        let mut slowest = Duration::ZERO;
        for request in requests {
            let uri = format!("http://{to}/v1/{}", request.signal.as_str());
            let began = self.clock.monotonic();
            let answer = self.ask(Method::POST, &uri, request.body.clone()).await?;
            slowest = slowest.max(self.clock.monotonic().saturating_sub(began));
            // A full success has no field set; JSON has none to say so.
            if !answer.is_empty() {
                return Err(format!("{uri} took only a part"));
            }
        }
        Ok(slowest)
    }

    /// Reads a page.
    ///
    /// # Errors
    /// One line.
    pub(super) async fn read(&self, uri: &str) -> Result<Bytes, String> {
        self.ask(Method::GET, uri, Bytes::new()).await
    }

    async fn ask(&self, method: Method, uri: &str, body: Bytes) -> Result<Bytes, String> {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(client::upload(Bytes::new(), body))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let answer = self.client.send(request).await.map_err(|error| format!("{uri}: {error}"))?;
            let status = answer.status();
            let body = client::read(answer.into_body(), MAX_ANSWER).await;
            let (body, _) = body.map_err(|_| format!("{uri}: the answer can't be read"))?;
            if status == StatusCode::OK { Ok(body) } else { Err(format!("{uri}: {status}")) }
        };
        tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| format!("{uri}: no answer"))?
    }
}
