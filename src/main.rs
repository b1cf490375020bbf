//! The binary: see `mcpool --help`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    mcpool::cli::main()
}
