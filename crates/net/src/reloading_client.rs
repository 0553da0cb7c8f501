//! [`ReloadingClient`]: a client that is rebuilt when its TLS files change, because certificates are rotated while
//! exporters run for months. Files that can't be used change nothing and are reported once; requests in progress keep
//! their connection. `cli/reload` watches the rest of the configuration.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::client::{self, HttpClient};
use super::shared_services::SharedServices;
use super::spawn::run_blocking;
use super::tls::{self, TlsError};

/// A client that follows its TLS files; see the module.
pub struct ReloadingClient {
    settings: client::ClientSettings,
    services: SharedServices,
    current: RwLock<Arc<HttpClient>>,
    last_check: Mutex<LastFileCheck>,
}

struct LastFileCheck {
    /// When it began, in monotonic time.
    at: Duration,
    digest: [u8; 32],
    last_error: Option<TlsError>,
}

impl ReloadingClient {
    /// Reads the files and builds the client.
    ///
    /// # Errors
    /// A TLS file can't be used, or root certificates are missing.
    pub fn build(settings: client::ClientSettings, services: SharedServices) -> Result<Self, TlsError> {
        let (tls, digest) = settings.tls.as_ref().map(tls::ClientTlsSettings::read).transpose()?.unzip();
        let client = HttpClient::build_with_tls(&settings, tls, &services)?;
        let digest = digest.unwrap_or_default();
        let last_check = Mutex::new(LastFileCheck { at: services.clock.monotonic(), digest, last_error: None });
        Ok(Self { settings, services, current: RwLock::new(Arc::new(client)), last_check })
    }

    /// The current client, after checking the files if that is due.
    pub async fn current_client(self: &Arc<Self>, id: &str) -> Arc<HttpClient> {
        if self.is_due() {
            let client = Arc::clone(self);
            let reloaded = run_blocking(&*self.services.tasks, "reload", move || client.reload_if_changed()).await;
            match reloaded {
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
        let (mut last_check, now) = (self.last_check.lock(), self.services.clock.monotonic());
        let is_due = now.saturating_sub(last_check.at) >= tls.reload_interval;
        if is_due {
            last_check.at = now;
        }
        is_due
    }

    /// Checks the files and returns whether the client was replaced. A repeated error is returned only once.
    fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let Some(tls) = &self.settings.tls else { return Ok(false) };
        let known_digest = self.last_check.lock().digest;
        let build_client = |config| HttpClient::build_with_tls(&self.settings, Some(config), &self.services);
        let rebuilt = tls
            .read_if_changed(known_digest)
            .and_then(|changed| changed.map(|(config, digest)| Ok((build_client(config)?, digest))).transpose());
        match rebuilt {
            Ok(None) => Ok(false),
            Ok(Some((client, digest))) => {
                *self.current.write() = Arc::new(client);
                let mut last_check = self.last_check.lock();
                (last_check.digest, last_check.last_error) = (digest, None);
                Ok(true)
            }
            Err(why) => {
                let mut last_check = self.last_check.lock();
                if last_check.last_error.as_ref() == Some(&why) {
                    return Ok(false);
                }
                last_check.last_error = Some(why.clone());
                Err(why)
            }
        }
    }
}
