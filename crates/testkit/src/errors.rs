//! `docs/errors.md`, made from the one table of codes.

use claims::Code;
use std::fmt::Write;

/// The page: every code with cause, risk and fix.
pub fn page() -> String {
    let mut page = String::from(
        "# Refusals\n\nEvery refusal has a stable code. The remote caller gets the code only; the operator gets the claim, \
         what it is and what was wanted. `confide explain CODE` prints the entry below.\n\n\
         This page is generated from the table in `crates/claims/src/codes.rs` (`make docs`).\n",
    );
    for code in Code::ALL {
        let text = code.page();
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {code}\n\n{}.\n\n- **Cause**: {}\n- **Risk**: {}\n- **Fix**: {}\n",
            text.title, text.cause, text.risk, text.fix
        );
    }
    page
}
