use std::collections::BTreeMap;

use super::*;
use crate::testing::case_file;

/// Must not regress: fields of the specified form stay, and no field carries a sentence.
#[test]
fn forms() {
    use TextField::{Name, SchemaUrl, SeverityText, TraceState, Unit, Version};
    let cases: BTreeMap<String, BTreeMap<String, Vec<String>>> = case_file("tests/cases/field-forms.yaml");
    for field in [Name, SchemaUrl, SeverityText, TraceState, Unit, Version] {
        for (texts, expected) in [("stay", true), ("go", false)] {
            for text in &cases[&format!("{field:?}")][texts] {
                assert_eq!(has_form(field, text), expected, "{text}");
            }
        }
    }
    assert!(!has_form(TextField::TraceState, &"a=b,".repeat(200)));
}
