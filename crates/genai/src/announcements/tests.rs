use super::*;
use crate::testing::request::case_file;

fn announced() -> AnnouncementFinder {
    let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    AnnouncementFinder::new(
        &own(&[
            "prompt",
            "LLM output",
            "raw response",
            "input_value…, input_type=",
            "when parsing… for Type",
            "action input",
            "final answer",
            "invoking: `…}`",
            "[INST]…[/INST]",
            "[/INST]…",
            "<|im_start|>…",
        ]),
        [&own(&["Human", "User"]), &own(&["AI", "Assistant"]), &own(&["Thought"]), &own(&["Action"])],
    )
    .unwrap()
}

/// Must not regress: announced content is removed and the text around it stays; ordinary logs stay unchanged.
#[test]
fn what_is_announced_goes_and_other_words_stay() {
    for case in case_file::<Vec<Vec<String>>>("tests/cases/announcements.yaml") {
        let rest = announced().split(&case[0]).map(|split| split.rest);
        assert_eq!(rest.as_deref(), case.get(1).map(String::as_str), "{}", case[0]);
    }
}
