//! `dekhand serve`.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::app;
use crate::app::ConfigSource;
use crate::app::Start;
use crate::cli::output::Output;
use crate::cli::overrides::OverrideArgs;
use crate::config::Config;
use crate::config::ConfigOrigin;
use crate::config::DEFAULT_FILE;
use crate::config::Overrides;
use crate::config::load_or_good_copy;
use crate::listener::options::SocketAddress;

/// The options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, conflicts_with = "dev")]
    config: PathBuf,
    /// Try dekhand without a configuration file: keyring, state and socket are in a private directory
    #[arg(long)]
    dev: bool,
    /// The directory of --dev (default: `$XDG_STATE_HOME/dekhand`, else `~/.local/state/dekhand`)
    #[arg(long, value_name = "DIR", requires = "dev")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
}

/// Runs the daemon until a signal stops it.
///
/// # Errors
/// The daemon did not start.
pub fn run(args: &ServeArgs, out: &mut Output) -> anyhow::Result<()> {
    let overrides = (&args.overrides).into();
    if args.dev {
        return dev(args.dir.as_deref(), &overrides, out);
    }
    let start = from_file(&args.config, overrides, out)?;
    Ok(app::serve(start, || ())?)
}

fn from_file(file: &Path, overrides: Overrides, out: &mut Output) -> anyhow::Result<Start> {
    let (config, origin) = load_or_good_copy(file, &overrides)?;
    let broken = match origin {
        ConfigOrigin::File => None,
        ConfigOrigin::GoodCopy { copy, error } => {
            out.talk(&format!("warning: {error}"));
            out.talk(&format!(
                "warning: starting with the last good copy, {}",
                copy.display()
            ));
            Some(error)
        }
    };
    Ok(Start {
        config,
        source: Some(ConfigSource {
            file: file.to_owned(),
            overrides,
            broken,
        }),
    })
}

fn dev(given: Option<&Path>, overrides: &Overrides, out: &mut Output) -> anyhow::Result<()> {
    let directory = app::dev::directory(given)
        .ok_or_else(|| anyhow::anyhow!("neither XDG_STATE_HOME nor HOME is set: name a directory with --dir"))?;
    let directory = std::path::absolute(directory)?;
    let config = Config::dev(&directory, overrides)?;
    let new = app::dev::prepare(&directory, &config)?;
    let welcome = welcome(&directory, &config, new, given.is_some());
    Ok(app::serve(Start { config, source: None }, || out.talk(&welcome))?)
}

/// The text that `--dev` prints: socket, next command, kube-apiserver's configuration, and a warning about the keyring.
fn welcome(directory: &Path, config: &Config, new: bool, dir_was_given: bool) -> String {
    let socket = &config.listener.socket;
    let keyring = if new {
        "created a keyring with a new root key"
    } else {
        "using the keyring"
    };
    let usual = directory.join("kms.sock");
    let status = match socket {
        SocketAddress::Path(path) if *path == usual && !dir_was_given => "dekhand status --dev".to_owned(),
        _ => format!("dekhand status --socket {socket}"),
    };
    let http = match config.http {
        Some(address) => format!("health and metrics: http://{address}/readyz?verbose"),
        None => "health and metrics: off".to_owned(),
    };
    let directory = directory.display();
    format!(
        "dekhand for trying out: the root key is a file on this machine. For a cluster use a configuration file.

{keyring} in {directory}
listening on {socket}
{http}

next, in another terminal (with cargo: cargo run --release -- status ...):
  {status}

for kube-apiserver, a file for --encryption-provider-config:
  apiVersion: apiserver.config.k8s.io/v1
  kind: EncryptionConfiguration
  resources:
    - resources: [secrets]
      providers:
        - kms:
            apiVersion: v2
            name: dekhand
            endpoint: unix:///{endpoint}
            timeout: 3s
        - identity: {{}}
",
        endpoint = socket.to_string().trim_start_matches('/'),
    )
}
