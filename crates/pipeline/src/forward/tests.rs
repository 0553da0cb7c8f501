use super::*;

fn label() -> Label {
    Label {
        signal: Signal::Logs,
        clearance: Clearance { content: Content::Stripped, text: Text::Redacted },
        unknown: UnknownFields::Drop,
        items: 77,
        pipeline: "logs/agents".to_owned(),
        refused: None,
    }
}

/// Bytes and label must be read back as they were stored.
#[test]
fn a_label_comes_back() {
    for refused in [None, Some(("otlp/honeycomb".to_owned(), Reason::BadData))] {
        for label in [Label { refused: refused.clone(), ..label() }, raw(refused)] {
            let mut body = b"otlp bytes".to_vec();
            label.append_to(&mut body);
            assert!(body.len() <= 10 + Label::room(&label.pipeline));
            let (read, otlp) = Label::split(&Bytes::from(body)).unwrap();
            assert_eq!(read, label);
            assert_eq!(&otlp[..], b"otlp bytes");
        }
    }
}

fn raw(refused: Option<(String, Reason)>) -> Label {
    let clearance = Clearance::RECEIVED;
    Label { signal: Signal::Traces, clearance, unknown: UnknownFields::Keep, refused, ..label() }
}

/// A damaged or newer label must decode to nothing, never to a clearance, and never panic.
#[test]
fn damaged_labels_are_refused() {
    let mut body = b"x".to_vec();
    label().append_to(&mut body);
    for cut in 0..body.len() {
        assert!(Label::split(&Bytes::copy_from_slice(&body[..cut])).is_none(), "cut at {cut}");
    }
    *body.last_mut().unwrap() = 2;
    assert!(Label::split(&Bytes::from(body.clone())).is_none(), "a newer version");
    *body.last_mut().unwrap() = VERSION;
    for (at, bad) in [(1, 9), (2, 2), (3, 7), (4, 3)] {
        let mut body = body.clone();
        body[at] = bad;
        assert!(Label::split(&Bytes::from(body)).is_none(), "byte {at}");
    }
}
