//! `dekhand config`: checks a configuration file, and shows the effective settings.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::output::OutputFormat;
use crate::cli::overrides::OverrideArgs;
use crate::config::Config;
use crate::config::DEFAULT_FILE;
use crate::config::Effective;
use crate::config::Overrides;

/// The subcommands of `dekhand config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file as `serve` does at its start
    Check {
        /// The configuration file
        #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
        file: PathBuf,
    },
    /// Show every setting with its value and its source: the file, a default, or an option
    Show {
        /// The configuration file
        #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// The options of `serve`
        #[command(flatten)]
        overrides: OverrideArgs,
    },
}

/// Runs `dekhand config`.
///
/// # Errors
/// A [`ConfigError`](crate::config::ConfigError): `serve` would refuse the file.
pub fn run(command: &ConfigCommand, out: &mut Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            let conflicts = Config::load(file, &Overrides::default())?.conflicts();
            for conflict in &conflicts {
                out.talk(&format!("warning: {conflict}"));
            }
            match out.format() {
                OutputFormat::Text => out.data(&format!("{}: good", file.display())),
                OutputFormat::Json => out.json(&json!({
                    "ok": true,
                    "file": file.to_string_lossy(),
                    "warnings": conflicts,
                })),
            }
        }
        ConfigCommand::Show { file, overrides } => {
            let overrides = overrides.into();
            let text = Config::read(file)?;
            let config = Config::parse(file, &text, &overrides)?;
            let effective = Effective::new(&config, file, &text, &overrides);
            match out.format() {
                OutputFormat::Text => out.data(effective.to_yaml().trim_end()),
                OutputFormat::Json => out.json(&effective),
            }
        }
    }
    Ok(())
}
