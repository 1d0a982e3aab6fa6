//! Where each field of a report lies (AMD SNP ABI 1.58, section 7.3, table 23). All integers are little-endian.

use std::ops::Range;

/// Length of a report.
pub const REPORT_LENGTH: usize = 0x4A0;
/// What the signature covers.
pub const SIGNED: Range<usize> = 0x000..0x2A0;

pub(crate) const VERSION: Range<usize> = 0x000..0x004;
pub(crate) const GUEST_SVN: Range<usize> = 0x004..0x008;
pub(crate) const POLICY: Range<usize> = 0x008..0x010;
pub(crate) const FAMILY_ID: Range<usize> = 0x010..0x020;
pub(crate) const IMAGE_ID: Range<usize> = 0x020..0x030;
pub(crate) const VMPL: Range<usize> = 0x030..0x034;
pub(crate) const SIGNATURE_ALGORITHM: Range<usize> = 0x034..0x038;
pub(crate) const CURRENT_TCB: Range<usize> = 0x038..0x040;
pub(crate) const PLATFORM_INFO: Range<usize> = 0x040..0x048;
pub(crate) const KEY_INFO: Range<usize> = 0x048..0x04C;
pub(crate) const RESERVED_KEY: Range<usize> = 0x04C..0x050;
pub(crate) const REPORT_DATA: Range<usize> = 0x050..0x090;
pub(crate) const MEASUREMENT: Range<usize> = 0x090..0x0C0;
pub(crate) const HOST_DATA: Range<usize> = 0x0C0..0x0E0;
pub(crate) const ID_KEY_DIGEST: Range<usize> = 0x0E0..0x110;
pub(crate) const AUTHOR_KEY_DIGEST: Range<usize> = 0x110..0x140;
pub(crate) const REPORT_ID: Range<usize> = 0x140..0x160;
pub(crate) const REPORT_ID_MA: Range<usize> = 0x160..0x180;
pub(crate) const REPORTED_TCB: Range<usize> = 0x180..0x188;
/// Family, model, stepping; reserved in version 2.
pub(crate) const CPUID: Range<usize> = 0x188..0x18B;
pub(crate) const RESERVED_CPUID: Range<usize> = 0x18B..0x1A0;
pub(crate) const CHIP_ID: Range<usize> = 0x1A0..0x1E0;
pub(crate) const COMMITTED_TCB: Range<usize> = 0x1E0..0x1E8;
/// Build, minor, major.
pub(crate) const FIRMWARE_CURRENT: Range<usize> = 0x1E8..0x1EB;
pub(crate) const RESERVED_CURRENT: Range<usize> = 0x1EB..0x1EC;
pub(crate) const FIRMWARE_COMMITTED: Range<usize> = 0x1EC..0x1EF;
pub(crate) const RESERVED_COMMITTED: Range<usize> = 0x1EF..0x1F0;
pub(crate) const LAUNCH_TCB: Range<usize> = 0x1F0..0x1F8;
/// Version 5; reserved before.
pub(crate) const LAUNCH_MITIGATIONS: Range<usize> = 0x1F8..0x200;
/// Version 5; reserved before.
pub(crate) const CURRENT_MITIGATIONS: Range<usize> = 0x200..0x208;
pub(crate) const RESERVED_SIGNED: Range<usize> = 0x208..0x2A0;
pub(crate) const SIGNATURE_R: Range<usize> = 0x2A0..0x2D0;
pub(crate) const PADDING_R: Range<usize> = 0x2D0..0x2E8;
pub(crate) const SIGNATURE_S: Range<usize> = 0x2E8..0x318;
pub(crate) const PADDING_S: Range<usize> = 0x318..0x330;
/// Outside of the signed range.
pub(crate) const RESERVED_UNSIGNED: Range<usize> = 0x330..0x4A0;

/// Copies a field out. The ranges above all lie inside of a report, which the test below holds.
pub(crate) fn field<const N: usize>(raw: &[u8; REPORT_LENGTH], range: Range<usize>) -> [u8; N] {
    raw.get(range).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

/// Copies a field in.
pub(crate) fn set(raw: &mut [u8; REPORT_LENGTH], range: Range<usize>, bytes: &[u8]) {
    if let Some(place) = raw.get_mut(range).filter(|place| place.len() == bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The offset of the first byte in `range` that is not zero.
pub(crate) fn first_set(raw: &[u8; REPORT_LENGTH], range: Range<usize>) -> Option<usize> {
    let start = range.start;
    let place = raw.get(range)?.iter().position(|byte| *byte != 0)?;
    start.checked_add(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_tile_the_report() {
        let fields = [
            VERSION,
            GUEST_SVN,
            POLICY,
            FAMILY_ID,
            IMAGE_ID,
            VMPL,
            SIGNATURE_ALGORITHM,
            CURRENT_TCB,
            PLATFORM_INFO,
            KEY_INFO,
            RESERVED_KEY,
            REPORT_DATA,
            MEASUREMENT,
            HOST_DATA,
            ID_KEY_DIGEST,
            AUTHOR_KEY_DIGEST,
            REPORT_ID,
            REPORT_ID_MA,
            REPORTED_TCB,
            CPUID,
            RESERVED_CPUID,
            CHIP_ID,
            COMMITTED_TCB,
            FIRMWARE_CURRENT,
            RESERVED_CURRENT,
            FIRMWARE_COMMITTED,
            RESERVED_COMMITTED,
            LAUNCH_TCB,
            LAUNCH_MITIGATIONS,
            CURRENT_MITIGATIONS,
            RESERVED_SIGNED,
            SIGNATURE_R,
            PADDING_R,
            SIGNATURE_S,
            PADDING_S,
            RESERVED_UNSIGNED,
        ];
        let mut end = 0;
        for field in &fields {
            assert_eq!(field.start, end, "a gap or an overlap at {end:#x}");
            end = field.end;
        }
        assert_eq!(end, REPORT_LENGTH);
        assert_eq!(SIGNED, 0..SIGNATURE_R.start);
    }
}
