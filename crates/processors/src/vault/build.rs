//! **What**: makes the processor and its uploader. **Why**: they share one writer, so that numbers and names agree.
//! **Invariants**: no I/O, no task. **Not here**: running the uploader (the app).

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

/// What a vault needs of the gateway.
#[derive(Clone)]
pub struct Site {
    /// The vocabulary.
    pub vocabulary: Arc<Vocabulary>,
    /// How ids may be shown.
    pub ids: Arc<dyn IdPolicy>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Metrics.
    pub meter: Meter,
    /// For texts that repeat content.
    pub echoing: Echoing,
}

/// What was made.
pub struct Built {
    /// The processor; also the quarantine of its pipelines.
    pub processor: Arc<VaultProcessor>,
    /// What uploads; `None` without a store. It must run as long as the gateway, and after it until its drain ends.
    pub uploader: Option<Uploader>,
}

/// What belongs to a store.
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

/// The processor alone: what it seals goes nowhere. To show what it does.
pub fn processor(id: &Arc<str>, settings: &Settings, site: &Site) -> VaultProcessor {
    VaultProcessor::new(parts(id, settings, site).0, &site.meter)
}

/// Makes a vault; `journal` is the spool as the holder `id` sees it ([`vault::uploader::SpoolJournal`]), `key`
/// signs its digests; without one nothing is uploaded.
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
