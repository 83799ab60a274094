//! Output: results to standard output, remarks to standard error.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

/// The reader for whom results are formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// A line on standard output. The caller handles errors, such as a closed pipe, at which `println!` would panic.
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($text)*)?
    }};
}

/// A line on standard error. Errors are ignored.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use {note, out};

/// One value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    out!("{}", serde_json::to_string(value)?);
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

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let widths: Vec<usize> = (0..N)
        .map(|column| std::iter::once(&head).chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{:width$}  ", plain(cell));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::{plain, table};

    #[test]
    fn columns_are_aligned_without_trailing_spaces() {
        let rows = [["bmc-0001".to_owned(), "Å".to_owned()], ["b".to_owned(), String::new()]];
        assert_eq!(table(["device", "said"], &rows), "device    said\nbmc-0001  Å\nb");
    }

    #[test]
    fn a_certificate_cannot_control_the_terminal() {
        assert_eq!(plain("CN=\u{1b}[2Jbmc\u{202e}\n\u{9b}31m"), "CN= [2Jbmc   31m");
    }
}
