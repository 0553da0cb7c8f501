//! [`ReloadingClient`]: a client that is rebuilt when its TLS files change, because certificates are rotated while
//! exporters run for months. Files that can't be used change nothing and are reported once; requests in progress keep
//! their connection. `cli/reload` watches the rest of the configuration.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::client::{self, HttpClient};
use super::proxy::ProxyRules;
use super::spawn::{Spawn, run_blocking};
use super::tls::{self, TlsError};
use kernel::clock::Clock;

/// A client that follows its TLS files; see the module.
pub struct ReloadingClient {
    settings: client::ClientSettings,
    proxies: Arc<ProxyRules>,
    tasks: Arc<dyn Spawn>,
    clock: Arc<dyn Clock>,
    current: RwLock<Arc<HttpClient>>,
    last_check: Mutex<LastFileCheck>,
}

/// The result of the last check of the files.
struct LastFileCheck {
    at: Duration,
    digest: [u8; 32],
    last_error: Option<TlsError>,
}

impl ReloadingClient {
    /// Reads the files and builds the client.
    ///
    /// # Errors
    /// A TLS file can't be used, or root certificates are missing.
    pub fn build(
        settings: client::ClientSettings,
        proxies: Arc<ProxyRules>,
        tasks: Arc<dyn Spawn>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let (tls, digest) = settings.tls.as_ref().map(tls::ClientTlsSettings::read).transpose()?.unzip();
        let client = HttpClient::build_with_tls(&settings, tls, Arc::clone(&proxies), Arc::clone(&tasks))?;
        let digest = digest.unwrap_or_default();
        let looked = Mutex::new(LastFileCheck { at: clock.monotonic(), digest, last_error: None });
        Ok(Self { settings, proxies, tasks, clock, current: RwLock::new(Arc::new(client)), last_check: looked })
    }

    /// The current client, after checking the files if that is due.
    pub async fn current_client(self: &Arc<Self>, id: &str) -> Arc<HttpClient> {
        if self.is_due() {
            let own = Arc::clone(self);
            let looked = run_blocking(&*self.tasks, "reload", move || own.reload_if_changed()).await;
            match looked {
                Some(Ok(true)) => tracing::info!(exporter = id, "certificates were reloaded"),
                Some(Err(why)) => {
                    tracing::error!(
                        exporter = id,
                        why = why.to_string(),
                        "a changed file can't be used; the last valid one stays in use"
                    );
                }
                Some(Ok(false)) | None => {}
            }
        }
        Arc::clone(&self.current.read())
    }

    /// Whether a check of the files is due. The caller that gets true must check.
    fn is_due(&self) -> bool {
        let Some(tls) = self.settings.tls.as_ref().filter(|tls| tls.has_files()) else { return false };
        let (mut looked, now) = (self.last_check.lock(), self.clock.monotonic());
        let due = now.saturating_sub(looked.at) >= tls.reload_interval;
        if due {
            looked.at = now;
        }
        due
    }

    /// Checks the files and returns whether the client was replaced. A repeated error is returned only once.
    fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let Some(tls) = &self.settings.tls else { return Ok(false) };
        let known = self.last_check.lock().digest;
        let client = |config| {
            HttpClient::build_with_tls(&self.settings, Some(config), Arc::clone(&self.proxies), Arc::clone(&self.tasks))
        };
        let made = tls
            .read_if_changed(known)
            .and_then(|made| made.map(|(config, digest)| Ok((client(config)?, digest))).transpose());
        match made {
            Ok(None) => Ok(false),
            Ok(Some((client, digest))) => {
                *self.current.write() = Arc::new(client);
                let mut looked = self.last_check.lock();
                (looked.digest, looked.last_error) = (digest, None);
                Ok(true)
            }
            Err(why) => {
                let mut looked = self.last_check.lock();
                if looked.last_error.as_ref() == Some(&why) {
                    return Ok(false);
                }
                looked.last_error = Some(why.clone());
                Err(why)
            }
        }
    }
}
