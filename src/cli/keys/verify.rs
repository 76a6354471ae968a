//! `keys verify`.

use std::path::Path;

use serde_json::json;

use crate::cli::keys::Console;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::target::Target;
use crate::cli::output::OutputFormat;
use crate::files;
use crate::root_key::rotation::verify;
use crate::root_key::rotation::verify::Record;
use crate::root_key::version::Selector;

/// Bytes of the longest record.
const LIMIT: usize = 64 * 1024;

/// `keys verify --record`
pub(super) async fn record(
    target: &Target,
    version: Option<&Selector>,
    console: &mut Console<'_>,
) -> Result<(), KeysError> {
    let root_key = target.root_key(console)?;
    let record = verify::record(root_key.as_ref(), &target.name, version, console.clock.now()).await?;
    // JSON in either output format: it is a file for another node.
    console.out.json(&record);
    console
        .out
        .talk("this is no secret: copy it to every other node and run `dekhand keys verify --against FILE` there");
    Ok(())
}

/// `keys verify --against`
pub(super) async fn against(target: &Target, file: &Path, console: &mut Console<'_>) -> Result<(), KeysError> {
    let bytes = if file == Path::new("-") {
        console.input.read_all(LIMIT)?
    } else {
        files::read(file, u64::try_from(LIMIT).unwrap_or(u64::MAX))?
    };
    let record = Record::parse(&bytes)?;
    let root_key = target.root_key(console)?;
    let version = verify::against(root_key.as_ref(), &target.name, &record).await?;
    match console.out.format() {
        OutputFormat::Text => console.out.data(&format!(
            "{}  {} {}  the same key as in the record",
            target.name, version.number, version.id
        )),
        OutputFormat::Json => console.out.json(&json!({
            "ok": true,
            "root_key": target.name,
            "version": version.number.to_string(),
            "number": version.number,
            "id": version.id,
        })),
    }
    Ok(())
}
