//! After any edits of any request, the payload and a reader of its encoded bytes agree. First byte: signal and number
//! of edits; then four bytes per edit; the rest is the request.

use super::oracle;
use otlp::Signal;

pub fn body(data: &[u8]) {
    let Some((pick, rest)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(pick % 3)];
    let Some((steps, bytes)) = rest.split_at_checked(usize::from(pick / 3 % 32) * 4) else { return };
    let steps: Vec<_> = steps.chunks_exact(4).map(|step| oracle::Step([step[0], step[1], step[2], step[3]])).collect();
    oracle::edited(signal, bytes, &steps);
}
