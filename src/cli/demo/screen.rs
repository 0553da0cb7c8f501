//! [`StoryScreen`] prints the demo's story, made of [`StyledText`]; it decides on colour, width and wrapping. If the
//! reader goes away, further output is discarded without an error. No control character reaches the terminal. Colour is
//! used only on terminals that want it. `story` has the texts.

use std::io::{self, IsTerminal, Write};

use crate::cli::output::use_colour_on_stdout;

/// Columns if the output is not a terminal.
const PLAIN_WIDTH: usize = 100;
/// Smallest and largest width: narrower terminals wrap by themselves, wider ones stay partly empty.
const WIDTH_LIMITS: (usize, usize) = (64, 132);

/// The role of a piece of text, which determines its colour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextRole {
    /// Ordinary text.
    Plain,
    /// A heading.
    Title,
    /// A side remark.
    Dim,
    /// Private text that must not go out.
    Private,
    /// A replacement of private text, or a check that passed.
    Safe,
    /// Addresses, references, commands.
    Link,
    /// A check that failed.
    Wrong,
}

impl TextRole {
    /// The parameters of the SGR sequence.
    fn sgr_code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Title => "1",
            Self::Dim => "2",
            Self::Private => "33",
            Self::Safe => "32",
            Self::Link => "36",
            Self::Wrong => "1;31",
        }
    }
}

/// Coloured characters. They may be telemetry text, so there is no `Debug`.
#[derive(Clone, Default)]
pub(super) struct StyledText(Vec<(char, TextRole)>);

impl StyledText {
    /// A text of one piece.
    pub(super) fn styled(role: TextRole, text: &str) -> Self {
        Self::default().append(role, text)
    }

    /// A text of one uncoloured piece.
    pub(super) fn plain(text: &str) -> Self {
        Self::styled(TextRole::Plain, text)
    }

    /// Appends a piece. Control and direction characters are made visible.
    #[must_use]
    pub(super) fn append(mut self, role: TextRole, text: &str) -> Self {
        let shown = text.chars().map(|c| match c {
            '\n' => '⏎',
            '\t' => ' ',
            c if c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') => '·',
            c => c,
        });
        self.0.extend(shown.map(|c| (c, role)));
        self
    }

    /// Colours every occurrence of `parts` as `role`.
    #[must_use]
    pub(super) fn mark<'a>(mut self, parts: impl IntoIterator<Item = &'a str>, role: TextRole) -> Self {
        let plain: String = self.0.iter().map(|(c, _)| *c).collect();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            for (at, part) in plain.match_indices(part) {
                let start = plain.get(..at).map_or(0, |before| before.chars().count());
                self.0.iter_mut().skip(start).take(part.chars().count()).for_each(|(_, old_role)| *old_role = role);
            }
        }
        self
    }

    /// Number of columns.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Shortens the text to `width` by leaving out its middle.
    #[must_use]
    pub(super) fn elide(self, width: usize) -> Self {
        let (len, first_role) = (self.len(), self.0.first().map_or(TextRole::Plain, |(_, first_role)| *first_role));
        if len <= width {
            return self;
        }
        let tail = width.saturating_sub(1) / 2;
        let head = width.saturating_sub(1) - tail;
        let mut kept: Vec<_> = self.0.iter().take(head).copied().collect();
        kept.push(('…', first_role));
        kept.extend(self.0.iter().skip(len - tail));
        Self(kept)
    }

    /// At most `max_lines` lines of at most `width` columns, broken at spaces if possible.
    pub(super) fn lines(&self, width: usize, max_lines: usize) -> Vec<Self> {
        let (mut lines, mut rest) = (Vec::new(), self.0.as_slice());
        while !rest.is_empty() || lines.is_empty() {
            if rest.len() <= width {
                lines.push(Self(rest.to_vec()));
                break;
            }
            if lines.len() + 1 >= max_lines {
                let mut cut_line: Vec<_> = rest.iter().take(width.saturating_sub(1)).copied().collect();
                cut_line.push(('…', TextRole::Dim));
                lines.push(Self(cut_line));
                break;
            }
            // A space at a break is dropped; a punctuation mark stays on its line.
            let find_break = |(at, (c, _)): (usize, &(char, TextRole))| match c {
                ' ' if at > 0 => Some((at, at + 1)),
                '=' | '?' | '&' | '⏎' if at < width => Some((at + 1, at + 1)),
                _ => None,
            };
            let line_break = rest.iter().take(width + 1).enumerate().filter_map(find_break).next_back();
            let (end, next) = line_break.unwrap_or((width, width));
            lines.push(Self(rest.get(..end).unwrap_or_default().to_vec()));
            rest = rest.get(next..).unwrap_or_default();
        }
        lines
    }

    fn render(&self, colour: bool, out: &mut String) {
        let mut current = TextRole::Plain;
        for (c, role) in &self.0 {
            if colour && *role != current {
                out.push_str(&format!("\x1b[0;{}m", role.sgr_code()));
                current = *role;
            }
            out.push(*c);
        }
        if current != TextRole::Plain {
            out.push_str("\x1b[0m");
        }
    }
}

/// The output of the story.
pub(super) struct StoryScreen {
    out: Box<dyn Write + Send>,
    width: usize,
    colour: bool,
    is_open: bool,
}

impl StoryScreen {
    /// A screen on standard output.
    pub(super) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten();
        let columns = columns.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Self::new(Box::new(io::stdout()), columns.unwrap_or(PLAIN_WIDTH), use_colour_on_stdout())
    }

    /// A screen on any writer.
    pub(super) fn new(out: Box<dyn Write + Send>, width: usize, colour: bool) -> Self {
        Self { out, width: width.clamp(WIDTH_LIMITS.0, WIDTH_LIMITS.1), colour, is_open: true }
    }

    /// Number of columns.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether the reader is still there.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Prints wrapped text; all lines are indented.
    pub(super) fn print_wrapped(&mut self, indent: usize, text: &StyledText) {
        for line in text.lines(self.width.saturating_sub(indent), usize::MAX) {
            self.print_row(indent, 1, &[(line.len(), line)]);
        }
    }

    /// Prints a line without wrapping, so that it can be copied.
    pub(super) fn print_unwrapped(&mut self, indent: usize, text: &StyledText) {
        self.print_row(indent, 1, &[(text.len(), text.clone())]);
    }

    /// Prints cells side by side, two columns apart, each wrapped to at most `max_lines` lines.
    pub(super) fn print_row(&mut self, indent: usize, max_lines: usize, cells: &[(usize, StyledText)]) {
        let cells: Vec<(usize, Vec<StyledText>)> =
            cells.iter().map(|(width, text)| (*width, text.lines((*width).max(1), max_lines))).collect();
        let height = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
        let mut out = String::new();
        for index in 0..height {
            let mut printed_columns = 0;
            let mut column = indent;
            for (width, lines) in &cells {
                if let Some(text) = lines.get(index).filter(|text| text.len() > 0) {
                    out.extend(std::iter::repeat_n(' ', column.saturating_sub(printed_columns)));
                    text.render(self.colour, &mut out);
                    printed_columns = column + text.len();
                }
                column += width + 2;
            }
            out.push('\n');
        }
        self.write(&out);
    }

    /// Prints an empty line.
    pub(super) fn print_blank_line(&mut self) {
        self.write("\n");
    }

    fn write(&mut self, text: &str) {
        if self.is_open && self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).is_err() {
            self.is_open = false;
        }
    }
}
