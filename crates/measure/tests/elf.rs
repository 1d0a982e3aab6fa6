//! ELF enclaves against `ftxsgx-elf2sgxs` of `fortanix-sgx-tools` 0.6.4, which was run on the same file.

use claims::{Code, Refusal};
use measure::sgx::elf::{ElfError, Layout, measure, outline};

/// Made by GNU binutils of `data/minimal-edp.s`.
const ENCLAVE: &[u8] = include_bytes!("data/minimal-edp.elf");
const SMALL: Layout = Layout { heap: 65536, stack: 8192, threads: 1, ssa_frame_pages: 1, debug: false };

#[test]
fn the_number_is_that_of_the_tool() {
    // MRENCLAVE is SHA-256 of the stream that the tool wrote: nothing in it is unmeasured.
    let cases = [
        (SMALL, "c26a8e7cd4976e6c9b812696861b318c414cd3dfa824db02f3eb4b0d14e52dd1"),
        (
            Layout { heap: 1 << 20, stack: 1 << 17, threads: 3, debug: true, ..SMALL },
            "d822643e93dc18b259ae0fb36fabdecf349e83791e372f45d3b70ee8db316102",
        ),
        (
            Layout { threads: 2, ssa_frame_pages: 2, ..SMALL },
            "477165da1b866634ec3756c8d222e7a105e275e73ffae9d1a8fb578f380233a5",
        ),
        (Layout { heap: 0, stack: 4096, ..SMALL }, "3ddc35beea7bd49c37557de7506daed9f94e9eb7f218cd85d5643249cbfcdfef"),
    ];
    for (layout, wanted) in cases {
        let enclave = measure(ENCLAVE, &layout).unwrap();
        assert_eq!(enclave.mrenclave.to_string(), wanted, "{layout:?}");
        assert_eq!((enclave.threads, enclave.records.unmeasured), (layout.threads, 0));
    }
}

#[test]
fn every_page_is_there() {
    let enclave = outline(ENCLAVE, &SMALL).unwrap();
    assert_eq!(enclave.pages.len() as u64, enclave.records.eadd);
    let runs = measure::sgx::enclave_tree(&enclave, "test").children;
    let names: Vec<&str> = runs.iter().map(|run| run.component.as_str()).collect();
    let access: Vec<&str> =
        names.iter().filter_map(|name| name.split_once(" pages from")).map(|(flags, _)| flags).collect();
    assert_eq!(access, ["r--", "r-x", "r--", "rw-", "rw-", "rw-", "rw-", "tcs", "rw-"], "{names:?}");
}

#[test]
fn what_is_no_enclave_is_refused() {
    let refused = |bytes: &[u8]| measure(bytes, &SMALL).unwrap_err();
    assert_eq!(refused(b""), ElfError::Architecture);
    assert_eq!(refused(&ENCLAVE[..40]), ElfError::Architecture);
    let changed = |at: usize, to: u8| {
        let mut bytes = ENCLAVE.to_vec();
        bytes[at] = to;
        refused(&bytes)
    };
    assert_eq!(changed(18, 40), ElfError::Architecture);
    assert_eq!(changed(5, 2), ElfError::Architecture);
    // A program that is no enclave: this very test.
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let error = refused(&own);
    assert_eq!(error, ElfError::Target { what: "section .note.x86_64-fortanix-unknown-sgx".to_owned() });
    assert_eq!(error.code(), Code::SgxElf);
}

#[test]
fn each_rule_of_the_file_has_its_error() {
    let replaced = |from: &[u8], to: &[u8]| {
        let mut bytes = ENCLAVE.to_vec();
        let at: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert_eq!(at.len(), 1, "{from:?}");
        bytes[at[0]..at[0] + to.len()].copy_from_slice(to);
        measure(&bytes, &SMALL).unwrap_err()
    };
    let symbol = |name: &str, wrong| ElfError::Symbol { name: name.to_owned(), wrong };
    assert_eq!(
        replaced(b"toolchain-version\0\0\0\x01", b"toolchain-version\0\0\0\x02"),
        ElfError::ToolchainVersion { got: 2 }
    );
    assert_eq!(replaced(b"toolchain-v", b"toolchain-x"), ElfError::Malformed { what: "tool chain note" });
    assert_eq!(replaced(b"\0HEAP_BASE\0", b"\0HEAP_BASX\0"), ElfError::Target { what: "symbol HEAP_BASE".to_owned() });
    assert_eq!(replaced(b"\0TEXT_BASE\0", b"\0TEXT_SIZE\0"), symbol("TEXT_SIZE", "defined twice"));
    assert_eq!(replaced(b"\0sgx_entry\0", b"\0sgx_enter\0"), ElfError::Target { what: "symbol sgx_entry".to_owned() });
    assert_eq!(
        replaced(b"\0__bss_start\0", b"\0UNMAPPED_SI\0"),
        symbol("UNMAPPED_SI", "of a tool chain whose layout is not in a released tool")
    );
    // DT_RELACOUNT: one more than there are, then DT_INIT in its place.
    let entry = [0x6FFF_FFF9_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
    let other = |tag: u64, value: u64| [tag.to_le_bytes(), value.to_le_bytes()].concat();
    assert_eq!(
        replaced(&entry, &other(0x6FFF_FFF9, 3)),
        ElfError::Relocation { wrong: "there are more or fewer than the file says" }
    );
    assert_eq!(replaced(&entry, &other(12, 2)), ElfError::Dynamic { what: "functions that run before main" });
    assert_eq!(replaced(&entry, &other(7, 2)), ElfError::Relocation { wrong: "their table is named twice" });
    assert_eq!(replaced(&entry, &other(1, 2)), ElfError::Relocation { wrong: "table and number are not both given" });
    // R_X86_64_RELATIVE becomes R_X86_64_64.
    let mut bytes = ENCLAVE.to_vec();
    let relative = 8_u64.to_le_bytes();
    let at = (0x400..0x600).find(|at| bytes[*at..].starts_with(&relative)).unwrap();
    bytes[at] = 1;
    assert_eq!(
        measure(&bytes, &SMALL).unwrap_err(),
        ElfError::Relocation { wrong: "one is not relative to the enclave" }
    );
    // The first segment becomes executable.
    let mut bytes = ENCLAVE.to_vec();
    bytes[64 + 4] |= 1;
    assert_eq!(measure(&bytes, &SMALL).unwrap_err(), ElfError::FirstPage);
}

#[test]
fn layouts_have_bounds() {
    let refused = |layout: Layout| match measure(ENCLAVE, &layout).unwrap_err() {
        ElfError::Layout { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(refused(Layout { heap: 100, ..SMALL }), "heap size");
    assert_eq!(refused(Layout { stack: !0xFFF, ..SMALL }), "stack size");
    assert_eq!(refused(Layout { threads: 0, ..SMALL }), "number of threads");
    assert_eq!(refused(Layout { ssa_frame_pages: 0, ..SMALL }), "SSA frame size");
    assert_eq!(refused(Layout { heap: 1 << 36, ..SMALL }), "size of the enclave");
}

#[test]
fn no_changed_byte_makes_it_panic() {
    let small = Layout { heap: 0, stack: 4096, ..SMALL };
    let number = measure(ENCLAVE, &small).unwrap().mrenclave;
    let mut other = 0;
    for at in 0..ENCLAVE.len() {
        for value in [0xFF, ENCLAVE[at] ^ 1] {
            let mut changed = ENCLAVE.to_vec();
            changed[at] = value;
            other += usize::from(measure(&changed, &small).is_ok_and(|enclave| enclave.mrenclave != number));
        }
    }
    assert!(other > 0);
}
