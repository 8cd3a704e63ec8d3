//! The declaration of a setting: a row.

use super::ConfigError;
use super::check::{Check, is_duration, is_replica, numbers_per_address};
use super::value::{Kind, Value, shown_double};

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
            pub(super) fn from_values(
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
