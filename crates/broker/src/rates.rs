//! How many requests an address may make, and how many connections: a bucket per address that fills at a steady rate.
//!
//! *Takes* addresses as the kernel tells them, and the time.
//! *Guarantees* bounded memory, whatever number of addresses there are.
//! *Does not check* addresses of this machine, unless told to: a proxy on it speaks for many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are remembered at once.
const MAX_ADDRESSES: usize = 16_384;
/// Seconds of the rate that may be used at once.
const BURST_SECONDS: f64 = 4.0;

/// The buckets of all addresses.
pub(crate) struct Rates {
    /// Requests a second; 0 is no limit.
    rate: u32,
    /// Whether addresses of this machine have no limit.
    loopback_exempt: bool,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    left: f64,
    seen: Instant,
}

impl Rates {
    pub(crate) fn new(rate: u32, loopback_exempt: bool) -> Self {
        Self { rate, loopback_exempt, buckets: Mutex::default() }
    }

    /// Whether one more request of this address is within its rate.
    pub(crate) fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let address = address.to_canonical();
        if self.rate == 0 || (self.loopback_exempt && address.is_loopback()) {
            return true;
        }
        let rate = f64::from(self.rate);
        let full = rate * BURST_SECONDS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&network(address)) {
            // A bucket that has filled up says nothing that a new one would not.
            buckets.retain(|_, bucket| bucket.at(rate, full, now) < full);
            if buckets.len() >= MAX_ADDRESSES {
                // Everybody is busy: who is new waits, who is known is served.
                return false;
            }
        }
        let bucket = buckets.entry(network(address)).or_insert(Bucket { left: full, seen: now });
        bucket.left = bucket.at(rate, full, now);
        bucket.seen = now;
        let admitted = bucket.left >= 1.0;
        if admitted {
            bucket.left -= 1.0;
        }
        admitted
    }
}

impl Bucket {
    fn at(&self, rate: f64, full: f64, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        passed.mul_add(rate, self.left).min(full)
    }
}

/// One holder of IPv6 has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & (u128::MAX << 64)).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    fn admitted(rates: &Rates, address: IpAddr, now: Instant, tries: u32) -> usize {
        (0..tries).filter(|_| rates.admit(address, now)).count()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let rates = Rates::new(10, true);
        let start = Instant::now();
        let one = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(admitted(&rates, one, start, 100), 40);
        assert_eq!(admitted(&rates, one, start + Duration::from_secs(1), 100), 10);
        assert_eq!(admitted(&rates, one, start + Duration::from_secs(100), 100), 40);
        let mapped = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        assert!(!rates.admit(mapped, start + Duration::from_secs(100)), "the same address in other words");
        assert_eq!(admitted(&rates, IpAddr::from([192, 0, 2, 2]), start, 100), 40);
        let of = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        assert_eq!(admitted(&rates, of(1), start, 30) + admitted(&rates, of(2), start, 30), 40);
        assert_eq!(admitted(&rates, IpAddr::from([127, 0, 0, 1]), start, 1000), 1000);
        assert_eq!(admitted(&Rates::new(10, false), IpAddr::from([127, 0, 0, 1]), start, 1000), 40);
        assert_eq!(admitted(&Rates::new(0, true), one, start, 1000), 1000);
    }

    #[test]
    fn memory_is_bounded_and_known_addresses_are_served() {
        let rates = Rates::new(10, true);
        let start = Instant::now();
        for number in 0..MAX_ADDRESSES {
            assert!(rates.admit(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()), start));
        }
        let stranger = IpAddr::from([198, 51, 100, 1]);
        assert!(!rates.admit(stranger, start));
        assert!(rates.admit(IpAddr::from([0, 0, 1, 1]), start));
        assert!(rates.admit(stranger, start + Duration::from_secs(5)), "idle addresses are forgotten");
        assert!(rates.buckets.lock().unwrap().len() < 10);
    }
}
