//! Wrong values in the settings of a token.

use crate::parse;
use crate::pkcs11::assert_refused;
use crate::pkcs11::file_with;
use crate::pkcs11::token;

#[test]
fn a_wrong_value_of_a_token_is_told_what_may_be() {
    for (wrong, key, said) in [
        ("sessions: 0", "sessions", "1 to 4"),
        ("sessions: 5", "sessions", "1 to 4"),
        ("call_timeout: 999ms", "call_timeout", "1s to 25s"),
        ("call_timeout: 26s", "call_timeout", "1s to 25s"),
        ("login: so", "login", "`protected-path`"),
        ("login: \"vendor:2\"", "login", "header file"),
        ("login: \"vendor:\"", "login", "header file"),
        ("login: \"vendor:-1\"", "login", "header file"),
        ("login: \"vendor:0x1ffffffff\"", "login", "header file"),
        ("login: \"vendor:0x+3\"", "login", "header file"),
        ("mechanism: aes-gmc", "mechanism", "did you mean `aes-gcm`?"),
        ("mechanism: aes-key-wrap-pad", "mechanism", "`aes-kwp`"),
        ("private: yes", "private", "`true` or `false`"),
        ("exportable: 1", "exportable", "`true` or `false`"),
        ("object: a", "object", "no such key"),
    ] {
        assert_refused(token(wrong), &format!(".pkcs11.{key}"), said);
    }
    assert_refused(
        parse(file_with("module: m.so, token: kube, pin: {file: /p}")),
        ".pkcs11.module",
        "an absolute path",
    );
    assert_refused(
        parse(file_with("module: /m.so, token: 7, pin: {file: /p}")),
        ".pkcs11.token",
        "in quotes",
    );
}

#[test]
fn a_wrong_list_of_versions_is_told_what_may_be() {
    for (wrong, key, said) in [
        ("versions: [{number: 0, label: a}]", "versions[0].number", "1 to 9999"),
        (
            "versions: [{number: 10000, label: a}]",
            "versions[0].number",
            "1 to 9999",
        ),
        (
            "versions: [{number: v1, label: a}]",
            "versions[0].number",
            "`number: 2`",
        ),
        ("versions: [{label: a}]", "versions[0].number", "missing"),
        ("versions: [{number: 1}]", "versions[0]", "`id` or `label`"),
        (
            "versions: [{number: 1, id: aabbccddeeff0011, label: a}]",
            "versions[0]",
            "found both",
        ),
        (
            "versions: [{number: 1, id: aabbccddeeff00}]",
            "versions[0].id",
            "8 to 32 bytes",
        ),
        (
            "versions: [{number: 1, id: 1000000000000001}]",
            "versions[0].id",
            "in quotes",
        ),
        (
            "versions: [{number: 1, id: 1000000000000e11}]",
            "versions[0].id",
            "in quotes",
        ),
        (
            "versions: [{number: 1, label: \"\"}]",
            "versions[0].label",
            "1 to 40 bytes",
        ),
        (
            "versions: [{number: 1, label: \"01234567890123456789012345678901234567890\"}]",
            "versions[0].label",
            "1 to 40 bytes",
        ),
        (
            "versions: [{number: 1, label: \"a\\n\"}]",
            "versions[0].label",
            "control",
        ),
        ("versions: [{number: 1, label: 7}]", "versions[0].label", "in quotes"),
        (
            "versions: [{number: 1, label: a, activates: 2026-03-01}]",
            "versions[0].activates",
            "UTC",
        ),
        (
            "versions: [{number: 1, label: a, activates: 2026-03-01T12:00:00Z, retired: 2026-03-01T11:59:59Z}]",
            "versions[0]",
            "retired before",
        ),
        (
            "versions: [{number: 1, label: a}, {number: 2, label: a}]",
            "versions[1].label",
            "`versions[0]`",
        ),
        (
            "versions: [{number: 1, label: a}, {number: 1, label: b}]",
            "versions[1].number",
            "`versions[0]`",
        ),
        (
            "versions: [{number: 1, id: aabbccddeeff0011}, {number: 2, id: AABBCCDDEEFF0011}]",
            "versions[1].id",
            "`versions[0]`",
        ),
    ] {
        assert_refused(token(wrong), &format!(".pkcs11.{key}"), said);
    }
}

#[test]
fn a_wrong_variable_is_told_what_may_be_and_a_secret_where_it_belongs() {
    for (wrong, key, said) in [
        ("environment: {A: b}", "environment", "a list"),
        ("environment: [hunter2]", "environment[0]", "`NAME=value`"),
        ("environment: [A=, \"1hunter2=x\"]", "environment[1]", "`NAME=value`"),
        ("environment: [\"=hunter2\"]", "environment[0]", "`NAME=value`"),
        ("environment: [\"A B=hunter2\"]", "environment[0]", "`NAME=value`"),
        (
            "environment: [\"A=hunter2\\0\"]",
            "environment[0]",
            "control characters",
        ),
        (
            "environment: [A=1, B=2, A=hunter2]",
            "environment[2]",
            "`environment[0]`",
        ),
        (
            "environment: [TOKEN_PIN=hunter2]",
            "environment[0]",
            "{name: NAME, file:",
        ),
        (
            "environment: [db_password=hunter2]",
            "environment[0]",
            "{name: NAME, file:",
        ),
        (
            "environment: [OWNER_AUTH=hunter2]",
            "environment[0]",
            "{name: NAME, file:",
        ),
        (
            "environment: [SOME_API_KEY=hunter2]",
            "environment[0]",
            "{name: NAME, file:",
        ),
        ("environment: [X_TOKEN=hunter2]", "environment[0]", "{name: NAME, file:"),
        ("environment: [X_PWD=hunter2]", "environment[0]", "{name: NAME, file:"),
        (
            "environment: [X_CREDENTIALS=hunter2]",
            "environment[0]",
            "{name: NAME, file:",
        ),
        (
            "environment: [\"URL=https://user:hunter2@host/x\"]",
            "environment[0]",
            "{name: NAME, file:",
        ),
        (
            "environment: [{name: A}]",
            "environment[0]",
            "one of `file` and `credential`",
        ),
        (
            "environment: [{name: A, file: /a, credential: b}]",
            "environment[0]",
            "one of `file` and `credential`",
        ),
        (
            "environment: [{name: A, file: a}]",
            "environment[0].file",
            "an absolute path",
        ),
        (
            "environment: [{name: \"A B\", file: /a}]",
            "environment[0].name",
            "a name of letters",
        ),
        (
            "environment: [{name: A, value: hunter2}]",
            "environment[0].value",
            "no such key",
        ),
        (
            "environment: [A=1, {name: A, file: /a}]",
            "environment[1]",
            "`environment[0]`",
        ),
    ] {
        assert_refused(token(wrong), &format!(".pkcs11.{key}"), said);
    }
}
