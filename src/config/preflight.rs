//! Checks of a configuration's text before the parser reads it.

use crate::config::error::Refusal;
use crate::config::location::Place;

/// Bytes of the longest configuration.
pub const LIMIT: usize = 64 * 1024;

/// The most `[` and `{` together. The parser's time is quadratic in their depth: 64 KiB of `[` took 5 s.
const MOST_BRACKETS: usize = 256;

/// The text, if the parser may read it.
pub(super) fn check(bytes: &[u8]) -> Result<&str, (Refusal, Option<Place>)> {
    if bytes.len() > LIMIT {
        let refusal = Refusal::new(format!(
            "the file has more than {LIMIT} bytes, the limit for a configuration"
        ));
        return Err((refusal, None));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (good, _) = bytes.split_at_checked(error.valid_up_to()).unwrap_or_default();
        let place = std::str::from_utf8(good).map(Place::behind).ok();
        (Refusal::new("the file is not UTF-8 text from here on"), place)
    })?;
    // Some editors begin files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((index, _)) = text.match_indices(['[', '{']).nth(MOST_BRACKETS) {
        let problem = format!("the file has more than {MOST_BRACKETS} of `[` and `{{`, the limit for a configuration");
        return Err((Refusal::new(problem), behind(text, index)));
    }
    if is_empty(text) {
        let refusal = Refusal::new("the file is empty: expected at least `apiVersion` and `root_keys`");
        return Err((refusal, None));
    }
    // The parser refuses these too, but without their place. It reads NEL as a line break.
    let is_bad = |character: char| character.is_control() && !"\t\n\r\u{85}".contains(character);
    if let Some(index) = text.find(is_bad) {
        let refusal = Refusal::new("there is a control character");
        return Err((refusal, behind(text, index)));
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((column, refusal)) = check_line(line.trim_end()) {
            return Err((refusal, behind(text, start + column)));
        }
        start += line.len();
    }
    Ok(text)
}

fn behind(text: &str, index: usize) -> Option<Place> {
    text.split_at_checked(index).map(|(before, _)| Place::behind(before))
}

fn is_empty(text: &str) -> bool {
    text.split(['\n', '\r']).all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
    })
}

/// The place of a second document, if there is one.
pub(super) fn second_document(text: &str) -> Option<Place> {
    let mut start = 0;
    let mut content = false;
    for line in text.split_inclusive('\n') {
        if content && line.trim_end() == "---" {
            return behind(text, start);
        }
        content |= !is_empty(line);
        start += line.len();
    }
    None
}

/// The fault of a line, and the byte that it follows. Anchors, aliases and tags have no use in a configuration,
/// and anchors can expand a short text into a long one. This check reads single lines and may miss an anchor; the
/// parser's own limits still apply then.
fn check_line(line: &str) -> Option<(usize, Refusal)> {
    let mut token_begins = true;
    let mut after_space = true;
    let mut characters = line.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match character {
            '#' if after_space => return None,
            // A tab between tokens is harmless. In the indentation, the parser's own error is hard to understand.
            '\t' if is_indentation(line, index) => {
                let refusal = Refusal::new("there is a tab in the indentation: expected spaces");
                return Some((index, refusal));
            }
            '&' | '*' | '!' if token_begins => {
                let refusal = Refusal::new("anchors (`&`), aliases (`*`) and tags (`!`) are not accepted")
                    .hint("put the value in quotes if it is meant as text");
                return Some((index, refusal));
            }
            '"' | '\'' if token_begins => {
                // Skips to the end of the quoted text, or of the line.
                characters.find(|(_, end)| *end == character);
                token_begins = false;
            }
            '[' | '{' | ',' => token_begins = true,
            ':' if next.is_none_or(char::is_whitespace) => token_begins = true,
            '-' | '?' if token_begins && next.is_none_or(char::is_whitespace) => {}
            _ if character.is_whitespace() => {}
            _ => token_begins = false,
        }
        after_space = character.is_whitespace();
    }
    None
}

fn is_indentation(line: &str, index: usize) -> bool {
    line.get(..index).is_some_and(|before| before.trim_start().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Option<(String, Option<(u32, u32)>)> {
        let (refusal, place) = check(text.as_bytes()).err()?;
        Some((refusal.problem, place.map(|place| (place.line, place.column))))
    }

    #[test]
    fn anchors_aliases_and_tags_are_found_where_they_stand() {
        for (text, place) in [
            ("a: &x 1", (1, 4)),
            ("a: 1\nb: *x", (2, 4)),
            ("- - &x", (1, 5)),
            ("a: [1, *x]", (1, 8)),
            ("a: {b: !!str 1}", (1, 8)),
            ("&x a: 1", (1, 1)),
            ("ä: \"ö\"\n\n? *x", (3, 3)),
        ] {
            let (problem, found) = problem(text).unwrap();
            assert!(problem.contains("anchors"), "{problem}");
            assert_eq!(found, Some(place), "{text}");
        }
    }

    #[test]
    fn their_characters_mean_nothing_inside_texts_and_comments() {
        for text in [
            "# a: &x *y !z",
            "a: b&c*d!e #  &x",
            "a: \"&x\"",
            "a: '*x: *y'",
            "a: x - & y",
            "- a*b\n- /c!d",
            "a:\tb",
        ] {
            assert_eq!(problem(&format!("{text}\nz: 1")), None, "{text}");
        }
    }

    #[test]
    fn a_tab_in_the_indentation_is_named() {
        let (problem, place) = problem("a:\n \tb: 1").unwrap();
        assert!(problem.contains("tab"), "{problem}");
        assert_eq!(place, Some((2, 2)));
    }

    #[test]
    fn size_encoding_brackets_and_emptiness_are_checked_first() {
        assert!(
            check(&vec![b'#'; LIMIT + 1])
                .unwrap_err()
                .0
                .problem
                .contains("more than 65536 bytes")
        );
        let (refusal, place) = check(b"a: 1\nb: \xff").unwrap_err();
        assert!(refusal.problem.contains("not UTF-8"));
        assert_eq!(place.map(|place| (place.line, place.column)), Some((2, 4)));
        assert_eq!(problem(&("a: ".to_owned() + &"[".repeat(256))), None);
        let (refused, place) = problem(&("a: ".to_owned() + &"[{".repeat(128) + "[")).unwrap();
        assert!(refused.contains("more than 256"), "{refused}");
        assert_eq!(place, Some((1, 260)));
        for empty in ["", "\n \n", "# nothing\n", "---\n", "\u{feff}", "# a\r# b"] {
            assert!(problem(empty).unwrap().0.contains("empty"), "{empty:?}");
        }
    }
}
