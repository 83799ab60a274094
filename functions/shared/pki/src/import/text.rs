//! Foreign text in messages: short, and without anything that a terminal or a browser would interpret.

/// Most characters of a foreign name in a message. Five escaped names and the sentence stay below 1024.
const SHOWN: usize = 120;

/// Truncates to [`SHOWN`] characters, and escapes control and direction characters as `\u{..}`. Empty text becomes
/// `(empty)`.
pub(crate) fn shown(text: &str) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let mut shown = String::new();
    let mut length = 0;
    for c in text.chars() {
        let piece = if obeyed(c) { c.escape_unicode().to_string() } else { c.to_string() };
        length += piece.chars().count();
        if length > SHOWN {
            shown.push('…');
            break;
        }
        shown.push_str(&piece);
    }
    shown
}

/// Control characters, line and paragraph separators, direction marks (UAX #9) and invisible characters.
fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_truncated_and_its_control_characters_escaped() {
        assert_eq!(shown("CN=a\u{1b}[2J\u{202e}b\n"), "CN=a\\u{1b}[2J\\u{202e}b\\u{a}");
        let long = shown(&"\u{7f}".repeat(50_000));
        assert!(long.chars().count() <= SHOWN + 1 && long.ends_with('…'), "{long}");
        assert_eq!(shown(""), "(empty)");
    }
}
