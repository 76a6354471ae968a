//! `dekhand keys`: creates, lists, verifies, activates, retires and destroys versions of root keys.

mod accept_loss;
mod activate;
pub mod arguments;
mod create;
pub mod error;
pub mod input;
pub mod key_encoding;
mod next_steps;
mod print;
mod retire;
pub(in crate::cli) mod show;
mod store;
pub mod target;
pub mod tokens;
mod verify;

use crate::app;
use crate::cli::keys::arguments::KeysCommand;
use crate::cli::keys::arguments::WhichRootKeyArgs;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::input::Input;
use crate::cli::keys::target::Target;
use crate::cli::keys::tokens::Tokens;
use crate::cli::keys::tokens::Workers;
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::Overrides;
use crate::files;
use crate::hardening;

/// Runs `dekhand keys`.
///
/// # Errors
/// A [`KeysError`], or a [`ConfigError`](crate::config::ConfigError).
pub fn run(command: &KeysCommand, out: &mut Output) -> anyhow::Result<()> {
    let config = load(command)?;
    let targets: Vec<Target> = config
        .root_keys
        .iter()
        .map(|entry| Target::new(entry, &config.state))
        .collect();
    if targets.iter().any(|target| target.token().is_some()) {
        tokens::remember_pins(&config.state, out);
    }
    // Before hardening, which workers would inherit, and before any thread.
    let about = target::about(&targets, command)?;
    let of_target = |target: &&Target| target.assignment(command.role(), &config);
    let workers = Workers::start(about.iter().filter_map(of_target).collect()).map_err(KeysError::Runtime)?;
    // This process will hold root keys in memory.
    hardening::apply_to_command();
    let mut console = Console {
        out,
        input: &mut Input::of_process(),
        clock: &Clock::system(),
        tokens: &workers,
    };
    let outcome = execute(command, &targets, &mut console);
    tokens::warn_of_keys(&workers.noted(), console.out);
    workers.end();
    Ok(outcome?)
}

fn load(command: &KeysCommand) -> anyhow::Result<Config> {
    let WhichRootKeyArgs {
        config,
        dev,
        dir,
        root_key: _,
    } = command.which();
    if !dev {
        return Ok(Config::load(config, &Overrides::default())?);
    }
    let directory = app::dev::directory(dir.as_deref())
        .ok_or(KeysError::Usage("XDG_STATE_HOME or HOME, or a directory with --dir"))?;
    let config = Config::dev(&directory, &Overrides::default())?;
    // A command that creates a keyring creates its directory too, as `serve --dev` does.
    if matches!(command, KeysCommand::Create(_) | KeysCommand::Import(_)) {
        files::private_directory(&directory).map_err(KeysError::File)?;
    }
    Ok(config)
}

/// Output, input, clock and tokens of a command.
#[derive(Debug)]
pub struct Console<'a> {
    /// Where it prints.
    pub out: &'a mut Output,
    /// Standard input, for keys, records and confirmations.
    pub input: &'a mut Input,
    /// The clock.
    pub clock: &'a Clock,
    /// Access to tokens.
    pub tokens: &'a dyn Tokens,
}

/// Runs a command on the root keys of a configuration, in the order of the file.
///
/// # Errors
/// See [`KeysError`].
pub fn execute(command: &KeysCommand, targets: &[Target], console: &mut Console<'_>) -> Result<(), KeysError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(KeysError::Runtime)?;
    runtime.block_on(async {
        let about = target::about(targets, command)?;
        if let KeysCommand::List(_) = command {
            return show::list(&about, console).await;
        }
        let [target] = about.as_slice() else {
            return Err(KeysError::Usage("a configuration with a root key"));
        };
        let done = if command.prints() {
            print::print(target, command, console).await
        } else {
            execute_one(command, target, console).await
        };
        done.map_err(|error| target.explain(error))
    })
}

async fn execute_one(command: &KeysCommand, target: &Target, console: &mut Console<'_>) -> Result<(), KeysError> {
    check_listed(target, command)?;
    match command {
        KeysCommand::List(_) => show::list(&[target], console).await,
        KeysCommand::Create(_) => create::create(target, console).await,
        KeysCommand::Rotate(args) => create::rotate(target, args.activate_in, console).await,
        KeysCommand::Import(args) => create::import(target, args.form()?, args.file()?, console).await,
        KeysCommand::Verify(args) => match (&args.record, &args.against) {
            (Some(version), _) => verify::record(target, version.as_ref(), console).await,
            (None, Some(file)) => verify::against(target, file, console).await,
            (None, None) => Err(KeysError::Usage("either --record or --against")),
        },
        KeysCommand::Activate(args) => activate::activate(target, args.version.as_ref(), args.when()?, console).await,
        KeysCommand::Retire(args) => retire::retire(target, &args.version, args.unaudited, console).await,
        KeysCommand::Restore(args) => retire::restore(target, &args.version, console).await,
        KeysCommand::Destroy(args) => retire::destroy(target, args, console).await,
        KeysCommand::AcceptLoss(args) => accept_loss::accept(target, &args.id, args.confirm.as_deref(), console).await,
    }
}

/// Refuses a command that writes labels if the configuration lists the versions: labels are then ignored.
fn check_listed(target: &Target, command: &KeysCommand) -> Result<(), KeysError> {
    let listed = target.token().is_some_and(|options| !options.versions.is_empty());
    match command.labels() {
        Some(command) if listed => Err(KeysError::Listed {
            name: target.name.clone(),
            command,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
