//! Tests of the faster recipient against the one of the crate `age`.

use std::io::{Read as _, Write as _};

use super::*;

/// A file sealed here must open with the identity of the crate `age`, and with no other.
#[test]
fn age_opens_what_the_fast_recipient_seals() {
    for round in 0..20_u8 {
        let (identity, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let recipient = FastRecipient::new(&identity.to_public()).unwrap();
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
        writer.write_all(&[round; 1000]).unwrap();
        writer.finish().unwrap();
        let mut opened = Vec::new();
        let decryptor = age::Decryptor::new(&sealed[..]).unwrap();
        decryptor.decrypt(std::iter::once(&identity as _)).unwrap().read_to_end(&mut opened).unwrap();
        assert_eq!(opened, [round; 1000]);
        assert!(age::Decryptor::new(&sealed[..]).unwrap().decrypt(std::iter::once(&other as _)).is_err());
    }
}

/// A public key that gives everybody the same secret must seal nothing.
#[test]
fn a_public_key_of_low_order_is_refused() {
    let file_key = FileKey::new(Box::new([7; 16]));
    for public in [[0; 32], std::array::from_fn(|at| u8::from(at == 0))] {
        assert!(age::Recipient::wrap_file_key(&FastRecipient { public }, &file_key).is_err());
    }
}
