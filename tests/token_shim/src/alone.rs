//! A test in a process of its own: a module has one state in a process, and its environment variables belong to all.

use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use crate::token::Token;

/// Names in the child the test that it runs.
const VARIABLE: &str = "DEKHAND_TEST_ALONE";

/// Called first and alone in a `#[test]`: runs that test once more, in a process of its own with a token of its own, and
/// there `body`, which may load the module.
///
/// # Panics
///
/// If the test fails there.
pub fn run<B: FnOnce(&Token)>(body: B) {
    let name = name_of(&body);
    if let Some(output) = outcome(body) {
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        assert!(status.success(), "{name} in a process of its own: {status}\n{text}");
        assert!(text.contains("1 passed"), "no test is called {name}: {text}");
    }
}

/// As [`run`], and gives what became of that process; in that process nothing.
///
/// # Panics
///
/// If the process can't be started.
pub fn outcome<B: FnOnce(&Token)>(body: B) -> Option<Output> {
    let name = name_of(&body);
    if std::env::var_os(VARIABLE).is_some_and(|running| running == name.as_str()) {
        body(&Token::of_this_process());
        return None;
    }
    let token = Token::new();
    let program = std::env::current_exe().expect("the running test has a path");
    let output = Command::new(program)
        .args(["--exact", &name, "--nocapture", "--include-ignored"])
        .envs(token.environment())
        .env(VARIABLE, &name)
        .stdin(Stdio::null())
        .output();
    Some(output.expect("a process for a test"))
}

/// The test in which a closure is written, as `cargo test` calls it.
fn name_of<B>(_body: &B) -> String {
    let path = std::any::type_name::<B>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_program, path)| path).to_owned()
}
