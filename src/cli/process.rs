//! The processes that dekhand starts itself; these commands are not for operators.

use std::process::ExitCode;

use crate::backend::pkcs11::spawner;
use crate::backend::pkcs11::worker;
use crate::cli::exit;
use crate::cli::exit::Exit;
use crate::cli::output::Output;

/// `dekhand token-spawner`.
pub fn token_spawner(out: &mut Output) -> ExitCode {
    if !spawner::process::is_called() {
        return by_hand(out);
    }
    spawner::process::main()
}

/// `dekhand token-worker`.
pub fn token_worker(parent: u32, out: &mut Output) -> ExitCode {
    match worker::main(parent) {
        Ok(()) => Exit::Good.into(),
        Err(worker::WorkerError::ByHand(_)) => by_hand(out),
        Err(error) => {
            exit::tell(&error.into(), out);
            Exit::Failed.into()
        }
    }
}

fn by_hand(out: &mut Output) -> ExitCode {
    out.talk("error: this command is internal: dekhand starts this process itself");
    Exit::Usage.into()
}
