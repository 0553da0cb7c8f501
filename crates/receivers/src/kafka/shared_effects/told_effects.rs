//! [`SharedEffects`]: which effects are told, the body of a record, and what is done with another worker's.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use ::kafka::inflate;
use pipeline::{Batch, Effect, Processor, Reason, effects};

/// The account in the headers of records with effects, which may be of any account.
pub(super) const ACCOUNT: &str = "fleet";
const VERSION: u8 = 1;
/// Largest record, inflated, in bytes. Senders stay far below it, whatever a receiver's limit for requests is.
pub(super) const MAX_RECORD: usize = 16 << 20;

/// The id of one volume.
type Life = [u8; 8];

/// See the parent module.
pub(crate) struct SharedEffects {
    id: Arc<str>,
    pub(super) replica: Arc<str>,
    life: Mutex<Life>,
    processors: Vec<Arc<dyn Processor>>,
}

impl SharedEffects {
    /// The state of the replica with this name. Of `processors`, those that share effects take part.
    pub(crate) fn new(
        id: Arc<str>,
        replica: Arc<str>,
        processors: &[Arc<dyn Processor>],
        rng: &dyn kernel::rng::Rng,
    ) -> Self {
        let mut life = Life::default();
        rng.fill(&mut life);
        let processors = processors.iter().filter(|one| one.shares_effects()).cloned().collect();
        Self { id, replica, life: Mutex::new(life), processors }
    }

    /// Whether the processor with this id shares its effects.
    fn is_shared(&self, processor: &str) -> bool {
        self.processors.iter().any(|one| **one.id() == *processor)
    }

    /// The body of a record with those of these effects that are shared; `None`: none is.
    pub(super) fn encode(&self, effects: Vec<Effect>) -> Option<Vec<u8>> {
        let shared: Vec<Effect> = effects.into_iter().filter(|effect| self.is_shared(&effect.processor)).collect();
        let name = u16::try_from(self.replica.len()).ok()?;
        let mut body = vec![VERSION];
        body.extend_from_slice(&*self.life.lock());
        body.extend_from_slice(&name.to_le_bytes());
        body.extend_from_slice(self.replica.as_bytes());
        body.extend_from_slice(&effects::encode(&shared));
        (!shared.is_empty()).then_some(body)
    }

    /// Whether this worker wrote the record in its present life. `None`: the body can't be read.
    pub(super) fn is_own(&self, body: &[u8]) -> Option<bool> {
        let told = ToldEffects::decode(body)?;
        // The name too: a volume may be a copy of another worker's.
        Some(told.life == *self.life.lock() && told.replica == self.replica)
    }

    /// The effect that stores a record, compressed: each worker stores the updates of all workers.
    pub(super) fn effect(&self, record: PeerRecord) -> Effect {
        let unstored: Arc<dyn std::any::Any + Send + Sync> = Arc::new(record.body);
        Effect { processor: Arc::clone(&self.id), body: record.compressed, unstored: Some(unstored) }
    }
}

/// A record of effects that another worker wrote.
pub(super) struct PeerRecord {
    /// Its body, decrypted but still compressed.
    pub(super) compressed: Vec<u8>,
    pub(super) body: Bytes,
}

/// What another worker tells.
struct ToldEffects {
    life: Life,
    replica: Arc<str>,
    effects: Vec<Effect>,
}

impl ToldEffects {
    fn decode(body: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = body.split_first()? else { return None };
        let (life, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (replica, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let replica = std::str::from_utf8(replica).ok().filter(|name| !name.is_empty())?.into();
        Some(Self { life: *life, replica, effects: effects::decode(rest)? })
    }
}

impl Processor for SharedEffects {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, _: &mut Batch) -> Result<(), Reason> {
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let inflated = effect.unstored.as_ref().and_then(|body| body.downcast_ref::<Bytes>().cloned());
        // An effect that is read from the spool after a restart has only the compressed body.
        let Some(body) = inflated.or_else(|| inflate(&effect.body, MAX_RECORD).ok()) else { return };
        let Some(told) = ToldEffects::decode(&body) else { return };
        for effect in &told.effects {
            let processor = self.processors.iter().find(|one| *one.id() == effect.processor);
            processor.into_iter().for_each(|one| one.apply_shared(effect, &told.replica));
        }
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        checkpoint.extend_from_slice(&*self.life.lock());
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        let life = Life::try_from(checkpoint).map(|life| *self.life.lock() = life);
        life.is_ok()
    }
}
