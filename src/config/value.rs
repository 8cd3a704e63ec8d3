//! The types of values, the parsing of their text, and their conversions to fields.

use std::collections::HashSet;
use std::time::Duration;

use crate::types::Timestamp;

/// Kafka's type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Text,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    /// Never shown.
    Password,
}

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Number(i64),
    Fraction(f64),
    Text(String),
    List(Vec<String>),
}

impl Kind {
    /// Kafka's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Text => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    /// Parses a value without blanks around it.
    pub(super) fn parse(self, trimmed: &str) -> Result<Value, String> {
        let number = |low: i64, high: i64| match trimmed.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(Value::Number(number)),
            Ok(_) | Err(_) => Err(format!("Not a number of type {}", self.name())),
        };
        match self {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Flag(true)),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Flag(false)),
            Kind::Boolean => Err("Expected value to be either true or false".to_owned()),
            Kind::Short => number(i64::from(i16::MIN), i64::from(i16::MAX)),
            Kind::Int => number(i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::Long => number(i64::MIN, i64::MAX),
            Kind::Double => match trimmed.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Fraction(number)),
                Ok(_) | Err(_) => Err("Not a number of type DOUBLE".to_owned()),
            },
            Kind::Text | Kind::Class | Kind::Password => Ok(Value::Text(trimmed.to_owned())),
            Kind::List if trimmed.is_empty() => Ok(Value::List(Vec::new())),
            Kind::List => {
                // As in Kafka, duplicates are removed.
                let mut known = HashSet::new();
                let all = trimmed.split(',').map(str::trim).filter(|one| known.insert(*one));
                Ok(Value::List(all.map(str::to_owned).collect()))
            }
        }
    }
}

/// A fraction between 0 and 1 as an integer, which can be compared for equality.
pub type Millionths = u32;

/// Conversions of values to fields. Each row declares its conversion. A wrong pair fails in the test that
/// reads all defaults.
impl Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a million")]
    pub(super) fn millionths(&self) -> Millionths {
        match self {
            Value::Fraction(fraction) => (fraction.clamp(0.0, 1.0) * 1e6).round() as u32,
            _ => panic!("the row is a fraction: {self:?}"),
        }
    }

    /// The text that DescribeConfigs returns.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Fraction(number) => Some(shown_double(*number)),
            Value::Text(text) => Some(text.clone()),
            Value::List(list) => Some(list.join(",")),
        }
    }

    /// Converts the value of another name for a setting of the type `asked`: hours to milliseconds (all negative numbers become
    /// −1), and one directory to a list.
    pub(super) fn scaled(self, factor: i64, asked: Kind) -> Value {
        match self {
            Value::Number(number) if factor != 1 && number < 0 => Value::Number(-1),
            Value::Number(number) => Value::Number(number.saturating_mul(factor)),
            Value::Text(text) if asked == Kind::List => Value::List(vec![text]),
            other => other,
        }
    }

    pub(super) fn flag(&self) -> bool {
        matches!(self, Value::Flag(true))
    }

    pub(super) fn number<N: TryFrom<i64>>(&self) -> N {
        let Value::Number(number) = self else { panic!("the row of a number has a numeric type: {self:?}") };
        N::try_from(*number).ok().expect("the row's check keeps numbers within their field")
    }

    pub(super) fn number_if_any(&self) -> Option<i64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    /// A number of which all negative values mean "no limit".
    pub(super) fn limit(&self) -> Option<u64> {
        u64::try_from(self.number::<i64>()).ok()
    }

    pub(super) fn millis(&self) -> Duration {
        Duration::from_millis(self.number())
    }

    pub(super) fn minutes(&self) -> Duration {
        Duration::from_secs(60 * self.number::<u64>())
    }

    /// Milliseconds of which all negative values mean "for ever".
    pub(super) fn millis_or_ever(&self) -> Option<Duration> {
        self.limit().map(Duration::from_millis)
    }

    /// Milliseconds since 1970 of which all negative values mean "not set".
    pub(super) fn time(&self) -> Option<Timestamp> {
        Some(Timestamp(self.number())).filter(|time| time.0 >= 0)
    }

    pub(super) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Null | Value::Flag(_) | Value::Number(_) | Value::Fraction(_) | Value::List(_) => {
                String::new()
            }
        }
    }

    /// `None` for null and for empty text.
    pub(super) fn text_if_any(&self) -> Option<String> {
        Some(self.text()).filter(|text| !text.is_empty())
    }

    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Value::List(list) => list.clone(),
            Value::Null | Value::Flag(_) | Value::Number(_) | Value::Fraction(_) | Value::Text(_) => {
                Vec::new()
            }
        }
    }

    /// A list, or a text that is read as one.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Value::Text(text) => text.split(',').map(|one| one.trim().to_owned()).collect(),
            Value::List(list) => list.clone(),
            Value::Null | Value::Flag(_) | Value::Number(_) | Value::Fraction(_) => Vec::new(),
        }
    }
}

/// The number as Java prints it.
pub(super) fn shown_double(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let written = format!("{number:E}");
    match written.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        Some(_) | None => written,
    }
}
