//! Text from the cluster on its way to a terminal.
//!
//! Anyone who may write to the cluster chooses names, reasons, messages and values. Printed unchanged, an escape sequence in
//! them could recolour, overwrite or forge what the operator reads. A line break or a character that reverses the direction
//! of writing could as well. All of these are spelled out (`\u{1b}`); nothing is dropped.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Fits for one line: every character that is not plainly printable is spelled out, line breaks included.
pub fn clean(text: &str) -> Cow<'_, str> {
    spell_out(text, is_printable)
}

/// The last stop before a terminal or a pipe: whole lines, so line breaks and tabs stay. Without `utf8` whatever is not
/// ASCII is spelled out too.
pub fn for_terminal(text: &str, utf8: bool) -> Cow<'_, str> {
    spell_out(text, |c| {
        matches!(c, '\n' | '\t') || (is_printable(c) && (utf8 || c.is_ascii()))
    })
}

/// JSON as it is printed: what serde_json leaves as it is although a terminal would act on it becomes an escape. Such
/// characters only ever stand within strings, so the meaning does not change.
pub fn for_json(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |c| c == '\n' || is_printable(c),
        |c, out| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn spell_out(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    replace(text, keep, |c, out| out.extend(c.escape_unicode()))
}

fn replace(
    text: &str,
    keep: impl Fn(char) -> bool,
    write: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if text.chars().all(&keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if keep(c) {
            out.push(c);
        } else {
            write(c, &mut out);
        }
    }
    Cow::Owned(out)
}

fn is_printable(c: char) -> bool {
    // Direction marks, embeddings, overrides and isolates; zero-width characters; line and paragraph separators.
    let invisible = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("web-1 läuft", "web-1 läuft")]
    #[case::escape_sequence("\u{1b}[2Jgone", "\\u{1b}[2Jgone")]
    #[case::forged_line("ok\nsite east promoted", "ok\\u{a}site east promoted")]
    #[case::carriage_return("bad\rgood", "bad\\u{d}good")]
    #[case::c1("a\u{9b}31m", "a\\u{9b}31m")]
    #[case::right_to_left("a\u{202e}b", "a\\u{202e}b")]
    #[case::zero_width("a\u{200b}b", "a\\u{200b}b")]
    fn nothing_reaches_a_terminal_that_it_would_act_on(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(clean(text), shown);
    }

    #[test]
    fn lines_stay_lines_and_a_terminal_without_utf8_gets_ascii() {
        assert_eq!(for_terminal("a\n\tä\u{7}", true), "a\n\tä\\u{7}");
        assert_eq!(for_terminal("a\n\tä", false), "a\n\t\\u{e4}");
    }

    #[test]
    fn json_means_the_same_and_shows_nothing_that_acts() {
        let text = "a\u{1b}\u{9b}\u{202e}\u{e0001}ä";
        let json = serde_json::to_string(text).unwrap();
        let safe = for_json(&json);
        assert!(safe.chars().all(is_printable), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
