use std::path::Path;

use super::*;

/// The embedded JSON is the YAML file (`TOLLGATE_UPDATE=1 cargo test collector` writes it). Each row of the table says
/// something, and no component type has two rows in a section: the second one would never be read.
#[test]
fn the_table_is_complete() {
    let file = |ending: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("config/collector").with_extension(ending);
    let yaml = std::fs::read_to_string(file("yaml")).unwrap();
    let data: serde_json::Value =
        config::load::parse_data("config/collector.yaml", &yaml).unwrap_or_else(|problem| panic!("{problem}"));
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        std::fs::write(file("json"), data.to_string()).unwrap();
    }
    let json = data.to_string();
    assert!(std::fs::read_to_string(file("json")).unwrap() == json, "collector.json is out of date");
    let table: CollectorTable = serde_json::from_value(data).unwrap();
    assert!(table.unused.len() == 2 && table.replacements.len() == 5 && table.keys.len() == 5);
    for rows in table.replacements.values() {
        let mut types: Vec<_> = rows.iter().flat_map(|row| &row.types).collect();
        types.sort_unstable();
        assert!(types.windows(2).all(|pair| pair[0] != pair[1]), "{types:?}");
    }
    for row in table.keys.values().flatten() {
        assert!(row.note.is_some() != row.error.is_some() && !row.keys.is_empty(), "{:?}", row.keys);
    }
}
