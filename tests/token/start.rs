//! A daemon starts on a token.

use std::os::unix::fs::PermissionsExt as _;

use token_shim::token::Token;

use support::token_node::Node;
use support::token_node::Settings;

#[test]
fn the_nodes_of_these_tests_have_a_configuration_that_is_fine() {
    let node = Node::on(&Token::new().into(), Settings::default());
    let output = node.check();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_daemon_serves_from_a_token() {
    let node = Node::new();
    let daemon = node.start();
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_variable_of_the_module_comes_from_a_file_and_its_value_is_shown_nowhere() {
    let node = Node::new();
    let environment = node.token.environment();
    let (name, value) = &environment[0];
    let (file, line) = (node.path("variable"), format!("- {name}={}", value.display()));
    std::fs::write(&file, format!("{}\n", value.display())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = std::fs::read_to_string(node.config()).unwrap();
    assert!(text.contains(&line), "{text}");
    let of_file = format!("- {{name: {name}, file: {}}}", file.display());
    std::fs::write(node.config(), text.replace(&line, &of_file)).unwrap();
    let daemon = node.start();
    let shown = support::daemon::dekhand(&["config", "show", &node.config()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let copy = std::fs::read_to_string(node.path("state").join("config.good.yaml")).unwrap();
    for text in [&shown, &copy] {
        assert!(
            text.contains(name) && !text.contains(&value.display().to_string()),
            "{text}"
        );
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = node.command(&["keys", "list"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains(&format!("the variable {name} is not set")) && said.contains("chmod 0600"),
        "{said}"
    );
}
