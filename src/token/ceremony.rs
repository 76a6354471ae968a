//! The attributes of a root key for a key ceremony, where a human creates the key with other tools.

use cryptoki::object::Attribute;

use crate::clock::Clock;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::token::keygen::template;
use crate::token::keygen::template::Wish;
use crate::token::keygen::template::value_text;
use crate::token::label;
use crate::token::options::Login;
use crate::token::options::Pkcs11Options;
use crate::token::variable::EnvironmentVariable;
use crate::token::variable::VariableValue;

/// The label of a version. Labels have a resolution of one minute, so the moment is rounded: down if it has passed, up
/// if it is in the future.
pub fn label(name: &RootKeyName, number: Number, state: State) -> String {
    label::write(name, number, label::rounded(state, Clock::system().now()))
}

/// The attributes that a root key needs, one a line: their PKCS#11 names and their values.
pub fn template(options: &Pkcs11Options, id: &KeyId, label: &str) -> Vec<String> {
    let wish = Wish::new(options, label, id);
    if template::is_rsa(options) {
        let halves = [
            ("private key (CKM_RSA_PKCS_KEY_PAIR_GEN):", wish.rsa_private()),
            ("public key:", wish.rsa_public()),
        ];
        let lines = |(half, attributes): (&str, Vec<Attribute>)| {
            std::iter::once(half.to_owned()).chain(attributes.iter().map(line).collect::<Vec<_>>())
        };
        halves.into_iter().flat_map(lines).collect()
    } else {
        wish.aes().iter().map(line).collect()
    }
}

/// An example: the command of `pkcs11-tool` that generates such a key, and notes on what to check afterwards.
pub fn example(options: &Pkcs11Options, id: &KeyId, label: &str) -> Vec<String> {
    let private = options.private.then(|| {
        "# without --private the key is a public object, which does not count: it could be made without the PIN"
            .to_owned()
    });
    let mut lines = vec![
        command(options, id, label),
        "# CKA_WRAP and CKA_UNWRAP get the token's defaults, which are true in SoftHSM: a key with these attributes"
            .to_owned(),
        "# can take other keys out of the token, so check the key's usage with --list-objects".to_owned(),
    ];
    lines.extend(private);
    lines
}

fn line(attribute: &Attribute) -> String {
    format!(
        "  {:<19} {}",
        attribute.attribute_type().to_string(),
        value_text(attribute)
    )
}

fn command(options: &Pkcs11Options, id: &KeyId, label: &str) -> String {
    // Without the environment variables of the configuration the module may find another token of the same name.
    let mut words: Vec<String> = options.environment.iter().map(assignment).collect();
    words.extend(["pkcs11-tool", "--module"].map(str::to_owned));
    words.push(quoted(&options.module.to_string_lossy()));
    match options.token.label() {
        Some(token) => words.extend(["--token-label".to_owned(), quoted(token)]),
        None => words.extend(["--slot".to_owned(), "NUMBER".to_owned()]),
    }
    if options.login != Login::None {
        words.push("--login".to_owned());
    }
    let (action, key_type) = if template::is_rsa(options) {
        ("--keypairgen", format!("rsa:{}", template::RSA_BITS))
    } else {
        ("--keygen", "AES:32".to_owned())
    };
    words.extend([action.to_owned(), "--key-type".to_owned(), key_type]);
    words.extend(["--label".to_owned(), quoted(label), "--id".to_owned(), id.to_string()]);
    words.extend(["--sensitive", "--usage-decrypt"].map(str::to_owned));
    if options.private {
        words.push("--private".to_owned());
    }
    if options.exportable {
        words.push("--extractable".to_owned());
    }
    words.join(" ")
}

fn assignment(EnvironmentVariable { name, value }: &EnvironmentVariable) -> String {
    match value {
        VariableValue::Text(text) => format!("{name}={}", quoted(text)),
        VariableValue::File(path) => format!("{name}=\"$(cat {})\"", quoted(&path.to_string_lossy())),
        VariableValue::Credential(credential) => format!("{name}=\"$(cat \"$CREDENTIALS_DIRECTORY/{credential}\")\""),
    }
}

/// A word, quoted for a shell.
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::options::MechanismChoice;

    fn printed(options: &Pkcs11Options) -> String {
        let id = KeyId::try_from([0xab; 16].as_slice()).unwrap();
        let state = State::ActiveFrom("2026-03-01T12:01:00Z".parse().unwrap());
        let label = label(&"kube".parse().unwrap(), Number::FIRST, state);
        [template(options, &id, &label), example(options, &id, &label)]
            .concat()
            .join("\n")
    }

    fn options() -> Pkcs11Options {
        let token = "it's mine".parse().unwrap();
        Pkcs11Options::new("/usr/lib/softhsm/libsofthsm2.so".into(), token)
    }

    #[test]
    fn everything_that_a_ceremony_needs_is_there() {
        let text = printed(&options());
        for expected in [
            "CKA_CLASS           CKO_SECRET_KEY",
            "CKA_VALUE_LEN       32",
            "CKA_TOKEN           CK_TRUE",
            "CKA_SENSITIVE       CK_TRUE",
            "CKA_EXTRACTABLE     CK_FALSE",
            "CKA_WRAP            CK_FALSE",
            "CKA_UNWRAP          CK_FALSE",
            "CKA_LABEL           kube.v1@20260301T1201Z",
            "CKA_ID              abababababababababababababababab",
            "pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --token-label 'it'\\''s mine' --login --keygen \
             --key-type AES:32 --label kube.v1@20260301T1201Z --id abababababababababababababababab --sensitive \
             --usage-decrypt --private",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn the_example_reaches_the_token_that_the_configuration_means() {
        let mut options = options();
        options.environment = vec![EnvironmentVariable {
            name: "SOFTHSM2_CONF".to_owned(),
            value: VariableValue::Text("/etc/my token.conf".to_owned()),
        }];
        let text = printed(&options);
        assert!(
            text.contains("\nSOFTHSM2_CONF='/etc/my token.conf' pkcs11-tool --module "),
            "{text}"
        );
        options.environment = vec![EnvironmentVariable {
            name: "API_KEY".to_owned(),
            value: VariableValue::File("/etc/key".into()),
        }];
        let text = printed(&options);
        assert!(text.contains("\nAPI_KEY=\"$(cat /etc/key)\" pkcs11-tool "), "{text}");
    }

    #[test]
    fn an_rsa_key_has_two_halves() {
        let mut options = options();
        options.mechanism = MechanismChoice::RsaOaepSha256;
        options.private = false;
        options.exportable = true;
        options.login = Login::None;
        options.token = "pkcs11:serial=0a1b".parse().unwrap();
        let text = printed(&options);
        for expected in [
            "CKO_PRIVATE_KEY",
            "CKO_PUBLIC_KEY",
            "CKA_MODULUS_BITS    3072",
            "--extractable",
            "--slot",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(!text.contains("--login") && !text.contains("--private"), "{text}");
    }
}
