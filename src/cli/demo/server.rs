//! `mcpool demo-server legacy|modern`: one of the built-in servers on stdin and stdout, as `demo` and the tests
//! start it.

use crate::cli::print;
use crate::demo::{Options, legacy, modern};
use crate::endpoint::stdio;
use crate::tasks;

/// Serves until the input ends, then ends the process.
pub async fn run(era: &str) -> ! {
    let modern = era == "modern";
    let options = Options::new(format!("{era}-{}", std::process::id()));
    let serving = async move {
        let (stdin, stdout) = (stdio::input()?, stdio::output()?);
        if modern { modern::serve(stdin, stdout, options).await } else { legacy::serve(stdin, stdout, options).await }
    };
    let served = tasks::run(serving).await;
    if let Err(error) = &served {
        print::complain(format_args!("demo-server {era}: {error}"));
    }
    #[expect(clippy::disallowed_methods, reason = "how it was served is what it ends with")]
    std::process::exit(i32::from(served.is_err()));
}
