use super::*;

/// Must not regress: fields of the specified form stay, and no field carries a sentence.
#[test]
fn forms() {
    let cases = [
        (Field::TraceState, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true),
        (Field::TraceState, "dd=s:2;p:7,tenant@vendor=x", true),
        (Field::TraceState, "note=Maria has fever", false),
        (Field::TraceState, "please call Maria", false),
        (Field::SchemaUrl, "https://opentelemetry.io/schemas/1.41.0", true),
        (Field::SchemaUrl, "https://x.example/?q=Maria+has+fever", false),
        (Field::SchemaUrl, "Maria has fever", false),
        (Field::Version, "1.29.0-alpha+build.7", true),
        (Field::Version, "version of Maria", false),
        (Field::Unit, "{request}", true),
        (Field::Unit, "By/s", true),
        (Field::Unit, "bottles for Maria", false),
        (Field::Name, "io.opentelemetry.okhttp-3.0", true),
        (Field::Name, "Payment Service Agent", true),
        (Field::Name, "please tell Maria Huber about her diagnosis", false),
        (Field::Name, "please_tell_Maria_Huber_about_her_diagnosis_and_its_cure_today", false),
        (Field::TraceState, "note=Maria.has.HIV.since.May", false),
        (Field::TraceState, "maria_huber_has_hiv=1", false),
        (Field::SchemaUrl, "https://x.example/Maria/Huber/has/HIV/since/May", false),
        (Field::Version, "MariaHuberHasHivSinceMay", false),
        (Field::Version, "1.2.Maria.Huber.has.HIV", false),
        (Field::Version, "M\u{e4}ria", false),
        (Field::Version, "v0.48b0", true),
        (Field::Version, "2.9.1-20261125.gita1b2c3d", true),
        (Field::Unit, "{token}/{request}", true),
        (Field::Unit, "{Maria_has_fever_since_May}", false),
        (Field::SeverityText, "DEBUG2", true),
        (Field::SeverityText, "MARIAHUBER", false),
        (Field::SeverityText, "Warning", true),
        (Field::SeverityText, "SECURITY", true),
        (Field::SeverityText, "Maria Huber", false),
        (Field::SeverityText, "Maria_Huber", false),
    ];
    for (field, text, expected) in cases {
        assert_eq!(has_form(field, text), expected, "{text}");
    }
    assert!(!has_form(Field::TraceState, &"a=b,".repeat(200)));
}
