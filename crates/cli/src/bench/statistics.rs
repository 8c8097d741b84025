//! Medians of rounds, and the percentiles that are kept of a histogram.

use schemars::JsonSchema;
use serde::Serialize;

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Spread {
    /// The median round.
    pub(crate) median: f64,
    /// The least round.
    pub(crate) min: f64,
    /// The greatest round.
    pub(crate) max: f64,
}

impl Spread {
    /// Of no rounds at all: zeroes.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (rounds.first(), rounds.last()) else {
            return Self { median: 0.0, min: 0.0, max: 0.0 };
        };
        let (below, above) = (rounds[(rounds.len() - 1) / 2], rounds[rounds.len() / 2]);
        Self { median: f64::midpoint(below, above), min, max }
    }

    pub(crate) fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }
}

/// The percentiles that are named in the results.
pub(super) const NAMED: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];
/// Of 99.99: a round has no more round trips than to tell this one.
const NINES: u32 = 4;
/// Steps for each further nine.
const STEPS: u32 = 6;

/// All percentiles that are kept, ascending: evenly spaced by the share of round trips that take longer, and the named
/// ones.
pub(super) fn percentiles() -> Vec<f64> {
    let steps = 0..=NINES * STEPS;
    let mut all: Vec<f64> = steps
        .map(|step| 100.0 * (1.0 - 10f64.powf(-f64::from(step) / f64::from(STEPS))))
        // Exact where it is meant to be: 90, not 90.00000000000001.
        .map(|percentile| (percentile * 1e6).round() / 1e6)
        .chain(NAMED)
        .collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |rounds: &[f64]| Spread::of(rounds.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(spread(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn the_percentiles_ascend_and_have_the_named() {
        let all = percentiles();
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        assert_eq!((all[0], all[all.len() - 1]), (0.0, 100.0));
        for named in NAMED.into_iter().chain([99.99]) {
            assert!(all.contains(&named), "{named} in {all:?}");
        }
    }
}
