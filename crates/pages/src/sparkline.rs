//! [`Sparkline`]: a small line chart of a number over time, with gaps where nothing ran. The output holds only numbers,
//! so nothing needs escaping. The templates set the colours.

use std::fmt::Write as _;

/// Width and height of the drawing.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 44.0;
/// Margin for the line's own width.
const MARGIN: f64 = 3.0;

/// A line, the area below it, and the height of its threshold.
pub(super) struct Sparkline {
    pub(super) line: String,
    pub(super) area: String,
    /// Height of the threshold, if it is within the chart.
    pub(super) threshold: Option<String>,
}

impl Sparkline {
    pub(super) fn draw(values: &[Option<f64>], threshold: Option<f64>) -> Self {
        let max = values.iter().flatten().copied().fold(0.0, f64::max);
        // A threshold far above the line would flatten it.
        let threshold = threshold.filter(|threshold| *threshold > 0.0 && *threshold <= max * 3.0);
        let scale = threshold.unwrap_or(0.0).max(max).max(f64::MIN_POSITIVE) * 1.05;
        let y = |value: f64| HEIGHT - MARGIN - value / scale * (HEIGHT - 2.0 * MARGIN);
        let step = WIDTH / values.len().max(1) as f64;
        let (mut line, mut area, mut last_x) = (String::new(), String::new(), None);
        for (index, value) in values.iter().enumerate() {
            let x = (index as f64 + 0.5) * step;
            // Writing to a String can't fail.
            let Some(value) = value else {
                close_area(&mut area, &mut last_x, x - step);
                continue;
            };
            let height = y(*value);
            let command = if last_x.is_some() { "L" } else { "M" };
            let _ = write!(line, "{command}{x:.1} {height:.1}");
            if last_x.is_none() {
                let _ = write!(area, "M{x:.1} {HEIGHT}");
                // A point without neighbours is drawn as a short line.
                let _ = write!(line, "h0.1");
            }
            let _ = write!(area, "L{x:.1} {height:.1}");
            last_x = Some(x);
        }
        let end = last_x.unwrap_or(0.0);
        close_area(&mut area, &mut last_x, end);
        Self { line, area, threshold: threshold.map(|threshold| format!("{:.1}", y(threshold))) }
    }
}

/// Closes the area under the current part of the line, if a part was begun: `last_x` is its last point.
fn close_area(area: &mut String, last_x: &mut Option<f64>, x: f64) {
    if last_x.take().is_some() {
        let _ = write!(area, "L{x:.1} {HEIGHT}Z");
    }
}
