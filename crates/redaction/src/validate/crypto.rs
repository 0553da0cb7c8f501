//! Checks of crypto wallet addresses: base58check and bech32. Pure, with constant memory. `numbers::accounts`
//! chooses the runs to check.

use kernel::sha256::Sha256;

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Whether `text` is a version byte, twenty bytes and a checksum in base 58.
pub(crate) fn is_base58check(text: &[u8]) -> bool {
    if !(25..=35).contains(&text.len()) {
        return false;
    }
    let mut bytes = [0_u8; 25];
    for byte in text {
        let Some(digit) = BASE58.iter().position(|known| known == byte) else { return false };
        let mut carry = u32::try_from(digit).unwrap_or(0);
        for value in bytes.iter_mut().rev() {
            carry += u32::from(*value) * 58;
            *value = u8::try_from(carry % 256).unwrap_or(0);
            carry /= 256;
        }
        if carry != 0 {
            return false;
        }
    }
    let (body, check) = bytes.split_at_checked(21).unwrap_or_default();
    let sum = Sha256::digest(Sha256::digest(body));
    sum.iter().take(4).eq(check)
}

/// Whether `text` (in one case) is a bech32 or bech32m string with its human-readable part.
pub(crate) fn is_bech32(text: &[u8]) -> bool {
    const LETTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let Some(separator) = text.iter().rposition(|byte| *byte == b'1') else { return false };
    let (Some(human), Some(data)) = (text.get(..separator), text.get(separator + 1..)) else { return false };
    if human.is_empty() || data.len() < 6 || text.len() > 90 {
        return false;
    }
    let has_mixed_case = text.iter().any(u8::is_ascii_uppercase) && text.iter().any(u8::is_ascii_lowercase);
    let lower = |byte: &u8| byte.to_ascii_lowercase();
    let mut sum = 1_u32;
    let mut add = |value: u8| {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = sum >> 25;
        sum = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        for (bit, generator) in GENERATOR.iter().enumerate() {
            if top >> bit & 1 == 1 {
                sum ^= generator;
            }
        }
    };
    human.iter().map(lower).for_each(|byte| add(byte >> 5));
    add(0);
    human.iter().map(lower).for_each(|byte| add(byte & 31));
    for byte in data.iter().map(lower) {
        let Some(value) = LETTERS.iter().position(|known| *known == byte) else { return false };
        add(u8::try_from(value).unwrap_or(0));
    }
    !has_mixed_case && (sum == 1 || sum == 0x2bc8_30a3)
}
