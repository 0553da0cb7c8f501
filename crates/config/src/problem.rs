//! [`Problem`]: one fault of a configuration, with its position, path and hint, and its rendering as a snippet. A
//! snippet shows keys, and values that can't be secrets (chosen in `snippet`); all other bytes are masked. Problems are
//! found by `load`, `graph` and each component's `config`.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A position in a file. Lines and columns count from 1; offset and length are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePosition {
    /// Byte offset in the file.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
    /// Line, from 1; 0 if unknown.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A fault of one field, named by its path inside a component (`tls.ca_file`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Dotted path from the component's own map; empty for the component itself.
    pub path: String,
    /// A description in lower case that quotes no value.
    pub message: String,
}

impl FieldProblem {
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), message: what.into() }
    }

    /// The problems whose condition holds, of a list of conditions with their paths and descriptions.
    pub fn found<P: Into<String>, const N: usize>(conditions: [(bool, P, &str); N]) -> impl Iterator<Item = Self> {
        conditions.into_iter().filter(|(holds, ..)| *holds).map(|(_, path, what)| Self::new(path, what))
    }
}

/// How severe a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemSeverity {
    /// The configuration can't be used.
    Error,
    /// The configuration can be used, but the user should know.
    Warning,
}

/// Sorts errors before warnings, each by position, and removes repetitions: a block that is read twice reports its
/// fault twice.
pub fn sort_and_dedup(problems: &mut Vec<Problem>) {
    problems.sort_by_key(Problem::sort_key);
    problems.dedup();
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: ProblemSeverity,
    /// Its position, if known.
    pub at: Option<SourcePosition>,
    /// Path in the configuration, e.g. `exporters.otlp/honeycomb.endpoint`; may be empty.
    pub path: String,
    /// A description of the fault.
    pub message: String,
    /// A remedy such as "did you mean `endpoint`?"; may be empty.
    pub hint: String,
}

impl Problem {
    /// The sort key of problems: errors before warnings, then the position; those without a position come last.
    fn sort_key(&self) -> (ProblemSeverity, usize) {
        (self.severity, self.at.map_or(usize::MAX, |at| at.offset))
    }

    pub fn error(at: Option<SourcePosition>, path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: ProblemSeverity::Error, at, path: path.into(), message: what.into(), hint: String::new() }
    }

    pub fn warning(at: Option<SourcePosition>, path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: ProblemSeverity::Warning, ..Self::error(at, path, what) }
    }

    /// The subject that a message lacks if it begins with its verb (`is missing`): the field that the path ends with.
    fn missing_subject(&self) -> Option<&str> {
        let verb = self.message.split(' ').next()?;
        let verbs = ["is", "must", "has", "contains", "requires", "needs", "equals", "uses", "now", "belongs"];
        let field = self.path.rsplit('.').next().filter(|field| !field.is_empty())?;
        verbs.contains(&verb).then_some(field)
    }

    /// Returns the problem with `hint` set.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = self.missing_subject() {
            write!(f, "`{subject}` ")?;
        }
        f.write_str(&self.message)?;
        if !self.path.is_empty() {
            write!(f, " (at `{}`)", self.path)?;
        }
        Ok(())
    }
}

/// The text that problems are rendered against; every value that may be a secret is masked.
pub struct MaskedSource {
    name: String,
    masked: String,
}

impl MaskedSource {
    /// Masks `text` except for structure and the byte ranges in `shown` (map keys and harmless values). Comments are
    /// masked too unless `shown` contains them.
    pub fn new(name: &str, text: &str, shown: &[SourcePosition]) -> Self {
        let mut masked = mask_all(text.as_bytes());
        for at in shown {
            let original = text.as_bytes().iter().skip(at.offset).take(at.len);
            for (to, from) in masked.iter_mut().skip(at.offset).zip(original) {
                *to = *from;
            }
        }
        Self { name: name.to_owned(), masked: String::from_utf8(masked).unwrap_or_default() }
    }

    /// The file's name as given by the user.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renders problems for a terminal (`colour`) or a log, errors first.
    pub fn render(&self, problems: &[Problem], colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut sorted: Vec<&Problem> = problems.iter().collect();
        sorted.sort_by_key(|problem| problem.sort_key());
        let mut out = String::new();
        for problem in sorted {
            out.push_str(&self.render_one(problem, &renderer));
            out.push('\n');
        }
        out
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = match problem.severity {
            ProblemSeverity::Error => Level::ERROR,
            ProblemSeverity::Warning => Level::WARNING,
        };
        let title = problem.to_string();
        let span = problem.at.filter(|_| !self.masked.is_empty()).and_then(|at| {
            let end = at.offset.checked_add(at.len.max(1))?;
            (self.masked.get(at.offset..end.min(self.masked.len()))).map(|_| at.offset..end.min(self.masked.len()))
        });
        if let Some(span) = span {
            let annotation = AnnotationKind::Primary.span(span).label(problem.hint.as_str());
            let snippet = Snippet::source(self.masked.as_str()).path(self.name.as_str()).annotation(annotation);
            return renderer.render(&[level.primary_title(title.as_str()).element(snippet)]);
        }
        let position = problem.at.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
        let hint = if problem.hint.is_empty() { String::new() } else { format!("\n  = help: {}", problem.hint) };
        let word = if problem.severity == ProblemSeverity::Error { "error" } else { "warning" };
        format!("{word}: {title}\n --> {}{position}{hint}", self.name)
    }
}

/// Replaces each byte that is neither white space nor YAML structure with `*`, so that unknown text stays hidden.
fn mask_all(text: &[u8]) -> Vec<u8> {
    let is_structure = |byte: u8| byte.is_ascii_whitespace() || b":{}[],-".contains(&byte);
    text.iter().map(|byte| if is_structure(*byte) { *byte } else { b'*' }).collect()
}

/// The candidate most similar to `word`, if it is similar enough for `word` to be a typing error.
pub fn find_nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&word, candidate);
            (distance, strsim::jaro_winkler(&word, candidate), candidate)
        })
        .filter(|(distance, similarity, _)| *distance <= 2 || *similarity > 0.85)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, candidate)| candidate)
}
