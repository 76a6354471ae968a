//! `dekhand token`: shows PKCS#11 modules and tokens, and tests their wrap mechanisms.

pub mod error;
mod info;
mod list;
mod probe;
mod show;
mod which;

use clap::Args;
use clap::Subcommand;

use crate::backend::pkcs11::inspect;
use crate::backend::pkcs11::spawner::Prints;
use crate::backend::pkcs11::spawner::Spawner;
use crate::cli::keys::tokens;
use crate::cli::output::Output;
use crate::cli::token::error::TokenCommandError;
use crate::cli::token::which::TokenTarget;
use crate::cli::token::which::WhichTokenArgs;
use crate::telemetry::command_log;

/// The subcommands of `dekhand token`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// List the slots and tokens of the module; needs no PIN
    List(TokenArgs),
    /// Show one token, its wrap mechanisms, and the root key's versions in it if login is possible
    Info(TokenArgs),
    /// Test each wrap mechanism, and show which one dekhand uses and why it uses none of the others
    Probe(TokenArgs),
}

/// The arguments of `dekhand token list`, `info` and `probe`.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    #[command(flatten)]
    which: WhichTokenArgs,
}

/// Runs `dekhand token`.
///
/// # Errors
/// A [`TokenCommandError`], or a [`ConfigError`](crate::config::ConfigError).
pub fn run(command: &TokenCommand, out: &mut Output) -> anyhow::Result<()> {
    let (TokenCommand::List(args) | TokenCommand::Info(args) | TokenCommand::Probe(args)) = command;
    let places = args.which.places()?;
    let state = places.first().and_then(|place| place.assignment.state.as_deref());
    if let (Some(state), TokenCommand::Info(_) | TokenCommand::Probe(_)) = (state, command) {
        tokens::remember_pins(state, out);
    }
    match command {
        TokenCommand::List(_) => with_spawner(&places, async |spawner| list::list(spawner, &places, out).await)?,
        TokenCommand::Info(_) => {
            let place = named(first(&places)?)?;
            let places = std::slice::from_ref(&place);
            with_spawner(places, async |spawner| {
                info::info(&place.workers(spawner)?, &place, out).await
            })?;
        }
        TokenCommand::Probe(_) => {
            let place = named(first(&places)?)?;
            let places = std::slice::from_ref(&place);
            with_spawner(places, async |spawner| {
                probe::probe(&place.workers(spawner)?, &place, out).await
            })?;
        }
    }
    Ok(())
}

fn first(places: &[TokenTarget]) -> Result<&TokenTarget, TokenCommandError> {
    places.first().ok_or(TokenCommandError::NoneInAToken)
}

/// A place with its token named: if none was named, the only token of the module. A spawner receives its assignments
/// once, so this lookup has a spawner of its own.
fn named(place: &TokenTarget) -> Result<TokenTarget, TokenCommandError> {
    if place.token_is_known() {
        return Ok(place.clone());
    }
    let tokens = with_spawner(std::slice::from_ref(place), async |spawner| {
        Ok(inspect::tokens(&place.workers(spawner)?).await?)
    });
    place.with_token(tokens?)
}

/// Runs a task with workers for these places; returns when the workers have ended.
fn with_spawner<T>(
    places: &[TokenTarget],
    act: impl AsyncFnOnce(&Spawner) -> Result<T, TokenCommandError>,
) -> Result<T, TokenCommandError> {
    command_log::start();
    let assignments = places.iter().map(|place| place.assignment.clone()).collect();
    // No hardening: PIN and keys are in the worker, never in this process.
    let spawner = Spawner::start(Prints::ToStderr, assignments).map_err(TokenCommandError::System)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TokenCommandError::System)?;
    let outcome = runtime.block_on(act(&spawner));
    // Closes the workers' channels.
    drop(runtime);
    spawner.end();
    outcome
}
