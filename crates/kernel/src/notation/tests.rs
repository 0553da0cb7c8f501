use super::{Notation, Token, Tokens, decode_escape, escape_at, push_escaped, string_end, unescape};

fn tokens(text: &str, notation: Notation) -> Vec<Token> {
    Tokens::new(text, notation).collect()
}

/// Each kind of token has its position, in both notations.
#[test]
fn tokens_have_positions() {
    let text = |range, is_closed| Token::Text { range, is_closed };
    assert_eq!(
        tokens(r#"{"a\"": [1, 'b"#, Notation::Json),
        [
            Token::Open(b'{'),
            text(2..5, true),
            Token::Colon,
            Token::Open(b'['),
            Token::Word(9..10),
            Token::Comma,
            Token::Word(12..14)
        ]
    );
    assert_eq!(tokens("(None)", Notation::Json), [Token::Word(0..6)]);
    assert_eq!(
        tokens("('é', None)", Notation::Python),
        [Token::Open(b'('), text(2..4, true), Token::Comma, Token::Word(7..11), Token::Close(b')')]
    );
    assert_eq!(tokens("'a\\", Notation::Python), [text(1..3, false)]);
    assert_eq!(tokens(" \n", Notation::Python), []);
}

/// Any text ends: tokens move on, and their ranges are parts of the text.
#[test]
fn any_text_has_tokens() {
    let pieces = ["\"", "'", "\\", "{", ")", "é", " ", ":", "\u{1f600}", "a1"];
    for number in 0..100_000_usize {
        let text: String = (0..5).map(|place| pieces[number / 10_usize.pow(place) % 10]).collect();
        for notation in [Notation::Json, Notation::Python] {
            for token in Tokens::new(&text, notation) {
                let (Token::Text { range, .. } | Token::Word(range)) = token else { continue };
                assert!(text.get(range.clone()).is_some(), "{text:?} {range:?}");
            }
        }
        assert!(text.is_char_boundary(string_end(text.as_bytes(), 0, b'"').0), "{text:?}");
    }
}

/// A cut never splits an escape, and a backslash that is escaped begins none.
#[test]
fn cuts_find_their_escape() {
    let text = r#"a\n\\n\u0041z"#;
    let found: Vec<_> = (0..=text.len()).map(|at| escape_at(text, 0, at)).collect();
    let at = |range: std::ops::Range<usize>| Some(range);
    let none = None;
    let expected = [none.clone(), none.clone(), at(1..3), none.clone(), at(3..5), none.clone(), none.clone()];
    assert_eq!(found[..7], expected);
    assert_eq!(found[7..12], [at(6..12), at(6..12), at(6..12), at(6..12), at(6..12)]);
    assert_eq!(found[12..], [none.clone(), none]);
}

/// JSON's and Python's escapes; what stands for no character is visible and loses no text.
#[test]
fn escapes_are_decoded() {
    for (raw, expected) in [
        (r"plain", "plain"),
        (r"a\n\t\\\'", "a\n\t\\'"),
        (r"\u0041\x41\U00000041", "AAA"),
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ude00", "\u{fffd}"),
        (r"\u+123", "\u{fffd}+123"),
        (r"\u12", "\u{fffd}12"),
        (r"\é", "é"),
        ("end\\", "end"),
    ] {
        assert_eq!(unescape(raw), expected, "{raw}");
    }
    assert_eq!(decode_escape("\\"), (None, 1));
}

/// A string that was written reads back as it was.
#[test]
fn strings_read_back() {
    for text in ["", "a\"b'c\\d", "\u{1}\u{1f}\n\r\t", "é\u{1f600}"] {
        for quote in ['"', '\''] {
            let mut out = String::new();
            push_escaped(text, quote, &mut out);
            let (end, is_closed) = string_end(out.as_bytes(), 1, quote as u8);
            assert!(is_closed && end + 1 == out.len(), "{out}");
            assert_eq!(unescape(&out[1..end]), text);
        }
    }
}
