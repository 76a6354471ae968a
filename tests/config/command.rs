//! `dekhand config check` and `dekhand config show`.

use dekhand::cli::config::ConfigCommand;
use dekhand::cli::config::run;
use dekhand::cli::output::Output;
use dekhand::cli::output::OutputFormat;
use dekhand::cli::overrides::OverrideArgs;
use dekhand::config::ConfigError;
use dekhand::config::known_settings;
use support::paper::Paper;

use crate::Home;

fn ran(command: &ConfigCommand, format: OutputFormat) -> (anyhow::Result<()>, String) {
    let paper = Paper::default();
    let mut output = Output::new(format, paper.clone(), std::io::sink());
    let result = run(command, &mut output);
    let text = paper.text();
    (result, text)
}

#[test]
fn check_says_good_or_why_not() {
    let home = Home::new();
    home.write(&home.text, 0o600);
    let check = ConfigCommand::Check {
        file: home.file.clone(),
    };
    let (result, text) = ran(&check, OutputFormat::Text);
    result.unwrap();
    assert_eq!(text, format!("{}: good\n", home.file.display()));
    let (_, text) = ran(&check, OutputFormat::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["warnings"], serde_json::json!([]));
    home.write(&format!("{}\ndata_keys: {{cache: {{ttl: 1s}}}}\n", home.text), 0o600);
    let (result, text) = ran(&check, OutputFormat::Json);
    result.unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        json["warnings"][0].as_str().unwrap().contains("`data_keys.cache.ttl`"),
        "{json}"
    );
    home.write("", 0o600);
    home.keep();
    let (result, text) = ran(&check, OutputFormat::Text);
    assert!(text.is_empty());
    // The good copy starts a daemon, but a broken file still fails the check.
    result.unwrap_err().downcast::<ConfigError>().unwrap();
}

#[test]
fn show_prints_every_setting_in_both_formats() {
    let home = Home::new();
    home.write(&home.text, 0o600);
    let overrides = OverrideArgs {
        http: "off".parse().ok(),
        ..OverrideArgs::default()
    };
    let file = home.file.clone();
    let show = ConfigCommand::Show { file, overrides };
    let (result, text) = ran(&show, OutputFormat::Text);
    result.unwrap();
    assert!(text.contains("# --http\n") && text.contains("# default\n"), "{text}");
    assert!(!text.ends_with("\n\n"));
    let (_, json) = ran(&show, OutputFormat::Json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let of_tokens = |setting: &&&str| setting.contains(".pkcs11.");
    let others = known_settings().len() - known_settings().iter().filter(of_tokens).count();
    // `listen.group` has no default.
    assert_eq!(json["settings"].as_array().unwrap().len(), others - 1);
}
