//! Output: results to standard output, remarks to standard error.

mod shape;

use std::fmt::Write as _;
use std::sync::OnceLock;

use anyhow::Result;
use console::Term;
use serde::Serialize;

pub(crate) use self::shape::{Output, Query, Shape};

/// The reader for whom results are formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A person.
    Text,
    /// A program: how [`json`] and [`list`] write was said to [`begin`].
    Json,
}

/// Said once, by the command line.
static SAID: OnceLock<(Shape, bool)> = OnceLock::new();

/// Before anything is printed: the form for programs, and whether remarks are left out.
pub(crate) fn begin(shape: Shape, is_quiet: bool) {
    let _ = SAID.set((shape, is_quiet));
}

pub(crate) fn is_quiet() -> bool {
    SAID.get().is_some_and(|(_, is_quiet)| *is_quiet)
}

/// A line on standard output. The caller handles errors, such as a closed pipe, at which `println!` would panic.
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($text)*)?
    }};
}

/// A remark: a line on standard error, unless `--quiet` was said. Errors are ignored.
macro_rules! note {
    ($($text:tt)*) => {{
        if !$crate::output::is_quiet() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), $($text)*);
        }
    }};
}

pub(crate) use {note, out};

/// The query of a command that says what it would do.
pub(crate) fn dry(is_dry: bool) -> Vec<(&'static str, String)> {
    is_dry.then(|| ("dryRun", "true".to_owned())).into_iter().collect()
}

/// One value: a document, or one of a stream.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    print(&shape().one(value)?)
}

/// A list.
pub(crate) fn list<T: Serialize>(values: &[T]) -> Result<()> {
    print(&shape().all(values)?)
}

fn shape() -> &'static Shape {
    static DEFAULT: Shape = Shape::lines();
    SAID.get().map_or(&DEFAULT, |(shape, _)| shape)
}

fn print(text: &str) -> Result<()> {
    if !text.is_empty() {
        out!("{}", text.trim_end());
    }
    Ok(())
}

/// Text from outside (devices' certificates and answers, the server's messages), without terminal control characters.
pub(crate) fn plain(text: &str) -> String {
    // Bidirectional controls change the order in which a name is displayed: https://trojansource.codes.
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// Columns as wide as their widest cell, two spaces apart. In a terminal that is narrower, each row has lines of its own:
/// nothing is cut off, since fingerprints are compared.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    table_within(width(), head, rows)
}

/// The columns of the terminal; `None` if the output goes elsewhere.
pub(crate) fn width() -> Option<usize> {
    let terminal = Term::stdout();
    terminal.is_term().then(|| terminal.size_checked()).flatten().map(|(_, columns)| columns.into())
}

fn table_within<const N: usize>(width: Option<usize>, head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let widths: Vec<usize> = (0..N)
        .map(|column| std::iter::once(&head).chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let wide = widths.iter().sum::<usize>() + 2 * N.saturating_sub(1);
    let mut text = String::new();
    if width.is_some_and(|width| width < wide) && !rows.is_empty() {
        let name = head.iter().map(String::len).max().unwrap_or(0);
        for row in rows {
            for (head, cell) in head.iter().zip(row) {
                let _ = writeln!(text, "{head:name$}  {}", plain(cell));
            }
            text.push('\n');
        }
    } else {
        for row in std::iter::once(&head).chain(rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{:width$}  ", plain(cell));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// As much of the text as fits into the columns.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(std::iter::once('…')).take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::{cut, plain, table, table_within};

    #[test]
    fn columns_are_aligned_without_trailing_spaces() {
        let rows = [["bmc-0001".to_owned(), "Å".to_owned()], ["b".to_owned(), String::new()]];
        assert_eq!(table(["device", "said"], &rows), "device    said\nbmc-0001  Å\nb");
    }

    #[test]
    fn a_narrow_terminal_gets_a_line_for_each_cell() {
        let rows = [["bmc-0001".to_owned(), "approved".to_owned()], ["b".to_owned(), "pending".to_owned()]];
        let narrow = table_within(Some(15), ["device", "state"], &rows);
        assert_eq!(narrow, "device  bmc-0001\nstate   approved\n\ndevice  b\nstate   pending");
        assert_eq!(table_within(Some(18), ["device", "state"], &rows), table(["device", "state"], &rows));
        assert_eq!([cut("abcd", 4), cut("abcde", 4), cut("ab", 0)], ["abcd", "abc…", ""]);
    }

    #[test]
    fn a_certificate_cannot_control_the_terminal() {
        assert_eq!(plain("CN=\u{1b}[2Jbmc\u{202e}\n\u{9b}31m"), "CN= [2Jbmc   31m");
    }
}
