//! No text makes the parser panic or run for long.

use std::fmt::Write as _;
use std::path::Path;

use dekhand::config::Effective;
use dekhand::config::Overrides;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::prelude::proptest;

use crate::EXAMPLE;
use crate::MINIMAL;
use crate::OTHER;
use crate::TOKENS;
use crate::parse;
use crate::refused;
use crate::with;

#[test]
fn hostile_texts_are_refused_quickly() {
    let wide = 64 * 1024;
    let bomb: String = (1..20).fold("a0: &a0 [x]\n".to_owned(), |mut bomb, level| {
        let before = level - 1;
        writeln!(bomb, "a{level}: &a{level} [*a{before}, *a{before}, *a{before}]").unwrap();
        bomb
    });
    for (text, problem) in [
        (String::new(), "empty"),
        ("# nothing\n---\n".to_owned(), "empty"),
        ("x".repeat(wide + 1), "more than 65536 bytes"),
        ("[".repeat(wide), "more than 256"),
        ("{a: ".repeat(wide / 4), "more than 256"),
        (bomb, "anchors"),
        ("a: &a [*a]".to_owned(), "anchors"),
        (format!("{MINIMAL}log:\n\tlevel: info\n"), "tab"),
        (format!("{MINIMAL}---\n{MINIMAL}"), "a second one"),
        (format!("{MINIMAL}name: a\u{7}b\n"), "control character"),
        (format!("{MINIMAL}name: \"a\n"), "not YAML"),
        (format!("{MINIMAL}? [a]\n: b\n"), "plain word"),
        ("just words".to_owned(), "a section"),
        ("- a\n".to_owned(), "a section"),
        ("]".to_owned(), "not YAML"),
        ("- ".repeat(wide / 2), "a section"),
        ("? ".repeat(wide / 2), "plain word"),
        (": ".repeat(wide / 2), ""),
        ("a: ".repeat(wide / 3), ""),
        ("a\n".repeat(wide / 2), ""),
        ("\"".repeat(wide), ""),
        ("a: |\n".to_owned() + &" \n".repeat(wide / 2 - 3), ""),
        (format!("a: {}", "[]".repeat(128)), ""),
        ("[".repeat(255), ""),
        ("{".repeat(255), ""),
        ("[{".repeat(127), ""),
        (format!("a: {}{}", "[".repeat(255), "x, ".repeat(20_000)), ""),
        (format!("\"{}\": 1", "x".repeat(1000)), "no such key"),
        ("x".repeat(wide), "a section"),
        ("%YAML 9.9\n---\na: 1".to_owned(), ""),
        ("%TAG ! x\n".repeat(6000), ""),
        (
            (0..9000).fold(String::new(), |keys, n| keys + &format!("k{n}: 1\n")),
            "",
        ),
    ] {
        let error = refused(&text);
        assert!(error.problem.contains(problem), "{text:.40}: {error}");
        assert!(error.to_string().len() < 2000, "{error}");
    }
    let error = refused(b"apiVersion: \xff");
    assert!(error.problem.contains("not UTF-8"), "{error}");
    assert!(refused("a\0b").problem.contains("control character"));
}

#[test]
fn a_syntax_error_names_its_place() {
    let error = refused(format!("{MINIMAL}log:\n level: info\n- x\n"));
    assert_eq!(error.place.map(|place| place.line), Some(7), "{error}");
    assert!(error.problem.starts_with("this is not YAML: "), "{error}");
    let error = refused(format!("{MINIMAL}---\nmore: 1\n"));
    assert_eq!(error.place.map(|place| (place.line, place.column)), Some((5, 1)));
}

#[test]
fn a_key_that_would_do_something_to_a_terminal_is_shown_harmless() {
    let error = with("\"\\e[2J\\x01x\\x02y\\x03\": 1").unwrap_err();
    assert!(error.problem.contains("no such key"), "{error}");
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
}

#[test]
fn a_byte_order_mark_and_other_line_ends_do_no_harm() {
    assert_eq!(parse(format!("\u{feff}{MINIMAL}")).unwrap(), parse(MINIMAL).unwrap());
    assert_eq!(parse(MINIMAL.replace('\n', "\r\n")).unwrap(), parse(MINIMAL).unwrap());
    assert_eq!(parse(format!("---\n{MINIMAL}...\n")).unwrap(), parse(MINIMAL).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        parse(bytes).ok();
    }

    #[test]
    fn no_yaml_like_text_makes_the_parser_panic(text in "([a-z:\\[\\]{}&*!|>%@\"'#?,. \t\n-]|apiVersion: |root_keys:\n){0,300}") {
        parse(text).ok();
    }

    #[test]
    fn no_change_of_a_good_file_makes_the_parser_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..8),
        text in prop::sample::select(&[OTHER, EXAMPLE, TOKENS][..]),
    ) {
        let mut bytes = text.as_bytes().to_vec();
        for (index, byte, change) in changes {
            let index = index.index(bytes.len());
            match change {
                0 => bytes[index] = byte,
                1 => bytes.insert(index, byte),
                _ => drop(bytes.remove(index)),
            }
        }
        if let Ok(config) = parse(&bytes) {
            let shown = Effective::new(&config, Path::new("f"), &bytes, &Overrides::default()).to_yaml();
            assert_eq!(parse(&shown).expect(&shown), config, "{shown}");
        }
    }
}
