//! The wire between a guest and the emulated SNP processor: a virtio serial port named [`PORT_NAME`].
//!
//! A request is `SNPQ`, a little-endian `u32` length, then 64 bytes of report data and a little-endian `u32` VMPL.
//! A response is `SNPR`, a `u32` status (0 is success), a `u32` length, then the 1184-byte report followed by a
//! certificate table in the layout of `SNP_GUEST_REQ_EXT_REPORT` (GHCB 2.x, section 4.1.8.1).
//! Nothing that comes over this wire is believed until a verifier has checked it.

use crate::ReportData;

/// Name of the virtio serial port.
pub const PORT_NAME: &str = "org.confide.snp";
/// Length of a request.
pub const REQUEST_LENGTH: usize = 76;
/// Length of a response's head, before its payload.
pub const RESPONSE_HEAD_LENGTH: usize = 12;
/// Longest payload of a response: a report and a certificate table.
pub const MAX_PAYLOAD: usize = 1184 + 64 * 1024;

/// A message that does not have the form above.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The first four bytes are wrong.
    #[error("message starts with {got:02x?}, wanted {wanted:?}")]
    Magic {
        /// Bytes found.
        got: [u8; 4],
        /// Text wanted.
        wanted: &'static str,
    },
    /// A length field is out of bounds.
    #[error("message length {got} is out of bounds (at most {limit})")]
    Length {
        /// Length found.
        got: usize,
        /// Largest allowed.
        limit: usize,
    },
    /// The processor refused.
    #[error("the emulated processor refused the request with status {0}")]
    Status(u32),
}

/// Encodes a report request.
pub fn encode_request(report_data: &ReportData, vmpl: u32) -> [u8; REQUEST_LENGTH] {
    let mut message = [0; REQUEST_LENGTH];
    let fields: [(usize, &[u8]); 4] =
        [(0, b"SNPQ"), (4, &68u32.to_le_bytes()), (8, report_data.as_bytes()), (72, &vmpl.to_le_bytes())];
    for (offset, bytes) in fields {
        if let Some(place) = message.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }
    message
}

/// Decodes a report request: report data and VMPL.
pub fn decode_request(message: &[u8; REQUEST_LENGTH]) -> Result<(ReportData, u32), PortError> {
    let (magic, rest) = message.split_first_chunk::<4>().ok_or(PortError::Length { got: 0, limit: REQUEST_LENGTH })?;
    if magic != b"SNPQ" {
        return Err(PortError::Magic { got: *magic, wanted: "SNPQ" });
    }
    let short = PortError::Length { got: rest.len(), limit: 68 };
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(short.clone())?;
    if u32::from_le_bytes(*length) != 68 {
        return Err(PortError::Length { got: u32::from_le_bytes(*length) as usize, limit: 68 });
    }
    let (report_data, rest) = rest.split_first_chunk::<64>().ok_or(short.clone())?;
    let (vmpl, _) = rest.split_first_chunk::<4>().ok_or(short)?;
    Ok((ReportData(*report_data), u32::from_le_bytes(*vmpl)))
}

/// Encodes a response; `payload` is empty when `status` is not 0.
pub fn encode_response(status: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [b"SNPR".as_slice(), &status.to_le_bytes(), &length.to_le_bytes(), payload].concat()
}

/// Decodes a response's head into the length of the payload that follows.
pub fn decode_response_head(head: &[u8; RESPONSE_HEAD_LENGTH]) -> Result<usize, PortError> {
    let [m0, m1, m2, m3, s0, s1, s2, s3, l0, l1, l2, l3] = *head;
    let magic = [m0, m1, m2, m3];
    if &magic != b"SNPR" {
        return Err(PortError::Magic { got: magic, wanted: "SNPR" });
    }
    let status = u32::from_le_bytes([s0, s1, s2, s3]);
    if status != 0 {
        return Err(PortError::Status(status));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_PAYLOAD {
        return Err(PortError::Length { got: length, limit: MAX_PAYLOAD });
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_round_trips() {
        let data = ReportData([7; 64]);
        assert_eq!(decode_request(&encode_request(&data, 3)), Ok((data, 3)));
    }

    #[test]
    fn response_head_is_checked() {
        let message = encode_response(0, &[1, 2, 3]);
        assert_eq!(decode_response_head(message.first_chunk().unwrap()), Ok(3));
        let refused = encode_response(5, &[]);
        assert_eq!(decode_response_head(refused.first_chunk().unwrap()), Err(PortError::Status(5)));
        let mut long = message.clone();
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            decode_response_head(long.first_chunk().unwrap()),
            Err(PortError::Length { got: u32::MAX as usize, limit: MAX_PAYLOAD })
        );
    }
}
