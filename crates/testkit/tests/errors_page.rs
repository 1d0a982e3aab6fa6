//! `docs/errors.md` is what the table of codes says. `UPDATE=1` writes it.

use std::path::Path;

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let wanted = testkit::errors::page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/errors.md is not what the table says; run: UPDATE=1 cargo test -p testkit");
    for code in claims::Code::ALL {
        assert!(found.contains(&format!("## {code}\n")), "{code} has no entry");
    }
}
