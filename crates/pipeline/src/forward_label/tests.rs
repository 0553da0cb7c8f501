use super::*;

fn label() -> ForwardLabel {
    ForwardLabel {
        signal: Signal::Logs,
        clearance: Clearance { content: ContentState::Stripped, text: TextState::Redacted },
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
        for label in [ForwardLabel { refused: refused.clone(), ..label() }, raw(refused)] {
            let mut body = b"otlp bytes".to_vec();
            label.append_to(&mut body);
            assert!(body.len() <= 10 + ForwardLabel::max_size(&label.pipeline));
            let (read, otlp) = ForwardLabel::split(&Bytes::from(body)).unwrap();
            assert_eq!(read, label);
            assert_eq!(&otlp[..], b"otlp bytes");
        }
    }
}

fn raw(refused: Option<(String, Reason)>) -> ForwardLabel {
    let clearance = Clearance::RECEIVED;
    ForwardLabel { signal: Signal::Traces, clearance, unknown: UnknownFields::Keep, refused, ..label() }
}

/// A damaged or newer label must decode to nothing, never to a clearance, and never panic.
#[test]
fn damaged_labels_are_refused() {
    let mut body = b"x".to_vec();
    label().append_to(&mut body);
    for cut in 0..body.len() {
        assert!(ForwardLabel::split(&Bytes::copy_from_slice(&body[..cut])).is_none(), "cut at {cut}");
    }
    *body.last_mut().unwrap() = 2;
    assert!(ForwardLabel::split(&Bytes::from(body.clone())).is_none(), "a newer version");
    *body.last_mut().unwrap() = VERSION;
    for (at, bad) in [(1, 9), (2, 2), (3, 7), (4, 3)] {
        let mut body = body.clone();
        body[at] = bad;
        assert!(ForwardLabel::split(&Bytes::from(body)).is_none(), "byte {at}");
    }
}
