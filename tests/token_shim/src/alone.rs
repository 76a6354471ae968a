//! Runs a test in a process of its own, because a module's state and the environment variables belong to a process.

use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use crate::token::Token;

/// The variable with the name of the test, for the child.
const VARIABLE: &str = "DEKHAND_TEST_ALONE";

/// Must be the only call in a `#[test]`. Runs that test once more, in a process of its own with a token of its own;
/// there it calls `body`, which may load the module.
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

/// As [`run`], and returns the result of that process; in that process it returns nothing.
///
/// # Panics
///
/// If the process cannot be started.
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

/// The name of the test that contains a closure, for `cargo test`.
fn name_of<B>(_body: &B) -> String {
    let path = std::any::type_name::<B>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_program, path)| path).to_owned()
}
