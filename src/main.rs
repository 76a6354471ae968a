//! The `dekhand` program.

fn main() -> std::process::ExitCode {
    dekhand::cli::main()
}
