//! Times as Go and ext4 keep them.

/// Seconds and nanoseconds since 1970. Go's zero time (the first second of the year 1) stands for "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    seconds: i64,
    nanos: u32,
}

const SECOND: i64 = 1_000_000_000;

impl Time {
    pub(super) const NONE: Self = Self { seconds: -62_135_596_800, nanos: 0 };

    /// Go's `time.Unix`: nanoseconds of any size and sign.
    pub(super) fn unix(seconds: i64, nanos: i64) -> Self {
        let carry = nanos.div_euclid(SECOND);
        let nanos = u32::try_from(nanos.rem_euclid(SECOND)).unwrap_or_default();
        Self { seconds: seconds.wrapping_add(carry), nanos }
    }

    /// As the 64 bits of an inode: seconds below, nanoseconds from bit 34 (hcsshim, `timeToFsTime`).
    pub(super) fn to_ext4(self) -> u64 {
        match self.seconds {
            _ if self == Self::NONE => 0,
            ..-0x8000_0000 => 0x8000_0000,
            0x3_8000_0000.. => 0x3_7fff_ffff,
            seconds => seconds.cast_unsigned() | u64::from(self.nanos) << 34,
        }
    }

    /// What hcsshim reads back out of an inode (`fsTimeToTime`); for times before 1970 it is another time.
    pub(super) fn from_ext4(bits: u64) -> Self {
        if bits == 0 {
            return Self::NONE;
        }
        let seconds = match (bits & 0x3_ffff_ffff).cast_signed() {
            seconds @ 0x8000_0000..=0xffff_ffff => seconds - 0x1_0000_0000,
            seconds => seconds,
        };
        Self::unix(seconds, (bits >> 34).cast_signed())
    }

    /// Go's `parsePAXTime`: `[-]SECONDS[.FRACTION]`, digits beyond the ninth are dropped.
    pub(super) fn from_pax(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(2, |byte| *byte == b'.');
        let whole = parts.next()?;
        let seconds = super::pax::integer(whole)?;
        let fraction = parts.next().unwrap_or_default();
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        let nanos = digits.fold(0_i64, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
        Some(Self::unix(seconds, if whole.starts_with(b"-") { -nanos } else { nanos }))
    }

    /// The text that [`Time::from_pax`] reads as this time.
    pub(super) fn to_pax(self) -> String {
        match (self.seconds, self.nanos) {
            (seconds, 0) => seconds.to_string(),
            (seconds @ ..0, nanos) => format!("-{}.{:09}", -(seconds + 1), SECOND - i64::from(nanos)),
            (seconds, nanos) => format!("{seconds}.{nanos:09}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_through_ext4_as_upstream_has_them() {
        let through = |seconds, nanos| Time::unix(seconds, nanos).to_ext4();
        assert_eq!(through(1_700_000_000, 5), 1_700_000_000 | 5 << 34);
        assert_eq!(through(1 << 40, 0), 0x3_7fff_ffff);
        assert_eq!(through(-(1 << 40), 0), 0x8000_0000);
        assert_eq!(through(-1, 0), u64::MAX);
        assert_eq!(Time::NONE.to_ext4(), 0);
        assert_eq!(Time::from_ext4(0x8000_0000), Time::unix(-0x8000_0000, 0));
        assert_eq!(Time::from_ext4(1_700_000_000 | 5 << 34), Time::unix(1_700_000_000, 5));
    }

    #[test]
    fn pax_texts_read_back() {
        for (seconds, nanos) in [(0, 0), (12, 500_000_000), (-1, 0), (-2, 750_000_000), (-1, 500_000_000)] {
            let time = Time::unix(seconds, nanos);
            assert_eq!(Time::from_pax(time.to_pax().as_bytes()), Some(time), "{}", time.to_pax());
        }
        assert_eq!(Time::from_pax(b"1.+5"), None);
        assert_eq!(Time::from_pax(b"1.0000000019"), Some(Time::unix(1, 1)));
    }
}
