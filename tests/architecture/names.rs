//! The names of types: no two types that other modules may use share one, so that a name says which one is meant.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use crate::Sources;
use crate::Violation;
use crate::tokens::Token;
use crate::tokens::tokens;

/// The definitions of each name, with their lines.
#[derive(Debug, Default)]
struct Definitions(BTreeMap<String, Vec<(PathBuf, usize)>>);

impl Definitions {
    /// Of all sources but test modules and fakes, which the program does not contain.
    fn of(sources: &Sources) -> Self {
        let mut all = Self::default();
        for (file, text) in sources.0.iter().filter(|(file, _)| !is_of_tests(file)) {
            let tokens = tokens(text);
            for (line, name) in types(without_tests(&tokens)) {
                all.0.entry(name).or_default().push((file.clone(), line));
            }
        }
        all
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (name, definitions) in &self.0 {
            if let [(first, at), others @ ..] = definitions.as_slice() {
                let what = format!("`{name}` is also the name of the type at src/{}:{at}", first.display());
                found.extend(
                    others
                        .iter()
                        .map(|(file, line)| Violation::new(file, *line, what.as_str())),
                );
            }
        }
        found
    }
}

fn is_of_tests(file: &Path) -> bool {
    file.with_extension("").iter().any(|part| {
        let part = part.to_string_lossy();
        part.starts_with("test") || part.starts_with("fake")
    })
}

/// The tokens in front of an inline module of tests, which is the last item of its file.
fn without_tests(tokens: &[(usize, Token)]) -> &[(usize, Token)] {
    let is_start = |window: &[(usize, Token)]| matches!(window, [(_, module), (_, name), (_, Token::Mark('{'))] if module.is_word("mod") && name.is_word("tests"));
    let end = tokens.windows(3).position(is_start).unwrap_or(tokens.len());
    tokens.get(..end).unwrap_or_default()
}

/// The types that are defined here and that other modules may use, with their lines: `pub`, also `pub(crate)` and
/// `pub(in path)`.
fn types(tokens: &[(usize, Token)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = tokens;
    while let [(_, first), tail @ ..] = rest {
        rest = tail;
        if !first.is_word("pub") {
            continue;
        }
        if let [(_, Token::Mark('(')), ..] = rest {
            let end = rest.iter().position(|(_, token)| *token == Token::Mark(')'));
            rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        }
        if let [(line, keyword), (_, Token::Word(name)), ..] = rest
            && ["struct", "enum", "trait", "type"]
                .iter()
                .any(|word| keyword.is_word(word))
        {
            found.push((*line, name.clone()));
        }
    }
    found
}

#[test]
fn no_two_types_share_a_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let definitions = Definitions::of(&Sources::read(&root).unwrap());
    assert!(
        definitions.0.len() > 200,
        "only {} types: is this the crate?",
        definitions.0.len()
    );
    let violations: Vec<String> = definitions.violations().iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

mod planted {
    //! A shared name is found with both places.

    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(file, text)| (PathBuf::from(file), (*text).to_owned()));
        let violations = Definitions::of(&Sources(files.collect())).violations();
        violations.iter().map(Violation::to_string).collect()
    }

    #[test]
    fn a_shared_name_is_found_with_both_files_and_lines() {
        let files = [
            ("kms.rs", "\npub struct Place;"),
            ("config.rs", "pub(crate) enum Place {}"),
        ];
        let expected = "src/config.rs:1: `Place` is also the name of the type at src/kms.rs:2";
        assert_eq!(found(&files), [expected]);
        let alias = [
            ("a.rs", "pub type Place = u8;"),
            ("b.rs", "fn f() {}\npub(in crate::b) trait Place {}"),
        ];
        assert_eq!(found(&alias).len(), 1);
    }

    #[test]
    fn tests_fakes_and_private_types_have_names_of_their_own() {
        let text = "pub struct Plug; struct Inner; impl FromStr for Plug { type Err = u8; }";
        let other =
            "struct Inner; impl FromStr for u8 { type Err = u8; }\n#[cfg(test)]\nmod tests { pub struct Plug; }";
        let files = [
            ("a.rs", text),
            ("b.rs", other),
            ("c/tests.rs", text),
            ("c/fake_admin.rs", text),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
