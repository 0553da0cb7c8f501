//! [`ManualErrands`]: runs questions when the test polls them; [`Asker`]: a processor that asks.

#![allow(missing_docs, reason = "test support")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::inquiry::ErrandRunner;
use crate::{Batch, Inquiry, InquiryAnswer, Processor, Reason};
use otlp::OwnedValue;

/// Keeps errands until [`ManualErrands::poll_all`].
#[derive(Default)]
pub struct ManualErrands(Mutex<Vec<BoxFuture<'static, ()>>>);

impl ManualErrands {
    /// Polls each errand once, and keeps those that wait.
    pub fn poll_all(&self) {
        let errands = std::mem::take(&mut *self.0.lock());
        for mut errand in errands {
            if (&mut errand).now_or_never().is_none() {
                self.0.lock().push(errand);
            }
        }
    }

    pub fn waiting(&self) -> usize {
        self.0.lock().len()
    }

    /// Drops all errands, as at the end of a runtime.
    pub fn drop_all(&self) {
        self.0.lock().clear();
    }
}

impl ErrandRunner for ManualErrands {
    fn run(&self, _: &'static str, errand: BoxFuture<'static, ()>) {
        self.0.lock().push(errand);
    }
}

/// Asks about each batch, and marks its items with the answer.
pub struct Asker {
    id: Arc<str>,
    /// Questions without an answer, oldest first.
    pub open: Mutex<Vec<oneshot::Sender<Result<&'static str, Reason>>>>,
    pub asked: AtomicUsize,
    pub runs: AtomicUsize,
    pub discarded: AtomicUsize,
    /// The processor panics once it has an answer.
    pub fails: AtomicBool,
}

impl Asker {
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            open: Mutex::default(),
            asked: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            discarded: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
        })
    }

    /// Answers the oldest question.
    pub fn answer(&self, answer: Result<&'static str, Reason>) {
        let _ = self.open.lock().remove(0).send(answer);
    }
}

impl Processor for Asker {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn inquire(&self, _: &mut Batch) -> Option<Inquiry> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (sender, receiver) = oneshot::channel();
        self.open.lock().push(sender);
        Some(Box::pin(async move {
            let answer = receiver.await.unwrap_or(Err(Reason::RecogniserUnavailable))?;
            Ok(Arc::new(answer) as InquiryAnswer)
        }))
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let answer = batch.answer.as_ref().and_then(|answer| answer.downcast_ref::<&'static str>()).copied();
        assert!(!(self.fails.load(Ordering::SeqCst) && answer.is_some()), "the answer");
        for item in batch.payload.items().collect::<Vec<_>>() {
            batch.payload.set(item, &self.id, OwnedValue::Str(answer.unwrap_or("nothing").to_owned()));
        }
        Ok(())
    }

    fn discard(&self, _: &[u8; 16]) {
        self.discarded.fetch_add(1, Ordering::SeqCst);
    }
}
