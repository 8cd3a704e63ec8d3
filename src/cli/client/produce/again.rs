//! Records that were refused because of another record in their batch, and the choice of those that are sent together
//! next. It depends only on which records are refused.

/// The maximum number of rounds after a signal: enough for two records at fault among ten thousand.
const MOST_AFTER_SIGNAL: u32 = 64;

/// The rounds in which refused records are sent again. While a round is in flight, no other records are. The records that
/// are refused again are the next two rounds, half of them in each. So a record at fault takes two rounds for each
/// doubling of its batch, and not one for each record of it.
pub struct Rounds<T> {
    /// The next round is the last element.
    waiting: Vec<Vec<T>>,
    left_after_signal: u32,
}

impl<T> Rounds<T> {
    pub fn of(refused: Vec<T>) -> Rounds<T> {
        let mut rounds = Rounds { waiting: Vec::new(), left_after_signal: MOST_AFTER_SIGNAL };
        rounds.refused(refused);
        rounds
    }

    /// The records of the next round, in their order. A record that is refused alone does not come back.
    pub fn next(&mut self, is_stopped: bool) -> Option<Vec<T>> {
        if is_stopped {
            self.left_after_signal = self.left_after_signal.checked_sub(1)?;
        }
        self.waiting.pop()
    }

    /// Takes the records of the last round that were refused again.
    pub fn refused(&mut self, mut records: Vec<T>) {
        let second_half = records.split_off(records.len().div_ceil(2));
        self.waiting.extend([second_half, records].into_iter().filter(|half| !half.is_empty()));
    }

    /// The records of all rounds that are left.
    pub fn rest(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().rev().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a refused batch of records again. Those at fault are refused with all others of their round.
    struct Played {
        written: Vec<u32>,
        at_fault: Vec<u32>,
        rest: Vec<u32>,
        rounds: usize,
    }

    fn play(batch: u32, is_at_fault: impl Fn(u32) -> bool, stopped_after: usize) -> Played {
        let mut rounds = Rounds::of((0..batch).collect());
        let (mut written, mut at_fault, mut count) = (Vec::new(), Vec::new(), 0);
        while let Some(round) = rounds.next(count >= stopped_after) {
            count += 1;
            match round[..] {
                [alone] if is_at_fault(alone) => at_fault.push(alone),
                _ if round.iter().any(|record| is_at_fault(*record)) => rounds.refused(round),
                _ => written.extend(round),
            }
        }
        Played { written, at_fault, rest: rounds.rest().collect(), rounds: count }
    }

    #[test]
    fn a_record_at_fault_takes_two_rounds_for_each_doubling_of_its_batch() {
        for (batch, most) in [(1, 1), (2, 2), (401, 18), (10_000, 28)] {
            for at_fault in [0, batch / 3, batch - 1] {
                let played = play(batch, |record| record == at_fault, usize::MAX);
                assert_eq!(played.at_fault, [at_fault]);
                let others: Vec<u32> = (0..batch).filter(|record| *record != at_fault).collect();
                assert_eq!((played.written, played.rest), (others, vec![]), "all others, in their order");
                assert!(played.rounds <= most, "{} rounds for {batch} records", played.rounds);
            }
        }
    }

    #[test]
    fn records_of_which_each_is_at_fault_end_alone() {
        let played = play(500, |_| true, usize::MAX);
        assert_eq!(played.at_fault, (0..500).collect::<Vec<u32>>());
        assert!(played.rounds < 1000, "{}", played.rounds);
    }

    #[test]
    fn a_signal_leaves_rounds_for_some_records_at_fault_and_no_record_is_forgotten() {
        let played = play(10_000, |record| record == 5 || record == 7_777, 0);
        assert_eq!((played.written.len(), played.at_fault.len(), played.rest.len()), (9_998, 2, 0));
        let played = play(10_000, |_| true, 100);
        assert_eq!(played.rounds, 100 + MOST_AFTER_SIGNAL as usize);
        let mut all = [played.written, played.at_fault, played.rest].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10_000).collect::<Vec<u32>>());
    }
}
