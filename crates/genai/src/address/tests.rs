//! Tests of which parts of addresses stay and which are removed.

use super::{MAX_ADDRESS_BYTES, shorten_address};

/// Ordinary addresses and routes stay unchanged: dashboards group by them.
#[test]
fn ordinary_addresses_stay() {
    for (key, text) in [
        ("http.route", "/api/v1/users/{id}/orders-by-date"),
        ("url.full", "https://api.anthropic.com/v1/messages?beta=true"),
        ("url.full", "https://api.openai.com/v1/chat/completions"),
        (
            "url.full",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (
            "url.full",
            "https://us-central1-aiplatform.googleapis.com/v1/projects/p-12/locations/us-central1/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
        ),
        (
            "url.full",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream",
        ),
        ("http.url", "http://10.0.0.7:8080/healthz"),
        ("http.url", "http://[::1]:4318/v1/traces"),
        ("http.target", "/v1/threads/thread_abc123DEF456/runs/run_0192ab?limit=20&order=desc"),
        ("url.path", "/items/550e8400-e29b-41d4-a716-446655440000"),
        ("url.path", "/static/js/main.8f3a9c21.chunk.js"),
        ("url.path", "/"),
        ("url.path", "/a/b/../c//d/"),
        ("url.query", "page=2&per_page=50&sort=created_at"),
        ("url.query", "?ids[]=1&ids[]=2&since=2026-11-25T06:29:11Z"),
        ("url.query", "api-version=2024-10-21"),
        ("url.query", "api_key=[SECRET]&user=[EMAIL:h-0123456789abcdef]"),
        ("http.route", "/users/:id/files/*"),
        ("http.route", "/users/<int:user_id>/posts"),
        ("url.full", "https://example.com/docs/intro#section-2"),
        ("url.full", "s3://bucket/2026/11/25/part-0001.parquet"),
        ("url.full", "wss://api.openai.com/v1/realtime?model=gpt-4o-realtime-preview-2024-12-17"),
        (
            "url.full",
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-company-prod/locations/europe-west4/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
        ),
        ("url.query", "beta&versioning"),
        ("url.full", "https://registry.npmjs.org/@scope/package"),
        ("url.scheme", "https"),
        ("url.domain", "api.example.com"),
        ("url.template", "/v1/files/{file_id}/content"),
        ("url.query", ""),
        ("url.full", "https://login.example.com/oauth2/v2.0/token?grant_type=client_credentials"),
    ] {
        assert_eq!(shorten_address(key, text), None, "{key} {text}");
    }
}

/// Free text is removed wherever it is in an address; the rest stays.
#[test]
fn what_is_said_goes() {
    for (key, text, left) in [
        ("url.full", "https://x.com/search?q=what+is+the+capital&lang=en", "https://x.com/search?q=[…]&lang=en"),
        ("url.full", "https://x.com/search?q=tell%20me%20more", "https://x.com/search?q=[…]"),
        ("url.full", "https://x.com/search?q=John%20Smith", "https://x.com/search?q=[…]"),
        ("url.full", "https://ada:secret@x.com:8443/a", "https://x.com:8443/a"),
        ("url.full", "https://x.com/a#my-name-is-ada", "https://x.com/a#[…]"),
        ("url.full", "https://x.com/my-name-is-ada-and-i/b", "https://x.com/[…]/b"),
        ("url.full", "https://x.com/my name/b", "https://x.com/[…]/b"),
        ("url.full", "data:text/plain,hello", "[…]"),
        ("url.full", "JavaScript:alert(1)", "[…]"),
        ("url.full", "mailto:ada@example.com?subject=hi", "[…]"),
        ("url.full", "https://x.com?a=b", "https://x.com?a=b"),
        ("url.query", "q=my_name_ada&ok=1", "q=[…]&ok=1"),
        ("url.query", "[{\"role\": \"user\"}]", "[…]"),
        ("url.query", "what+is+this=1", "[…]=1"),
        ("url.query", "q=%7B%22role%22%3A%22user%22%7D", "q=[…]"),
        ("url.query", "q=a,few,words", "q=[…]"),
        ("url.query", "q=one.two.three.four.five", "q=[…]"),
        ("url.query", "q=caf%C3%A9", "q=[…]"),
        ("url.query", "q=%", "q=[…]"),
        ("url.fragment", "it is here", "[…]"),
        ("url.path", "/thisisalongsentencewithoutanyblanksinit", "/[…]"),
        ("url.path", "/aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8", "/[…]"),
        ("http.target", "/поиск?q=1", "/[…]?q=1"),
        ("http.target", "/a?x=1?y=two words", "/a?x=[…]"),
        // Sentences split into single words by capitals, digits, dots, or across parameters.
        ("url.path", "/users/anna/smith/has/hiv/since/may", "/users/[…]/[…]/[…]/[…]/since/[…]"),
        ("url.path", "/AnnaSmithHasHivSinceMay", "/[…]"),
        ("url.path", "/anna1smith2has3hiv4since5may", "/[…]"),
        ("url.path", "/ANNASMITHHASHIV", "/[…]"),
        ("url.query", "q=Anna.Smith.has.HIV", "q=[…]"),
        ("url.query", "q=HIV", "q=[…]"),
        ("url.query", "anna&smith&has&hiv", "[…]&[…]&[…]&[…]"),
        ("url.query", "anna=1&smith=2&has=3&hiv=4&since=5&may=6", "[…]=1&[…]=2&[…]=3&[…]=4&since=5&[…]=6"),
        ("url.full", "https:/ada:secret@x.com/a", "https:/x.com/a"),
        ("url.full", "//ada:secret@x.com/a", "//[…]/a"),
        ("url.path", "/aGVsbG8gd29ybGQgaGVsbG8", "/[…]"),
        ("url.full", "https://my name is ada/b", "https://[…]/b"),
    ] {
        let got = shorten_address(key, text);
        assert_eq!(got.as_deref().unwrap_or(text), left, "{key} {text}");
        assert_eq!(shorten_address(key, left), None, "a second pass changes {left}");
    }
}

/// The result for a long address is bounded, and a second pass leaves it unchanged.
#[test]
fn the_result_is_bounded() {
    let said = serde_json::json!([{"role": "user", "content": "tell me ".repeat(700)}]).to_string();
    assert_eq!(shorten_address("url.query", &format!("m={said}&n=1")).as_deref(), Some("m=[…]&n=1"));
    for text in ["/ab".repeat(5_000), format!("/x?{}", "a=b&".repeat(5_000)), "a/".repeat(2_000), "/é".repeat(9_000)] {
        let left = shorten_address("url.full", &text).expect("it is cut");
        assert!(left.len() <= MAX_ADDRESS_BYTES && left.ends_with("[…]"), "{} bytes", left.len());
        assert_eq!(shorten_address("url.full", &left), None, "again");
    }
}
