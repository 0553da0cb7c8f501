//! Builds one `vault` processor with its uploader and its inbox for erasures. The construction is in
//! `processors/vault/build`, the uploader in `vault/uploader`.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::build::{BackgroundTask, GatewayResources};
use crate::app::erasure_reports::ErasureReportTarget;
use ::vault::chain::note::SigningKey;
use ::vault::store::kinds::StoreUnusable;
use ::vault::ticket::put_holder;
use ::vault::uploader::{SpoolJournal, Uploader};
use genai::Vocabulary;
use kernel::pseudonym::IdPolicy;
use pipeline::Processor;
use processors::vault::{self, EchoFinder, ForwardPolicy, VaultSettings};

/// The parts of a vault besides its processor.
pub(super) struct BuiltVault {
    /// The processor's id, which is also its holder name in the spool.
    pub(super) id: Arc<str>,
    /// The holder that exporters of the same pipelines wait for, if they wait.
    pub(super) put_holder: Option<Arc<str>>,
    /// Writes to the store.
    pub(super) uploader: Option<Arc<dyn BackgroundTask>>,
    /// Accepts reports of erasures for the digests.
    pub(super) erasure_target: Option<Arc<ErasureReportTarget>>,
}

/// Builds a vault. Its folder is created and its certificates are read now, so that faults are reported at start.
pub(super) fn build_vault(
    resources: &GatewayResources,
    id: Arc<str>,
    settings: &VaultSettings,
    vocabulary: Arc<Vocabulary>,
    ids: Arc<dyn IdPolicy>,
    echo_finder: EchoFinder,
    (spool, key): (&Path, Option<Arc<SigningKey>>),
) -> Result<(Arc<dyn Processor>, BuiltVault), StoreUnusable> {
    if let Some(store) = &settings.store {
        store.spec().prepare()?;
    }
    let deps = &resources.deps;
    let journal = SpoolJournal::new(Arc::clone(&resources.spool), Arc::clone(&resources.tasks), Arc::clone(&id), spool);
    let services = vault::VaultServices {
        vocabulary,
        ids,
        clock: Arc::clone(&deps.clock),
        rng: Arc::clone(&deps.rng),
        meter: deps.meter.clone(),
        echo_finder,
    };
    let built = vault::build(&id, settings, &services, Arc::new(journal), key);
    let inbox = built.uploader.as_ref().map(Uploader::erasure_inbox);
    let erasure_target =
        inbox.map(|inbox| Arc::new(ErasureReportTarget { keys: settings.erasure_keys.clone(), inbox }));
    let uploader =
        built.uploader.map(|uploader| Arc::new(UploaderTask(Mutex::new(Some(uploader)))) as Arc<dyn BackgroundTask>);
    let put_holder = (settings.forward == ForwardPolicy::AfterPut && uploader.is_some()).then(|| put_holder(&id));
    Ok((built.processor, BuiltVault { id, put_holder, uploader, erasure_target }))
}

/// The uploader as a background task; it can run once.
struct UploaderTask(Mutex<Option<Uploader>>);

impl BackgroundTask for UploaderTask {
    fn name(&self) -> &'static str {
        "vault uploader"
    }

    fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        let uploader = self.0.lock().take();
        Box::pin(async move {
            if let Some(uploader) = uploader {
                uploader.run(stop).await;
            }
        })
    }
}
