//! Tests of the files in `config/rules/lists`: the code reads every list in them and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::secrets::command_arguments::{ArgumentRule, COMMANDS};
use super::super::secrets::secret_keys;
use super::super::{validate, wordlists};

/// A list as written in its file.
struct Written {
    name: &'static str,
    marks: Vec<&'static str>,
    explained: bool,
    entries: Vec<&'static str>,
}

impl Written {
    fn is(&self, mark: &str) -> bool {
        self.marks.contains(&mark)
    }
}

/// Reads every list of every file without the product's parser.
fn written() -> Vec<Written> {
    let mut lists: Vec<Written> = Vec::new();
    for line in wordlists::FILES.iter().flat_map(|file| file.lines()) {
        if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let mut words = head.split(' ');
            let name = words.next().unwrap_or("");
            lists.push(Written { name, marks: words.collect(), explained: false, entries: Vec::new() });
        } else if let Some(list) = lists.last_mut() {
            let by_lines = list.is("lines") || list.is("table");
            match line.strip_prefix("# ") {
                // The head of the next file
                Some(_) if !list.entries.is_empty() => {}
                Some(_) => list.explained = true,
                None if by_lines => list.entries.extend(Some(line).filter(|line| !line.is_empty())),
                None => list.entries.extend(line.split_whitespace()),
            }
        }
    }
    lists
}

/// Describes the faults of a list.
fn faults(list: &Written) -> Vec<String> {
    let mut found = Vec::new();
    let unknown = list.marks.iter().find(|mark| !["lines", "table", "ordered", "cased", "stems"].contains(mark));
    found.extend(unknown.map(|mark| format!("no mark is called `{mark}`")));
    if !list.explained {
        found.push("no line explains it".to_owned());
    }
    if list.entries.is_empty() {
        found.push("is empty".to_owned());
    }
    let mut seen = BTreeSet::new();
    for entry in &list.entries {
        if !seen.insert(entry) {
            found.push(format!("has `{entry}` twice"));
        }
        if !list.is("cased") && entry.to_lowercase() != **entry {
            found.push(format!("`{entry}` has capitals"));
        }
        if list.is("table") && !entry.contains(" = ") {
            found.push(format!("`{entry}` is no row"));
        }
        if entry.trim() != *entry {
            found.push(format!("`{entry}` has blanks at its ends without quotes"));
        }
    }
    let in_order = |pair: &[&str]| {
        let [one, other] = pair else { return true };
        one.trim_matches('"') < other.trim_matches('"') || list.is("stems") && one.starts_with(other)
    };
    if !list.is("ordered") && !list.is("table") {
        let wrong = list.entries.windows(2).filter(|pair| !in_order(pair));
        found.extend(wrong.map(|pair| format!("`{}` stands before `{}`", pair[0], pair[1])));
    }
    found
}

/// No list is empty, undocumented or out of order, has duplicates, or has capitals that could never match.
#[test]
fn lists_are_well_formed() {
    let lists = written();
    let broken: Vec<String> = lists
        .iter()
        .flat_map(|list| faults(list).into_iter().map(move |fault| format!("{}: {fault}", list.name)))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let names: BTreeSet<&str> = lists.iter().map(|list| list.name).collect();
    assert_eq!(names.len(), lists.len(), "two lists have one name");
}

/// Every list is used by name in the code, and every name in the code is a list; a misspelt name would be an empty
/// list.
#[test]
fn lists_are_asked_for_by_name() {
    let mut asked = BTreeSet::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |text| {
        let names = text.split('"').filter(|word| {
            let (file, name) = word.split_once('.').unwrap_or_default();
            ["addresses", "keys", "names", "notation", "numbers", "secrets"].contains(&file)
                && !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        asked.extend(names.map(str::to_owned));
    });
    let known: BTreeSet<String> = written().iter().map(|list| list.name.to_owned()).collect();
    // Prefixes of values and file endings look like names of lists
    let not_lists = ["secrets.yaml", "keys.yaml", "names.yaml"].map(str::to_owned);
    asked.retain(|name| !not_lists.contains(name));
    assert_eq!(asked, known);
}

fn sources(folder: &Path, each: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true if entry.ends_with("tests") => {}
            true => sources(&entry, each),
            false => each(&fs::read_to_string(&entry).expect("a source")),
        }
    }
}

/// The product reads the same lists, and each row of a table gives as many entries as it names; none is dropped because
/// of a word unknown to the code.
#[test]
fn tables_are_read_whole() {
    for list in written() {
        let by_lines = list.is("lines") || list.is("table");
        let body: Vec<&str> =
            if by_lines { wordlists::text(list.name).lines().collect() } else { wordlists::words(list.name).collect() };
        assert!(body == list.entries, "{}", list.name);
    }
    let rights = |name: &str| wordlists::rows(name).map(|(_, right)| right.split(' ').count()).sum::<usize>();
    assert_eq!(secret_keys::standalone_words().count(), rights("secrets.key_kinds"));
    let arguments = wordlists::rows("secrets.command_arguments").flat_map(|(_, right)| right.split(' '));
    arguments.for_each(|entry| assert!(ArgumentRule::parse(entry).is_some(), "{entry}"));
    let commands = wordlists::rows("secrets.command_arguments").map(|(left, _)| left.split(", ").count());
    assert_eq!(COMMANDS.len(), commands.sum::<usize>());
    assert_eq!(validate::dates::MONTHS.len(), rights("numbers.months"));
}
