//! The shape of a setting: a row, the values it takes, and how its text becomes a value.

use std::time::Duration;

use super::ConfigError;

/// One setting. Built in `const` context: `long("retention.ms", "604800000").at_least(-1)`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// As text, the way DescribeConfigs shows it; `None` is Kafka's null.
    pub default: Option<&'static str>,
    pub check: Check,
    pub change: Change,
    /// Other names that give the value where this one is not set, the first set one wins, and what
    /// their number is multiplied by.
    pub stands_in: &'static [(&'static str, i64)],
    /// The setting of the same meaning in the other scope: the broker's holds for topics that do
    /// not set theirs.
    pub twin: Option<&'static str>,
    pub doc: &'static str,
}

/// Kafka's name for what a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Int,
    Long,
    Text,
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Any,
    AtLeast(i64),
    OneOf(&'static [&'static str]),
    /// Kafka takes all of `known`; of these only `works` does something here yet.
    OnlyYet {
        known: &'static [&'static str],
        works: &'static str,
        because: &'static str,
    },
}

/// Whether Kafka lets an operator change the setting of a running broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    AtStart,
    Dynamic,
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Number(i64),
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

pub(super) const fn long(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Long, Some(default))
}

pub(super) const fn text(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Text, Some(default))
}

pub(super) const fn list(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::List, Some(default))
}

impl Row {
    pub(super) const fn at_least(mut self, least: i64) -> Row {
        self.check = Check::AtLeast(least);
        self
    }

    pub(super) const fn one_of(mut self, known: &'static [&'static str]) -> Row {
        self.check = Check::OneOf(known);
        self
    }

    pub(super) const fn only_yet(
        mut self,
        known: &'static [&'static str],
        works: &'static str,
        because: &'static str,
    ) -> Row {
        self.check = Check::OnlyYet { known, works, because };
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

    pub(super) const fn doc(mut self, doc: &'static str) -> Row {
        self.doc = doc;
        self
    }

    /// Ours alone: not shown to clients.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("jackdaw.") || self.name.starts_with("internal.")
    }

    /// Reads and checks what somebody wrote.
    pub(super) fn read(&self, written: &str) -> Result<Value, ConfigError> {
        let refuse = |value: &str, why: String| ConfigError::Invalid {
            name: self.name.to_owned(),
            value: value.to_owned(),
            why,
        };
        let trimmed = written.trim();
        let value = self.kind.parse(trimmed).map_err(|why| refuse(written, why))?;
        match (&value, self.check) {
            (Value::Number(number), Check::AtLeast(least)) if *number < least => {
                return Err(refuse(trimmed, format!("Value must be at least {least}")));
            }
            (Value::Text(one), check) => check.word(one).map_err(|why| refuse(one, why))?,
            (Value::List(all), check) => {
                for one in all {
                    check.word(one).map_err(|why| refuse(one, why))?;
                }
            }
            (Value::Null | Value::Flag(_) | Value::Number(_), _) => {}
        }
        Ok(value)
    }

    /// The default as a value: checked like any other text, which a test does for every row.
    pub(super) fn default_value(&self) -> Value {
        match self.default {
            None => Value::Null,
            Some(written) => self.read(written).expect("a row's default passes its own check"),
        }
    }
}

impl Kind {
    /// The name Kafka gives the type.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Int => "INT",
            Kind::Long => "LONG",
            Kind::Text => "STRING",
            Kind::List => "LIST",
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
            Kind::Int => number(i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::Long => number(i64::MIN, i64::MAX),
            Kind::Text => Ok(Value::Text(trimmed.to_owned())),
            Kind::List if trimmed.is_empty() => Ok(Value::List(Vec::new())),
            Kind::List => Ok(Value::List(trimmed.split(',').map(|one| one.trim().to_owned()).collect())),
        }
    }
}

impl Check {
    fn word(self, word: &str) -> Result<(), String> {
        match self {
            Check::Any | Check::AtLeast(_) => Ok(()),
            Check::OneOf(known) if known.contains(&word) => Ok(()),
            Check::OnlyYet { works, .. } if word == works => Ok(()),
            Check::OnlyYet { known, because, .. } if known.contains(&word) => Err(because.to_owned()),
            Check::OneOf(known) | Check::OnlyYet { known, .. } => {
                Err(format!("String must be one of: {}", known.join(", ")))
            }
        }
    }
}

/// How a value becomes a field. A row and its reader stand side by side; a pair that does not fit
/// fails in the test that reads every default.
impl Value {
    /// The text DescribeConfigs shows.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::List(list) => Some(list.join(",")),
        }
    }

    /// The value that another row's value stands for here: hours as milliseconds (all negative
    /// ones are −1), one directory as a list of one.
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

    /// A number of which every negative value means "no limit".
    pub(super) fn limit(&self) -> Option<u64> {
        u64::try_from(self.number::<i64>()).ok()
    }

    pub(super) fn millis(&self) -> Duration {
        Duration::from_millis(self.number())
    }

    pub(super) fn minutes(&self) -> Duration {
        Duration::from_secs(60 * self.number::<u64>())
    }

    /// Milliseconds of which every negative value means "for ever".
    pub(super) fn millis_or_ever(&self) -> Option<Duration> {
        self.limit().map(Duration::from_millis)
    }

    pub(super) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Null | Value::Flag(_) | Value::Number(_) | Value::List(_) => String::new(),
        }
    }

    /// Null and the empty text are the same: not said.
    pub(super) fn text_if_any(&self) -> Option<String> {
        Some(self.text()).filter(|text| !text.is_empty())
    }

    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Value::List(list) => list.clone(),
            Value::Null | Value::Flag(_) | Value::Number(_) | Value::Text(_) => Vec::new(),
        }
    }
}

/// Declares a settings struct together with its rows, one pair a line:
/// `field: Type = reader, row;` with the documentation above it. `more` is for fields that do not
/// come from one row.
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
            /// Every field from the value of its row.
            fn from_values(value: impl Fn(&Row) -> Value $($(, $extra: $extra_type)+)?) -> $name {
                $name {
                    $($field: { let reader: fn(&Value) -> $type = $reader; reader(&value(&$row)) },)+
                    $($($extra,)+)?
                }
            }
        }
    };
}
pub(super) use settings;
