//! Tests of the scores, which users compare with the documented figures.

use super::super::score::{LabelledText, RedactionScore, ScoreCounts, TypedRange};

fn marked(start: usize, end: usize, kind: &str) -> TypedRange {
    TypedRange { range: start..end, kind: kind.to_owned() }
}

fn tally(text: &str, labels: &[TypedRange], placed: &[TypedRange]) -> ScoreCounts {
    let mut score = RedactionScore::default();
    score.add(&LabelledText { text, labels, placed, group: "g", near_miss: false });
    assert_eq!(score.groups.get("g"), Some(&score.all).filter(|all| **all != ScoreCounts::default()));
    score.all
}

/// A value is found if no letter or digit is left, and leaks if four consecutive characters are left; neither may hold.
#[test]
fn found_and_leaked() {
    let label = [marked(4, 14, "PHONE")];
    let one = |placed: &[TypedRange]| {
        let tally = tally("tel 555-010-12 x", &label, placed);
        (tally.found, tally.leaked, tally.placed, tally.correct)
    };
    assert_eq!(one(&[]), (0, 1, 0, 0));
    assert_eq!(one(&[marked(4, 14, "PHONE")]), (1, 0, 1, 1));
    assert_eq!(one(&[marked(4, 11, "PHONE"), marked(12, 14, "PHONE")]), (1, 0, 2, 2), "only a dash is left");
    assert_eq!(one(&[marked(4, 12, "PHONE")]), (0, 0, 1, 1), "two digits are left");
    assert_eq!(one(&[marked(4, 10, "PHONE")]), (0, 1, 1, 1), "four characters are left");
    assert_eq!(one(&[marked(14, 16, "PHONE")]), (0, 1, 1, 0), "beside it is not on it");
    let short = tally("pin 12", &[marked(4, 6, "PASSWORD")], &[]);
    assert_eq!((short.found, short.leaked), (0, 1), "a short value leaks when it is whole");
}

/// Another type counts as found and is reported as confused; shares follow their definitions; types without complete
/// labels are not judged.
#[test]
fn shares() {
    let mut score = RedactionScore::new(Some(["SSN".to_owned(), "EMAIL".to_owned()].into()));
    let labels = [marked(0, 11, "SSN"), marked(12, 19, "EMAIL")];
    let placed = [marked(0, 11, "TAX_ID"), marked(12, 19, "EMAIL"), marked(20, 21, "EMAIL")];
    score.add(&LabelledText {
        text: "219-09-9998 a@b.org x",
        labels: &labels,
        placed: &placed,
        group: "a",
        near_miss: false,
    });
    score.add(&LabelledText { text: "x", labels: &[], placed: &[marked(0, 1, "PERSON")], group: "n", near_miss: true });
    score.add(&LabelledText { text: "x", labels: &[], placed: &[marked(0, 1, "SSN")], group: "n", near_miss: true });
    assert_eq!(score.all.recall(), Some(1.0));
    assert_eq!(score.all.leak(), Some(0.0));
    assert_eq!(score.unjudged, 2);
    assert_eq!(score.all.precision(), Some(1.0 / 3.0));
    let f2 = score.all.f2().unwrap_or_default();
    assert!((f2 - 5.0 / 3.0 / (4.0 / 3.0 + 1.0)).abs() < 1e-12);
    assert_eq!(score.all.clean(), Some(0.5));
    assert_eq!(score.confused.into_iter().collect::<Vec<_>>(), [(("SSN".to_owned(), "TAX_ID".to_owned()), 1)]);
    assert_eq!(ScoreCounts::default().recall(), None);
}
