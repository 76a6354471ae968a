//! Rust source as words, marks and strings with their lines; comments and characters left out.

use std::iter::Peekable;
use std::str::Chars;

/// A word of the source, one mark, or a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier, a keyword or a number.
    Word(String),
    /// A punctuation character.
    Mark(char),
    /// The content of a string literal.
    Text(String),
}

impl Token {
    /// Whether this is the word `text`.
    pub(crate) fn is_word(&self, text: &str) -> bool {
        matches!(self, Self::Word(word) if word == text)
    }
}

/// The tokens of a source, each with its line, counted from 1.
pub(crate) fn tokens(source: &str) -> Vec<(usize, Token)> {
    let mut reader = Reader {
        rest: source.chars().peekable(),
        line: 1,
    };
    let mut found = Vec::new();
    while let Some(next) = reader.take() {
        let line = reader.line;
        match next {
            '/' if reader.peek() == Some('/') => reader.skip_while(|char| char != '\n'),
            '/' if reader.peek() == Some('*') => reader.skip_block_comment(),
            '"' => found.push((line, Token::Text(reader.string()))),
            '\'' => reader.skip_character_or_lifetime(),
            _ if is_of_word(next) => {
                let mut word = String::from(next);
                while let Some(more) = reader.peek().filter(|char| is_of_word(*char)) {
                    word.push(more);
                    reader.take();
                }
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                let string = if raw { reader.raw_string() } else { None };
                found.push((line, string.map_or(Token::Word(word), Token::Text)));
            }
            _ if next.is_whitespace() => {}
            mark => found.push((line, Token::Mark(mark))),
        }
    }
    found
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn skip_while(&mut self, condition: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&condition) {
            self.take();
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        self.take();
        let mut depth = 1;
        while depth > 0 {
            match (self.take(), self.peek()) {
                (Some('/'), Some('*')) => {
                    self.take();
                    depth += 1;
                }
                (Some('*'), Some('/')) => {
                    self.take();
                    depth -= 1;
                }
                (None, _) => return,
                _ => {}
            }
        }
    }

    /// Behind the opening quote. Of escapes, those that a message may have are resolved.
    fn string(&mut self) -> String {
        let mut text = String::new();
        while let Some(next) = self.take() {
            match next {
                '\\' => match self.take() {
                    Some('\n') => self.skip_while(char::is_whitespace),
                    Some('n') => text.push('\n'),
                    Some(escaped) => text.push(escaped),
                    None => {}
                },
                '"' => break,
                _ => text.push(next),
            }
        }
        text
    }

    /// Behind `r`: the raw string that followed, if it was one and no raw identifier or anything else.
    fn raw_string(&mut self) -> Option<String> {
        let hashes = self.rest.clone().take_while(|char| *char == '#').count();
        if self.rest.clone().nth(hashes) != Some('"') {
            return None;
        }
        let mut text = String::new();
        for _ in 0..=hashes {
            self.take();
        }
        while let Some(next) = self.take() {
            if next == '"' && self.rest.clone().take(hashes).filter(|char| *char == '#').count() == hashes {
                for _ in 0..hashes {
                    self.take();
                }
                break;
            }
            text.push(next);
        }
        Some(text)
    }

    /// `'x'` and `'\n'` are characters; `'a` without a closing quote is a lifetime, whose name is no path.
    fn skip_character_or_lifetime(&mut self) {
        match self.take() {
            Some('\\') => {
                self.take();
                self.skip_while(|char| char != '\'');
                self.take();
            }
            Some(first) if is_of_word(first) && self.peek() != Some('\'') => self.skip_while(is_of_word),
            _ => drop(self.take()),
        }
    }
}
