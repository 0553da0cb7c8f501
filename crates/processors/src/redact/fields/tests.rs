use super::*;

/// Must not regress: fields of the specified form stay, and no field carries a sentence.
#[test]
fn forms() {
    let cases = [
        (TextField::TraceState, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true),
        (TextField::TraceState, "dd=s:2;p:7,tenant@vendor=x", true),
        (TextField::TraceState, "note=Maria has fever", false),
        (TextField::TraceState, "please call Maria", false),
        (TextField::SchemaUrl, "https://opentelemetry.io/schemas/1.41.0", true),
        (TextField::SchemaUrl, "https://x.example/?q=Maria+has+fever", false),
        (TextField::SchemaUrl, "Maria has fever", false),
        (TextField::Version, "1.29.0-alpha+build.7", true),
        (TextField::Version, "version of Maria", false),
        (TextField::Unit, "{request}", true),
        (TextField::Unit, "By/s", true),
        (TextField::Unit, "bottles for Maria", false),
        (TextField::Name, "io.opentelemetry.okhttp-3.0", true),
        (TextField::Name, "Payment Service Agent", true),
        (TextField::Name, "please tell Maria Huber about her diagnosis", false),
        (TextField::Name, "please_tell_Maria_Huber_about_her_diagnosis_and_its_cure_today", false),
        (TextField::TraceState, "note=Maria.has.HIV.since.May", false),
        (TextField::TraceState, "maria_huber_has_hiv=1", false),
        (TextField::SchemaUrl, "https://x.example/Maria/Huber/has/HIV/since/May", false),
        (TextField::Version, "MariaHuberHasHivSinceMay", false),
        (TextField::Version, "1.2.Maria.Huber.has.HIV", false),
        (TextField::Version, "M\u{e4}ria", false),
        (TextField::Version, "v0.48b0", true),
        (TextField::Version, "2.9.1-20261125.gita1b2c3d", true),
        (TextField::Unit, "{token}/{request}", true),
        (TextField::Unit, "{Maria_has_fever_since_May}", false),
        (TextField::SeverityText, "DEBUG2", true),
        (TextField::SeverityText, "MARIAHUBER", false),
        (TextField::SeverityText, "Warning", true),
        (TextField::SeverityText, "SECURITY", true),
        (TextField::SeverityText, "Maria Huber", false),
        (TextField::SeverityText, "Maria_Huber", false),
    ];
    for (field, text, expected) in cases {
        assert_eq!(has_form(field, text), expected, "{text}");
    }
    assert!(!has_form(TextField::TraceState, &"a=b,".repeat(200)));
}
