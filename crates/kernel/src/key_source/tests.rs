//! The forms of a key source, and the sharing of an opened key.

use super::*;

/// A text is the key, and never shown.
#[test]
fn a_text_is_the_key() {
    let source = KeySource::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new("CANARY"));
    let source = source.expect("a key");
    assert!(matches!(&source, KeySource::Value(key) if key.expose() == "CANARY"));
    assert!(!format!("{source:?}").contains("CANARY"));
    // A printed configuration is not a usable one.
    let printed = serde::de::value::StrDeserializer::<serde::de::value::Error>::new("[redacted]");
    assert!(KeySource::deserialize(printed).is_err());
}

/// What one copy of the settings opened, another one has, and nothing replaces it.
#[test]
fn copies_share_the_opened_key() {
    let key = LazyKey::new(KeySource::Service(KeyService::Command(vec!["/bin/key".to_owned()])));
    let copy = key.clone();
    assert_eq!(copy.get(), None);
    assert_eq!(key.get_or_keep(1), &1);
    assert_eq!(key.get_or_keep(2), &1);
    assert_eq!(copy.get(), Some(&1));
}
