//! Random-looking numbers that are the same in every run.

pub struct Source(u64);

impl Source {
    pub fn new(seed: u64) -> Source {
        Source(seed)
    }

    /// SplitMix64.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }

    /// One to four small changes: a bit, a byte, a wrong number, a piece removed, moved or doubled.
    pub fn mutate(&mut self, data: &mut Vec<u8>) {
        const NUMBERS: [u8; 7] = [0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x0f];
        for _ in 0..=self.below(4) {
            if data.is_empty() {
                return;
            }
            let at = self.below(data.len());
            let end = (at + 1 + self.below(8)).min(data.len());
            match self.below(6) {
                0 => data[at] ^= 1 << self.below(8),
                1 => data[at] = self.number() as u8,
                2 => data[at..end].fill(NUMBERS[self.below(NUMBERS.len())]),
                3 => drop(data.drain(at..end)),
                4 => data.truncate(at),
                _ => {
                    let piece = data[at..end].to_vec();
                    let place = self.below(data.len());
                    data.splice(place..place, piece);
                }
            }
        }
    }
}
