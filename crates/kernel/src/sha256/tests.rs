use super::*;
use crate::hex;

/// Hashes, codes and derived keys are those of the standards: FIPS 180-4's example, RFC 4231 (case 2), RFC 5869 (case 1,
/// first 32 bytes). Data on disk depends on each.
#[test]
fn known_answers() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex::encode(&Sha256::digest("abc")), abc);
    let mut parts = Sha256::new();
    parts.update("a");
    let kept = parts.clone();
    parts.update(b"bc");
    assert_eq!(hex::encode(&parts.finalize()), abc);
    assert_eq!(kept.finalize(), Sha256::digest("a"));
    let code = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
    assert_eq!(hex::encode(&code), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let salt: Vec<u8> = (0..=0x0c).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let key = hkdf_sha256(&salt, &[0x0b; 22], &info).expect("a key");
    assert_eq!(hex::encode(&*key), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}
