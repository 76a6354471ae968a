//! A daemon starts on a token.

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
