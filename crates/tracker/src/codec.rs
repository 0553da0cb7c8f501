//! [`BinaryCodec`]: the byte encoding of effects and checkpoints. Integers are varints, so small ones take one byte.
//! Decoding never allocates more than the input holds, and damaged bytes give `None`, never a panic.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use genai::CallTokenBuckets;

/// A type with an encoding.
pub(super) trait BinaryCodec: Sized {
    fn put(&self, out: &mut Vec<u8>);
    /// Decodes one value from the front of `from` and advances it.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

/// Encodes a struct as its fields, in order. Fields of the second list are not encoded: `take` computes them.
macro_rules! fields {
    ($name:ident { $($field:ident),* $(,)? } $({ $($made:ident: $value:expr),* })?) => {
        impl $crate::codec::BinaryCodec for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field,)* $($($made: _,)*)? } = self;
                $($crate::codec::BinaryCodec::put($field, out);)*
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::codec::BinaryCodec::take(from)?;)*
                Some(Self { $($($made: $value,)*)? $($field),* })
            }
        }
    };
}

/// Encodes an enum as the number of its variant, then the variant's fields.
macro_rules! tagged {
    ($name:ident { $($tag:literal: $variant:ident($($field:ident),*),)* }) => {
        impl $crate::codec::BinaryCodec for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant($($field),*) => {
                        out.push($tag);
                        $($crate::codec::BinaryCodec::put($field, out);)*
                    })*
                }
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(match u8::take(from)? {
                    $($tag => {
                        $(let $field = $crate::codec::BinaryCodec::take(from)?;)*
                        Self::$variant($($field),*)
                    })*
                    _ => return None,
                })
            }
        }
    };
}

/// Defines structs together with their encoding.
macro_rules! record {
    ($($(#[$meta:meta])* pub(super) struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$meta])*
            pub(super) struct $name { $($(#[$field_meta])* pub(super) $field: $kind,)* }
            $crate::codec::fields!($name { $($field),* });
        )*
    };
}
pub(super) use {fields, record, tagged};

/// Encodes an unsigned integer in groups of 7 bits, low ones first; the highest bit of a byte says that more follow.
macro_rules! varint {
    ($($kind:ty)*) => {
        $(impl BinaryCodec for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                let mut rest = *self;
                while rest >= 0x80 {
                    out.push((rest & 0x7f) as u8 | 0x80);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                let mut number: $kind = 0;
                for shift in (0..<$kind>::BITS).step_by(7) {
                    let (&byte, rest) = from.split_first()?;
                    *from = rest;
                    let part = <$kind>::from(byte & 0x7f);
                    number |= part.checked_shl(shift).filter(|shifted| shifted >> shift == part)?;
                    if byte & 0x80 == 0 {
                        return Some(number);
                    }
                }
                None
            }
        })*
    };
}
varint!(u64 u128);

/// The sign is stored in the lowest bit, so that small negative numbers take one byte too.
impl BinaryCodec for i128 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 127)).cast_unsigned().put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let number = u128::take(from)?;
        Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }
}

/// Encodes a smaller integer as a `u64`.
macro_rules! small_integer {
    ($($kind:ty)*) => {
        $(impl BinaryCodec for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                u64::from(*self).put(out);
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                u64::take(from)?.try_into().ok()
            }
        })*
    };
}
small_integer!(u8 u16 u32);

impl BinaryCodec for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        u8::take(from).map(|byte| byte != 0)
    }
}

impl<const N: usize> BinaryCodec for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (bytes, rest) = from.split_first_chunk::<N>()?;
        *from = rest;
        Some(*bytes)
    }
}

impl BinaryCodec for [u64; 3] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|number| number.put(out));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some([u64::take(from)?, u64::take(from)?, u64::take(from)?])
    }
}

impl BinaryCodec for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_bits().to_le_bytes().put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        <[u8; 8]>::take(from).map(|bytes| Self::from_bits(u64::from_le_bytes(bytes)))
    }
}

impl BinaryCodec for usize {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        u64::take(from)?.try_into().ok()
    }
}

/// Encodes bytes or a text as its length, then the bytes.
macro_rules! bytes {
    ($($kind:ty: $from_bytes:expr;)*) => {
        $(impl BinaryCodec for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                self.len().put(out);
                out.extend_from_slice(AsRef::<[u8]>::as_ref(&**self));
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                let length = usize::take(from)?;
                let (bytes, rest) = from.split_at_checked(length)?;
                *from = rest;
                $from_bytes(bytes).map(Self::from)
            }
        })*
    };
}
bytes! {
    Box<[u8]>: Some;
    Box<str>: as_text;
    String: as_text;
}

fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

impl<T: BinaryCodec> BinaryCodec for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        T::take(from).map(Self::new)
    }
}

impl<T: BinaryCodec> BinaryCodec for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(inner) = self {
            inner.put(out);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        if bool::take(from)? { Some(Some(T::take(from)?)) } else { Some(None) }
    }
}

impl<A: BinaryCodec, B: BinaryCodec> BinaryCodec for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

/// A map: its length, then its entries.
pub(super) fn put_map<'a, K: BinaryCodec + 'a, V: BinaryCodec + 'a>(
    entries: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
    out: &mut Vec<u8>,
) {
    entries.len().put(out);
    for (key, value) in entries {
        key.put(out);
        value.put(out);
    }
}

/// A list: its length, then the elements, each at least one byte.
fn put_list<'a, T: BinaryCodec + 'a>(length: usize, elements: impl Iterator<Item = &'a T>, out: &mut Vec<u8>) {
    length.put(out);
    elements.for_each(|element| element.put(out));
}

fn take_list<T: BinaryCodec, L: Default + Extend<T>>(from: &mut &[u8]) -> Option<L> {
    let length = usize::take(from).filter(|length| *length <= from.len())?;
    let mut list = L::default();
    for _ in 0..length {
        list.extend([T::take(from)?]);
    }
    Some(list)
}

impl<T: BinaryCodec> BinaryCodec for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.len(), self.iter(), out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        take_list(from)
    }
}

impl<T: BinaryCodec + Eq + Hash, S: BuildHasher + Default> BinaryCodec for HashSet<T, S> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.len(), self.iter(), out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        take_list(from)
    }
}

impl<K: BinaryCodec + Eq + Hash, V: BinaryCodec, S: BuildHasher + Default> BinaryCodec for HashMap<K, V, S> {
    fn put(&self, out: &mut Vec<u8>) {
        put_map(self.iter(), out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        take_list::<(K, V), Self>(from)
    }
}

impl<K: BinaryCodec + Ord, V: BinaryCodec> BinaryCodec for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_map(self.iter(), out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        take_list::<(K, V), Self>(from)
    }
}

fields!(CallTokenBuckets { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning });
