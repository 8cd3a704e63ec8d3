//! The checks of single values.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// A level of gzip, or −1 for its default.
    GzipLevel,
    /// `*`, or a list of `partition:broker`.
    Replicas,
    /// `earliest`, `latest`, or `by_duration:` and a duration.
    OffsetReset,
    /// A list of `address:number`.
    PerAddress,
    /// A number of threads. Kafka only allows changes to between half and double of its value.
    Threads(i64),
    OneOf(&'static [&'static str]),
}

impl Check {
    /// The smallest and the largest allowed number.
    fn bounds(self) -> (i64, i64) {
        match self {
            Check::AtLeast(least) | Check::Threads(least) => (least, i64::MAX),
            Check::Between(least, most) => (least, most),
            Check::Any
            | Check::GzipLevel
            | Check::Replicas
            | Check::OffsetReset
            | Check::PerAddress
            | Check::OneOf(_) => (i64::MIN, i64::MAX),
        }
    }

    pub(super) fn number(self, number: i64) -> Result<(), String> {
        if self == Check::GzipLevel && number != -1 && !(1..=9).contains(&number) {
            return Err("Value must be between 1 and 9 or equal to -1".to_owned());
        }
        let (least, most) = self.bounds();
        match number {
            number if number < least => Err(format!("Value must be at least {least}")),
            number if number > most => Err(format!("Value must be no more than {most}")),
            _ => Ok(()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds of fractions are small numbers or none")]
    pub(super) fn fraction(self, number: f64) -> Result<(), String> {
        match self {
            Check::Between(least, _) if number < least as f64 => {
                Err(format!("Value must be at least {least}"))
            }
            Check::Between(_, most) if number > most as f64 => {
                Err(format!("Value must be no more than {most}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn word(self, word: &str) -> Result<(), String> {
        match self {
            Check::OneOf(known) if known.contains(&word) => Ok(()),
            Check::OneOf(known) => Err(format!("String must be one of: {}", known.join(", "))),
            Check::Any
            | Check::AtLeast(_)
            | Check::Between(..)
            | Check::GzipLevel
            | Check::Replicas
            | Check::OffsetReset
            | Check::PerAddress
            | Check::Threads(_) => Ok(()),
        }
    }
}

/// Parses addresses and their numbers; the error is Kafka's message. The number is after the last colon.
/// No name but `localhost` is resolved.
pub(super) fn numbers_per_address(name: &str, written: &str) -> Result<BTreeMap<IpAddr, u32>, String> {
    let mut numbers = BTreeMap::new();
    for pair in written.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((host, number)) = pair.rsplit_once(':') else {
            let length = pair.encode_utf16().count();
            return Err(format!(
                "Error parsing configuration property '{name}': begin 0, end -1, length {length}"
            ));
        };
        let (host, number) = (host.trim(), number.trim());
        let Ok(most) = number.parse::<i32>() else { return Err(format!("For input string: \"{number}\"")) };
        // A negative number means none, like 0.
        let most = u32::try_from(most).unwrap_or(0);
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => drop(numbers.insert(address.to_canonical(), most)),
            Err(_) if host == "localhost" => {
                numbers.insert(Ipv4Addr::LOCALHOST.into(), most);
                numbers.insert(Ipv6Addr::LOCALHOST.into(), most);
            }
            Err(_) => {}
        }
    }
    Ok(numbers)
}

/// Whether this is `partition:broker`.
pub(super) fn is_replica(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    word.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

/// Whether this is `by_duration:P1DT2H3M4.5S`. Any part may be missing, and none may be negative.
pub(super) fn is_duration(word: &str) -> bool {
    let Some(parts) = word.strip_prefix("by_duration:").and_then(|rest| rest.strip_prefix('P')) else {
        return false;
    };
    let (days, time) = parts.split_once('T').unwrap_or((parts, ""));
    let is_part = |rest: &mut &str, unit: char| {
        let Some((number, behind)) = rest.split_once(unit) else { return true };
        *rest = behind;
        number.parse::<f64>().is_ok_and(|number| number >= 0.0)
    };
    let (mut days_left, mut time_left) = (days, time);
    let all = is_part(&mut days_left, 'D')
        && is_part(&mut time_left, 'H')
        && is_part(&mut time_left, 'M')
        && is_part(&mut time_left, 'S');
    all && days_left.is_empty() && time_left.is_empty() && !(days.is_empty() && time.is_empty())
}
