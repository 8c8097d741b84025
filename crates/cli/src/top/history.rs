//! Counters to rates, and rates to the picture of a minute.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back a sparkline looks.
pub(super) const SPAN: Duration = Duration::from_secs(60);

/// Pictures that follow each other faster share an entry, so that a history stays small.
const GRAIN: Duration = Duration::from_millis(500);

/// How much a counter grew; nothing known if it went backwards.
pub(super) fn growth(before: u64, now: u64) -> Option<u64> {
    now.checked_sub(before)
}

/// Events in a second.
pub(super) fn per_second(growth: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| growth as f64 / time.as_secs_f64())
}

/// The rates of the last minute.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    stretches: VecDeque<Stretch>,
}

/// A time between two pictures, and the rate in it, if that is known.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    begin: Duration,
    end: Duration,
    rate: Option<f64>,
}

impl History {
    pub(super) fn push(&mut self, begin: Duration, end: Duration, rate: Option<f64>) {
        if end <= begin {
            return;
        }
        if let Some(last) = self.stretches.back_mut()
            && last.end == begin
            && last.end.saturating_sub(last.begin) < GRAIN
        {
            let (before, after) = ((last.end - last.begin).as_secs_f64(), (end - begin).as_secs_f64());
            last.rate = match (last.rate, rate) {
                (Some(old), Some(new)) => Some((old * before + new * after) / (before + after)),
                (old, new) => old.or(new),
            };
            last.end = end;
        } else {
            self.stretches.push_back(Stretch { begin, end, rate });
        }
        while self.stretches.front().is_some_and(|first| first.end + SPAN <= end) {
            self.stretches.pop_front();
        }
    }

    /// The mean rate in each of so many equal parts of the minute before `now`, the latest last.
    pub(super) fn parts(&self, now: Duration, parts: usize) -> Vec<Option<f64>> {
        let step = SPAN.as_secs_f64() / parts.max(1) as f64;
        let mean = |part: usize| {
            // Seconds before now, so that a minute that began before top did is no special case.
            let (old, new) = ((parts - part) as f64 * step, (parts - part - 1) as f64 * step);
            let before = |moment: Duration| now.saturating_sub(moment).as_secs_f64();
            let (mut sum, mut time) = (0.0, 0.0);
            for stretch in &self.stretches {
                let overlap = before(stretch.begin).min(old) - before(stretch.end).max(new);
                if let Some(rate) = stretch.rate.filter(|_| overlap > 0.0) {
                    sum += rate * overlap;
                    time += overlap;
                }
            }
            (time > 0.0).then(|| sum / time)
        };
        (0..parts).map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_minute_in_parts() {
        let mut history = History::default();
        for second in 0..200 {
            let rate = if second >= 190 { 100.0 } else { 10.0 };
            history.push(seconds(second), seconds(second + 1), Some(rate));
        }
        assert!(history.stretches.len() <= 61);
        let parts = history.parts(seconds(200), 6);
        assert_eq!(parts[..5], [Some(10.0); 5]);
        assert_eq!(parts[5], Some(100.0));
        assert_eq!(history.parts(seconds(200), 1), [Some(25.0)]);
        assert!(history.parts(seconds(200), 0).is_empty());
    }

    #[test]
    fn what_was_before_top_is_unknown() {
        let mut history = History::default();
        history.push(seconds(1), seconds(3), Some(5.0));
        history.push(seconds(3), seconds(4), None);
        let parts = history.parts(seconds(4), 60);
        assert_eq!(parts[..57], [None; 57]);
        assert_eq!(parts[57..], [Some(5.0), Some(5.0), None]);
        history.push(seconds(4), seconds(4), Some(1.0));
        history.push(seconds(4), seconds(3), Some(1.0));
        assert_eq!(history.stretches.len(), 2);
    }

    #[test]
    fn quick_pictures_share_an_entry() {
        let mut history = History::default();
        for tenth in 0..1000u64 {
            let at = |tenth: u64| Duration::from_millis(tenth * 100);
            history.push(at(tenth), at(tenth + 1), Some(7.0));
        }
        assert!(history.stretches.len() <= 140, "{}", history.stretches.len());
        let parts = history.parts(seconds(100), 10);
        assert!(parts.iter().all(|rate| rate.is_some_and(|rate| (rate - 7.0).abs() < 1e-9)));
    }

    #[test]
    fn counters_may_do_anything() {
        assert_eq!((growth(1, 3), growth(3, 1), growth(0, u64::MAX)), (Some(2), None, Some(u64::MAX)));
        assert_eq!(per_second(10, Duration::ZERO), None);
        assert_eq!(per_second(10, seconds(2)), Some(5.0));
        let mut history = History::default();
        history.push(seconds(0), seconds(1), per_second(u64::MAX, seconds(1)));
        assert!(history.parts(seconds(1), 3)[2].is_some_and(f64::is_finite));
    }
}
