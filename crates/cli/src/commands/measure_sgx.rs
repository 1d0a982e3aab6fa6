//! `confide measure sgx` and `measure tdx`: what will an Intel processor report?

use crate::Context;
use crate::args::{LayoutArgs, SgxArgs, TdxArgs};
use crate::outcome::{self, Failure, Outcome, Result};
use claims::Refusal;
use claims::enclave::SigstructClaims;
use measure::diff::Node;
use measure::sgx::elf::{self, Layout};
use measure::sgx::sgxs::{Enclave, Meter, SgxsError};
use measure::sgx::{enclave_tree, sigstruct, sigstruct_tree};
use measure::tdx;
use serde_json::{Value, json};
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a file is that has to do with enclaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sgxs,
    Elf,
    Sigstruct,
}

impl Kind {
    /// By the first bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        const STARTS: [(&[u8], Kind); 4] = [
            (b"ECREATE\0", Kind::Sgxs),
            (b"UNSIZED\0", Kind::Sgxs),
            (b"\x7fELF", Kind::Elf),
            (b"\x06\0\0\0\xe1\0\0\0", Kind::Sigstruct),
        ];
        STARTS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| *kind)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sgxs => "an SGXS stream",
            Self::Elf => "an ELF enclave",
            Self::Sigstruct => "a SIGSTRUCT",
        }
    }
}

/// `confide measure sgx`.
pub(super) fn sgx(args: &SgxArgs, context: &Context) -> Result {
    let path = args.file.as_path();
    let mut start = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let length = read.map_err(|error| outcome::cannot("read", path, error))?;
    let Some(kind) = Kind::of(start.get(..length).unwrap_or_default()) else {
        let what = format!("{} is no SGXS stream, ELF file or SIGSTRUCT", path.display());
        return Err(Failure::refused(what).code(claims::Code::Format));
    };
    let (mut answer, mut lines, mrenclave) = match kind {
        Kind::Sgxs => of_enclave("sgxs", &stream(path)?),
        Kind::Elf => {
            let layout = layout(&args.layout)?;
            of_enclave("elf", &elf::measure(&outcome::read(path)?, &layout).map_err(refused(path))?)
        }
        Kind::Sigstruct => {
            let verified = sigstruct::verify(&outcome::read(path)?).map_err(refused(path))?;
            warn_of(verified.claims(), context);
            (of_sigstruct(verified.claims())?, human(verified.claims()), verified.claims().mrenclave)
        }
    };
    if let Some(path) = &args.sigstruct {
        let verified = sigstruct::verify(&outcome::read(path)?).and_then(|verified| verified.for_enclave(mrenclave));
        let verified = verified.map_err(refused(path))?;
        warn_of(verified.claims(), context);
        lines.extend(human(verified.claims()));
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("sigstruct".to_owned(), of_sigstruct(verified.claims())?);
        }
    }
    context.printer.data(&answer, || lines.join("\n"));
    Ok(Outcome::Done)
}

/// `confide measure tdx`.
pub(super) fn tdx(args: &TdxArgs, context: &Context) -> Result {
    let mrtd = tdx::mrtd(&outcome::read(&args.firmware)?).map_err(refused(&args.firmware))?;
    context.printer.warn("MRTD is experimental: no report of a known firmware was at hand to confirm it");
    context.printer.say(tdx::RTMR_REASON);
    let answer = json!({ "mrtd": mrtd, "experimental": true, "rtmrs": null, "rtmrs_reason": tdx::RTMR_REASON });
    context.printer.data(&answer, || mrtd.to_string());
    Ok(Outcome::Done)
}

/// The parts of an enclave or SIGSTRUCT, to be compared.
pub(super) fn tree(kind: Kind, bytes: &[u8], path: &Path, args: &LayoutArgs) -> Result<Node> {
    let source = path.display().to_string();
    Ok(match kind {
        Kind::Sgxs => enclave_tree(&measure::sgx::sgxs::outline(bytes).map_err(refused(path))?, &source),
        Kind::Elf => enclave_tree(&elf::outline(bytes, &layout(args)?).map_err(refused(path))?, &source),
        Kind::Sigstruct => sigstruct_tree(sigstruct::verify(bytes).map_err(refused(path))?.claims(), &source),
    })
}

/// Measures a stream of any size in constant memory.
fn stream(path: &Path) -> Result<Enclave> {
    let cannot = |error| outcome::cannot("read", path, error);
    let mut file = File::open(path).map_err(cannot)?;
    let mut buffer = vec![0; 1 << 20];
    let mut meter = Meter::new();
    loop {
        let length = file.read(&mut buffer).map_err(cannot)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return meter.finish().map_err(refused(path));
        }
        meter = meter.update(bytes).map_err(refused::<SgxsError>(path))?;
    }
}

fn layout(args: &LayoutArgs) -> Result<Layout> {
    let number = |name: &str, text: &Option<String>| {
        let Some(text) = text else {
            return Err(Failure::usage(format!("an ELF enclave needs {name}"))
                .hint("give what its build gave to ftxsgx-elf2sgxs: --heap-size, --stack-size, --threads"));
        };
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|error| Failure::usage(format!("{name} {text} is not a number")).because(error))
    };
    Ok(Layout {
        heap: number("--heap-size", &args.heap_size)?,
        stack: number("--stack-size", &args.stack_size)?,
        threads: args.threads,
        ssa_frame_pages: args.ssaframesize,
        debug: args.debug,
    })
}

type Answer = (Value, Vec<String>, claims::Digest256);

fn of_enclave(kind: &str, enclave: &Enclave) -> Answer {
    let records = enclave.records;
    let answer = json!({
        "kind": kind, "mrenclave": enclave.mrenclave, "size": enclave.size, "ssa_frame_pages": enclave.ssa_frame_pages,
        "threads": enclave.threads, "records": {
            "ecreate": records.ecreate, "eadd": records.eadd, "eextend": records.eextend, "unmeasured": records.unmeasured,
        },
    });
    let lines = vec![
        format!("MRENCLAVE   {}", enclave.mrenclave),
        format!("size        {:#x}, {} pages, {} threads", enclave.size, records.eadd, enclave.threads),
    ];
    (answer, lines, enclave.mrenclave)
}

fn of_sigstruct(claims: &SigstructClaims) -> Result<Value> {
    let mut answer = serde_json::to_value(claims)
        .map_err(|error| Failure::environment("the claims cannot be written as JSON").because(error))?;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("kind".to_owned(), json!("sigstruct"));
        answer.insert("verified".to_owned(), json!(true));
        answer.insert("attribute_names".to_owned(), json!(claims.attributes.names()));
    }
    Ok(answer)
}

fn human(claims: &SigstructClaims) -> Vec<String> {
    let debug = match (claims.debug, claims.debug_allowed) {
        (true, _) => "yes: the host can read the enclave",
        (false, true) => "allowed: the same SIGSTRUCT starts it for debugging too",
        (false, false) => "no",
    };
    vec![
        format!("MRENCLAVE   {}", claims.mrenclave),
        format!("MRSIGNER    {}", claims.mrsigner),
        format!("ISVPRODID   {}", claims.isvprodid),
        format!("ISVSVN      {}", claims.isvsvn),
        format!("date        {}", claims.date),
        format!(
            "attributes  {:#x} ({}), XFRM {:#x}",
            claims.attributes.flags,
            claims.attributes.names().join(" "),
            claims.attributes.xfrm
        ),
        format!("debug       {debug}"),
    ]
}

fn warn_of(claims: &SigstructClaims, context: &Context) {
    if claims.public_sample_key {
        context.printer.warn("MRSIGNER is that of a public sample key: everybody can sign with it");
    }
    if claims.debug_allowed {
        context.printer.warn("the enclave may be started for debugging; check DEBUG in its reports");
    }
}

fn refused<E: Refusal + Error + Send + Sync + 'static>(path: &Path) -> impl Fn(E) -> Failure + use<'_, E> {
    move |error| {
        let code = error.code();
        Failure::refused(format!("{} cannot be measured", path.display())).because(error).code(code)
    }
}
