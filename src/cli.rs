//! The command line: commands, their output and exit codes.

pub mod config;
pub mod exit;
pub mod keys;
pub mod output;
pub mod overrides;
pub mod process;
pub mod serve;
pub mod status;
pub mod token;

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

use crate::cli::config::ConfigCommand;
use crate::cli::exit::Exit;
use crate::cli::keys::arguments::KeysCommand;
use crate::cli::output::Output;
use crate::cli::output::OutputFormat;
use crate::cli::serve::ServeArgs;
use crate::cli::status::StatusArgs;
use crate::cli::token::TokenCommand;

/// A Kubernetes KMS provider plugin whose root key stays where it is.
#[derive(Debug, Parser)]
#[command(name = "dekhand", version, arg_required_else_help = true, after_help = exit::TABLE)]
struct CommandLine {
    /// Format of the data on stdout
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, global = true)]
    output: OutputFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon that kube-apiserver calls
    Serve(ServeArgs),
    /// Test a running daemon with the calls of kube-apiserver: Status, Encrypt, Decrypt
    Status(StatusArgs),
    /// Create, list, rotate, verify and destroy versions of root keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show PKCS#11 modules and tokens, and test their wrap mechanisms
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check and show configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Internal: start token workers for a daemon or a command
    #[command(hide = true)]
    TokenSpawner,
    /// Internal: load a PKCS#11 module; a spawner starts this process
    #[command(hide = true)]
    TokenWorker {
        /// The parent process; the worker ends with it.
        #[arg(long)]
        parent: u32,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Good };
            // The exit code is the same whether or not the text could be printed.
            error.print().ok();
            return exit.into();
        }
    };
    let mut out = Output::of_process(line.output);
    let ran = match &line.command {
        Command::Serve(args) => serve::run(args, &mut out),
        Command::Status(args) => status::run(args, &mut out),
        Command::Keys(command) => keys::run(command, &mut out),
        Command::Token(command) => token::run(command, &mut out),
        Command::Config(command) => config::run(command, &mut out),
        Command::TokenSpawner => return process::token_spawner(&mut out),
        Command::TokenWorker { parent } => return process::token_worker(*parent, &mut out),
    };
    let ran = ran.and_then(|()| Ok(out.finish()?));
    match ran {
        Ok(()) => Exit::Good.into(),
        Err(error) => {
            exit::tell(&error, &mut out);
            Exit::of(&error).into()
        }
    }
}
