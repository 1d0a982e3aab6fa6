//! Places for connections: a bounded number, and not for those who never ask anything.
//!
//! *Takes* connections as they come.
//! *Guarantees* that a connection which made a request keeps its place, and that one which did not makes room for a new
//! one when all places are taken, the oldest first: whoever opens thousands and waits does not lock others out.
//! *Does not check* who connects: the rate of an address is counted by request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

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
    silent: BTreeMap<u64, oneshot::Sender<()>>,
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

    /// A place, and what comes when another needs it; none when everybody who has one uses it.
    pub(crate) fn take(self: &Arc<Self>) -> Option<(Place, oneshot::Receiver<()>)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open >= self.limit {
            if state.open >= self.limit.saturating_add(LEAVING) {
                return None;
            }
            let (_, oldest) = state.silent.pop_first()?;
            let _ = oldest.send(());
        }
        state.open = state.open.saturating_add(1);
        let number = state.next;
        state.next = state.next.saturating_add(1);
        let (sender, receiver) = oneshot::channel();
        state.silent.insert(number, sender);
        Some((Place { places: Arc::clone(self), number, asked: AtomicBool::new(false) }, receiver))
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

    #[test]
    fn the_silent_make_room_oldest_first_and_those_who_ask_stay() {
        let places = Places::new(3);
        let (first, mut first_goes) = places.take().unwrap();
        let (second, mut second_goes) = places.take().unwrap();
        let (third, mut third_goes) = places.take().unwrap();
        first.keep();
        let (fourth, _goes) = places.take().unwrap();
        assert_eq!(second_goes.try_recv(), Ok(()), "the oldest that is silent");
        assert!(third_goes.try_recv().is_err());
        drop(second);
        third.keep();
        fourth.keep();
        assert!(places.take().is_none(), "all three are used");
        assert!(first_goes.try_recv().is_err());
        drop(first);
        assert!(places.take().is_some());
    }

    #[test]
    fn those_on_their_way_out_are_bounded_and_nothing_is_kept_of_those_gone() {
        let places = Places::new(2);
        let held: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(held.len(), 2 + LEAVING);
        drop(held);
        let state = places.state.lock().unwrap();
        assert_eq!((state.open, state.silent.len()), (0, 0));
    }
}
