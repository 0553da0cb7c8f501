//! Import knots: groups of modules that import each other, so that none can be read, moved or tested alone. The list
//! may only shrink.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{File, product};

/// The sizes of the existing knots, largest first, by crate ("src" is the root package). A knot that is not listed
/// fails the test; the size of one that shrank must be lowered here.
const KNOTS: &[(&str, &[usize])] = &[
    ("config", &[2]),
    ("echoes", &[2]),
    ("exporters", &[2]),
    ("genai", &[7, 2, 2]),
    ("otlp", &[2]),
    ("pages", &[7]),
    ("pipeline", &[3, 2, 2]),
    ("processors", &[5, 3, 2, 2]),
    ("tracker", &[2]),
];

/// A module: its path inside the crate, empty for the root.
type Module = Vec<String>;

/// The crate of a product file and its module in it.
fn place(path: &str) -> Option<(String, Module)> {
    let (name, inside) = match path.strip_prefix("crates/") {
        Some(rest) => rest.split_once("/src/")?,
        None => ("src", path.strip_prefix("src/")?),
    };
    let mut module: Module = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    Some((name.to_owned(), module))
}

/// Every path in `use` statements and expressions, as segments.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        match statement.rfind("use ").filter(|at| statement.ends_with(';') && starts_word(statement, *at)) {
            Some(at) => expand(statement[at + 4..].trim_end_matches(';').trim(), &[], &mut found),
            None => rest.push_str(statement),
        }
    }
    for word in rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')) {
        let word = word.trim_matches(':');
        if word.contains("::") && word.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.push(word.split("::").map(str::to_owned).collect());
        }
    }
    found
}

fn starts_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_none_or(|before| !before.is_ascii_alphanumeric() && before != '_')
}

/// Expands `a::{b, c::d}` to `a::b` and `a::c::d`.
fn expand(tree: &str, before: &[String], out: &mut Vec<Vec<String>>) {
    let (head, group) = match tree.find('{') {
        Some(open) => (&tree[..open], tree[open + 1..].rfind('}').map(|close| &tree[open + 1..open + 1 + close])),
        None => (tree.split(" as ").next().unwrap_or(tree), None),
    };
    let mut path = before.to_vec();
    path.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    let Some(group) = group else { return out.push(path) };
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[from..at].trim().is_empty() {
                    expand(group[from..at].trim(), &path, out);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// The module that a path in `from` refers to, if it belongs to this crate.
fn target(modules: &BTreeSet<Module>, from: &Module, path: &[String]) -> Option<Module> {
    let mut at = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => from.clone(),
    };
    let mut rest = path.iter().peekable();
    let mut anchored = false;
    while let Some(word) = rest.next_if(|word| ["crate", "self", "super"].contains(&word.as_str())) {
        anchored = true;
        if word == "super" {
            at.pop()?;
        }
    }
    let depth = at.len();
    for word in rest {
        at.push(word.clone());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    ((anchored || at.len() > depth) && at != *from && modules.contains(&at)).then_some(at)
}

/// The sizes of all knots of a crate, largest first.
fn knots(files: &BTreeMap<Module, &File>) -> Vec<usize> {
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    let imports: BTreeMap<&Module, BTreeSet<Module>> = files
        .iter()
        .map(|(from, file)| (from, paths(&file.text).iter().filter_map(|path| target(&modules, from, path)).collect()))
        .collect();
    // the modules that each module reaches; two that reach each other are in one knot
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = modules
        .iter()
        .map(|start| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(one) = open.pop() {
                open.extend(imports[one].iter().filter(|next| seen.insert(*next)));
            }
            (start, seen)
        })
        .collect();
    let mut counted = BTreeSet::new();
    let mut sizes = Vec::new();
    for start in &modules {
        let knot: Vec<_> = reach[start].iter().filter(|other| reach[**other].contains(start)).collect();
        if knot.len() > 1 && counted.insert(knot[0]) {
            sizes.push(knot.len());
        }
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

/// No new import cycle appears inside a crate, and none grows.
#[test]
fn import_cycles_only_shrink() {
    let files = product();
    let mut crates: BTreeMap<String, BTreeMap<Module, &File>> = BTreeMap::new();
    for file in &files {
        if let Some((name, module)) = place(&file.path) {
            crates.entry(name).or_default().insert(module, file);
        }
    }
    let found: Vec<(String, Vec<usize>)> = crates
        .iter()
        .map(|(name, files)| (name.clone(), knots(files)))
        .filter(|(_, knots)| !knots.is_empty())
        .collect();
    let listed: Vec<(String, Vec<usize>)> =
        KNOTS.iter().map(|(name, sizes)| ((*name).to_owned(), sizes.to_vec())).collect();
    let rows: Vec<String> = found.iter().map(|(name, sizes)| format!("    (\"{name}\", &{sizes:?}),")).collect();
    assert!(found == listed, "import cycles are not as listed; today:\n{}", rows.join("\n"));
}

/// Self-check: groups, parents and expressions are read, comments are not.
#[test]
fn imports_are_read() {
    let text = "use crate::a::{b, c::d as e};\n// use crate::no;\nfn f() { super::g::h(); std::mem::take(x) }";
    let found: Vec<String> = paths(text).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a::b", "crate::a::c::d", "super::g::h", "std::mem::take"]);
    let modules: BTreeSet<Module> = ["", "a", "a::c", "x", "g"]
        .iter()
        .map(|m| m.split("::").filter(|s| !s.is_empty()).map(str::to_owned).collect())
        .collect();
    let from = vec!["x".to_owned()];
    let leads = |path: &str| {
        target(&modules, &from, &path.split("::").map(str::to_owned).collect::<Vec<_>>()).map(|m| m.join("::"))
    };
    assert_eq!(leads("crate::a::c::d"), Some("a::c".to_owned()));
    assert_eq!(leads("super::g::h"), Some("g".to_owned()));
    assert_eq!(leads("super::name"), Some(String::new()));
    assert_eq!((leads("std::mem::take"), leads("self::name")), (None, None));
}
