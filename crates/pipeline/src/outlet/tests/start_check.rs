//! The question at the start, before there is a request.

use super::*;
use telemetry::names;

/// An exporter that says these reasons in turn when it is asked, and then yes.
struct Asked {
    inner: Arc<Sink>,
    refusals: Mutex<Vec<Reason>>,
}

impl crate::Exporter for Asked {
    fn id(&self) -> &Arc<str> {
        self.inner.id()
    }

    fn trust(&self) -> Trust {
        self.inner.trust()
    }

    fn max_request_bytes(&self) -> usize {
        self.inner.max_request_bytes()
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        self.inner.send(request)
    }

    fn check_back_end(&self) -> BoxFuture<'_, Result<(), Reason>> {
        let refusal = self.refusals.lock().pop();
        Box::pin(async move { refusal.map_or(Ok(()), Err) })
    }
}

fn rig_asking(refusals: Vec<Reason>) -> (Rig, Arc<Sink>, Arc<Asked>, tempfile::TempDir) {
    let sink = Sink::scripted(vec![Outcome::Accepted]);
    let asked = Arc::new(Asked { inner: Arc::clone(&sink), refusals: Mutex::new(refusals) });
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(vec![Step::clear("clear")], vec![Arc::clone(&asked) as Arc<dyn crate::Exporter>]);
    parts.outlets = OutletSettings::default();
    let _ = sink.clock.set(parts.clock.clone());
    (parts.open(folder.path()), sink, asked, folder)
}

/// A back end that refuses is shown without any data, asked again until it takes some, and then shown as healthy.
#[test]
fn a_refusal_is_shown_before_the_first_request() {
    let (mut rig, sink, asked, _folder) = rig_asking([Reason::Denied].repeat(1000));
    rig.run_outlet(SECOND, &going());
    assert_eq!(rig.meter.values(&names::DENIED), [1.0]);
    asked.refusals.lock().truncate(2);
    rig.run_outlet(600 * SECOND, &going());
    assert_eq!(rig.meter.values(&names::DENIED), [0.0]);
    assert!(asked.refusals.lock().is_empty() && sink.all().is_empty());
}

/// While the question is open, data is sent as ever: a back end that does not answer it holds nothing up.
#[test]
fn the_question_holds_nothing_up() {
    let (mut rig, sink, asked, _folder) = rig_asking([Reason::Unavailable].repeat(1000));
    drop(rig.submit(spans(&["a"])));
    rig.commit();
    rig.run_outlet(SECOND, &going());
    assert_eq!(sink.all(), ["a"]);
    assert!(!asked.refusals.lock().is_empty());
}
