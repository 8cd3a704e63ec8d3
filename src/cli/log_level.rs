//! The log level at the start: that of `--log-level`, else that of the variable of Kafka's image, else INFO.

use tracing::Level;

/// The level of log4j's root logger in the image `apache/kafka`.
pub(super) const VARIABLE: &str = "KAFKA_LOG4J_ROOT_LOGLEVEL";

/// `Err` has the reason why the variable has no effect.
pub(super) fn of(flag: Option<&str>, variable: Option<&str>) -> Result<Level, String> {
    if let Some(level) = flag.and_then(|flag| flag.parse().ok()) {
        return Ok(level);
    }
    let Some(written) = variable.map(str::trim).filter(|written| !written.is_empty()) else {
        return Ok(Level::INFO);
    };
    log4j(written)
        .ok_or_else(|| format!("{VARIABLE} is {written}: expected ERROR, WARN, INFO, DEBUG or TRACE"))
}

/// The level with this name of log4j. Errors are always logged.
fn log4j(name: &str) -> Option<Level> {
    match name.to_ascii_uppercase().as_str() {
        "OFF" | "FATAL" | "ERROR" => Some(Level::ERROR),
        "WARN" => Some(Level::WARN),
        "INFO" => Some(Level::INFO),
        "DEBUG" => Some(Level::DEBUG),
        "TRACE" | "ALL" => Some(Level::TRACE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_goes_before_the_variable_and_that_before_info() {
        assert_eq!(of(None, None), Ok(Level::INFO));
        assert_eq!(of(None, Some(" ")), Ok(Level::INFO));
        assert_eq!(of(None, Some("DEBUG")), Ok(Level::DEBUG));
        assert_eq!(of(None, Some("warn")), Ok(Level::WARN));
        assert_eq!(of(Some("error"), Some("DEBUG")), Ok(Level::ERROR));
        assert_eq!(of(None, Some("OFF")), Ok(Level::ERROR));
    }

    #[test]
    fn an_unknown_level_is_named_with_the_known_ones() {
        let why = of(None, Some("LOUD")).unwrap_err();
        assert_eq!(why, "KAFKA_LOG4J_ROOT_LOGLEVEL is LOUD: expected ERROR, WARN, INFO, DEBUG or TRACE");
    }
}
