//! The arguments of `dekhand keys`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;

use crate::cli::keys::error::KeysError;
use crate::cli::keys::key_encoding::Form;
use crate::clock::Timestamp;
use crate::config::DEFAULT_FILE;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::activate::When;
use crate::root_key::version::Selector;
use crate::token::assignment::Role;

/// The subcommands of `dekhand keys`. VERSION is `v2`, `2`, or the id.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Create the first version of a root key, active at once
    Create(CreateArgs),
    /// List the versions of all root keys
    List(ListArgs),
    /// Create the next version; it decrypts at once and encrypts once it is activated
    Rotate(RotateArgs),
    /// Prove that two nodes hold the same key, without revealing it
    Verify(VerifyArgs),
    /// Set the date from which the pending version encrypts
    Activate(ActivateArgs),
    /// Retire a version: it does not decrypt until it is restored
    Retire(RetireArgs),
    /// Restore a retired version: it decrypts again
    Restore(RestoreArgs),
    /// Destroy a retired version permanently
    Destroy(DestroyArgs),
    /// Import a 32-byte key of another system as a version
    Import(ImportArgs),
    /// Accept that a version which this node has used is lost, or that another key has its id
    AcceptLoss(AcceptLossArgs),
}

/// The arguments that name a root key.
#[derive(Clone, Debug, Args)]
pub struct WhichRootKeyArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, conflicts_with = "dev")]
    pub config: PathBuf,
    /// Use the keyring of `serve --dev`
    #[arg(long)]
    pub dev: bool,
    /// The directory of --dev
    #[arg(long, value_name = "DIR", requires = "dev")]
    pub dir: Option<PathBuf>,
    /// The root key, if it is not the first in the configuration
    #[arg(long, value_name = "NAME")]
    pub root_key: Option<RootKeyName>,
}

/// Whether the command changes anything.
#[derive(Clone, Copy, Debug, Args)]
pub struct PrintArgs {
    /// Change nothing: print the steps to do by hand with the token's own tools
    #[arg(long)]
    pub(super) print: bool,
}

/// `dekhand keys create`
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys list`
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys rotate`
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Also activate it, this long from now; only if one store serves all nodes
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "print")]
    pub(super) activate_in: Option<Duration>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys verify`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("what").args(["record", "against"]).required(true)))]
pub struct VerifyArgs {
    /// Print a record: a throwaway key wrapped under the version [default: the pending one, else the newest]; no secret
    #[arg(long, value_name = "VERSION", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not given, given alone, given with a version")]
    pub(super) record: Option<Option<Selector>>,
    /// Check the record of another node; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    pub(super) against: Option<PathBuf>,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys activate`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("when").args(["in", "at"]).required(true)))]
pub struct ActivateArgs {
    /// The version, if several are pending
    #[arg(value_name = "VERSION")]
    pub(super) version: Option<Selector>,
    /// This long from now, by this node's clock
    #[arg(long = "in", id = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) after: Option<Duration>,
    /// At this time, such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<Timestamp>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys retire`
#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    pub(super) version: Selector,
    /// Confirm that you have checked: nothing in etcd is encrypted under it
    #[arg(long)]
    pub(super) unaudited: bool,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys restore`
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    pub(super) version: Selector,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys destroy`
#[derive(Clone, Debug, Args)]
pub struct DestroyArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    pub(super) version: Selector,
    /// Confirm that you have checked: nothing in etcd or in a backup that you may need is encrypted under it
    #[arg(long)]
    pub(super) unaudited: bool,
    /// Refuse unless it has been retired for at least this long
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    pub(super) retention: Duration,
    /// Confirm with the version's name, such as kube-root.v1; without this, dekhand asks on a terminal
    #[arg(long, value_name = "NAME.vN")]
    pub(super) confirm: Option<String>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys import`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("form").args(["hex", "base64", "base64url", "raw", "ascii", "print"]).required(true)))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag for each form, of which clap takes exactly one"
)]
pub struct ImportArgs {
    /// 64 hexadecimal digits, as `openssl rand -hex 32` prints
    #[arg(long)]
    pub(super) hex: bool,
    /// Base64 of 32 bytes, as `openssl rand -base64 32` prints
    #[arg(long)]
    pub(super) base64: bool,
    /// Base64 of 32 bytes in the alphabet for URLs
    #[arg(long)]
    pub(super) base64url: bool,
    /// The 32 bytes themselves
    #[arg(long)]
    pub(super) raw: bool,
    /// 32 ASCII characters that are the key's bytes, such as those of `openssl rand -hex 16`
    #[arg(long)]
    pub(super) ascii: bool,
    /// The file with the key; only you may have access to it; `-` reads stdin
    #[arg(value_name = "FILE", required_unless_present = "print")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

/// `dekhand keys accept-loss`
#[derive(Clone, Debug, Args)]
pub struct AcceptLossArgs {
    /// The id of the lost version, or of the version whose key was replaced
    #[arg(value_name = "ID")]
    pub(super) id: KeyId,
    /// Confirm with the version's name, such as kube-root.v2; without this, dekhand asks on a terminal
    #[arg(long, value_name = "NAME.vN")]
    pub(super) confirm: Option<String>,
    #[command(flatten)]
    pub(super) which: WhichRootKeyArgs,
}

impl KeysCommand {
    /// The arguments that name its root key.
    pub fn which(&self) -> &WhichRootKeyArgs {
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

    /// Whether it only prints the steps to do by hand.
    pub(super) fn prints(&self) -> bool {
        match self {
            Self::Create(args) => args.print.print,
            Self::Rotate(args) => args.print.print,
            Self::Activate(args) => args.print.print,
            Self::Retire(args) => args.print.print,
            Self::Restore(args) => args.print.print,
            Self::Destroy(args) => args.print.print,
            Self::Import(args) => args.print.print,
            Self::List(_) | Self::Verify(_) | Self::AcceptLoss(_) => false,
        }
    }

    /// The role of its worker, if the root key is in a token.
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Create(_)
            | Self::Rotate(_)
            | Self::Activate(_)
            | Self::Retire(_)
            | Self::Restore(_)
            | Self::Destroy(_)
            | Self::Import(_) => {
                if self.prints() {
                    Role::Look
                } else {
                    Role::Admin
                }
            }
            // `accept-loss` changes this node's state directory, not the token.
            Self::List(_) | Self::Verify(_) | Self::AcceptLoss(_) => Role::Look,
        }
    }

    /// The command's name, if it writes labels: number and state of a version are in the label of its key.
    pub(super) fn labels(&self) -> Option<&'static str> {
        match self {
            Self::Create(_) => Some("create"),
            Self::Rotate(_) => Some("rotate"),
            Self::Activate(_) => Some("activate"),
            Self::Retire(_) => Some("retire"),
            Self::Restore(_) => Some("restore"),
            Self::Import(_) => Some("import"),
            Self::List(_) | Self::Verify(_) | Self::Destroy(_) | Self::AcceptLoss(_) => None,
        }
    }
}

impl ActivateArgs {
    pub(super) fn when(&self) -> Result<When, KeysError> {
        match (self.after, self.at) {
            (Some(duration), None) => Ok(When::In(duration)),
            (None, Some(moment)) => Ok(When::At(moment)),
            (None, None) | (Some(_), Some(_)) => Err(KeysError::Usage("either --in or --at")),
        }
    }
}

impl ImportArgs {
    pub(super) fn file(&self) -> Result<&Path, KeysError> {
        self.file.as_deref().ok_or(KeysError::Usage("the key's file"))
    }

    pub(super) fn form(&self) -> Result<Form, KeysError> {
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
