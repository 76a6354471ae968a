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
    /// Go on without a version that this node has reported and that the store has lost, or with another key under its id
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

/// Whether anything is done.
#[derive(Clone, Copy, Debug, Args)]
pub struct PrintArgs {
    /// Change nothing: show what somebody with the token's own tools does instead
    #[arg(long)]
    pub(super) print: bool,
}

/// `dekhand keys create`
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys list`
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys rotate`
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Also give it its date, so long from now; only where one store serves all nodes
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "print")]
    pub(super) activate_in: Option<Duration>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys verify`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("what").args(["record", "against"]).required(true)))]
pub struct VerifyArgs {
    /// Print a throwaway key wrapped under the version [default: the pending one, else the newest]; it is no secret
    #[arg(long, value_name = "VERSION", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not given, given alone, given with a version")]
    pub(super) record: Option<Option<Selector>>,
    /// Open what another node has recorded; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    pub(super) against: Option<PathBuf>,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys activate`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("when").args(["in", "at"]).required(true)))]
pub struct ActivateArgs {
    /// The version, if several are pending
    #[arg(value_name = "VERSION")]
    pub(super) version: Option<Selector>,
    /// So long from now, by this node's clock
    #[arg(long = "in", id = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) after: Option<Duration>,
    /// At this moment, such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<Timestamp>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys retire`
#[derive(Clone, Debug, Args)]
pub struct RetireArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    pub(super) version: Selector,
    /// You have made sure that nothing in etcd is stored under it
    #[arg(long)]
    pub(super) unaudited: bool,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys restore`
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    pub(super) version: Selector,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys destroy`
#[derive(Clone, Debug, Args)]
pub struct DestroyArgs {
    #[arg(value_name = "VERSION", help = "The version")]
    pub(super) version: Selector,
    /// You have made sure that nothing in etcd, and in no backup that you may need, is stored under it
    #[arg(long)]
    pub(super) unaudited: bool,
    /// It must be retired for so long
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = humantime::parse_duration)]
    pub(super) retention: Duration,
    /// The name of what is destroyed, such as kube-root.v1; asked for on a terminal
    #[arg(long, value_name = "NAME.vN")]
    pub(super) confirm: Option<String>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys import`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("form").args(["hex", "base64", "base64url", "raw", "ascii", "print"]).required(true)))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag for each form, of which clap takes exactly one"
)]
pub struct ImportArgs {
    /// 64 hexadecimal digits, as `openssl rand -hex 32` makes them
    #[arg(long)]
    pub(super) hex: bool,
    /// Base64 of 32 bytes, as `openssl rand -base64 32` makes it
    #[arg(long)]
    pub(super) base64: bool,
    /// Base64 of 32 bytes in the alphabet for URLs
    #[arg(long)]
    pub(super) base64url: bool,
    /// The 32 bytes themselves
    #[arg(long)]
    pub(super) raw: bool,
    /// 32 ASCII characters that are used as bytes, such as those of `openssl rand -hex 16`
    #[arg(long)]
    pub(super) ascii: bool,
    /// The file, which only you may read; `-` reads stdin
    #[arg(value_name = "FILE", required_unless_present = "print")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) print: PrintArgs,
    #[command(flatten)]
    pub(super) which: WhichArgs,
}

/// `dekhand keys accept-loss`
#[derive(Clone, Debug, Args)]
pub struct AcceptLossArgs {
    /// The id of the lost version, or of the one whose key was exchanged
    #[arg(value_name = "ID")]
    pub(super) id: KeyId,
    /// The name of what is lost, such as kube-root.v2; asked for on a terminal
    #[arg(long, value_name = "NAME.vN")]
    pub(super) confirm: Option<String>,
    #[command(flatten)]
    pub(super) which: WhichArgs,
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

    /// Whether it only shows what somebody else does.
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

    /// What its worker may do, where the root key is in a token.
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
            // What the last one changes is this node's state, not the token.
            Self::List(_) | Self::Verify(_) | Self::AcceptLoss(_) => Role::Look,
        }
    }

    /// The name of a command that writes down, with the keys, which versions they are and in what state.
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
