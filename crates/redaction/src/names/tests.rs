//! Tests of names: lists, forms, limits of cues, carry-over.

use super::{name_lists, name_shape};
use crate::tests::{assert_redacted, detector, redact};

/// The lists are sorted, and no given name is a common word.
#[test]
fn lists_are_sorted_and_apart() {
    assert!(name_lists::sorted());
    for name in name_lists::given_names().filter(|name| !name_lists::may_be_given_name(name)) {
        assert!(name.starts_with(char::is_uppercase), "{name}");
    }
    assert!(
        name_lists::is_given_name("Emma")
            && name_lists::is_given_name("EMMA")
            && !name_lists::is_given_name("emma")
            && !name_lists::is_given_name("Claude")
    );
    assert!(
        name_lists::is_common_word("Please")
            && name_lists::is_common_word("tables")
            && !name_lists::is_common_word("Okonkwo")
    );
}

/// The extent of one name.
#[test]
fn names_are_read_whole() {
    for name in [
        "Jane Doe",
        "Jürgen van der Meer",
        "O'Neil Brandt",
        "Mary-Jane Watson",
        "J. R. Ewing",
        "JANE DOE",
        "Ludwig McAllister",
        "Emma Price",
        "María del Carmen Ruiz",
        "Ahmed bin Rashid",
        "Sean Connery Jr.",
    ] {
        let text = format!("{name}, and more");
        let read = name_shape::read_name(&text, 0).map(|read| text[read.range].to_owned());
        assert_eq!(read.as_deref(), Some(name));
    }
    for text in ["jane", "GitHub", "JavaScript", "iPhone", "HTTP2", "X1", "Player_one", "Foo::Bar", "I", "Vec<Emma"] {
        assert!(
            name_shape::read_name(text, 0).is_none_or(|read| read.starts_with_common_word
                || text.starts_with("Vec")
                || text.starts_with("GitHub")),
            "{text}"
        );
    }
}

/// A name found by a key or strong cue is found everywhere in the text, as whole words; common words are not.
#[test]
fn names_are_carried_over() {
    let text =
        r#"{"first_name": "Zorblatt", "last_name": "Brown"} Zorblatt's Zorblattian brown Brown zorblatt_1 (Zorblatt)"#;
    let wanted = r#"{"first_name": "[PERSON]", "last_name": "[PERSON]"} [PERSON]'s Zorblattian brown Brown zorblatt_1 ([PERSON])"#;
    assert_eq!(redact(detector(), text), wanted);
}

/// Words of code and products that begin like names stay.
#[test]
fn look_alikes_stay() {
    assert_redacted(&[
        "Claude Code and Gemini Pro are models",
        "Dear Sir or Madam, Best Buy opens in Paris in May",
        "the customer Success Team named Release Candidate",
        "Thanks,\nThe Platform Team",
        "Thanks,\nTravel Deals Team",
        "Hello World, Welcome Home. Good Morning America",
        "new Date(); class Jasper extends Base {}",
        "assert_eq!(Martin::new(), Rose)",
        "This is Great News. I am Groot-like. I'm Not Sure",
    ]);
}

/// Places, firms and goods named like persons stay; persons next to the same words are replaced.
#[test]
fn what_is_called_as_persons_are_stays() {
    assert_redacted(&[
        "an order sent to Texas by accident, a half-day trip to Texas.",
        "you moved from Florida (32169) to Phoenix; a flight to Charlotte, then a train from Victoria",
        "St. Louis is 500 miles away, Grand Canyon, Palo Alto, Ft. Wayne",
        "The Martin Marietta index rose, Calvin Klein and Louis Vuitton did not",
        r#"{"enum": ["Celsius", "Fahrenheit", "Kelvin"], "default": "Celsius"}"#,
        r#"{"name":"Charlotte Sofa","sku":"x-1","variants":{"a":{"price":1}}}"#,
        r#"{\"title\": \"Kelly Green Rug\", \"price\": 129}"#,
        "name: Charlotte Sofa\nprice: 129\nstock: 3",
        "send it to «PERSON|Charlotte», please",
        "a trip with «PERSON|Emma» to Texas",
        r#"{"name":"«PERSON|Emma Okonkwo»","quantity":2}"#,
        r#"{"name": "«PERSON|Emma Okonkwo»", "price": 12, "orderId": 3}"#,
        "we met «PERSON|Mary Kay Okonkwo» and «PERSON|Jim Beam Carter»",
        "Thanks,\n«PERSON|Zorblatt Okonkwo» Sales Manager",
        r#"{"name":"«PERSON|Emma Okonkwo»","email":1,"price":3}"#,
        r#"{"title":"Lunch with «PERSON|Emma Okonkwo»","price":3}"#,
        r#"{"sku":1},{"name":"«PERSON|Emma Okonkwo»","n":3}"#,
    ]);
}

/// An HL7 segment is read by its fields, a name before `(DOB` by its position; process tables stay.
#[test]
fn records_go_by_their_places() {
    assert_redacted(&[
        "PID|1||«MEDICAL_ID|10101»^^^GATEWAY&1.3.6||«PERSON|ZORB^SMITH»^^^^^A||«DATE_OF_BIRTH|19690113»|M|||«ADDRESS|VIA DELLE VIE 4»^^CAGLIARI^^^100^H^^092009",
        "1. «PERSON|Lei Kim» (DOB «DATE_OF_BIRTH|1990-04-05»)",
        "Field (DOB «DATE_OF_BIRTH|1990-04-05»)",
        "The Required Field (DOB «DATE_OF_BIRTH|1990-04-05»)",
    ]);
}
