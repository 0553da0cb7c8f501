//! Checksums over digits (values 0 to 9) and over letters and digits. Pure functions. Weighted sums
//! are data, in `id_check`.

/// Luhn check (ISO/IEC 7812-1 annex B), computed for eight digits at a time, one in each byte.
pub(crate) fn has_valid_luhn(digits: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let sum = |eight: u64| {
        // Doubles every second digit, beginning before the last one, and subtracts nine if the result has two digits
        let every_second = eight & 0x00FF_00FF_00FF_00FF;
        let above_nine = (every_second + 0x007B_007B_007B_007B) >> 7 & 0x0001_0001_0001_0001;
        let doubled = every_second * 2 - above_nine * 9;
        (doubled + (eight & 0xFF00_FF00_FF00_FF00)).wrapping_mul(ONES) >> 56
    };
    let (rest, eights) = digits.as_rchunks::<8>();
    let mut padded = [0; 8];
    padded.iter_mut().rev().zip(rest.iter().rev()).for_each(|(to, from)| *to = *from);
    let total: u64 = eights.iter().chain([&padded]).map(|eight| sum(u64::from_le_bytes(*eight))).sum();
    total.is_multiple_of(10)
}

/// Whether all digits are the same.
pub(crate) fn is_one_digit(digits: &[u8]) -> bool {
    digits.windows(2).all(|two| matches!(two, [a, b] if a == b))
}

/// ISO 7064 mod 97-10 over letters and digits: the remainder of the number in which `A` is 10, `B` is 11, and so on.
pub(crate) fn mod_97_remainder(text: impl Iterator<Item = u8>) -> Option<u32> {
    let mut remainder = 0_u64;
    for byte in text {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' | b'a'..=b'z' => (byte | 0x20) - b'a' + 10,
            _ => return None,
        };
        remainder = if value > 9 { remainder * 100 } else { remainder * 10 } + u64::from(value);
        // Division is slow, so it is done only before two more digits would overflow
        if remainder >= 1 << 56 {
            remainder %= 97;
        }
    }
    u32::try_from(remainder % 97).ok()
}

/// ISO 7064 mod 11,10, with the check digit at the end.
pub(crate) fn has_valid_mod_11_10(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10_u32, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// Verhoeff check over the dihedral group of order ten.
pub(crate) fn has_valid_verhoeff(digits: &[u8]) -> bool {
    const PERMUTATION: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permute = |digit: u8| PERMUTATION.get(usize::from(digit)).copied().unwrap_or(0);
    let multiply = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let check = digits.iter().rev().enumerate().fold(0_u8, |check, (index, digit)| {
        let permuted = (0..index % 8).fold(*digit, |digit, _| permute(digit));
        multiply(check, permuted)
    });
    check == 0
}

/// Check letter of the Italian codice fiscale, which counts characters at odd places by a table.
pub(crate) fn has_codice_fiscale_letter(text: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let Some((check, body)) = text.split_last() else { return false };
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'A') });
    let counted = |(index, byte): (usize, &u8)| match index % 2 {
        0 => ODD.get(value(*byte) as usize).copied().unwrap_or(0),
        _ => value(*byte),
    };
    body.iter().enumerate().map(counted).sum::<u32>() % 26 == value(*check)
}
