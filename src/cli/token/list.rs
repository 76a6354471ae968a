//! `dekhand token list`.

use serde::Serialize;

use crate::backend::pkcs11::inspect;
use crate::backend::pkcs11::spawner::Spawner;
use crate::cli::output::Output;
use crate::cli::output::OutputFormat;
use crate::cli::token::error::TokenCommandError;
use crate::cli::token::show::ShownToken;
use crate::cli::token::which::TokenTarget;

#[derive(Debug, Serialize)]
struct ShownModule {
    module: String,
    tokens: Vec<ShownToken>,
}

#[derive(Debug, Serialize)]
struct ShownModules {
    modules: Vec<ShownModule>,
}

/// Prints every token of every module that holds a root key.
pub(super) async fn list(spawner: &Spawner, places: &[TokenTarget], out: &mut Output) -> Result<(), TokenCommandError> {
    let mut modules: Vec<&TokenTarget> = Vec::new();
    for place in places {
        let seen = |other: &&TokenTarget| {
            let (one, other) = (other.options(), place.options());
            one.module == other.module && one.environment == other.environment
        };
        if !modules.iter().any(seen) {
            modules.push(place);
        }
    }
    let mut list = ShownModules { modules: Vec::new() };
    for place in modules {
        let tokens = inspect::tokens(&place.workers(spawner)?).await?;
        list.modules.push(ShownModule {
            module: place.module(),
            tokens: tokens.into_iter().map(ShownToken::from).collect(),
        });
    }
    match out.format() {
        OutputFormat::Json => out.json(&list),
        OutputFormat::Text => {
            for module in &list.modules {
                out.data(&module.text());
            }
        }
    }
    Ok(())
}

impl ShownModule {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.module);
        if self.tokens.is_empty() {
            text.push_str("  no slot has a token\n");
        }
        for token in &self.tokens {
            text.push_str(&token.text());
        }
        text
    }
}
