//! BROKER_LOGGER (KIP-412): the log levels of this process. They are not stored: a restart resets them.

use crate::api::context::Context;
use crate::api::error::{ErrorCode, Refusal};
use crate::telemetry::levels::{self, LogLevel};

use super::invalid_request;

/// Applies all changes or none.
pub fn alter(
    broker: &str,
    changes: &[(String, i8, Option<String>)],
    validate_only: bool,
    ctx: &Context,
) -> Result<(), Refusal> {
    let node = ctx.node();
    match broker.parse::<i32>() {
        Ok(asked) if asked == node.0 => {}
        Ok(asked) => {
            return Err(invalid_request(format!(
                "Unexpected node id. Expected {node}, but received {asked}"
            )));
        }
        Err(_) => return Err(invalid_request(format!("Node id must be an integer, but it is: {broker}"))),
    }
    let changes: Vec<(&str, Option<LogLevel>)> = changes
        .iter()
        .map(|(name, operation, value)| change(name, *operation, value.as_deref()))
        .collect::<Result<_, _>>()?;
    if !validate_only {
        for (logger, level) in changes {
            levels::set(logger, level);
            let level = level.map_or("that of the root logger", LogLevel::name);
            tracing::warn!(logger, level, "a log level was altered");
        }
    }
    Ok(())
}

fn change<'a>(
    logger: &'a str,
    operation: i8,
    value: Option<&str>,
) -> Result<(&'a str, Option<LogLevel>), Refusal> {
    let exists = || {
        if levels::is_logger(logger) {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::InvalidConfig, format!("Logger {logger} does not exist!")))
        }
    };
    match operation {
        0 => {
            exists()?;
            let value = value.unwrap_or_default();
            match LogLevel::parse(value) {
                Some(level) => Ok((logger, Some(level))),
                None => Err(Refusal::new(
                    ErrorCode::InvalidConfig,
                    format!(
                        "Cannot set the log level of {logger} to {value} as it is not a supported log level. \
                         Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
                    ),
                )),
            }
        }
        1 => {
            exists()?;
            if logger == levels::ROOT {
                Err(invalid_request(format!("Removing the log level of the {logger} logger is not allowed")))
            } else {
                Ok((logger, None))
            }
        }
        2 => Err(invalid_request("APPEND operation is not allowed for the BROKER_LOGGER resource")),
        3 => Err(invalid_request("SUBTRACT operation is not allowed for the BROKER_LOGGER resource")),
        other => Err(invalid_request(format!(
            "Unknown operation type {other} is not allowed for the BROKER_LOGGER resource"
        ))),
    }
}
