//! Reads certificates and tokens again when their files change, because they are rotated at times when the gateway
//! can't be restarted.
//! A file that can't be used changes nothing; each failure is counted and a repeated one is logged once. The task ends
//! with the receiver. `auth` and `net/server_tls` interpret the files.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::auth::AcceptedClients;
use super::open_error::ReceiverOpenError;
use net::spawn::run_blocking;
use net::{ServerTls, Spawn};
use telemetry::{Meter, names};

/// The files of a receiver that can change.
pub(crate) struct ReloadableFiles {
    pub(crate) clients: Arc<AcceptedClients>,
    pub(crate) tls: Vec<Arc<ServerTls>>,
}

impl ReloadableFiles {
    /// Checks the files at the shortest configured interval until the returned sender is dropped; `None` if there are
    /// no files.
    pub(crate) fn watch_files(
        self,
        receiver: &Arc<str>,
        tokens_interval: Duration,
        tasks: &Arc<dyn Spawn>,
        meter: &Meter,
    ) -> Option<watch::Sender<()>> {
        let intervals =
            self.tls.iter().map(|tls| tls.interval()).chain(self.clients.has_tokens_file().then_some(tokens_interval));
        let interval = intervals.min()?;
        let failures = meter.counter(&names::RECEIVER_RELOAD_FAILURES, &[("receiver", receiver)]);
        let (stop, mut stopped) = watch::channel(());
        let (files, receiver, blocking_tasks) = (Arc::new(self), Arc::clone(receiver), Arc::clone(tasks));
        let follow = async move {
            let mut last_error = None;
            loop {
                tokio::select! {
                    _ = stopped.changed() => return,
                    () = tokio::time::sleep(interval) => {}
                }
                let files = Arc::clone(&files);
                match run_blocking(&*blocking_tasks, "reload", move || files.reload_changed()).await {
                    Some(Ok(false)) => last_error = None,
                    Some(Ok(true)) => {
                        last_error = None;
                        tracing::info!(%receiver, "changed certificates and tokens were read again");
                    }
                    Some(Err(error)) => {
                        failures.increment(1);
                        if last_error.as_ref() != Some(&error) {
                            let why = error.to_string();
                            tracing::error!(%receiver, why, "a changed certificate or tokens file can't be used; the last valid one stays in use");
                            last_error = Some(error);
                        }
                    }
                    None => {}
                }
            }
        };
        tasks.spawn("reload", Box::pin(follow));
        Some(stop)
    }

    /// Reloads changed files and returns whether there were any. Every file is tried, even after an error.
    fn reload_changed(&self) -> Result<bool, ReceiverOpenError> {
        let tls = self.tls.iter().map(|tls| Ok(tls.reload()?));
        let reloads = tls.chain([self.clients.reload().map_err(ReceiverOpenError::from)]);
        reloads.collect::<Vec<_>>().into_iter().try_fold(false, |has_changed, reload| Ok(reload? || has_changed))
    }
}
