//! Tests of composite ids: one private part turns the whole id into a pseudonym, and generated ids stay.

use kernel::pseudonym::{IdPolicy, Pseudonymizer};
use kernel::secret::Secret;

use super::detector;
use crate::RedactionIdPolicy;

/// Ids with a private part.
const PRIVATE: &str = r"
    conv-maria.huber@x-clinic.at-1 ssn-521-44-8193-x wa_4915123456789 CONTOSO\mhuber user:maria.huber
    tel:+4366412345678 thread_521448193_ssn session/maria.huber/2026-11-25 chat#maria_huber#2
    conv-4111111111111111-2 run|DE89370400440532013000|1 case_S1234567D_2 phone-415-555-0132-a
    dob_1987-03-25_x patient-maria-7 mrn:00904587:visit ip_203.0.113.7_a s_521_44_8193 ad:CONTOSO\\mhuber
    AKIAIOSFODNN7EXAMPL3-session
";

/// Generated ids.
const PUBLIC: &str = r"
    3f2504e0-4f89-411d-9a0c-0305e82c3301 session-3f2504e0-4f89-411d-9a0c-0305e82c3301
    4bf92f3577b34da6a3ce929d0e0e4736 run_4bf92f3577b34da6a3ce929d0e0e4736 01ARZ3NDEKTSV4RRFFQ69G5FAV
    conv_01ARZ3NDEKTSV4RRFFQ69G5FAV session-2026-11-25-001 run_20261125_113000 conv_abc123 thread-00042
    ticket-12345 build-4711-2 acme-corp team:platform/eu-west-1 agent-7.session-12
    toolu_01A09q90qw90lq917835lq9 chatcmpl-9mZ1b2c3d4e5f6g7h8i9j0 release_1.24.3 claude-sonnet-4-5-20250929
    node-10-0-0-12 shard:3:offset:1024 slack-C024BE91L-1732531200.000200 projects/checkout/branches/main
";

/// Each private id gets the same pseudonym in an attribute and in an object's name; every other id stays.
#[test]
fn ids_are_read_part_by_part() {
    let ids = RedactionIdPolicy::new(vec![detector().clone()], Pseudonymizer::new(&Secret::new("key".to_owned())));
    let mut failures = Vec::new();
    for id in PRIVATE.split_ascii_whitespace().chain(["whatsapp:+43 664 12345678"]) {
        let (shown, name) = (ids.shown_id("a", id), ids.object_name_segment("a", id));
        if shown != ids.pseudonym("a", id) || name != shown {
            failures.push(format!("stays readable: {id}"));
        }
    }
    let hidden = PUBLIC.split_ascii_whitespace().filter(|id| ids.shown_id("a", id) != *id);
    failures.extend(hidden.map(|id| format!("is hidden: {id}")));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Random ids with a word before them stay: digits among hex digits are not a personal number.
#[test]
fn random_ids_stay() {
    let ids = RedactionIdPolicy::new(vec![detector().clone()], Pseudonymizer::new(&Secret::new("key".to_owned())));
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    };
    let mut hidden = Vec::new();
    for _ in 0..400 {
        let hex = format!("{:012x}{:012x}{:08x}", next() & 0xFFFF_FFFF_FFFF, next() & 0xFFFF_FFFF_FFFF, next() as u32);
        let part = |from: usize, to: usize| &hex[from..to];
        let uuid = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
        for id in [uuid.clone(), format!("session-{uuid}"), format!("{uuid}:turn-3"), format!("run_{hex}")] {
            if ids.shown_id("a", &id) != id {
                hidden.push(id);
            }
        }
    }
    assert!(hidden.is_empty(), "{} of 1600: {:?}", hidden.len(), hidden.get(..hidden.len().min(5)));
}
