//! Answers the report requests of one guest over its own stream (`claims::snp_port`).

use crate::processor::{Guest, Processor};
use crate::state::EmulatorError;
use claims::snp_port::{PortError, REQUEST_LENGTH, decode_request, encode_response};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;

/// Status for a privilege level that does not exist (`INVALID_PARAM` of the SNP firmware ABI).
const INVALID_PARAMETER: u32 = 0x16;

/// Why a guest is served no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream broke.
    #[error("the stream to the guest broke")]
    Stream(#[from] io::Error),
    /// The guest sent something that is no request.
    #[error("the guest sent something that is no report request")]
    Request(#[from] PortError),
    /// No report could be made.
    #[error("no report could be made")]
    Report(#[from] EmulatorError),
}

/// Waits for QEMU, then serves its guest until the stream ends. Others who connect are not answered.
pub fn serve(processor: &Processor, guest: &Guest, listener: UnixListener) -> Result<(), ServeError> {
    let (stream, _) = listener.accept()?;
    drop(listener);
    serve_stream(processor, guest, stream)
}

/// Serves one guest until the stream ends.
pub fn serve_stream(processor: &Processor, guest: &Guest, mut stream: impl Read + Write) -> Result<(), ServeError> {
    loop {
        let mut request = [0; REQUEST_LENGTH];
        // An end between requests is the guest's end; within one it is an error.
        let first = match stream.read(&mut request) {
            Ok(0) => return Ok(()),
            Ok(first) => first,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.read_exact(request.get_mut(first..).unwrap_or_default())?;
        let (report_data, vmpl) = decode_request(&request)?;
        let status = if vmpl > 3 { INVALID_PARAMETER } else { guest.status() };
        let payload = match status {
            0 => {
                let evidence = processor.evidence(guest, report_data, vmpl)?;
                [evidence.report, evidence.certificates.encode()].concat()
            }
            _ => Vec::new(),
        };
        stream.write_all(&encode_response(status, &payload))?;
        stream.flush()?;
    }
}
