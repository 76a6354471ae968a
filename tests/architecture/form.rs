//! The form that all source files of the crate have.

use std::path::Path;

use crate::Violation;
use crate::tokens::Token;

/// Longer files are two files.
const MOST_LINES: usize = 400;

/// Names that do not tell the content of a file.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "mod"];

/// The one file that may be unsafe: PKCS#11 is a C interface, and cryptoki cannot express all of it.
const UNSAFE_FILE: &str = "token/raw.rs";

/// The violations of the form in a file of the crate.
pub(crate) fn violations(file: &Path, text: &str, tokens: &[(usize, Token)]) -> Vec<Violation> {
    let mut found = of_any_file(file, text);
    for (line, token) in tokens {
        if token.is_word("unsafe") && file != Path::new(UNSAFE_FILE) {
            found.push(Violation::new(file, *line, "unsafe code"));
        }
    }
    for (at, text) in text.lines().enumerate() {
        let import = text.trim_start().trim_start_matches("pub ");
        if import.starts_with("use crate::") && !import.ends_with(';') || import.starts_with("use crate::{") {
            found.push(Violation::new(
                file,
                at + 1,
                "more than one `use crate::` in a statement",
            ));
        }
    }
    found
}

/// The violations of the form in any file, of the crate or of its tests.
pub(crate) fn of_any_file(file: &Path, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(Violation::new(file, 1, "does not open with `//!` and what it is for"));
    }
    for part in &file.with_extension("") {
        if EMPTY_NAMES.iter().any(|name| part == *name) {
            found.push(Violation::new(
                file,
                1,
                format!("`{}` is no name for a module", part.display()),
            ));
        }
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        let what = format!("{lines} lines, more than {MOST_LINES}: it is two files");
        found.push(Violation::new(file, lines, what));
    }
    found
}

/// Code that does not run from its first line to its last in the calling thread.
pub(crate) fn asynchronous(file: &Path, tokens: &[(usize, Token)]) -> Vec<Violation> {
    let is_one = |token: &Token| ["tokio", "async", "await"].iter().any(|word| token.is_word(word));
    let found = tokens.iter().filter(|(_, token)| is_one(token));
    found
        .map(|(line, _)| Violation::new(file, *line, "asynchronous code"))
        .collect()
}

mod planted {
    //! Each rule finds what breaks it.

    use std::path::Path;

    use crate::tokens::tokens;

    fn whats(file: &str, text: &str) -> Vec<String> {
        let found = super::violations(Path::new(file), text, &tokens(text));
        found.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        assert_eq!(whats("a.rs", "//! Good.\nuse crate::a::B;\n"), Vec::<String>::new());
        assert_eq!(whats("a.rs", "use std::io;\n").len(), 1);
        assert_eq!(whats("a/mod.rs", "//! Bad name.\n").len(), 1);
        assert_eq!(whats("utils/a.rs", "//! Bad name.\n").len(), 1);
        assert_eq!(whats("a.rs", "//! Bad.\nfn f() { unsafe {} }\n"), ["unsafe code"]);
        assert_eq!(whats("raw.rs", "//! Bad.\nfn f() { unsafe {} }\n"), ["unsafe code"]);
        assert_eq!(
            whats(super::UNSAFE_FILE, "//! Good.\nfn f() { unsafe {} }\n"),
            Vec::<String>::new()
        );
        assert_eq!(whats("a.rs", "//! Good: unsafe.\n// unsafe\n"), Vec::<String>::new());
        assert_eq!(
            whats("a.rs", &format!("//! Long.\n{}", "\n".repeat(399))),
            Vec::<String>::new()
        );
        assert_eq!(whats("a.rs", &format!("//! Long.\n{}", "\n".repeat(400))).len(), 1);
        assert_eq!(whats("a.rs", "//! Bad.\nuse crate::a::{\n    B,\n};\n").len(), 1);
        assert_eq!(whats("a.rs", "//! Bad.\nuse crate::{a, b};\n").len(), 1);
    }
}
