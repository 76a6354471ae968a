//! Misspelled words in a configuration: the nearest known word, and how a message may print a word.

/// The known word of which `word` may be a misspelling.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // No misspelling is that long, and the time for the distance grows with the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let distance = |known: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), known);
    let near = known.min_by_key(distance)?;
    (distance(&near) <= near.chars().count().div_ceil(3)).then_some(near)
}

/// The words in backticks behind `start` in a message of serde: the first one, and those after `, expected`.
pub(super) fn quoted_words(message: &str, start: &str) -> (String, Vec<String>) {
    let (_, rest) = message.split_once(start).unwrap_or_default();
    // The first word is from the file, and may contain anything.
    let (first, others) = rest.rsplit_once(", expected ").unwrap_or((rest, ""));
    let first = first.split_once('`').unwrap_or_default().1;
    let first = first.rsplit_once('`').unwrap_or_default().0;
    let others = others.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    (printable(first), others)
}

/// At most 64 characters, without characters that control a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut printable: String = text.chars().take(64).flat_map(harmless).collect();
    if text.chars().nth(64).is_some() {
        printable.push_str("...");
    }
    printable
}

/// A character, escaped if it would control a terminal.
pub(super) fn harmless(character: char) -> Box<dyn Iterator<Item = char>> {
    if "'\"".contains(character) {
        Box::new(std::iter::once(character))
    } else {
        Box::new(character.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_leads_to_the_nearest_and_a_strange_one_to_none() {
        let known = ["socket", "mode", "peers", "status_version"];
        for (word, near) in [
            ("sokcet", Some("socket")),
            ("peer", Some("peers")),
            ("Mode", Some("mode")),
            ("statusVersion", Some("status_version")),
            ("pkcs11", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), near, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(60_000), known.into_iter()), None);
    }

    #[test]
    fn words_are_taken_out_of_the_messages_of_serde() {
        let (key, expected) = quoted_words(
            "x: unknown field `a`b`, expected one of `c`, `d` at line 1",
            "unknown field",
        );
        assert_eq!((key.as_str(), expected), ("a`b", vec!["c".to_owned(), "d".to_owned()]));
        let (key, expected) = quoted_words("missing field `c` at line 2 column 1", "missing field");
        assert_eq!((key.as_str(), expected.len()), ("c", 0));
    }
}
