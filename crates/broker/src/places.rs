//! Places for connections: a bounded number, and not for those who never ask anything.
//!
//! *Takes* connections as they come.
//! *Guarantees* that a connection which made a request keeps its place, and that one which did not makes room for a new
//! one when all places are taken, the oldest first, after it had time for a handshake: whoever opens thousands and waits
//! does not lock others out, nor does whoever opens them again and again.
//! *Does not check* who connects: the rate of an address is counted by request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A place that nobody has to give up earlier: time for a handshake and a request.
const GRACE: Duration = Duration::from_millis(500);
/// Connections beyond the limit that may be on their way out.
const LEAVING: usize = 64;

/// The places of a broker.
pub(crate) struct Places {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    next: u64,
    /// Those that did not ask anything yet, oldest first; a message tells one to go.
    silent: BTreeMap<u64, (Instant, oneshot::Sender<()>)>,
}

/// What became of a wish for a place.
pub(crate) enum Taken {
    /// A place, and what comes when another needs it.
    Place(Place, oneshot::Receiver<()>),
    /// Ask again after this time: those who must go first have only just come.
    Wait(Duration),
    /// Everybody who has a place uses it.
    Full,
}

/// A connection's place; given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    asked: AtomicBool,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, now: Instant) -> Taken {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = state.open;
        if open >= self.limit {
            let Some(oldest) = state.silent.first_entry() else { return Taken::Full };
            let left = GRACE.saturating_sub(now.saturating_duration_since(oldest.get().0));
            if !left.is_zero() {
                return Taken::Wait(left);
            }
            if open >= self.limit.saturating_add(LEAVING) {
                return Taken::Full;
            }
            let (_, leave) = oldest.remove();
            let _ = leave.send(());
        }
        state.open = state.open.saturating_add(1);
        let number = state.next;
        state.next = state.next.saturating_add(1);
        let (sender, receiver) = oneshot::channel();
        state.silent.insert(number, (now, sender));
        Taken::Place(Place { places: Arc::clone(self), number, asked: AtomicBool::new(false) }, receiver)
    }
}

impl Place {
    /// A request came: the place is kept from now on.
    pub(crate) fn keep(&self) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.places.state.lock().unwrap_or_else(PoisonError::into_inner).silent.remove(&self.number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.saturating_sub(1);
        state.silent.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(places: &Arc<Places>, now: Instant) -> Option<(Place, oneshot::Receiver<()>)> {
        match places.take(now) {
            Taken::Place(place, evicted) => Some((place, evicted)),
            Taken::Wait(_) | Taken::Full => None,
        }
    }

    #[test]
    fn the_silent_make_room_oldest_first_and_those_who_ask_stay() {
        let places = Places::new(3);
        let start = Instant::now();
        let (first, mut first_goes) = place(&places, start).unwrap();
        let (second, mut second_goes) = place(&places, start).unwrap();
        let (third, mut third_goes) = place(&places, start + GRACE / 2).unwrap();
        first.keep();
        assert!(matches!(places.take(start + GRACE / 2), Taken::Wait(left) if left == GRACE / 2));
        assert!(second_goes.try_recv().is_err(), "everybody has time for a handshake");
        let (fourth, _goes) = place(&places, start + GRACE).unwrap();
        assert_eq!(second_goes.try_recv(), Ok(()), "the oldest that is silent");
        assert!(third_goes.try_recv().is_err());
        drop(second);
        third.keep();
        fourth.keep();
        assert!(matches!(places.take(start + GRACE * 9), Taken::Full), "all three are used");
        assert!(first_goes.try_recv().is_err());
        drop(first);
        assert!(place(&places, start).is_some());
    }

    #[test]
    fn those_on_their_way_out_are_bounded_and_nothing_is_kept_of_those_gone() {
        let places = Places::new(200);
        let start = Instant::now();
        let mut held: Vec<_> = std::iter::from_fn(|| place(&places, start)).collect();
        assert_eq!(held.len(), 200);
        held.extend(std::iter::from_fn(|| place(&places, start + GRACE)));
        assert_eq!(held.len(), 200 + LEAVING);
        drop(held);
        let state = places.state.lock().unwrap();
        assert_eq!((state.open, state.silent.len()), (0, 0));
    }
}
