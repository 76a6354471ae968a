//! `--print`: the steps to do by hand with the token's own tools, as in a key ceremony.

mod entry;
mod sheet;

use crate::cli::keys::Console;
use crate::cli::keys::arguments::DestroyArgs;
use crate::cli::keys::arguments::KeysCommand;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::print::entry::VersionEntry;
use crate::cli::keys::print::sheet::Sheet;
use crate::cli::keys::print::sheet::SheetStep;
use crate::cli::keys::store::OpenStore;
use crate::cli::keys::store::StoreAccess;
use crate::cli::keys::target::Target;
use crate::cli::output::OutputFormat;
use crate::root_key::error::Error;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::rotation::create::Next;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::token::ceremony;
use crate::token::options::Pkcs11Options;

/// Prints the steps that replace `command`. Nothing is changed; the token is read as the daemon reads it.
pub(super) async fn print(target: &Target, command: &KeysCommand, console: &mut Console<'_>) -> Result<(), KeysError> {
    let Some(options) = target.token() else {
        return Err(KeysError::Usage(
            "a root key in a token: --print shows steps for the token's own tools",
        ));
    };
    let desk = Desk { target, options };
    let sheet = match command {
        KeysCommand::Create(_) => desk.made(desk.first(console).await?, Act::Generate)?,
        KeysCommand::Rotate(_) => {
            let (store, recorded) = desk.look(console)?;
            let next = target
                .rules(&store, console)
                .plan_rotate(None, recorded.as_ref())
                .await?;
            desk.made(next, Act::Generate)?
        }
        KeysCommand::Import(_) => {
            let (store, recorded) = desk.look(console)?;
            let next = target.rules(&store, console).plan_import(recorded.as_ref()).await?;
            desk.made(next, Act::Import)?
        }
        KeysCommand::Activate(args) => {
            let (store, recorded) = desk.look(console)?;
            let (selector, when) = (args.version.as_ref(), args.when()?);
            let rules = target.rules(&store, console);
            desk.relabelled(
                "activate",
                &rules.plan_activate(selector, when, recorded.as_ref()).await?.version,
            )
        }
        KeysCommand::Retire(args) => {
            let (store, _) = desk.look(console)?;
            let rules = target.rules(&store, console);
            desk.relabelled("retire", &rules.plan_retire(&args.version, args.unaudited).await?)
        }
        KeysCommand::Restore(args) => {
            let (store, _) = desk.look(console)?;
            desk.relabelled(
                "restore",
                &target.rules(&store, console).plan_restore(&args.version).await?,
            )
        }
        KeysCommand::Destroy(args) => desk.destroyed(args, console).await?,
        KeysCommand::List(_) | KeysCommand::Verify(_) | KeysCommand::AcceptLoss(_) => {
            return Err(KeysError::Usage("a command that changes something"));
        }
    };
    match console.out.format() {
        OutputFormat::Json => console.out.json(&sheet),
        OutputFormat::Text => console.out.data(&sheet.text(&target.place())),
    }
    console.out.talk("nothing was changed");
    Ok(())
}

/// How a key gets into a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Generate,
    Import,
}

struct Desk<'a> {
    target: &'a Target,
    options: &'a Pkcs11Options,
}

impl Desk<'_> {
    fn look(&self, console: &Console<'_>) -> Result<(OpenStore, Option<HighWater>), KeysError> {
        let recorded = self.target.recorded()?;
        Ok((self.target.open(StoreAccess::Look, console)?, recorded))
    }

    /// The first version. The sheet may be needed before a login is possible.
    async fn first(&self, console: &mut Console<'_>) -> Result<Next, KeysError> {
        let (target, recorded) = (self.target, self.target.recorded()?);
        let looked = match target.open(StoreAccess::Look, console) {
            Ok(store) => {
                let next = target.rules(&store, console).plan_create(recorded.as_ref()).await;
                next.map_err(KeysError::from)
            }
            Err(error) => Err(error),
        };
        match looked {
            // If this node has used versions, an unreadable token is an error.
            Err(KeysError::Rotation(RotationError::Store(error))) if recorded.is_none() => {
                self.talk_of_blindness(&error, console);
                Ok(Next::first(console.clock.now(), target.step()))
            }
            looked => looked,
        }
    }

    fn talk_of_blindness(&self, error: &Error, console: &mut Console<'_>) {
        console.out.talk(&format!(
            "warning: the token cannot be read: {}; check that no object in it has a label that begins with `{}.v`",
            error.chain(),
            self.target.name
        ));
    }

    fn is_listed(&self) -> bool {
        !self.options.versions.is_empty()
    }

    fn label(&self, version: &Version) -> String {
        ceremony::label(&self.target.name, version.number, version.state)
    }

    fn sheet(&self, action: &'static str, version: &Version, entry: VersionEntry, steps: Vec<SheetStep>) -> Sheet {
        let listed = self.is_listed();
        Sheet {
            root_key: self.target.name.clone(),
            action,
            version: version.number.to_string(),
            number: version.number,
            id: version.id.clone(),
            label: (!listed).then(|| self.label(version)),
            entry: listed.then_some(entry),
            steps,
        }
    }

    /// `create`, `rotate`, `import`
    fn made(&self, next: Next, act: Act) -> Result<Sheet, KeysError> {
        let Next { number, state } = next;
        let version = Version {
            number,
            state,
            id: KeyId::random()?,
        };
        let entry = VersionEntry::new(&version);
        let how = match act {
            Act::Generate => "in the token, generate a key with these attributes:",
            Act::Import => "in the token, create a key from the 32 bytes (CKA_VALUE) with these attributes:",
        };
        let label = self.label(&version);
        let mut lines = ceremony::template(self.options, &version.id, &label);
        if act == Act::Generate {
            lines.extend([String::new(), "for example, with OpenSC:".to_owned()]);
            lines.extend(ceremony::example(self.options, &version.id, &label));
        }
        let mut steps = vec![SheetStep::new(how).lines(lines)];
        if !self.target.shared {
            steps.push(SheetStep::new(
                "with the tools of the token's vendor, copy this key into the token of every other node, with the same \
                 CKA_ID and CKA_LABEL",
            ));
        }
        steps.push(self.listing(&entry));
        steps.push(SheetStep::new(
            "on every node, check that `dekhand keys list` shows it, and prove with `dekhand keys verify` that every \
             node has the same key",
        ));
        if state == State::Pending {
            steps.push(SheetStep::new(if self.is_listed() {
                "set the date from which it encrypts: `dekhand keys activate --in 10m --print`"
            } else {
                "set the date from which it encrypts: `dekhand keys activate --in 10m`, or the same with --print"
            }));
        }
        let action = match (act, state) {
            (Act::Import, _) => "import",
            (Act::Generate, State::Pending) => "rotate",
            (Act::Generate, _) => "create",
        };
        Ok(self.sheet(action, &version, entry, steps))
    }

    fn listing(&self, entry: &VersionEntry) -> SheetStep {
        let step = if self.is_listed() {
            "on every node, add to `versions:` in the configuration, and restart the daemon:"
        } else {
            "only if the token cannot store that label: on every node, list all versions in `versions:` of the \
             configuration; the entry for this version is:"
        };
        SheetStep::new(step).lines([entry.to_string()])
    }

    /// `activate`, `retire`, `restore`: `version` is in its new state.
    fn relabelled(&self, action: &'static str, version: &Version) -> Sheet {
        let entry = VersionEntry::changed(&self.options.versions, version);
        let step = if self.is_listed() {
            let step = "on every node, change its entry in `versions:` in the configuration, and restart the daemon:";
            SheetStep::new(step).lines([entry.to_string()])
        } else {
            let everywhere = if self.target.shared {
                "the token"
            } else {
                "the token of every node"
            };
            let step = format!("in {everywhere}, set the label of every object with this id:");
            SheetStep::new(step).lines([
                format!("CKA_ID     {}", version.id),
                format!("CKA_LABEL  {}", self.label(version)),
            ])
        };
        let see = SheetStep::new("check that `dekhand keys list` shows the same on every node");
        self.sheet(action, version, entry, vec![step, see])
    }

    async fn destroyed(&self, args: &DestroyArgs, console: &mut Console<'_>) -> Result<Sheet, KeysError> {
        let (store, _) = self.look(console)?;
        let rules = self.target.rules(&store, console);
        let destroyable = rules
            .plan_destroy(&args.version, args.retention, args.unaudited)
            .await?;
        let version = destroyable.version;
        let entry = VersionEntry::changed(&self.options.versions, &version);
        console.out.talk(&format!(
            "warning: this cannot be undone: in backups of etcd from before {}, everything that is encrypted under {} \
             becomes unreadable",
            destroyable.retired_since, version.number
        ));
        let mut object = vec![format!("CKA_ID     {}", version.id)];
        // The label as the token has it now: another label could lead to another object.
        let label = match store.report(&version.id).await {
            Some(Ok(report)) => Some(report.label),
            Some(Err(_)) | None => (!self.is_listed()).then(|| self.label(&version)),
        };
        object.extend(label.map(|label| format!("CKA_LABEL  {label}")));
        let everywhere = if self.target.shared {
            "the token"
        } else {
            "the token of every node"
        };
        let mut steps =
            vec![SheetStep::new(format!("in {everywhere}, delete every object with this id:")).lines(object)];
        if self.is_listed() {
            let step = "on every node, remove its entry from `versions:` in the configuration, and restart the daemon:";
            steps.push(SheetStep::new(step).lines([entry.to_string()]));
        }
        Ok(self.sheet("destroy", &version, entry, steps))
    }
}
