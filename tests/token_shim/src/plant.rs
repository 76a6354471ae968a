//! Objects that others make in a token, with and without the PIN, by pkcs11-tool.

use std::process::Command;
use std::process::Stdio;

use crate::token::PIN;
use crate::token::Token;

impl Token {
    /// Makes a public AES key of these bytes, in a session without a login.
    ///
    /// # Panics
    ///
    /// If pkcs11-tool is missing or fails.
    pub fn plant(&self, label: &str, id: &str, byte: u8) {
        let file = self.path("planted");
        std::fs::write(&file, [byte; 32]).expect("a file");
        let file = file.display().to_string();
        let arguments = ["--write-object", &file, "--type", "secrkey", "--key-type", "AES:32"];
        self.by_hand(&[&arguments, ["--label", label, "--id", id].as_slice()].concat());
    }

    /// Makes a private AES key with the PIN, as an administrator does with another tool.
    ///
    /// # Panics
    ///
    /// As [`Token::plant`].
    pub fn make_by_hand(&self, attributes: &[&str]) {
        let arguments = ["--login", "--pin", PIN, "--keygen", "--key-type", "AES:32", "--private"];
        self.by_hand(&[&arguments, attributes].concat());
    }

    /// The same with an RSA key pair.
    ///
    /// # Panics
    ///
    /// As [`Token::plant`].
    pub fn make_pair_by_hand(&self, attributes: &[&str]) {
        let arguments = [
            "--login",
            "--pin",
            PIN,
            "--keypairgen",
            "--key-type",
            "rsa:2048",
            "--usage-decrypt",
        ];
        self.by_hand(&[&arguments, attributes].concat());
    }

    /// Destroys a public AES key, in a session without a login.
    ///
    /// # Panics
    ///
    /// As [`Token::plant`].
    pub fn uproot(&self, id: &str) {
        self.by_hand(&["--delete-object", "--type", "secrkey", "--id", id]);
    }

    /// Replaces a public key by another one.
    ///
    /// # Panics
    ///
    /// As [`Token::plant`].
    pub fn exchange(&self, label: &str, id: &str, byte: u8) {
        self.uproot(id);
        self.plant(label, id, byte);
    }

    fn by_hand(&self, arguments: &[&str]) {
        let output = Command::new("pkcs11-tool")
            .arg("--module")
            .arg(crate::softhsm())
            .args(["--token-label", "kube"])
            .args(arguments)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .stdin(Stdio::null())
            .output()
            .expect("pkcs11-tool, a program of OpenSC: apt-get install opensc");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}
