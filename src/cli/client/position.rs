//! The position to read from, or to reset a group to, in its form on the command line.

use std::str::FromStr;
use std::time::Duration;

use crate::time::Clock;
use crate::types::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Beginning,
    End,
    Offset(i64),
    /// This many records before the end.
    Last(i64),
    At(Timestamp),
    /// This long ago.
    Ago(Duration),
}

/// The text in `--help`.
pub const HELP: &str = "beginning, end, an OFFSET, -N for the last N records, or @TIME: \
                        @2026-11-25T08:00:00Z, @-90m (s, m, h, d) or @ and milliseconds since 1970";

impl Position {
    /// The timestamp of the position, if it has one.
    pub fn timestamp(self) -> Option<Timestamp> {
        match self {
            Position::At(time) => Some(time),
            Position::Ago(ago) => {
                let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                Some(Timestamp(Clock::machine().now().0.saturating_sub(ago).max(0)))
            }
            Position::Beginning | Position::End | Position::Offset(_) | Position::Last(_) => None,
        }
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(written: &str) -> Result<Position, String> {
        let unknown = || format!("expected {HELP}");
        match written {
            "beginning" | "earliest" => return Ok(Position::Beginning),
            "end" | "latest" => return Ok(Position::End),
            _ => {}
        }
        if let Some(time) = written.strip_prefix('@') {
            return time_of(time).ok_or_else(unknown);
        }
        match written.parse::<i64>() {
            Ok(offset) if offset >= 0 && !written.starts_with(['-', '+']) => Ok(Position::Offset(offset)),
            Ok(offset) if offset < 0 && offset > i64::MIN => Ok(Position::Last(-offset)),
            _ => Err(unknown()),
        }
    }
}

fn time_of(written: &str) -> Option<Position> {
    if let Some(ago) = written.strip_prefix('-') {
        return length_of(ago).map(Position::Ago);
    }
    if written.bytes().all(|letter| letter.is_ascii_digit()) {
        return written.parse().ok().map(|ms| Position::At(Timestamp(ms)));
    }
    date_and_time(written).map(Position::At)
}

/// Parses a length of time, such as `90m`.
pub fn duration(written: &str) -> Result<Duration, &'static str> {
    length_of(written).ok_or("expected a number and s, m, h or d, such as 90s")
}

fn length_of(written: &str) -> Option<Duration> {
    let (last, _) = written.char_indices().next_back()?;
    let (number, unit) = written.split_at(last);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// Parses RFC 3339: `2026-11-25T08:00:00Z`, also with a fraction, and with `+01:00` instead of `Z`.
fn date_and_time(written: &str) -> Option<Timestamp> {
    let (date, time) = written.split_once(['T', 't', ' '])?;
    let zone = time.rfind(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        zone => {
            let [hours, minutes] = numbers(zone.get(1..)?, ':')?;
            let minutes = bounded(hours, 0, 23)? * 60 + bounded(minutes, 0, 59)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    let days = days_since_1970(bounded(year, 1970, 9999)?, bounded(month, 1, 12)?, day)?;
    let minutes = (days * 24 + bounded(hour, 0, 23)?) * 60 + bounded(minute, 0, 59)? - offset_minutes;
    Some(Timestamp((minutes * 60 + bounded(second, 0, 60)?) * 1000 + millis))
}

fn numbers<const N: usize>(written: &str, between: char) -> Option<[i64; N]> {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_digit());
    let parts = written.split(between).map(|part| part.parse().ok().filter(|_| is_digits(part)));
    parts.collect::<Option<Vec<i64>>>()?.try_into().ok()
}

fn bounded(number: i64, least: i64, most: i64) -> Option<i64> {
    (least..=most).contains(&number).then_some(number)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months = &lengths[..usize::try_from(month).ok()?];
    let (last, before) = months.split_last()?;
    bounded(day, 1, *last)?;
    // The number of leap years before a year, as a difference of two such numbers.
    let leaps = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    Some((year - 1970) * 365 + leaps(year) - leaps(1970) + before.iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Result<Position, String> {
        Ok(Position::At(Timestamp(ms)))
    }

    #[test]
    fn a_position_is_a_word_an_offset_a_count_or_a_time() {
        let ago = |seconds| Ok(Position::Ago(Duration::from_secs(seconds)));
        for (written, meant) in [
            ("beginning", Ok(Position::Beginning)),
            ("earliest", Ok(Position::Beginning)),
            ("end", Ok(Position::End)),
            ("latest", Ok(Position::End)),
            ("0", Ok(Position::Offset(0))),
            ("42", Ok(Position::Offset(42))),
            ("-5", Ok(Position::Last(5))),
            ("@-90m", ago(5400)),
            ("@-2d", ago(172_800)),
            ("@1795593600000", at(1_795_593_600_000)),
            ("@2026-11-25T08:00:00Z", at(1_795_593_600_000)),
            ("@2026-11-25T09:30:00.5+01:30", at(1_795_593_600_500)),
            ("@1970-01-01T00:00:00Z", at(0)),
            ("@2000-02-29T23:59:59Z", at(951_868_799_000)),
            ("@2100-03-01T00:00:00Z", at(4_107_542_400_000)),
        ] {
            assert_eq!(written.parse(), meant, "{written}");
        }
    }

    #[test]
    fn invalid_positions_are_refused() {
        for written in [
            "",
            "start",
            "-0",
            "+5",
            "-",
            "@",
            "@-",
            "@-m",
            "@-5y",
            "@tomorrow",
            "@2026-11-25",
            "@2026-13-01T00:00:00Z",
            "@2026-02-29T00:00:00Z",
            "@2026-11-25T24:00:00Z",
            "@2026-11-25T08:00Z",
            "@2026-11-25T08:00:00",
            "@2026-+1-25T08:00:00Z",
            "9223372036854775808",
        ] {
            assert!(written.parse::<Position>().is_err(), "{written}");
        }
    }
}
