//! Which module and token a command is about: what the configuration says, or the command line alone.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::backend::pkcs11::options::EnvironmentVariable;
use crate::backend::pkcs11::options::Pkcs11Options;
use crate::backend::pkcs11::pin::PinSource;
use crate::backend::pkcs11::token_name::TokenName;
use crate::cli::token::error::TokenError;
use crate::config::Config;
use crate::config::DEFAULT_FILE;
use crate::config::Overrides;
use crate::config::Store;
use crate::root_key::name::RootKeyName;

/// Which module and token.
#[derive(Clone, Debug, Args)]
pub struct WhichArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, conflicts_with = "module")]
    config: PathBuf,
    /// The root key, if it is not the first in a token
    #[arg(long, value_name = "NAME")]
    root_key: Option<RootKeyName>,
    /// A PKCS#11 module, without a configuration file
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
    /// Its token: a label, a serial number, or a URI such as pkcs11:token=kube; not needed if there is but one
    #[arg(long, value_name = "TOKEN", requires = "module")]
    token: Option<TokenName>,
    /// A file with the token's PIN, which only you may read
    #[arg(long, value_name = "FILE", requires = "module")]
    pin_file: Option<PathBuf>,
    /// A variable that the module reads; may be given several times
    #[arg(long, value_name = "NAME=VALUE", requires = "module", value_parser = variable)]
    environment: Vec<EnvironmentVariable>,
}

/// A module, perhaps a token of it, perhaps a root key in that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// How it is reached. Without [`Place::token_is_known`], the token's name in it names none.
    pub(super) options: Pkcs11Options,
    /// Whether the token has been named.
    pub(super) token_is_known: bool,
    /// The root key, if one is known.
    pub(super) root_key: Option<RootKeyName>,
    /// Where it is written down which PINs were rejected.
    pub(super) state: Option<PathBuf>,
    /// Bytes of memory that a worker may have.
    pub(super) memory: u64,
}

impl WhichArgs {
    /// What the command is about: several root keys, if the configuration has several in tokens and none is named.
    pub(super) fn places(&self) -> anyhow::Result<Vec<Place>> {
        let Self {
            config,
            root_key,
            module,
            token: _,
            pin_file: _,
            environment: _,
        } = self;
        if let Some(module) = module {
            return Ok(vec![self.place(module)?]);
        }
        if config == Path::new(DEFAULT_FILE) && !config.exists() {
            return Err(TokenError::Unnamed.into());
        }
        let config = Config::load(config, &Overrides::default())?;
        Ok(configured(&config, root_key.as_ref())?)
    }

    fn place(&self, module: &Path) -> Result<Place, TokenError> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(TokenError::System);
        let pin = self.pin_file.as_deref().map(absolute).transpose()?;
        let name = self.token.clone().map_or_else(|| "unnamed".parse(), Ok);
        let mut options = Pkcs11Options::new(absolute(module)?, name.map_err(|_| TokenError::NoSuchToken)?);
        options.pin = pin.map(PinSource::File);
        options.environment.clone_from(&self.environment);
        Ok(Place {
            options,
            token_is_known: self.token.is_some(),
            root_key: self.root_key.clone(),
            state: None,
            memory: MEMORY,
        })
    }
}

/// What a configuration gives a worker, if it does not say otherwise.
const MEMORY: u64 = 512 << 20;

fn configured(config: &Config, wanted: Option<&RootKeyName>) -> Result<Vec<Place>, TokenError> {
    let mut places = Vec::new();
    let mut known = Vec::new();
    for entry in config.root_keys.iter() {
        if let Store::Pkcs11(options) = &entry.store {
            known.push(entry.name.to_string());
            if wanted.is_none_or(|wanted| *wanted == entry.name) {
                places.push(Place {
                    options: options.as_ref().clone(),
                    token_is_known: true,
                    root_key: Some(entry.name.clone()),
                    state: Some(config.state.clone()),
                    memory: config.worker_memory,
                });
            }
        }
    }
    match (wanted, places.is_empty()) {
        (Some(wanted), true) => Err(TokenError::UnknownRootKey {
            wanted: wanted.clone(),
            known: known.join(", "),
        }),
        (None, true) => Err(TokenError::NoneInAToken),
        (_, false) => Ok(places),
    }
}

fn variable(text: &str) -> Result<EnvironmentVariable, &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok(EnvironmentVariable {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("expected NAME=VALUE"),
    }
}
