use super::*;
use crate::testing::engine::Tally;

fn effect(processor: &str, body: &[u8]) -> Effect {
    Effect::new(processor.into(), body.to_vec())
}

/// Counting effect of a [`Tally`].
fn counts(name: &str) -> Effect {
    let mut body = vec![7; 16];
    body.push(u8::try_from(name.len()).unwrap());
    body.extend_from_slice(name.as_bytes());
    effect("tally", &body)
}

/// Decoded effects must equal the encoded ones.
#[test]
fn effects_come_back() {
    let effects = [effect("cost", b"\0\xff"), effect("runs", b"")];
    let read = decode(&encode(&effects)).unwrap();
    assert_eq!(read.len(), 2);
    for (read, wanted) in read.iter().zip(&effects) {
        assert!(read.processor == wanted.processor && read.body == wanted.body);
    }
    assert!(decode(&encode(&[])).unwrap().is_empty());
}

/// A damaged or newer record must decode to nothing, and never panic.
#[test]
fn damaged_effects_are_refused() {
    let whole = encode(&[effect("cost", b"body")]);
    for cut in (0..whole.len()).filter(|cut| *cut != 1) {
        assert!(decode(&whole[..cut]).is_none(), "cut at {cut}");
    }
    assert!(decode(&[9]).is_none());
    assert!(decode(&[VERSION, 255, 255, 255, 255]).is_none());
}

/// A processor that panics on an effect, or is unknown, must not stop the committer, nor prevent the other effects from
/// being applied.
#[test]
fn a_panic_in_apply_is_caught() {
    let (tally, meter) = (Tally::new("tally"), Meter::new());
    let applier = Applier::new(vec![tally.clone()], &meter);
    applier.apply(&[effect("tally", b"too short"), effect("unknown", b"x"), counts("a")], Some(RecordSeq(1)));
    assert_eq!(tally.counted()["a"], 1);
    assert!(meter.render().contains("tollgate_panics_total{place=\"apply\"} 1"));
}

/// Panics while it saves, after it has appended a part.
struct PanicsHalfway(Arc<str>);

impl Processor for PanicsHalfway {
    fn id(&self) -> &Arc<str> {
        &self.0
    }

    fn process(&self, _: &mut crate::Batch) -> Result<(), crate::Reason> {
        Ok(())
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        checkpoint.extend_from_slice(b"half a state");
        panic!("saves half");
    }
}

/// A processor that panics while it saves leaves no checkpoint that lacks its state: effects that it covers are dropped.
#[test]
fn a_panic_in_save_saves_nothing() {
    let (first, last) = (Tally::new("a"), Tally::new("z"));
    let processors: Vec<Arc<dyn Processor>> = vec![first.clone(), last.clone()];
    let with_panic = [&processors[..], &[Arc::new(PanicsHalfway("m".into())) as Arc<dyn Processor>]].concat();
    for (processors, expected) in [(processors, Some(Some(RecordSeq(4)))), (with_panic, None)] {
        let applier = Applier::new(processors, &Meter::new());
        applier.apply(&[Effect { processor: "z".into(), ..counts("n") }], Some(RecordSeq(4)));
        let mut saved = b"head".to_vec();
        assert_eq!(applier.save(&mut saved), expected);
        let Some(read) = ProcessorSnapshot::decode(&Bytes::from(saved).slice(4..)).filter(|_| expected.is_some())
        else {
            continue;
        };
        assert!(read.applied == Some(RecordSeq(4)) && read.states == [("z".into(), Bytes::from("n=1\n"))]);
    }
}
