use super::*;

/// The table parses, each of its rows says something, and no component type has two rows in a section: the second one
/// would never be read.
#[test]
fn the_table_is_complete() {
    let table = parse_table().unwrap_or_else(|problem| panic!("{problem}"));
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
