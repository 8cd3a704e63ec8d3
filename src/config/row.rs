//! The declaration of a setting: a row, its possible values, and the parsing of its text.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::ConfigError;
use crate::types::Timestamp;

/// One setting. Made in a `const` context: `long("retention.ms", "604800000").at_least(-1)`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// The text that DescribeConfigs returns; `None` is Kafka's null.
    pub default: Option<&'static str>,
    pub check: Check,
    pub change: Change,
    /// Whether the setting has an effect here. Others are only accepted, checked and shown.
    pub acts: bool,
    /// Other names that give the value if this one is not set, each with a factor for its number. The
    /// first one that is set wins.
    pub stands_in: &'static [(&'static str, i64)],
    /// The corresponding setting of the other scope: the broker's value is the default of topics.
    pub twin: Option<&'static str>,
    pub doc: &'static str,
}

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

/// Whether Kafka allows changes of the setting while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    AtStart,
    Dynamic,
    /// Only for single brokers, not for all of a cluster.
    PerBroker,
    /// Only as `listener.name.{name}.{setting}`.
    PerListener,
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

const fn row(name: &'static str, kind: Kind, default: Option<&'static str>) -> Row {
    Row {
        name,
        kind,
        default,
        check: Check::Any,
        change: Change::AtStart,
        acts: true,
        stands_in: &[],
        twin: None,
        doc: "",
    }
}

pub(super) const fn boolean(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Boolean, Some(default))
}

pub(super) const fn int(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Int, Some(default))
}

pub(super) const fn short(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Short, Some(default))
}

pub(super) const fn long(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Long, Some(default))
}

pub(super) const fn double(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Double, Some(default))
}

pub(super) const fn text(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Text, Some(default))
}

/// A password, which has no default.
pub(super) const fn password(name: &'static str) -> Row {
    row(name, Kind::Password, None)
}

/// The name of a Java class, which has no default.
pub(super) const fn class(name: &'static str) -> Row {
    row(name, Kind::Class, None)
}

pub(super) const fn list(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::List, Some(default))
}

impl Row {
    pub(super) const fn at_least(mut self, least: i64) -> Row {
        self.check = Check::AtLeast(least);
        self
    }

    pub(super) const fn between(mut self, least: i64, most: i64) -> Row {
        self.check = Check::Between(least, most);
        self
    }

    pub(super) const fn per_address(mut self) -> Row {
        self.check = Check::PerAddress;
        self
    }

    pub(super) const fn one_of(mut self, known: &'static [&'static str]) -> Row {
        self.check = Check::OneOf(known);
        self
    }

    pub(super) const fn per_broker(mut self) -> Row {
        self.change = Change::PerBroker;
        self
    }

    pub(super) const fn per_listener(mut self) -> Row {
        self.change = Change::PerListener;
        self
    }

    pub(super) const fn dynamic(mut self) -> Row {
        self.change = Change::Dynamic;
        self
    }

    pub(super) const fn or(mut self, stands_in: &'static [(&'static str, i64)]) -> Row {
        self.stands_in = stands_in;
        self
    }

    pub(super) const fn twin(mut self, name: &'static str) -> Row {
        self.twin = Some(name);
        self
    }

    pub(super) const fn null(mut self) -> Row {
        self.default = None;
        self
    }

    pub(super) const fn default(mut self, default: &'static str) -> Row {
        self.default = Some(default);
        self
    }

    pub(super) const fn doc(mut self, doc: &'static str) -> Row {
        self.doc = doc;
        self
    }

    /// Whether only Jackdaw has the setting. It is then not shown to clients.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("jackdaw.") || self.name.starts_with("internal.")
    }

    /// Parses and checks a value.
    pub(super) fn read(&self, written: &str) -> Result<Value, ConfigError> {
        let refuse = |value: &str, why: String| ConfigError::invalid(self.name, value, why);
        let trimmed = written.trim();
        let value = self.kind.parse(trimmed).map_err(|why| refuse(written, why))?;
        match &value {
            Value::Number(number) => self.check.number(*number).map_err(|why| refuse(trimmed, why))?,
            Value::Fraction(number) => {
                self.check.fraction(*number).map_err(|why| refuse(&shown_double(*number), why))?
            }
            Value::List(all) if self.check == Check::Replicas => {
                let is_right = all == &["*"] || all.iter().all(|one| is_replica(one));
                if !is_right {
                    let why = format!(
                        "{} must be the literal '*' or a list of replicas in the following format: \
                         [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                        self.name
                    );
                    return Err(refuse(&format!("[{}]", all.join(", ")), why));
                }
            }
            Value::Text(one) if self.check == Check::OffsetReset => {
                if !["earliest", "latest"].contains(&one.as_str()) && !is_duration(one) {
                    let why = format!(
                        "Invalid value `{one}` for configuration {}. The value must be either 'earliest', \
                         'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.",
                        self.name
                    );
                    return Err(refuse(one, why));
                }
            }
            Value::Text(one) if self.check == Check::PerAddress => {
                numbers_per_address(self.name, one).map_err(|why| refuse(one, why))?;
            }
            Value::Text(one) => self.check.word(one).map_err(|why| refuse(one, why))?,
            Value::List(all) => {
                if matches!(self.check, Check::OneOf(_)) && all.iter().any(String::is_empty) {
                    let why = format!("Configuration '{}' values must not be empty.", self.name);
                    return Err(ConfigError::Conflict(why));
                }
                for one in all {
                    self.check.word(one).map_err(|why| refuse(one, why))?;
                }
            }
            Value::Null | Value::Flag(_) => {}
        }
        Ok(value)
    }

    /// The default as a value. A test checks the default of every row.
    pub(super) fn default_value(&self) -> Value {
        match self.default {
            None => Value::Null,
            Some(written) => self.read(written).expect("a row's default passes its own check"),
        }
    }
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

    fn parse(self, trimmed: &str) -> Result<Value, String> {
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

    fn number(self, number: i64) -> Result<(), String> {
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
    fn fraction(self, number: f64) -> Result<(), String> {
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

    fn word(self, word: &str) -> Result<(), String> {
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
fn is_replica(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    word.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

/// Whether this is `by_duration:P1DT2H3M4.5S`. Any part may be missing, and none may be negative.
fn is_duration(word: &str) -> bool {
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

/// The number as Java prints it.
fn shown_double(number: f64) -> String {
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

    /// Converts the value of another name for `asked`: hours to milliseconds (all negative numbers become
    /// −1), and one directory to a list.
    pub(super) fn scaled(self, factor: i64, asked: &Row) -> Value {
        match self {
            Value::Number(number) if factor != 1 && number < 0 => Value::Number(-1),
            Value::Number(number) => Value::Number(number.saturating_mul(factor)),
            Value::Text(text) if asked.kind == Kind::List => Value::List(vec![text]),
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

/// Declares a settings struct and its rows, one pair per line: `field: Type = reader, row;` with the
/// documentation above it. `more` is for fields that do not come from a single row.
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident { $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $reader:expr, $row:expr;)+ }
        $(more { $($(#[doc = $extra_doc:literal])+ $extra:ident: $extra_type:ty,)+ })?
        const $rows:ident
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
            $($($(#[doc = $extra_doc])+ pub $extra: $extra_type,)+)?
        }

        pub(super) const $rows: &[Row] = &[$($row.doc(concat!($($doc),+)),)+];

        impl $name {
            /// Fills each field from the value of its row.
            /// The other fields are given in their order.
            fn from_values(
                value: impl Fn(&Row) -> Value,
                $(($($extra,)+): ($($extra_type,)+),)?
            ) -> $name {
                $name {
                    $($field: { let reader: fn(&Value) -> $type = $reader; reader(&value(&$row)) },)+
                    $($($extra,)+)?
                }
            }
        }
    };
}
pub(super) use settings;
