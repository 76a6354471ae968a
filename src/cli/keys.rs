//! `dekhand keys`: makes, lists, verifies, dates, retires and destroys versions of root keys.

mod date;
mod end;
pub mod error;
pub mod input;
pub mod key_text;
mod loss;
mod make;
mod show;
pub mod target;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;

use crate::app;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::input::Input;
use crate::cli::keys::key_text::Form;
use crate::cli::keys::target::Target;
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::DEFAULT_FILE;
use crate::config::Overrides;
use crate::files;
use crate::hardening;
use crate::hardening::HardeningOptions;
use crate::hardening::LockMemory;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::date::When;
use crate::root_key::version::Selector;

/// What `dekhand keys` can do. VERSION is `v2`, `2`, or the id.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make the first version of a root key, active at once
    Create(CreateArgs),
    /// List the versions of all root keys
    List(ListArgs),
    /// Make the next version; it decrypts at once and encrypts when it is activated
    Rotate(RotateArgs),
    /// Prove that two nodes hold the same key, without showing it
    Verify(VerifyArgs),
    /// Give the pending version the date from which it encrypts
    Activate(ActivateArgs),
    /// Let a version decrypt no more, until it is restored
    Retire(RetireArgs),
    /// Take a retired version back: it decrypts again
    Restore(RestoreArgs),
    /// Destroy a retired version for ever
    Destroy(DestroyArgs),
    /// Make a version of a 32-byte key that another system made
    Import(ImportArgs),
    /// Go on without a version that this node has reported and that the store has lost
    AcceptLoss(AcceptLossArgs),
}

/// Which root key.
#[derive(Clone, Debug, Args)]
pub struct WhichArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, conflicts_with = "dev")]
    pub config: PathBuf,
    /// Use what `serve --dev` made
    #[arg(long)]
    pub dev: bool,
    /// The directory of --dev
    #[arg(long, value_name = "DIR", requires = "dev")]
    pub dir: Option<PathBuf>,
    /// The root key, if it is not the first of the configuration
    #[arg(long, value_name = "NAME")]
    pub root_key: Option<RootKeyName>,
}

/// `dekhand keys create`
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys list`
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys rotate`
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Also give it its date, so long from now; only where one store serves all nodes
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    activate_in: Option<Duration>,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys verify`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("what").args(["record", "against"]).required(true)))]
pub struct VerifyArgs {
    /// Print a throwaway key wrapped under the version [default: the pending one, else the newest]; it is no secret
    #[arg(long, value_name = "VERSION", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not given, given alone, given with a version")]
    record: Option<Option<Selector>>,
    /// Open what another node has recorded; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys activate`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("when").args(["in", "at"]).required(true)))]
pub struct ActivateArgs {
    /// The version, if several are pending
    #[arg(value_name = "VERSION")]
    version: Option<Selector>,
    /// So long from now, by this node's clock
    #[arg(long = "in", id = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    after: Option<Duration>,
    /// At this moment, such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys retire`
#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    version: Selector,
    /// You have made sure that nothing in etcd is stored under it
    #[arg(long)]
    unaudited: bool,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys restore`
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    version: Selector,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys destroy`
#[derive(Clone, Debug, Args)]
pub struct DestroyArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    version: Selector,
    /// You have made sure that nothing in etcd, and in no backup that you may need, is stored under it
    #[arg(long)]
    unaudited: bool,
    /// It must be retired for so long
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    retention: Duration,
    /// The name of what is destroyed, such as kube-root.v1; asked for on a terminal
    #[arg(long, value_name = "NAME.vN")]
    confirm: Option<String>,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys import`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("form").args(["hex", "base64", "base64url", "raw", "ascii"]).required(true)))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag for each form, of which clap takes exactly one"
)]
pub struct ImportArgs {
    /// 64 hexadecimal digits, as `openssl rand -hex 32` makes them
    #[arg(long)]
    hex: bool,
    /// Base64 of 32 bytes, as `openssl rand -base64 32` makes it
    #[arg(long)]
    base64: bool,
    /// Base64 of 32 bytes in the alphabet for URLs
    #[arg(long)]
    base64url: bool,
    /// The 32 bytes themselves
    #[arg(long)]
    raw: bool,
    /// 32 ASCII characters that are used as bytes, such as those of `openssl rand -hex 16`
    #[arg(long)]
    ascii: bool,
    /// The file, which only you may read; `-` reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    which: WhichArgs,
}

/// `dekhand keys accept-loss`
#[derive(Clone, Debug, Args)]
pub struct AcceptLossArgs {
    /// The id of the lost version
    #[arg(value_name = "ID")]
    id: KeyId,
    /// The name of what is lost, such as kube-root.v2; asked for on a terminal
    #[arg(long, value_name = "NAME.vN")]
    confirm: Option<String>,
    #[command(flatten)]
    which: WhichArgs,
}

impl KeysCommand {
    /// Which root key it is about.
    pub fn which(&self) -> &WhichArgs {
        match self {
            Self::Create(args) => &args.which,
            Self::List(args) => &args.which,
            Self::Rotate(args) => &args.which,
            Self::Verify(args) => &args.which,
            Self::Activate(args) => &args.which,
            Self::Retire(args) => &args.which,
            Self::Restore(args) => &args.which,
            Self::Destroy(args) => &args.which,
            Self::Import(args) => &args.which,
            Self::AcceptLoss(args) => &args.which,
        }
    }
}

impl ActivateArgs {
    fn when(&self) -> Result<When, KeysError> {
        match (self.after, self.at) {
            (Some(duration), None) => Ok(When::In(duration)),
            (None, Some(moment)) => Ok(When::At(moment)),
            (None, None) | (Some(_), Some(_)) => Err(KeysError::Usage("either --in or --at")),
        }
    }
}

impl ImportArgs {
    fn form(&self) -> Result<Form, KeysError> {
        let flags = [
            (self.hex, Form::Hex),
            (self.base64, Form::Base64),
            (self.base64url, Form::Base64Url),
            (self.raw, Form::Raw),
            (self.ascii, Form::Ascii),
        ];
        let mut given = flags.into_iter().filter_map(|(flag, form)| flag.then_some(form));
        match (given.next(), given.next()) {
            (Some(form), None) => Ok(form),
            _ => Err(KeysError::Usage(
                "one of --hex, --base64, --base64url, --raw and --ascii",
            )),
        }
    }
}

/// Runs `dekhand keys`.
///
/// # Errors
/// A [`KeysError`], or a [`ConfigError`](crate::config::ConfigError).
pub fn run(command: &KeysCommand, out: &mut Output) -> anyhow::Result<()> {
    // Root keys will be in this memory. What can't be had is no reason to refuse: the daemon insists, this ends soon.
    let hardening = HardeningOptions {
        lock_memory: LockMemory::Try,
        seccomp: false,
    };
    hardening::apply(&hardening).ok();
    let config = load(command)?;
    let targets: Vec<Target> = config
        .root_keys
        .iter()
        .filter_map(|entry| Target::new(entry, &config.state))
        .collect();
    let mut console = Console {
        out,
        input: &mut Input::of_process(),
        clock: &Clock::system(),
    };
    Ok(execute(command, &targets, &mut console)?)
}

fn load(command: &KeysCommand) -> anyhow::Result<Config> {
    let WhichArgs {
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
    // What makes a keyring makes its directory too, as `serve --dev` does.
    if matches!(command, KeysCommand::Create(_) | KeysCommand::Import(_)) {
        files::private_directory(&directory).map_err(KeysError::File)?;
    }
    Ok(config)
}

/// What a command works with, besides the root keys.
#[derive(Debug)]
pub struct Console<'a> {
    /// Where it prints.
    pub out: &'a mut Output,
    /// Where it reads what is not in a file.
    pub input: &'a mut Input,
    /// What time it is.
    pub clock: &'a Clock,
}

/// Runs a command on the root keys of a configuration, in its order.
///
/// # Errors
/// [`KeysError`] tells the kinds apart.
pub fn execute(command: &KeysCommand, targets: &[Target], console: &mut Console<'_>) -> Result<(), KeysError> {
    // Nothing here waits for anything but this process, yet the seams to the root keys are asynchronous.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(KeysError::Runtime)?;
    runtime.block_on(async {
        if let KeysCommand::List(args) = command {
            return show::list(&target::named(targets, args.which.root_key.as_ref())?, console).await;
        }
        let target = target::one(targets, command.which().root_key.as_ref())?;
        match command {
            KeysCommand::List(_) => Ok(()),
            KeysCommand::Create(_) => make::create(target, console).await,
            KeysCommand::Rotate(args) => make::rotate(target, args.activate_in, console).await,
            KeysCommand::Import(args) => make::import(target, args.form()?, &args.file, console).await,
            KeysCommand::Verify(args) => match (&args.record, &args.against) {
                (Some(version), _) => verify::record(target, version.as_ref(), console).await,
                (None, Some(file)) => verify::against(target, file, console).await,
                (None, None) => Err(KeysError::Usage("either --record or --against")),
            },
            KeysCommand::Activate(args) => date::activate(target, args.version.as_ref(), args.when()?, console).await,
            KeysCommand::Retire(args) => end::retire(target, &args.version, args.unaudited, console).await,
            KeysCommand::Restore(args) => end::restore(target, &args.version, console).await,
            KeysCommand::Destroy(args) => end::destroy(target, args, console).await,
            KeysCommand::AcceptLoss(args) => loss::accept(target, &args.id, args.confirm.as_deref(), console).await,
        }
    })
}
