//! Holds the floors of the crate: no import climbs, crosses or closes a circle, and every file has the form of all files.

mod circles;
mod form;
mod names;
mod paths;
mod quotes;
mod tokens;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// Every module at the top of `src/`, by floor. A module imports only from floors below its own.
const FLOORS: [&[&str]; 9] = [
    &[
        "secret",
        "clock",
        "caller",
        "backoff",
        "quota",
        "files",
        "health",
        "telemetry",
        "hardening",
        "proto",
        "manual",
    ],
    &["crypto", "rpc"],
    &["root_key"],
    &["token"],
    &["envelope", "backend", "listener"],
    &["kms", "http"],
    &["config"],
    &["app"],
    &["cli"],
];

/// The modules that the rest of the ground floor may import. None of the three imports another.
const GROUND: [&str; 3] = ["secret", "clock", "caller"];

/// Modules whose own modules are strangers to each other, as if they stood side by side on a floor.
const TREES: [&str; 1] = ["backend"];

/// Modules whose code runs in the calling thread from its first line to its last.
const SYNCHRONOUS: [&str; 1] = ["token"];

/// The roots of library and program: they name the modules and stand above them all.
const ROOTS: [&str; 2] = ["lib", "main"];

/// What breaks a rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl Violation {
    fn new(file: &Path, line: usize, what: impl Into<String>) -> Self {
        let (file, what) = (file.to_owned(), what.into());
        Self { file, line, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// The source files of the crate, with paths that begin behind `src/`.
#[derive(Debug, Default)]
struct Sources(Vec<(PathBuf, String)>);

impl Sources {
    fn read(root: &Path) -> std::io::Result<Self> {
        let mut sources = Self::default();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let inside = path.strip_prefix(root).map_err(std::io::Error::other)?.to_owned();
                    sources.0.push((inside, std::fs::read_to_string(&path)?));
                }
            }
        }
        sources.0.sort();
        Ok(sources)
    }

    fn violations(&self) -> Vec<Violation> {
        let modules: BTreeSet<Vec<String>> = self.0.iter().map(|(file, _)| module_of(file)).collect();
        let mut found = Vec::new();
        let mut imports = circles::Imports::default();
        for (file, text) in &self.0 {
            let tokens = tokens::tokens(text);
            let source = module_of(file);
            found.extend(form::violations(file, text, &tokens));
            if SYNCHRONOUS.contains(&name(&source)) {
                found.extend(form::asynchronous(file, &tokens));
            }
            if floor_of(&source).is_none() {
                let what = format!(
                    "module `{}` has no floor: give it one in tests/architecture/main.rs",
                    name(&source)
                );
                found.push(Violation::new(file, 1, what));
                continue;
            }
            for path in paths::crate_paths(&source, &tokens) {
                if let Err(what) = judge(&source, &path.segments, &modules) {
                    found.push(Violation::new(file, path.line, what));
                }
                imports.add(&source, &path.segments, &modules);
            }
        }
        found.extend(imports.circles().iter().map(circle));
        found
    }
}

/// A circle, named by its modules, with the file of the first.
fn circle(modules: &BTreeSet<Vec<String>>) -> Violation {
    let names: Vec<String> = modules.iter().map(|module| module.join("/")).collect();
    let file = PathBuf::from(format!("{}.rs", names.first().map_or("", String::as_str)));
    Violation::new(&file, 1, format!("a circle of imports: {}", names.join(", ")))
}

/// `backend/keyring.rs` is `backend`, `keyring`.
fn module_of(file: &Path) -> Vec<String> {
    let without_extension = file.with_extension("");
    without_extension
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect()
}

fn name(module: &[String]) -> &str {
    module.first().map_or("crate", String::as_str)
}

fn floor_of(module: &[String]) -> Option<usize> {
    let name = name(module);
    if ROOTS.contains(&name) {
        return Some(FLOORS.len());
    }
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// Whether `source` may import `target`.
fn judge(source: &[String], target: &[String], modules: &BTreeSet<Vec<String>>) -> Result<(), String> {
    let (from, to) = (name(source), name(target));
    let Some(below) = floor_of(target).filter(|_| !target.is_empty()) else {
        return Err(format!("`{from}` imports `{to}`, which is no module with a floor"));
    };
    if from == to {
        let branch = |module: &[String]| {
            module
                .get(..2)
                .filter(|branch| modules.contains(*branch))
                .map(Vec::from)
        };
        return match (branch(source), branch(target)) {
            (Some(one), Some(other)) if TREES.contains(&from) && one != other => Err(format!(
                "`{}` imports `{}`: modules of `{from}` are strangers",
                one.join("::"),
                other.join("::")
            )),
            _ => Ok(()),
        };
    }
    let Some(own) = floor_of(source) else {
        return Err(format!("`{from}` has no floor"));
    };
    let of_the_ground = GROUND.contains(&to) && !GROUND.contains(&from);
    match below.cmp(&own) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal if of_the_ground => Ok(()),
        std::cmp::Ordering::Equal => Err(format!(
            "`{from}` imports `{to}` beside it on floor {own}: siblings are strangers"
        )),
        std::cmp::Ordering::Greater => Err(format!("`{from}` (floor {own}) climbs to `{to}` (floor {below})")),
    }
}

#[test]
fn no_import_climbs_or_crosses_and_every_file_has_its_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = Sources::read(&root).unwrap();
    assert!(
        sources.0.len() > 10,
        "only {} files found: is this the crate?",
        sources.0.len()
    );
    let violations: Vec<String> = sources.violations().iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn tests_and_benchmarks_have_the_form_too() {
    let mut violations = Vec::new();
    for directory in ["tests", "benches"] {
        let Sources(files) = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
        assert!(files.len() > 2, "{directory} has only {} files", files.len());
        for (file, text) in files {
            violations.extend(form::of_any_file(&Path::new("..").join(directory).join(file), &text));
        }
    }
    let violations: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

mod planted {
    //! The checker finds what is planted for it, or it would hold nothing.

    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = files
            .iter()
            .map(|(file, text)| (PathBuf::from(file), format!("//! A file.\n{text}")));
        let violations = Sources(files.collect()).violations();
        violations.iter().map(Violation::to_string).collect()
    }

    fn is_found(file: &str, text: &str, expected: &str) {
        let found = found(&[(file, text)]);
        assert!(
            matches!(found.as_slice(), [one] if one.contains(expected)),
            "planted {text:?} in {file}, found {found:?}"
        );
    }

    fn is_fine(file: &str, text: &str) {
        assert_eq!(found(&[(file, text)]), Vec::<String>::new(), "{text:?} in {file}");
    }

    #[test]
    fn an_import_that_climbs_is_found_with_its_file_and_line() {
        let text = "\nuse crate::config::Options;\n";
        is_found(
            "envelope/cache.rs",
            text,
            "src/envelope/cache.rs:3: `envelope` (floor 4) climbs to `config`",
        );
    }

    #[test]
    fn an_import_that_crosses_is_found() {
        is_found("kms.rs", "use crate::http::Page;", "siblings are strangers");
        is_found("health.rs", "use crate::telemetry::metrics;", "siblings are strangers");
        is_found("clock.rs", "use crate::secret::random_bytes;", "siblings are strangers");
        is_found("secret.rs", "use crate::clock::Clock;", "siblings are strangers");
    }

    #[test]
    fn floors_below_and_the_ground_are_open() {
        is_fine("kms.rs", "use crate::envelope::Envelope;\nuse crate::secret::Key;");
        is_fine("health.rs", "use crate::clock::Clock;\nuse crate::secret::Key;");
        is_fine(
            "envelope/seal.rs",
            "use crate::envelope::policy::Policy;\nuse super::policy;",
        );
        is_fine("main.rs", "use dekhand::cli;");
    }

    #[test]
    fn every_way_to_write_a_path_is_seen() {
        let climbs = "climbs to `app`";
        for text in [
            "fn f() { crate::app::run(); }",
            "type T = Vec<crate::app::App>;",
            "pub use crate::app::App;",
            "use super::app::App;",
            "mod tests { use super::super::app::App; }",
            "use self::super::app;",
            "macro_rules! m { () => { $crate::app::run() } }",
            "use dekhand::app::App;",
            "use ::dekhand::app::App;",
        ] {
            is_found("crypto.rs", text, climbs);
        }
        let group = found(&[("crypto.rs", "use crate::{secret::Key, app::{self, App}};")]);
        assert_eq!(
            group.iter().filter(|line| line.contains(climbs)).count(),
            2,
            "{group:?}"
        );
    }

    #[test]
    fn the_root_is_no_way_round() {
        let expected = "no module with a floor";
        is_found("crypto.rs", "use crate as all;", expected);
        is_found("crypto.rs", "use crate::*;", expected);
        is_found("crypto.rs", "use super::*;", expected);
        is_found("crypto.rs", "use crate::Reexported;", expected);
    }

    #[test]
    fn comments_strings_and_visibilities_are_no_imports() {
        is_fine(
            "crypto.rs",
            "// crate::app\n/* /* use crate::app; */ crate::app */\n/// [`crate::app`]\nfn f() {}",
        );
        is_fine(
            "crypto.rs",
            r##"const S: &str = "crate::app \" crate::app"; const R: &str = r#"" crate::app"#;"##,
        );
        is_fine(
            "crypto.rs",
            "pub(crate) fn f<'a>(x: &'a str) -> char { '\"' }\npub(super) fn g() {}",
        );
        is_fine("crypto.rs", "mod tests { use super::*; }");
    }

    #[test]
    fn backends_are_strangers_to_each_other() {
        let keyring = ("backend/keyring/file.rs", "use crate::backend::pkcs11::Token;");
        let files = [
            ("backend.rs", "use crate::backend::pkcs11::Token;"),
            (
                "backend/keyring.rs",
                "use crate::backend::keyring::file::File;\nuse crate::backend::Shared;",
            ),
            ("backend/pkcs11.rs", ""),
            keyring,
        ];
        let found = found(&files);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("src/backend/keyring/file.rs:2")),
            "{found:?}"
        );
    }

    #[test]
    fn asynchronous_code_is_found_where_there_must_be_none() {
        for text in ["use tokio::task::spawn;", "async fn f() {}", "fn f() { g().await }"] {
            is_found("token/session.rs", text, "asynchronous");
            is_fine("backend.rs", text);
        }
        is_fine("token.rs", "// async tokio\nfn asynchronous() {}");
    }

    #[test]
    fn a_circle_inside_a_room_is_found() {
        let files = [
            ("kms.rs", ""),
            ("kms/a.rs", "use crate::kms::b::B;"),
            ("kms/b.rs", "use super::a::A;"),
        ];
        assert_eq!(found(&files), ["src/kms/a.rs:1: a circle of imports: kms/a, kms/b"]);
    }

    #[test]
    fn a_module_without_a_floor_is_found() {
        is_found("novelty.rs", "", "`novelty` has no floor");
        is_found("novelty/part.rs", "", "`novelty` has no floor");
    }
}
