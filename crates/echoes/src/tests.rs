//! Tests: quotes of content are removed, everything else stays.

use proptest::prelude::*;

use super::words::{LEAST_CHARACTERS, LEAST_TOKENS, LEAST_WORDS, words};
use super::*;
use kernel::rng::SeededRng;

/// The fingerprints of a text.
fn prints_of(memory: &FingerprintCache, text: &str) -> ContentFingerprints {
    let mut prints = ContentFingerprints::default();
    prints.add(memory.key(), text);
    prints
}

fn key() -> FingerprintKey {
    FingerprintKey::new(&SeededRng::new(7))
}

/// `text` after its echoes of `content` are replaced.
fn mended(text: &str, content: &[&str], labels: &[&str]) -> String {
    let (key, mut prints) = (key(), ContentFingerprints::default());
    content.iter().for_each(|text| prints.add(&key, text));
    EchoReplacements::find(&key, &[text], labels, prints.texts()).replacement_for(text).unwrap_or(text).to_owned()
}

const PROMPT: &str =
    "Please tell Jane Doe that her invoice of March is \"overdue\" by\nforty days, and be polite about it";

/// A quote is removed in every form that clients use; the text around it stays.
#[test]
fn quotations() {
    let json = serde_json::to_string(PROMPT).expect("JSON");
    let twice = serde_json::to_string(&json).expect("JSON");
    let ascii = "[{\"content\": \"caf\\u00e9 au lait pour Mme Dupont, s'il vous pla\\u00eet\"}]";
    for (text, content, expected) in [
        ("bad input: Jane Doe that her invoice of March", PROMPT, "bad input: [CONTENT]"),
        ("bad input: JANE DOE THAT HER INVOICE OF MARCH (400)", PROMPT, "bad input: [CONTENT] (400)"),
        ("bad input: her invoice of March is \"overdue\" by\nforty days", PROMPT, "bad input: [CONTENT]"),
        ("bad input: her invoice of March is \\\"overdue\\\" by\\nforty days", PROMPT, "bad input: [CONTENT]"),
        ("bad input: her invoice of March is \"overdue\" by\nforty days", &json, "bad input: [CONTENT]"),
        ("bad input: her invoice of March is \"overdue\" by\nforty days", &twice, "bad input: [CONTENT]"),
        ("bad input: 'her invoice of March is \"overdue\" by\\nforty days'", PROMPT, "bad input: '[CONTENT]'"),
        ("café au lait pour Mme Dupont: refusé", ascii, "[CONTENT]: refusé"),
        ("bad input: Please tell Jane Doe that her invo… (400)", PROMPT, "bad input: [CONTENT]… (400)"),
        ("bad input: …voice of March is \"overdue\" by... (400)", PROMPT, "bad input: …[CONTENT]... (400)"),
    ] {
        assert_eq!(mended(text, &[content], &[]), expected);
    }
}

/// All white space is equal: a list quoted with other line breaks, blanks or escapes is removed, although no single
/// line is long enough.
#[test]
fn white_space_is_one_blank() {
    let list = "milk two litres\neggs a dozen\nCanary tablets\n\n  call the lawyer\ndivorce papers";
    let json = serde_json::to_string(list).expect("JSON");
    let twice = serde_json::to_string(&json).expect("JSON");
    let blanks = list.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut quoted = vec![list.to_owned(), blanks.clone(), json.trim_matches('"').to_owned()];
    quoted.push(list.replace('\n', "\r\n"));
    quoted.push(list.replace('\n', "\\r\\n"));
    quoted.push(list.replace('\n', "\\\\n"));
    quoted.push(blanks.replace(' ', "  "));
    quoted.push(blanks.replace(' ', "\u{a0}"));
    quoted.push(blanks.replace(' ', "\\u00a0"));
    for blank in ["\u{85}", "\u{1680}", "\u{2009}", "\u{202f}", "\u{205f}", "\u{3000}", "\u{2028}", " \u{200b}\u{feff}"]
    {
        quoted.push(blanks.replace(' ', blank));
        quoted.push(blanks.replace(' ', &format!("\\u{:04x}", u32::from(blank.chars().next().unwrap()))));
    }
    quoted.push(blanks.replace(' ', "%E2%80%89"));
    quoted.push(blanks.replace("Canary", "Ca\u{200d}na\u{2060}ry").replace("lawyer", "law\u{ad}yer"));
    quoted.push(blanks.replace(' ', "\t"));
    quoted.push(blanks.replace(' ', "\n            "));
    for content in [
        list,
        &json,
        &twice,
        &blanks,
        &list.replace('\n', "\r\n"),
        &blanks.replace(' ', " \u{a0}"),
        &blanks.replace(' ', "\u{3000}\u{200b}"),
    ] {
        for text in &quoted {
            assert_eq!(mended(&format!("bad: {text}"), &[content], &[]), "bad: [CONTENT]", "{text:?} of {content:?}");
        }
    }
}

/// Content is found at any depth of escapes, on either side, and in any case.
#[test]
fn escapes_and_case() {
    let said = "She said \"the <b>ledger</b> & the café are 'closed'\"\nuntil überübermorgen, 100% sure";
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let ascii = |text: &str| -> String {
        let units = |char: char| char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
        json(text).chars().map(|char| if char.is_ascii() { char.to_string() } else { units(char) }).collect()
    };
    let go = |text: &str| json(text).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let html = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    };
    let python = said.replace('\n', "\\n").replace('\'', "\\'");
    let mut ways = vec![said.to_owned(), json(said), json(&json(said)), json(&json(&json(said))), python];
    ways.extend([ascii(said), ascii(&ascii(said)), ascii(&ascii(&ascii(said))), go(said), json(&go(said))]);
    ways.extend([html(said), html(&html(said)), json(&html(said)), said.to_uppercase(), said.to_lowercase()]);
    for content in &ways {
        for text in &ways {
            let out = mended(&format!("bad: {text} (400)"), &[content], &[]);
            assert!(out.starts_with("bad: ") && out.ends_with("(400)") && out.contains(CONTENT_PLACEHOLDER), "{out}");
            for word in ["ledger", "caf", "closed", "until", "bermorgen", "sure"] {
                assert!(!out.to_lowercase().contains(word), "{out:?} of {text:?} in {content:?}");
            }
        }
    }
    for (content, text) in [
        ("Напишите пожалуйста Письмо моему врачу о диагнозе", "НАПИШИТЕ ПОЖАЛУЙСТА ПИСЬМО МОЕМУ ВРАЧУ О ДИАГНОЗЕ"),
        ("Γράψε ένα γράμμα στον γιατρό μου τώρα", "γράψε ένα γράμμα στον γιατρό μου τώρα"),
        ("zażółć gęślą jaźń, łódź i żółw", "ZAŻÓŁĆ GĘŚLĄ JAŹŃ, ŁÓDŹ I ŻÓŁW"),
    ] {
        assert_eq!(mended(&format!("bad: {text}"), &[content], &[]), "bad: [CONTENT]", "{text}");
        let escaped = mended(&format!("bad: {}", ascii(text).trim_matches('"')), &[content], &[]);
        assert_eq!(escaped.replace('\\', ""), "bad: [CONTENT]");
    }
}

/// Words joined by `+` or `%20` are separate words; in a path they are part of a name.
#[test]
fn joined_words() {
    let said = "please help me with my divorce from Jane";
    for (text, expected) in [
        ("q=please+help+me+with+my+divorce+from+Jane", "q=[CONTENT]"),
        (
            "GET https://example.com/find?q=please%20help%20me%20with%20my%20divorce: 404",
            "GET https://example.com/find?q=[CONTENT]: 404",
        ),
        ("no file /srv/please%20help+me%20with%20my%20divorce", "no file /srv/please%20help+me%20with%20my%20divorce"),
        (
            "GET https://example.com/please+help%20me+with+my+divorce",
            "GET https://example.com/please+help%20me+with+my+divorce",
        ),
    ] {
        assert_eq!(may_quote(text, &[]), text != expected, "{text}");
        assert_eq!(mended(text, &[said], &[]), expected);
        assert_eq!(mended(text, &[&said.replace(' ', "+")], &[]), expected);
    }
}

/// Twelve letters of a script without blanks are a quote, fewer are not; names in and next to it stay.
#[test]
fn scripts_without_blanks() {
    let chinese = "我的病历号是九三七请帮我写一封给医生的信说明我的抑郁症";
    let japanese = "明日の午後三時に田中さんへ請求書を送ってください";
    let thai = "ช่วยเขียนจดหมายถึงหมอของฉันเรื่องโรคซึมเศร้า";
    for content in [chinese, japanese, thai] {
        for text in [format!("错误：{content}。"), format!("bad: {content} (400)"), format!("{{\"q\":\"{content}\"}}")]
        {
            assert!(may_quote(&text, &[]), "{text}");
            assert_eq!(mended(&text, &[content], &[]), text.replace(content, CONTENT_PLACEHOLDER));
        }
        let half: String = content.chars().skip(2).take(12).collect();
        assert_eq!(mended(&format!("bad: {half}"), &[content], &[]), "bad: [CONTENT]");
        let short: String = content.chars().skip(2).take(9).collect();
        assert_eq!(mended(&format!("bad: {short}"), &[content], &[]), format!("bad: {short}"));
    }
    for (text, expected) in [
        (
            format!("没有文件/srv/文档/报告.txt请{chinese}"),
            format!("{CONTENT_PLACEHOLDER}/srv/文档/报告.txt{CONTENT_PLACEHOLDER}"),
        ),
        (format!("https://example.com/a{chinese}"), format!("https://example.com/a{CONTENT_PLACEHOLDER}")),
        (format!("gpt-5{chinese}"), format!("gpt-5{CONTENT_PLACEHOLDER}")),
    ] {
        assert_eq!(mended(&text, &[chinese, "没有文件/srv/文档/报告.txt"], &["gpt-5"]), expected);
    }
    let agent = "病历整理与医生沟通助手一号";
    let text = format!("invoke_agent {agent}");
    assert_eq!(mended(&text, &[&format!("你是{agent}，请帮忙")], &[agent]), text);
}

/// Data without white space has words: JSON, lists, forms, queries. Names in it stay.
#[test]
fn data_without_white_space() {
    let json =
        "{\"patient\":\"JohnCanary\",\"diagnosis\":\"hepatitis\",\"city\":\"Paris\",\"note\":\"call_sister_anna\"}";
    let escaped = serde_json::to_string(json).expect("JSON");
    let twice = serde_json::to_string(&escaped).expect("JSON");
    let cells = "JohnCanary;1970;hepatitis;Paris;divorced";
    let lines = "one\\ntwo\\nthree\\nfour\\nfive\\nsix\\nseven";
    let query = "https://clinic.example.com/api/v1/find?name=JohnCanary&illness=hepatitis&city=Paris";
    let named = "{\"id\":\"toolu_01AbCdEfGhIj\",\"name\":\"JohnCanary\",\"model\":\"gpt-5-mini\",\"illness\":\"hepatitis\",\"file\":\"/srv/app/x.py\"}";
    for (text, content, expected) in [
        (format!("bad: {json}"), json, "bad: {\"[CONTENT]\"}"),
        (format!("bad: {escaped}"), json, "bad: \"{\\\"[CONTENT]\\\"}\""),
        (format!("bad: {escaped}"), &*twice, "bad: \"{\\\"[CONTENT]\\\"}\""),
        (format!("bad: {twice}"), json, "bad: \"\\\"{\\\\\\\"[CONTENT]\\\\\\\"}\\\"\""),
        (json.replace('"', "'"), &json.replace('"', "'"), "{'[CONTENT]'}"),
        (format!("bad:{cells}"), cells, "bad:[CONTENT]"),
        (format!("row {cells}").replace(';', ","), &cells.replace(';', ","), "row [CONTENT]"),
        (format!("row {cells}").replace(';', "|"), &cells.replace(';', "|"), "row [CONTENT]"),
        (format!("bad: {lines}"), lines, "bad: [CONTENT]"),
        (format!("GET {query}: 404"), query, "GET https://clinic.example.com/api/v1/find?[CONTENT]: 404"),
        (
            format!("bad: {named}"),
            named,
            "bad: {\"[CONTENT]\":\"toolu_01AbCdEfGhIj\",\"[CONTENT]\":\"gpt-5-mini\",\"[CONTENT]\":\"/srv/app/x.py\"}",
        ),
    ] {
        assert!(may_quote(&text, &[]), "{text}");
        let out = mended(&text, &[content], &["gpt-5-mini"]);
        assert_eq!(out, expected);
        assert_eq!(mended(&out, &[content], &["gpt-5-mini"]), expected, "a second pass");
    }
    for text in [
        "open C:\\new\\table\\records\\names.txt",
        "open /srv/app/new/table/records/names",
        "gen_ai.request.model.name.of.it",
        "mcp__server__read_file-of-a-long-name",
        "GET https://clinic.example.com/api/v1/find/all/of/them",
        "src/echoes/tests.rs",
        "CANARY-tool-error-e00e5a581c9b7b21",
    ] {
        assert_eq!(mended(text, &[text], &[]), text);
    }
}

/// Short ranges, single tokens and other words are not quotes.
#[test]
fn what_is_no_quotation() {
    for text in [
        "Jane Doe that her inv",
        "Extraordinarily uncomplicated misunderstandings",
        "the invoice could not be found in the ledger of this month",
        "rate limit reached for requests",
        "unknown key gen_ai.request.model.name.of.it",
    ] {
        let content = [PROMPT, "extraordinarily uncomplicated", "gen_ai.request.model.name.of.it"];
        assert_eq!(mended(text, &content, &[]), text);
    }
}

/// Paths, URLs, ids, known names, exception types and stack frames stay, whatever the content is. A name counts only as
/// a whole word; a tool named like a word of prose does not protect words of a quote.
#[test]
fn names_stay() {
    let uuid = "7f3c0a52-9d1e-4c8b-a6f4-0b2d9e8c7a61";
    let path = "/home/build/the project/src/the long way/main.rs";
    let burnt = "failed: it burnt: CANARY-toolerror-e00e5a581c9b7b21, please burn it again with gpt-5-mini now";
    let frames = "Traceback (most recent call last):\n  File \"/srv/app/tools.py\", line 31, in burn\n\
        openai.RateLimitError: it burnt the house of Jane Doe";
    let missing = "ENOENT: no such file or directory, open '/repo/src/app/server.ts'";
    let agent = "Support Agent For Angry Customers";
    for (text, content, label) in [
        (format!("order {uuid} is not there"), format!("order {uuid} please"), "x"),
        (missing.replace(" or directory", ""), "{\"path\":\"/repo/src/app/server.ts\"}".to_owned(), "x"),
        (format!("invoke_agent {agent}"), format!("You are the {agent} of this shop"), agent),
        (format!("open {path}"), format!("the file {path} is there"), path),
    ] {
        assert_eq!(mended(&text, &[&content], &[label]), text);
    }
    for (text, content, expected) in [
        (missing, &*format!("Error: {missing}"), "ENOENT: [CONTENT] '/repo/src/app/server.ts'"),
        (frames, frames, &frames.replace("it burnt the house of Jane Doe", CONTENT_PLACEHOLDER)),
        ("it burnt: CANARY-toolerror-e00e5a581c9b7b21", burnt, "[CONTENT]"),
        ("no: please burn it again with gpt-5-mini now", burnt, "no: [CONTENT] gpt-5-mini [CONTENT]"),
    ] {
        assert_eq!(mended(text, &[content], &["burn", "gpt-5-mini"]), expected);
    }
    for token in ["src/main.rs:12", "C:\\Users\\x", "https://example.com/a", "toolu_01AbCdEfGhIj", "deadbeef00", "../x"]
    {
        assert!(words::is_name(token), "{token}");
    }
    for token in ["CANARY-prompt-0123456789abcdef", "and/or", "well-known", "customer_account_number", "3/4"] {
        assert!(!words::is_name(token), "{token}");
    }
}

/// All Unicode white space is recognised, and nothing else is. (`folding`: on both paths, at any position in a block.)
#[test]
fn white_space_of_unicode() {
    for char in ('\u{1}'..='\u{ffff}').filter(|char| !char.is_ascii()) {
        let text = char.to_string();
        let unit = fold::fold_unit(text.as_bytes());
        assert_eq!(matches!(unit, Some((_, fold::FoldedUnit::Blank))), char.is_whitespace(), "{char:?}");
        assert!(unit.is_none_or(|(length, _)| length == char.len_utf8()));
    }
}

/// Error codes and types stay, even if the whole error was pasted into a prompt.
#[test]
fn codes_and_types_stay() {
    let status = "Error code: 400 - {'error': {'message': 'your messages are much too long', 'type': 'invalid_request_error', 'code': 'context_length_exceeded'}}";
    let expected =
        "Error code: 400 - {'[CONTENT]', 'type': 'invalid_request_error', 'code': 'context_length_exceeded'}}";
    let prompt = format!("what does this mean: {status} please?");
    for content in [prompt.clone(), serde_json::to_string(&prompt).unwrap()] {
        assert_eq!(mended(status, &[&content], &[]), expected);
        assert_eq!(mended(expected, &[&content], &[]), expected);
    }
}

/// Texts that can't quote anything are rejected before any search.
#[test]
fn gate() {
    for text in
        ["chat claude-sonnet-4-5", "POST /v1/messages/count_tokens/of/it", "execute_tool mcp__server__read_file"]
    {
        assert!(!may_quote(text, &[]), "{text}");
    }
    let model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert!(!may_quote(&format!("chat {model}"), &[Some(model)]));
    assert!(may_quote("it burnt: CANARY-toolerror-001e529b2dbff267", &[]));
}

/// Repetition does not cost quadratic time and hides nothing.
#[test]
fn repetition() {
    let text = "xxxx xxxx xxxx xxxx ".repeat(2_000);
    let content = "xxxx ".repeat(20_000);
    assert_eq!(mended(&text, &[&content], &[]), format!("{CONTENT_PLACEHOLDER} "));
}

/// The memory evicts the least recently used session, stores a growing conversation once, and stays within its limits.
#[test]
fn memory_is_bounded() {
    let memory = FingerprintCache::with_limit(&SeededRng::new(1), 300_000);
    let prints = |text: &str| prints_of(&memory, text);
    let mut source = 1_u64;
    let mut noise = |bytes: usize| -> String {
        let mut next = || {
            source = source.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + (source >> 33) as u8 % 26)
        };
        (0..bytes).map(|_| next()).collect()
    };
    let session = |name: &str| memory.session_key("default", name.as_bytes());
    let mut talk = String::from("[");
    for _ in 0..50 {
        talk.push_str(&noise(1_000));
        memory.add_session_content(session("grows"), &prints(&format!("{talk}]")));
        talk.push(',');
    }
    assert_eq!(memory.session_texts(session("grows")).len(), 1, "one conversation");
    assert!(memory.bytes() < 30_000, "{}", memory.bytes());
    for index in 0..30 {
        memory.add_session_content(session(&index.to_string()), &prints(&noise(40_000)));
        assert!(memory.bytes() <= 300_000);
    }
    assert!(memory.session_texts(session("grows")).is_empty() && memory.session_texts(session("0")).is_empty());
    assert_eq!(memory.session_texts(session("29")).len(), 1);
    let wide = FingerprintCache::new(&SeededRng::new(1));
    for _ in 0..80 {
        wide.add_session_content(session("one"), &prints_of(&wide, &noise(100_000)));
        assert!(wide.bytes() <= fingerprint_cache::MAX_SESSION_BYTES);
    }
    assert!(wide.bytes() > fingerprint_cache::MAX_SESSION_BYTES / 2);
}

/// A session whose content is too short to be found again takes no memory; otherwise new session ids would fill it.
#[test]
fn memory_of_short_texts() {
    let memory = FingerprintCache::with_limit(&SeededRng::new(1), 10_000);
    for index in 0..1_000 {
        // long as written, short once folded
        let prints = prints_of(&memory, &format!("ok{}", " ".repeat(100)));
        memory.add_session_content(memory.session_key("default", index.to_string().as_bytes()), &prints);
    }
    let sessions = memory.sessions.lock().len();
    assert_eq!((sessions, memory.bytes()), (0, 0));
}

/// Of a text longer than a session's memory, the beginning is kept while there is room.
#[test]
fn memory_of_a_long_text() {
    let memory = FingerprintCache::new(&SeededRng::new(1));
    let session = memory.session_key("default", b"s");
    let words = |from: usize, count: usize| (from..from + count).map(|n| format!("word{n} ")).collect::<String>();
    let remember = |text: &str| memory.add_session_content(session, &prints_of(&memory, text));
    let found = |text: &str| {
        let known = memory.session_texts(session);
        !EchoReplacements::find(memory.key(), &[text], &[], known.iter().map(|text| &**text)).is_empty()
    };
    let long = words(0, 500_000);
    assert!(long.len() > 5 << 20);
    remember(&long);
    assert!(
        memory.bytes() <= fingerprint_cache::MAX_SESSION_BYTES
            && memory.bytes() > fingerprint_cache::MAX_SESSION_BYTES / 2,
        "{}",
        memory.bytes()
    );
    let quote = format!("bad: {}", words(1_000, 20));
    assert!(found(&quote), "its beginning");
    remember(&words(1_000_000, 10));
    assert!(found(&quote), "a short one takes no more than the room it needs");
    assert!(found(&format!("bad: {}", words(1_000_000, 10))));
    for n in 2..30 {
        remember(&words(n * 1_000_000, 20_000));
        assert!(memory.bytes() <= fingerprint_cache::MAX_SESSION_BYTES);
    }
    assert!(!found(&quote), "the oldest goes first");
}

/// Sessions with the same name in different accounts are distinct.
#[test]
fn accounts_are_apart() {
    let memory = FingerprintCache::new(&SeededRng::new(1));
    assert_ne!(memory.session_key("a", b"s"), memory.session_key("b", b"s"));
}

/// Whether `text` contains a range of 24 characters with 4 whole words of `content`.
fn survives(text: &str, content: &str) -> bool {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let all: Vec<_> = words(text).collect();
    starts.windows(LEAST_CHARACTERS + 1).any(|window| {
        let (start, end) = (window[0], window[LEAST_CHARACTERS]);
        let whole: Vec<_> = all.iter().filter(|word| start <= word.start && word.end <= end).collect();
        let (Some(first), Some(last)) = (whole.first(), whole.last()) else { return false };
        let tokens = text[first.start..last.end].split_whitespace().count();
        content.contains(&text[start..end]) && whole.len() >= LEAST_WORDS && tokens >= LEAST_TOKENS
    })
}

fn prose() -> impl Strategy<Value = String> {
    let words = "the invoice of Jane is überfällig please a quantity now don't x".split(' ').collect::<Vec<_>>();
    prop::collection::vec(prop::sample::select(words), 5..60)
        .prop_flat_map(|words| {
            let seps = prop::collection::vec(prop::sample::select(vec![" ", ", ", "\n", " \"", ". "]), words.len());
            (Just(words), seps)
        })
        .prop_map(|(words, seps)| words.iter().zip(seps).map(|(word, sep)| format!("{word}{sep}")).collect())
}

proptest! {
    /// No range of at least 24 characters and 4 words survives, at any position, and a second pass changes nothing.
    #[test]
    fn nothing_survives(content in prose(), text in prose(), from in 0_usize..200, len in 0_usize..200, at in 0_usize..200, json in any::<bool>()) {
        let chars: Vec<char> = content.chars().collect();
        let quoted: String = chars.iter().skip(from % chars.len()).take(len).collect();
        let head: String = text.chars().take(at).collect();
        let tail: String = text.chars().skip(at).collect();
        let whole = format!("{head}{quoted}{tail}");
        let stored = if json { serde_json::to_string(&content).unwrap() } else { content.clone() };
        let out = mended(&whole, &[&stored], &[]);
        prop_assert!(!survives(&out, &content), "{out:?} of {whole:?}");
        prop_assert_eq!(mended(&out, &[&stored], &[]), out);
    }

    /// Content folds like texts do: byte by byte or in blocks, with or without vectors, for any split into parts.
    #[test]
    fn folding(text in "([a-c\\\\nrtux0&;#%+\"4 \\t\\n\u{a0}é\u{ad}\u{85}\u{2009}\u{2019}\u{202f}\u{3000}\u{3001}\u{304b}\u{feff}\u{200b}\u{1680}\u{ff01}]|%E2%80%89|abcdefghijklmnop|\\\\{1,40}u00a0|&amp;lt;|\\\\u003c|%20| {2,70}){0,80}", times in 1_usize..40) {
        let text = text.repeat(times);
        let mut plain: Vec<u8> = Vec::new();
        let (mut rest, mut after) = (text.as_bytes(), false);
        while let Some(first) = rest.first() {
            let (length, put) = fold::fold_unit(rest).unwrap_or((1, fold::FoldedUnit::Byte(*first)));
            match put {
                fold::FoldedUnit::Nothing => {}
                fold::FoldedUnit::Blank => {
                    if !after {
                        plain.push(b' ');
                    }
                    after = true;
                }
                fold::FoldedUnit::Byte(byte) => {
                    plain.push(byte);
                    after = false;
                }
                fold::FoldedUnit::Char(char) => {
                    plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                    after = false;
                }
            }
            rest = &rest[length..];
        }
        let mut blocks = [Vec::new(), Vec::new()];
        let [one, two] = &mut blocks;
        let read = |out: &mut Vec<u8>, part: &[u8]| {
            out.extend_from_slice(part);
            part.len()
        };
        fold::ContentFolder::new().fold_text(text.as_bytes(), |part| read(one, part));
        fold::ContentFolder::new().fold_with_reader(block_marks::PortableReader, text.as_bytes(), |part| read(two, part));
        for folded in &blocks {
            prop_assert_eq!(folded, &plain);
        }
        prop_assert_eq!(&folded_forms::folded_forms(&text)[0].bytes, &plain);
    }

    /// For any text, the result is valid text, and without content nothing changes.
    #[test]
    fn any_text(text in "\\PC{0,300}", content in "\\PC{0,300}") {
        let out = mended(&text, &[&content, &text], &[]);
        prop_assert_eq!(mended(&out, &[&content, &text], &[]), out);
        prop_assert_eq!(mended(&text, &[], &[]), text);
    }
}

/// Ten thousand quotes on one line take no longer each than one, because a request must not block a worker for minutes.
/// (A quadratic algorithm would take minutes; the test fails by not ending.)
#[test]
fn many_quotations_on_one_line() {
    let lines = |quote: &str| (0..10_000).map(|n| format!("{quote} other{n}x ")).collect::<String>();
    let text = lines("her invoice of March is \"overdue\" by\\nforty days");
    assert_eq!(mended(&text, &[PROMPT], &[]), lines(CONTENT_PLACEHOLDER));
}

/// JSON that repeats content must stay JSON with its keys: only strings are replaced, and no escape is split.
#[test]
fn json_stays_json() {
    let said = "my left knee hurts\nsince last tuesday \\ and the \"other\" one too";
    let text =
        serde_json::json!({"index": 0, "message": {"role": "assistant", "content": said}, "n": [1, said]}).to_string();
    let out = mended(&text, &[&text], &[]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!(json["message"]["content"], CONTENT_PLACEHOLDER, "{out}");
    assert_eq!(
        (&json["index"], &json["n"][1]),
        (&serde_json::json!(0), &serde_json::json!(CONTENT_PLACEHOLDER)),
        "{out}"
    );
    for from in 0..said.len() - 40 {
        let part = &said[from..];
        let text = serde_json::json!({"a": format!("x {part} y"), "b": "stays"}).to_string();
        let out = mended(&text, &[part], &[]);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
        assert!(json["b"] == "stays" && !out.contains("last tuesday"), "{out}");
    }
}
