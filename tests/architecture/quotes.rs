//! Every message that a page for operators quotes is one that the program has.

use std::fmt::Write as _;
use std::path::Path;

use crate::Sources;
use crate::tokens::Token;
use crate::tokens::tokens;

/// A quote that begins with one of these words is a command or a setting, no message.
const COMMANDS: [&str; 14] = [
    "dekhand",
    "cargo",
    "systemctl",
    "journalctl",
    "kubectl",
    "curl",
    "pkcs11-tool",
    "softhsm2-util",
    "etcdctl",
    "chmod",
    "chown",
    "install",
    "openssl",
    "sudo",
];
/// Shorter quotes are settings, names and values.
const FEWEST_WORDS: usize = 4;

/// A message as the source has it: what it fills in is a gap.
#[derive(Debug)]
struct Message(Vec<Option<char>>);

impl Message {
    /// Of a string literal of the source.
    fn of(literal: &str) -> Self {
        let mut found = Vec::new();
        let mut chars = literal.chars().peekable();
        while let Some(char) = chars.next() {
            let is_twice = chars.peek() == Some(&char);
            match char {
                '{' | '}' if is_twice => found.extend(chars.next().map(Some)),
                '{' => {
                    chars.by_ref().find(|char| *char == '}');
                    found.push(None);
                }
                _ => found.push(Some(char)),
            }
        }
        Self(found)
    }

    /// Whether a text can be a part of the message, with at least half of it in the source's own words.
    fn has(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let enough = text.len().div_ceil(2);
        // How many characters are the source's own at most, when the text up to here ends in the message here.
        let mut before: Vec<Option<usize>> = vec![Some(0); self.0.len() + 1];
        for char in text {
            let mut now = vec![None; self.0.len() + 1];
            for (at, of_message) in self.0.iter().enumerate() {
                let ended = match of_message {
                    Some(own) if *own == char => before.get(at).copied().flatten().map(|own| own + 1),
                    Some(_) => None,
                    // A gap takes a value without spaces.
                    None if char == ' ' => None,
                    None => before
                        .get(at)
                        .copied()
                        .flatten()
                        .max(before.get(at + 1).copied().flatten()),
                };
                let skipped = match of_message {
                    None => now.get(at).copied().flatten(),
                    Some(_) => None,
                };
                if let Some(place) = now.get_mut(at + 1) {
                    *place = ended.max(skipped);
                }
            }
            before = now;
        }
        before.into_iter().flatten().any(|own| own >= enough)
    }
}

/// The messages of the program, tests left out.
fn messages(sources: &Sources) -> Vec<Message> {
    let is_test = |file: &Path| {
        file.components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
    };
    let mut found = Vec::new();
    for (_, text) in sources.0.iter().filter(|(file, _)| !is_test(file)) {
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (_, token) in tokens(program) {
            if let Token::Text(literal) = token {
                found.push(Message::of(&literal));
            }
        }
    }
    found
}

/// The parts of a quote that are the program's own: without `...`, and without words in capitals, which stand for values.
fn parts(quote: &str) -> Vec<String> {
    let is_value = |word: &str| {
        let letters: Vec<char> = word.chars().filter(|char| char.is_alphabetic()).collect();
        !letters.is_empty() && letters.iter().all(char::is_ascii_uppercase)
    };
    let mut found = vec![String::new()];
    for word in quote.replace("...", " ... ").split_whitespace() {
        match found.last_mut() {
            Some(part) if word != "..." && !is_value(word) => {
                let gap = if part.is_empty() { "" } else { " " };
                write!(part, "{gap}{word}").unwrap_or_default();
            }
            _ => found.push(String::new()),
        }
    }
    found.retain(|part| !part.is_empty());
    found
}

/// The messages that a page quotes, with the lines where they begin.
fn quotes(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut line = 1;
    // Every second piece between fences is a block of code, and between backticks a quote.
    for (at, prose) in page.split("```").enumerate() {
        for (at_mark, piece) in prose.split('`').enumerate() {
            let words: Vec<&str> = piece.split_whitespace().collect();
            if at % 2 == 0 && at_mark % 2 == 1 && is_message(&words) {
                found.push((line, words.join(" ")));
            }
            line += piece.matches('\n').count();
        }
    }
    found
}

/// Whether a quote is a message, and no name, value, command or setting.
fn is_message(words: &[&str]) -> bool {
    let first = words.first().copied().unwrap_or_default();
    let is_setting = words.iter().any(|word| word.contains(['{', '|', '=', '/']));
    words.len() >= FEWEST_WORDS
        && !is_setting
        && !first.starts_with('-')
        && !first.ends_with(':')
        && !COMMANDS.contains(&first)
}

/// The quotes of a page that are no message of the program.
fn strangers(page: &str, messages: &[Message]) -> Vec<(usize, String)> {
    let mut found = quotes(page);
    found.retain(|(_, quote)| {
        !parts(quote)
            .iter()
            .all(|part| messages.iter().any(|message| message.has(part)))
    });
    found
}

#[test]
fn every_message_that_a_page_quotes_is_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let messages = messages(&Sources::read(&root.join("src")).unwrap());
    let pages = [
        "README.md",
        "config/README.md",
        "deploy/install.md",
        "deploy/rotation.md",
        "deploy/tokens.md",
    ];
    let mut wrong = String::new();
    let mut quoted = 0;
    for name in pages.iter().chain(&["deploy/troubleshooting.md"]) {
        let page = std::fs::read_to_string(root.join(name)).unwrap();
        quoted += quotes(&page).len();
        for (line, quote) in strangers(&page, &messages) {
            writeln!(wrong, "{name}:{line}: `{quote}`").unwrap();
        }
    }
    assert!(wrong.is_empty(), "the source has no such message:\n{wrong}");
    assert!(quoted > 40, "only {quoted} messages are quoted: are these the pages?");
}

#[test]
fn a_quote_that_is_not_in_the_source_is_found() {
    let source = "the token holds another key under the id {id} than the one that this node has used; {hint}";
    let messages = [Message::of(source), Message::of("{}"), Message::of("{{braces}} stay")];
    for (quote, is_there) in [
        ("the token holds another key under the id", true),
        ("the token holds another key under the id 0123abcd than the one", true),
        ("the token holds ... under the id ID than the one that", true),
        ("the token holds some other key under the id", false),
        ("anything that only a gap would take", false),
        ("the token holds another key under the id 0123abcd then the one", false),
    ] {
        let page = format!("| log: `{quote}` | why |\n");
        assert_eq!(strangers(&page, &messages).is_empty(), is_there, "{quote}");
    }
    let commands = "run `dekhand keys accept-loss ID on every node`\n```text\n`not a quote of any message`\n```\n";
    assert_eq!(strangers(commands, &messages), []);
}
