//! Builds the vault processor together with its uploader: they share one writer, so that numbers and names agree. No
//! task is started; the app runs the uploader. The store's folder is created and its certificates are read now, so that
//! faults are reported at start.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use otlp::Signal;
use vault::chain::digest::GatewayIdentity;
use vault::chain::note::SigningKey;
use vault::object_names::{self, ObjectNames};
use vault::store::VaultStore;
use vault::ticket::put_holder;
use vault::uploader::{self, SpoolJournal, UploadJournal, Uploader};
use vault::vault_writer::VaultWriter;

use super::config::VaultSettings;
use super::echo::EchoFinder;
use super::options::ForwardPolicy;
use super::{ContentStore, VaultProcessor, VaultProcessorParts};
use crate::spec::{
    BuiltProcessor, ErasureReportTarget, ProcessorBuildResult, ProcessorDeps, ProcessorProfile, ProcessorSpec,
    ProcessorTask,
};

type StoreWithWriter = (Arc<dyn VaultStore>, Arc<VaultWriter>);

fn build_parts(
    id: &Arc<str>,
    settings: &VaultSettings,
    deps: &ProcessorDeps,
) -> (VaultProcessorParts, Option<StoreWithWriter>) {
    let sealer = settings.sealer.clone().unwrap_or_else(|| Arc::new(settings.recipients.clone()));
    let mut parts = VaultProcessorParts {
        id: id.clone(),
        vocabulary: deps.vocabulary.clone(),
        ids: deps.ids.clone(),
        rng: deps.services.rng.clone(),
        store: None,
        leave: settings.config.leave,
        privacy: settings.config.privacy,
        echo_finder: EchoFinder {
            memory: Arc::clone(&deps.fingerprints),
            max_error_text: deps.max_error_text,
            max_scan: deps.max_scan,
        },
    };
    let Some(store) = settings.store.as_deref() else { return (parts, None) };
    let (profile, epoch) = (store.profile(), object_names::new_epoch(deps.services.clock.now(), &*deps.services.rng));
    let writer = Arc::new(VaultWriter::new(
        ObjectNames::new(profile.prefix, &settings.writer, &epoch).with_layout(settings.config.layout),
        settings.object_size,
    ));
    let forward_after_put = settings.config.forward == ForwardPolicy::AfterPut;
    let content_url = settings.content_url.clone();
    let (writer_of_store, uri) = (writer.clone(), profile.uri.into());
    parts.store = Some(ContentStore { sealer, writer: writer_of_store, uri, content_url, forward_after_put });
    (parts, Some((store.open(), writer)))
}

/// Builds only the processor, without an uploader, to show what it does. Sealed content is not stored.
pub fn build_processor(id: &Arc<str>, settings: &VaultSettings, deps: &ProcessorDeps) -> VaultProcessor {
    VaultProcessor::new(build_parts(id, settings, deps).0, &deps.services.meter)
}

/// Builds a vault. `journal` is the spool as seen by the holder `id` ([`vault::uploader::SpoolJournal`]); `key` signs
/// the digests, in which `made_by` is the gateway's entry. The processor is also the quarantine of its pipelines.
/// The uploader, which needs a store and a key, must keep running after the gateway has stopped, until it has drained.
pub fn build(
    id: &Arc<str>,
    settings: &VaultSettings,
    deps: &ProcessorDeps,
    journal: Arc<dyn UploadJournal>,
    key: Option<Arc<SigningKey>>,
    made_by: Option<GatewayIdentity>,
) -> (Arc<VaultProcessor>, Option<Uploader>) {
    let (parts, store_with_writer) = build_parts(id, settings, deps);
    let processor = Arc::new(VaultProcessor::new(parts, &deps.services.meter));
    let uploader = store_with_writer.zip(key).map(|((store, writer), key)| {
        let parts = uploader::UploaderDependencies {
            id: id.clone(),
            journal,
            store,
            writer,
            clock: deps.services.clock.clone(),
            rng: deps.services.rng.clone(),
            object_age: settings.object_age,
            index_interval: settings.index_interval,
            key,
            made_by,
            recipients: {
                let (policy, ids) = (settings.recipients.clone(), deps.ids.clone());
                Arc::new(move |account| policy.holders(account, |tenant| ids.shown_id(account, tenant).into_owned()))
            },
        };
        Uploader::new(parts, &deps.services.meter)
    });
    (processor, uploader)
}

impl ProcessorSpec for VaultSettings {
    fn profile(&self) -> ProcessorProfile<'_> {
        let privacy = Some(self.config.privacy.name());
        let closed_items = Some(&self.closed_items);
        ProcessorProfile { notes: &self.notes, privacy, closed_items, ..ProcessorProfile::default() }
    }

    fn build(&self, id: &Arc<str>, _: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult {
        let Some(storage) = &deps.storage else {
            return Ok(BuiltProcessor::new(Arc::new(build_processor(id, self, deps))));
        };
        self.store.as_ref().map_or(Ok(()), |store| store.prepare())?;
        let (spool, tasks) = (Arc::clone(&storage.spool), Arc::clone(&deps.services.tasks));
        let folder = storage.spool.settings().directory.clone();
        let journal = Arc::new(SpoolJournal::new(spool, tasks, Arc::clone(id), &folder));
        let (key, made_by) = (storage.signers.get(id).cloned(), Some(storage.made_by.clone()));
        let (processor, uploader) = build(id, self, deps, journal, key, made_by);
        let mut built = BuiltProcessor::new(processor);
        if let Some(uploader) = uploader {
            built.put_holder = (self.config.forward == ForwardPolicy::AfterPut).then(|| put_holder(id));
            built.consumers = [Some(Arc::clone(id)), built.put_holder.clone()].into_iter().flatten().collect();
            let (keys, inbox) = (self.erasure_keys.clone(), uploader.erasure_inbox());
            built.erasure_target = Some(Arc::new(ErasureReportTarget { keys, inbox }));
            let run = Box::new(|stop| Box::pin(uploader.run(stop)) as BoxFuture<'static, ()>);
            built.task = Some(ProcessorTask { name: "vault uploader", prepare: Box::new(|| ()), run });
        }
        Ok(built)
    }
}
