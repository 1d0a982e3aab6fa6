//! PID 1 of a confidential VM. The boot order stands in `guest::boot`; under another name the program starts a
//! container, because that takes a process with one thread.

use guest::{boot, container};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == container::HELPER) {
        return container::helper();
    }
    boot::run()
}
