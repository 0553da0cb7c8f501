use super::*;

fn announced() -> AnnouncementFinder {
    let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    AnnouncementFinder::new(
        &own(&["prompt", "LLM output", "raw response"]),
        &own(&["Human", "User"]),
        &own(&["AI", "Assistant"]),
    )
    .unwrap()
}

/// Must not regress: announced content is removed and the text around it stays.
#[test]
fn what_is_announced_goes() {
    let cases = [
        ("level=info prompt=\"my \\\"knee\\\" hurts\" user=x", "level=info prompt=\"[CONTENT]\" user=x"),
        ("Prompt: my knee hurts", "Prompt: [CONTENT]"),
        ("Could not parse LLM output: `my knee`. Try again", "Could not parse LLM output: `[CONTENT]`. Try again"),
        ("bad LLM output {\"a\": my knee", "bad LLM output [CONTENT]"),
        ("x\nHuman: my knee\nAI: oh dear", "x\n[CONTENT]"),
        ("prompt=my+knee+hurts&client=5", "prompt=[CONTENT]&client=5"),
        ("prompt: a b; raw response=\"c d\"", "prompt: [CONTENT]"),
        ("prompt=please tell me about my knee user=7", "prompt=[CONTENT] user=7"),
        ("[INFO] Prompt: my knee hurts", "[INFO] Prompt: [CONTENT]"),
        ("LLM output='it''s my knee' x=1", "LLM output='[CONTENT]' x=1"),
        ("prompt: 100% sure that my knee hurts", "prompt: [CONTENT]"),
        ("**User**: my knee\n**Assistant**: oh", "**[CONTENT]"),
    ];
    for (text, rest) in cases {
        assert_eq!(announced().split(text).map(|split| split.rest).as_deref(), Some(rest), "{text}");
    }
}

/// Must not regress: ordinary logs stay unchanged.
#[test]
fn labels_numbers_and_other_words_stay() {
    let same = [
        "GET /authorize?prompt=consent&client_id=5 HTTP/1.1",
        "prompt: 512",
        "raw response: 200 OK",
        "prompt: 95% of 200 files",
        "Host: web1\nUser: deploy\nDisk: 91% full",
        "AI: connection lost\nAI: back again",
        "raw response time: 5 s",
        "prompted: the user said no",
        "Human: alone in a line",
        "no prompt was given",
        "prompt: [CONTENT]",
    ];
    for text in same {
        assert!(announced().split(text).is_none(), "{text}");
    }
}
