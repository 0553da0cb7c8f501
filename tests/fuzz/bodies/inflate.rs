//! Any bytes in any coding, inflated in steps of any size, are refused or give a body within the limit. First byte:
//! coding; second: limit; third: size of a step; the rest is the body, in two pieces.

use bytes::Bytes;
use net::ContentEncoding;
use net::encoding::{InflateStep, Inflater};
use net::rope::Rope;

pub fn body(data: &[u8]) {
    let Some((&[coding, cap, step], rest)) = data.split_first_chunk() else { return };
    let codings = [ContentEncoding::Identity, ContentEncoding::Gzip, ContentEncoding::Deflate, ContentEncoding::Zstd];
    let encoding = codings[usize::from(coding) % codings.len()];
    let cap = 1 << (cap % 22);
    let mut rope = Rope::default();
    let (first, second) = rest.split_at(rest.len() / 2);
    rope.push(Bytes::copy_from_slice(first));
    rope.push(Bytes::copy_from_slice(second));
    let Ok(mut inflater) = Inflater::new(encoding, rope, cap) else { return };
    assert!(inflater.size_hint() <= cap);
    loop {
        let before = inflater.output_len();
        let made = inflater.step(1 + usize::from(step) * 97);
        assert!(inflater.output_len() <= cap + 1, "beyond the cap");
        match made {
            Ok(InflateStep::More) => assert!(inflater.output_len() > before, "a step that makes nothing"),
            Ok(InflateStep::Done) => {
                assert!(inflater.into_bytes().len() <= cap);
                break;
            }
            Err(_) => break,
        }
    }
}
