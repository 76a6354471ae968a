//! The paths of a source that lead into this crate, absolute: `crate::`, `dekhand::` and `super::`, groups unfolded.

use crate::tokens::Token;

/// One path into this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CratePath {
    /// Where it stands.
    pub(crate) line: usize,
    /// Its segments from the root of the crate. Empty for the root itself or all of it.
    pub(crate) segments: Vec<String>,
}

/// All paths into the crate in the source of `module`, given by its segments from the root.
pub(crate) fn crate_paths(module: &[String], tokens: &[(usize, Token)]) -> Vec<CratePath> {
    let mut found = Vec::new();
    // For each open brace, the inline module that it opened, if it opened one.
    let mut braces: Vec<Option<String>> = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let before = |back: usize| {
            at.checked_sub(back)
                .and_then(|at| tokens.get(at))
                .map(|(_, token)| token)
        };
        match token {
            Token::Mark('{') => braces.push(match (before(2), before(1)) {
                (Some(keyword), Some(Token::Word(name))) if keyword.is_word("mod") => Some(name.clone()),
                _ => None,
            }),
            Token::Mark('}') => drop(braces.pop()),
            Token::Word(word) => {
                let continues = before(1) == Some(&Token::Mark(':')) && before(2) == Some(&Token::Mark(':'));
                let after_self = continues && before(3).is_some_and(|token| token.is_word("self"));
                let root = match word.as_str() {
                    "crate" if !is_visibility(tokens, at) => Some(Vec::new()),
                    "dekhand" if is_separator(tokens, at + 1) => Some(Vec::new()),
                    "super" if (!continues || after_self) && !is_visibility(tokens, at) => {
                        let mut here: Vec<String> = module.to_vec();
                        here.extend(braces.iter().flatten().cloned());
                        Some(here)
                    }
                    _ => None,
                };
                if let Some(root) = root {
                    let at = if word == "super" { at } else { at + 1 };
                    unfold(tokens, at, &root, &mut |segments| {
                        found.push(CratePath { line: *line, segments });
                    });
                }
            }
            Token::Mark(_) | Token::Text(_) => {}
        }
    }
    found
}

/// `pub(crate)`, `pub(super)`.
fn is_visibility(tokens: &[(usize, Token)], at: usize) -> bool {
    mark(tokens, at.wrapping_sub(1)) == Some('(') && mark(tokens, at + 1) == Some(')')
}

fn is_separator(tokens: &[(usize, Token)], at: usize) -> bool {
    mark(tokens, at) == Some(':') && mark(tokens, at + 1) == Some(':')
}

fn mark(tokens: &[(usize, Token)], at: usize) -> Option<char> {
    match tokens.get(at) {
        Some((_, Token::Mark(mark))) => Some(*mark),
        _ => None,
    }
}

/// Reports every path that begins with `prefix` and goes on at `at`; returns where it ends.
fn unfold(tokens: &[(usize, Token)], at: usize, prefix: &[String], report: &mut impl FnMut(Vec<String>)) -> usize {
    let mut at = at;
    let mut segments = prefix.to_vec();
    loop {
        if is_separator(tokens, at) {
            at += 2;
        }
        match tokens.get(at) {
            Some((_, Token::Word(word))) if word == "super" => {
                segments.pop();
                at += 1;
            }
            Some((_, Token::Word(word))) if word == "self" => at += 1,
            Some((_, Token::Word(word))) if word != "as" => {
                segments.push(word.clone());
                at += 1;
            }
            Some((_, Token::Mark('{'))) => {
                at += 1;
                while mark(tokens, at) != Some('}') && at < tokens.len() {
                    at = unfold(tokens, at, &segments, report).max(at + 1);
                    while !matches!(mark(tokens, at), Some(',' | '}')) && at < tokens.len() {
                        at += 1;
                    }
                    if mark(tokens, at) == Some(',') {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        if !is_separator(tokens, at) {
            break;
        }
    }
    report(segments);
    at
}
