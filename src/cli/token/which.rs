//! The module and token of a command, from the configuration or from the command line alone.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::backend::pkcs11::spawner::Spawner;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::cli::token::error::TokenCommandError;
use crate::config::Config;
use crate::config::DEFAULT_FILE;
use crate::config::Overrides;
use crate::config::RootKeyStore;
use crate::hardening::LockMemory;
use crate::root_key::name::RootKeyName;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::options::Login;
use crate::token::options::Pkcs11Options;
use crate::token::pin::PinSource;
use crate::token::report::TokenReport;
use crate::token::uri::TokenName;
use crate::token::variable::EnvironmentVariable;
use crate::token::variable::VariableValue;

/// The arguments that name a module and a token.
#[derive(Clone, Debug, Args)]
pub(super) struct WhichTokenArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, conflicts_with = "module")]
    config: PathBuf,
    /// The root key, if it is not the first in a token
    #[arg(long, value_name = "NAME")]
    root_key: Option<RootKeyName>,
    /// A PKCS#11 module, without a configuration file
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    /// Its token: a label, a serial number, or a URI such as pkcs11:token=kube; not needed if there is only one
    #[arg(long, value_name = "TOKEN", requires = "module")]
    token: Option<TokenName>,
    /// A file with the token's PIN; only you may have access to it
    #[arg(long, value_name = "FILE", requires = "module")]
    pin_file: Option<PathBuf>,
    /// An environment variable for the module; may be given several times
    #[arg(long, value_name = "NAME=VALUE", requires = "module", value_parser = variable)]
    environment: Vec<EnvironmentVariable>,
}

/// A module, and if known its token and the root key in that token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenTarget {
    /// The worker's assignment. It has a placeholder where no token or root key is known.
    pub(super) assignment: Assignment,
    /// Whether the token is named.
    token_is_known: bool,
    /// The root key, if one is known.
    pub(super) root_key: Option<RootKeyName>,
}

impl TokenTarget {
    /// The options of the token.
    pub(super) fn options(&self) -> &Pkcs11Options {
        &self.assignment.options
    }

    /// The module, for people and programs.
    pub(super) fn module(&self) -> String {
        self.options().module.to_string_lossy().into_owned()
    }

    /// Whether login needs a PIN and none is given.
    pub(super) fn lacks_pin(&self) -> bool {
        let needs_pin = matches!(self.options().login, Login::User | Login::Vendor(_));
        needs_pin && self.options().pin.is_none()
    }

    /// Whether the token is named.
    pub(super) fn token_is_known(&self) -> bool {
        self.token_is_known
    }

    /// The source of its workers.
    ///
    /// # Errors
    /// The spawner was started for other places.
    pub(super) fn workers(&self, spawner: &Spawner) -> Result<WorkerSource, TokenCommandError> {
        let Assignment { root_key, role, .. } = &self.assignment;
        spawner.workers(root_key, *role).ok_or(TokenCommandError::NoneInAToken)
    }

    /// This place with the only token of its module as its token.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(super) fn with_token(&self, tokens: Vec<TokenReport>) -> Result<Self, TokenCommandError> {
        let tokens: Vec<_> = tokens.into_iter().filter(|token| token.initialized).collect();
        let labels = || tokens.iter().map(|token| token.label.clone()).collect();
        let [only] = tokens.as_slice() else {
            return Err(TokenCommandError::NotOne { labels: labels() });
        };
        let mut named = self.clone();
        // A token with neither label nor serial cannot be named, not even in a configuration.
        let name = [&only.label, &only.serial]
            .into_iter()
            .find_map(|name| name.parse().ok());
        named.assignment.options.token = name.ok_or_else(|| TokenCommandError::NotOne { labels: labels() })?;
        named.token_is_known = true;
        Ok(named)
    }
}

impl WhichTokenArgs {
    /// The places of the command: several, if the configuration has several root keys in tokens and none is named.
    pub(super) fn places(&self) -> anyhow::Result<Vec<TokenTarget>> {
        if let Some(module) = &self.module {
            return Ok(vec![self.place(module)?]);
        }
        let config = &self.config;
        if config.as_path() == Path::new(DEFAULT_FILE) && !config.exists() {
            return Err(TokenCommandError::Unnamed.into());
        }
        let config = Config::load(config, &Overrides::default())?;
        Ok(configured(&config, self.root_key.as_ref())?)
    }

    fn place(&self, module: &Path) -> Result<TokenTarget, TokenCommandError> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(TokenCommandError::System);
        let token = self.token.clone().map_or_else(|| "unnamed".parse(), Ok);
        let mut options = Pkcs11Options::new(absolute(module)?, token.map_err(|_| TokenCommandError::Unnamed)?);
        options.pin = self.pin_file.as_deref().map(absolute).transpose()?.map(PinSource::File);
        options.environment.clone_from(&self.environment);
        Ok(TokenTarget {
            assignment: Assignment {
                role: Role::Look,
                root_key: self.root_key.clone().unwrap_or_else(RootKeyName::dev),
                options,
                state: None,
                memory: MEMORY,
                lock_memory: LockMemory::Try,
            },
            token_is_known: self.token.is_some(),
            root_key: self.root_key.clone(),
        })
    }
}

/// Data memory of a worker where no configuration sets it.
const MEMORY: u64 = 512 << 20;

/// The root keys of a configuration that are in tokens; only the one of this name, if one is given.
fn configured(config: &Config, wanted: Option<&RootKeyName>) -> Result<Vec<TokenTarget>, TokenCommandError> {
    let mut known = Vec::new();
    let mut places = Vec::new();
    for entry in config.root_keys.iter() {
        let RootKeyStore::Pkcs11(options) = &entry.store else {
            continue;
        };
        known.push(entry.name.to_string());
        if wanted.is_none_or(|wanted| *wanted == entry.name) {
            places.push(TokenTarget {
                assignment: Assignment {
                    role: Role::Look,
                    root_key: entry.name.clone(),
                    options: options.as_ref().clone(),
                    state: Some(config.state.clone()),
                    memory: config.worker_memory,
                    lock_memory: config.hardening.lock_memory,
                },
                token_is_known: true,
                root_key: Some(entry.name.clone()),
            });
        }
    }
    match wanted {
        Some(wanted) if places.is_empty() && !known.is_empty() => Err(TokenCommandError::UnknownRootKey {
            wanted: wanted.clone(),
            known: known.join(", "),
        }),
        _ if places.is_empty() => Err(TokenCommandError::NoneInAToken),
        _ => Ok(places),
    }
}

fn variable(text: &str) -> Result<EnvironmentVariable, &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok(EnvironmentVariable {
            name: name.to_owned(),
            value: VariableValue::Text(value.to_owned()),
        }),
        _ => Err("expected NAME=VALUE"),
    }
}
