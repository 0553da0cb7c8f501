use super::{HarmlessValues, JudgedUnder};

fn under(class: u64, rules: u8) -> JudgedUnder<u8> {
    JudgedUnder { class, rules }
}

#[test]
fn a_text_is_known_only_under_the_key_and_the_rules_that_it_was_judged_under() {
    let mut values = HarmlessValues::default();
    assert!(!values.contains(&under(1, 0), "GET"));
    values.insert(under(1, 0), "GET");
    assert!(values.contains(&under(1, 0), "GET"));
    assert!(!values.contains(&under(2, 0), "GET"));
    assert!(!values.contains(&under(1, 1), "GET"));
    assert!(!values.contains(&under(1, 0), "GETS"));
    assert!(!values.contains(&under(1, 0), ""));
}
