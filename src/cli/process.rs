//! The processes that dekhand starts by itself; nobody types these commands.

use std::io;
use std::process::ExitCode;

use crate::backend::pkcs11::spawner;
use crate::backend::pkcs11::worker;
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
    if rustix::net::sockopt::socket_type(io::stdin()).is_err() {
        return by_hand(out);
    }
    worker::main(parent)
}

fn by_hand(out: &mut Output) -> ExitCode {
    out.talk("error: dekhand starts this process by itself");
    Exit::Usage.into()
}
