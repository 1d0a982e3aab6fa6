//! Go's `sort.Slice`, because hcsshim sorts with a comparison that is no order: the result is whatever that algorithm
//! makes of it. The steps below follow Go 1.19 and later, `sort/zsortfunc.go` (Copyright 2022 The Go Authors, under
//! Go's BSD-style licence, <https://go.dev/LICENSE>); pdqsort is by Orson Peters.

/// Up to here every version of Go inserts one after the other.
pub(super) const SIMPLE: usize = 12;
const SHORTEST_NINTHER: usize = 50;
const SHORTEST_SHIFTING: usize = 50;
const MOST_SWAPS: u32 = 12;

/// Sorts as Go does.
pub(super) fn sort<T>(items: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let (end, limit) = (items.len(), bits(items.len()));
    Sorter { items, less }.pdqsort(0, end, limit);
}

fn bits(length: usize) -> u32 {
    usize::BITS.saturating_sub(length.leading_zeros())
}

struct Sorter<'a, T, F> {
    items: &'a mut [T],
    less: F,
}

#[derive(PartialEq, Eq)]
enum Hint {
    Increasing,
    Decreasing,
    Unknown,
}

impl<T, F: Fn(&T, &T) -> bool> Sorter<'_, T, F> {
    fn less(&self, a: usize, b: usize) -> bool {
        matches!((self.items.get(a), self.items.get(b)), (Some(a), Some(b)) if (self.less)(a, b))
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a.max(b) < self.items.len() {
            self.items.swap(a, b);
        }
    }

    fn pdqsort(&mut self, mut a: usize, mut b: usize, mut limit: u32) {
        let (mut balanced, mut partitioned) = (true, true);
        loop {
            let length = b - a;
            if length <= SIMPLE {
                return self.insert_each(a, b);
            }
            if limit == 0 {
                return self.heap_sort(a, b);
            }
            if !balanced {
                self.break_patterns(a, b);
                limit -= 1;
            }
            let (mut pivot, mut hint) = self.choose_pivot(a, b);
            if hint == Hint::Decreasing {
                self.items.get_mut(a..b).unwrap_or_default().reverse();
                pivot = (b - 1) - (pivot - a);
                hint = Hint::Increasing;
            }
            if balanced && partitioned && hint == Hint::Increasing && self.insert_few(a, b) {
                return;
            }
            if a > 0 && !self.less(a - 1, pivot) {
                a = self.partition_equal(a, b, pivot);
                continue;
            }
            let (middle, already) = self.partition(a, b, pivot);
            partitioned = already;
            let (left, right) = (middle - a, b - middle);
            balanced = left.min(right) >= length / 8;
            if left < right {
                self.pdqsort(a, middle, limit);
                a = middle + 1;
            } else {
                self.pdqsort(middle + 1, b, limit);
                b = middle;
            }
        }
    }

    fn insert_each(&mut self, a: usize, b: usize) {
        for i in a + 1..b {
            let mut j = i;
            while j > a && self.less(j, j - 1) {
                self.swap(j, j - 1);
                j -= 1;
            }
        }
    }

    fn heap_sort(&mut self, a: usize, b: usize) {
        let length = b - a;
        for i in (0..=(length - 1) / 2).rev() {
            self.sift_down(i, length, a);
        }
        for i in (0..length).rev() {
            self.swap(a, a + i);
            self.sift_down(0, i, a);
        }
    }

    fn sift_down(&mut self, mut root: usize, end: usize, first: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.swap(first + root, first + child);
            root = child;
        }
    }

    fn partition(&mut self, a: usize, b: usize, pivot: usize) -> (usize, bool) {
        self.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        let mut already = true;
        loop {
            while i <= j && self.less(i, a) {
                i += 1;
            }
            while i <= j && !self.less(j, a) {
                j -= 1;
            }
            if i > j {
                self.swap(j, a);
                return (j, already);
            }
            self.swap(i, j);
            (i, j, already) = (i + 1, j - 1, false);
        }
    }

    fn partition_equal(&mut self, a: usize, b: usize, pivot: usize) -> usize {
        self.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        loop {
            while i <= j && !self.less(a, i) {
                i += 1;
            }
            while i <= j && self.less(a, j) {
                j -= 1;
            }
            if i > j {
                return i;
            }
            self.swap(i, j);
            (i, j) = (i + 1, j - 1);
        }
    }

    fn insert_few(&mut self, a: usize, b: usize) -> bool {
        let mut i = a + 1;
        for _ in 0..5 {
            while i < b && !self.less(i, i - 1) {
                i += 1;
            }
            if i == b {
                return true;
            }
            if b - a < SHORTEST_SHIFTING {
                return false;
            }
            self.swap(i, i - 1);
            let down = (1..i).rev().take_while(|_| i - a >= 2);
            for j in down {
                if !self.less(j, j - 1) {
                    break;
                }
                self.swap(j, j - 1);
            }
            for j in i + 1..b {
                if !self.less(j, j - 1) {
                    break;
                }
                self.swap(j, j - 1);
            }
        }
        false
    }

    fn break_patterns(&mut self, a: usize, b: usize) {
        let length = b - a;
        let mut random = length as u64;
        let mask = (1_u64 << bits(length)) - 1;
        let middle = a + (length / 4) * 2;
        for index in middle - 1..=middle + 1 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let other = (random & mask) as usize;
            self.swap(index, a + if other >= length { other - length } else { other });
        }
    }

    fn choose_pivot(&self, a: usize, b: usize) -> (usize, Hint) {
        let length = b - a;
        let mut swaps = 0;
        let [mut i, mut j, mut k] = [1, 2, 3].map(|quarter| a + length / 4 * quarter);
        if length >= SHORTEST_NINTHER {
            for at in [&mut i, &mut j, &mut k] {
                *at = self.median([*at - 1, *at, *at + 1], &mut swaps);
            }
        }
        j = self.median([i, j, k], &mut swaps);
        match swaps {
            0 => (j, Hint::Increasing),
            MOST_SWAPS => (j, Hint::Decreasing),
            _ => (j, Hint::Unknown),
        }
    }

    fn median(&self, [a, b, c]: [usize; 3], swaps: &mut u32) -> usize {
        let mut ordered = |a, b| {
            let swap = self.less(b, a);
            *swaps += u32::from(swap);
            if swap { (b, a) } else { (a, b) }
        };
        let (a, b) = ordered(a, b);
        let (b, _) = ordered(b, c);
        ordered(a, b).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_order_is_sorted() {
        for length in [0_usize, 1, 2, 12, 13, 49, 50, 51, 200, 1000] {
            for step in [1, 7, 31, 997] {
                let mut items: Vec<usize> = (0..length).map(|at| at * step % 1009 % 300).collect();
                let mut sorted = items.clone();
                sorted.sort_unstable();
                sort(&mut items, |a, b| a < b);
                assert_eq!(items, sorted, "{length} items, step {step}");
                sort(&mut items, |a, b| a > b);
                sorted.reverse();
                assert_eq!(items, sorted, "{length} items, step {step}, falling");
            }
        }
    }
}
