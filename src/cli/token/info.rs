//! `dekhand token info`.

use serde::Serialize;

use crate::backend::pkcs11::inspect;
use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::cli::keys::show::ShownVersion;
use crate::cli::keys::tokens;
use crate::cli::output::Output;
use crate::cli::output::OutputFormat;
use crate::cli::token::error::TokenCommandError;
use crate::cli::token::show;
use crate::cli::token::show::ShownToken;
use crate::cli::token::which::TokenTarget;
use crate::clock::Clock;
use crate::root_key::name::RootKeyName;
use crate::root_key::primary::by_calendar;

#[derive(Debug, Serialize)]
struct ShownInfo {
    module: String,
    token: ShownToken,
    mechanisms: Vec<String>,
    root_key: Option<RootKeyName>,
    /// `None` if they cannot be read.
    versions: Option<Vec<ShownVersion>>,
    /// Why they cannot be read.
    not_read: Option<String>,
    /// Versions that are used although their objects are public, and what to do about each.
    public: Vec<String>,
    /// Objects of the token that are ignored, and why.
    left_out: Vec<String>,
}

/// Prints one token, and the root key's versions in it if they can be read.
pub(super) async fn info(
    workers: &WorkerSource,
    place: &TokenTarget,
    out: &mut Output,
) -> Result<(), TokenCommandError> {
    let mut report = inspect::describe(workers).await?;
    let mechanisms = std::mem::take(&mut report.mechanisms);
    let (versions, noted, not_read) = match versions(workers, place).await {
        Ok((versions, noted)) => (Some(versions), noted, None),
        Err(reason) => (None, Noted::default(), Some(reason)),
    };
    tokens::warn_of_keys(&noted, out);
    let Noted { public, left_out, .. } = noted;
    let info = ShownInfo {
        module: place.module(),
        token: report.into(),
        mechanisms,
        root_key: place.root_key.clone(),
        versions,
        not_read,
        public,
        left_out,
    };
    match out.format() {
        OutputFormat::Json => out.json(&info),
        OutputFormat::Text => out.data(&info.text()),
    }
    Ok(())
}

async fn versions(workers: &WorkerSource, place: &TokenTarget) -> Result<(Vec<ShownVersion>, Noted), String> {
    if place.root_key.is_none() {
        return Err("no root key is named: name one with --root-key".to_owned());
    }
    if place.lacks_pin() {
        return Err("no PIN is given: name a file with the PIN with --pin-file".to_owned());
    }
    let versions = inspect::versions(workers).await;
    let (versions, noted) = versions.map_err(|error| error.chain())?;
    let now = Clock::system().now();
    let primary = by_calendar(&versions, now).map(|version| &version.id);
    let shown = |version| ShownVersion::new(version, primary, now);
    Ok((versions.iter().map(shown).collect(), noted))
}

impl ShownInfo {
    fn text(&self) -> String {
        let Self {
            module,
            token,
            mechanisms,
            root_key,
            versions,
            not_read,
            // Printed as warnings, as by every command.
            public: _,
            left_out: _,
        } = self;
        let mut text = format!("{module}\n{}", token.text());
        let listed = if mechanisms.is_empty() {
            "none that dekhand can wrap with".to_owned()
        } else {
            mechanisms.join(", ")
        };
        text.push_str(&show::line("mechanisms", &listed));
        let name = root_key.as_ref().map_or("root key", |name| name.as_str());
        if let Some(reason) = not_read {
            text.push_str(&show::line(name, &format!("not looked for: {reason}")));
        }
        for (at, version) in versions.iter().flatten().rev().enumerate() {
            text.push_str(&show::line(if at == 0 { name } else { "" }, &version.line()));
        }
        if versions.as_ref().is_some_and(Vec::is_empty) {
            text.push_str(&show::line(
                name,
                "no versions: `dekhand keys create` makes the first one",
            ));
        }
        text
    }
}
