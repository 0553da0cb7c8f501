//! Builds the vault processor together with its uploader: they share one writer, so that numbers and names agree. No
//! I/O is done and no task is started; the app runs the uploader.

use std::sync::Arc;

use genai::Vocabulary;
use kernel::clock::Clock;
use kernel::pseudonym::IdPolicy;
use kernel::rng::Rng;
use telemetry::Meter;
use vault::books::Writer;
use vault::chain::note::SigningKey;
use vault::names::{self, Names};
use vault::seal::AgeSealer;
use vault::store::VaultStore;
use vault::ticket::UriBase;
use vault::uploader::{self, Journal, Pace, Uploader};

use super::config::{Settings, StoreSettings};
use super::echo::Echoing;
use super::options::Forward;
use super::{Parts, Store, VaultProcessor};

/// The gateway services that a vault needs.
#[derive(Clone)]
pub struct Site {
    /// The dialects.
    pub vocabulary: Arc<Vocabulary>,
    /// Decides how ids may be shown.
    pub ids: Arc<dyn IdPolicy>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub rng: Arc<dyn Rng>,
    /// The metrics.
    pub meter: Meter,
    /// Finds texts that repeat content.
    pub echoing: Echoing,
}

/// A vault that was built.
pub struct Built {
    /// The processor. It also serves as the quarantine of its pipelines.
    pub processor: Arc<VaultProcessor>,
    /// The uploader; `None` without a store. It must keep running after the gateway has stopped, until it has drained.
    pub uploader: Option<Uploader>,
}

/// The store, and the writer for it.
type Kept = (Arc<dyn VaultStore>, Arc<Writer>);

fn parts(id: &Arc<str>, settings: &Settings, site: &Site) -> (Parts, Option<Kept>) {
    let sealer = settings.sealer.clone();
    let sealer = sealer.unwrap_or_else(|| Arc::new(AgeSealer::new(settings.recipients.clone())));
    let mut parts = Parts {
        id: id.clone(),
        vocabulary: site.vocabulary.clone(),
        ids: site.ids.clone(),
        rng: site.rng.clone(),
        store: None,
        leave: settings.leave,
        unlisted: settings.unlisted.into(),
        agents: settings.agents.clone(),
        labels: settings.labels.clone(),
        privacy: settings.privacy,
        echoing: site.echoing.clone(),
    };
    let Some(store) = settings.store.as_ref().map(StoreSettings::spec) else { return (parts, None) };
    let epoch = names::epoch(site.clock.now(), &*site.rng);
    let writer = Arc::new(Writer::new(
        Names::new(store.prefix(), &settings.writer, &epoch).laid_out(settings.layout),
        settings.object_size,
    ));
    let awaited = settings.forward == Forward::AfterPut;
    parts.store = Some(Store { sealer, writer: writer.clone(), uri: UriBase(store.uri().into()), awaited });
    (parts, Some((store.open(), writer)))
}

/// Builds only the processor, without an uploader, to show what it does. Sealed content is not stored.
pub fn processor(id: &Arc<str>, settings: &Settings, site: &Site) -> VaultProcessor {
    VaultProcessor::new(parts(id, settings, site).0, &site.meter)
}

/// Builds a vault. `journal` is the spool as seen by the holder `id` ([`vault::uploader::SpoolJournal`]); `key` signs
/// the digests. Without a key there is no uploader.
pub fn build(
    id: &Arc<str>,
    settings: &Settings,
    site: &Site,
    journal: Arc<dyn Journal>,
    key: Option<Arc<SigningKey>>,
) -> Built {
    let (parts, kept) = parts(id, settings, site);
    let processor = Arc::new(VaultProcessor::new(parts, &site.meter));
    let uploader = kept.zip(key).map(|((store, writer), key)| {
        let parts = uploader::Parts {
            id: id.clone(),
            journal,
            store,
            writer,
            clock: site.clock.clone(),
            rng: site.rng.clone(),
            pace: Pace { object_age: settings.object_age, index_interval: settings.index_interval },
            key,
            made_by: settings.made_by.clone(),
        };
        Uploader::new(parts, &site.meter)
    });
    Built { processor, uploader }
}
