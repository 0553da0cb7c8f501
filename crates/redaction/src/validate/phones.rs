//! Checks whether digits may be a phone number of an ITU-T E.164 plan. Pure functions. `numbers::phone` reads the
//! notations.

/// Country codes with the least and greatest length of a national number, as `code × 10000 + least × 100 + greatest`,
/// by the national numbering plans; sorted.
const PLANS: &[u32] = &[
    11010, 71010, 200810, 270509, 301012, 310711, 320809, 330909, 340909, 360809, 390612, 400609, 410909, 430612,
    440910, 450808, 460609, 470808, 480710, 490612, 510809, 521011, 530610, 541011, 550911, 560911, 570811, 581010,
    600810, 610910, 620712, 630712, 640810, 650811, 660810, 810812, 820812, 840810, 860811, 901012, 910812, 920811,
    930909, 940909, 950610, 980810, 2110909, 2120909, 2130809, 2160808, 2180909, 2200709, 2210909, 2220808, 2230808,
    2240809, 2251010, 2260808, 2270808, 2280808, 2291010, 2300710, 2310709, 2320808, 2330809, 2341012, 2350808,
    2360808, 2370809, 2380707, 2390707, 2400909, 2410708, 2420909, 2430710, 2440909, 2450709, 2460707, 2470505,
    2480707, 2490909, 2500809, 2510909, 2520609, 2530808, 2540710, 2550909, 2560909, 2570808, 2580809, 2600909,
    2610909, 2620909, 2630710, 2640809, 2650709, 2660808, 2670710, 2680808, 2690707, 2900505, 2910707, 2970707,
    2980606, 2990606, 3500808, 3510909, 3520611, 3530710, 3540709, 3550809, 3560808, 3570808, 3580612, 3590712,
    3700808, 3710808, 3720710, 3730808, 3740808, 3750911, 3760609, 3770809, 3780810, 3800910, 3810812, 3820809,
    3830812, 3850809, 3860808, 3870809, 3890808, 4200909, 4210909, 4230709, 5000505, 5010711, 5020811, 5030811,
    5040811, 5050808, 5060810, 5070811, 5080609, 5090808, 5900909, 5910809, 5920707, 5930811, 5940909, 5950711,
    5960909, 5970607, 5980812, 5990708, 6700708, 6720606, 6730707, 6740707, 6750708, 6760507, 6770507, 6780507,
    6790711, 6800707, 6810609, 6820505, 6830407, 6850510, 6860508, 6870606, 6880507, 6890809, 6900407, 6910707,
    6920707, 8000808, 8500610, 8520809, 8530808, 8550810, 8560810, 8700912, 8800810, 8810910, 8820912, 8830812,
    8860811, 9600710, 9610708, 9620809, 9630809, 9640810, 9650808, 9660910, 9670709, 9680709, 9700810, 9710812,
    9720812, 9730808, 9740811, 9750808, 9760810, 9770811, 9920909, 9930808, 9940909, 9950909, 9960910, 9980909,
];

/// Whether `digits` (ASCII, country code first) are a number of some country's plan.
pub(crate) fn is_international(digits: &[u8]) -> bool {
    let mut code = 0_u32;
    for (index, digit) in digits.iter().take(3).enumerate() {
        code = code * 10 + u32::from(digit.wrapping_sub(b'0'));
        let Some(plan) = find_plan(code) else { continue };
        let rest = digits.get(index + 1..).unwrap_or_default();
        let (min, max) = (plan / 100 % 100, plan % 100);
        let fits = u32::try_from(rest.len()).is_ok_and(|length| (min..=max).contains(&length));
        return fits && (code != 1 || is_area(rest)) && !is_repeated_digit(rest);
    }
    false
}

/// Length of the country code at the start of `digits`.
pub(crate) fn code_length(digits: &[u8]) -> Option<usize> {
    let mut code = 0_u32;
    for (index, digit) in digits.iter().take(3).enumerate() {
        code = code * 10 + u32::from(digit.wrapping_sub(b'0'));
        if find_plan(code).is_some() {
            return Some(index + 1);
        }
    }
    None
}

fn find_plan(code: u32) -> Option<u32> {
    let at = PLANS.binary_search_by_key(&code, |plan| plan / 10_000).ok()?;
    PLANS.get(at).copied()
}

/// Whether a North American number begins with an area code: 2 to 9.
fn is_area(digits: &[u8]) -> bool {
    matches!(digits.first(), Some(b'2'..=b'9'))
}

/// Whether all digits of a text are the same filler, as in `000-000-0000`. Fives may be a number.
pub(crate) fn is_filler_number(text: &str) -> bool {
    is_one_digit(text) && text.bytes().find(u8::is_ascii_digit) != Some(b'5')
}

/// Whether all digits of a text are the same.
pub(crate) fn is_one_digit(text: &str) -> bool {
    let mut digits = text.bytes().filter(u8::is_ascii_digit);
    let first = digits.next();
    digits.all(|digit| Some(digit) == first)
}

/// Whether all digits are the same.
pub(crate) fn is_repeated_digit(digits: &[u8]) -> bool {
    digits.windows(2).all(|two| matches!(two, [a, b] if a == b))
}
