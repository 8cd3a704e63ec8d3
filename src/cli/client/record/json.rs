//! A record as a line of JSON: `consume --json` prints it, and `produce --from-json` reads it back.
//!
//! Keys, values and names of headers that are text are strings. Other bytes are `{"base64": "…"}`, so nothing is
//! lost, and null is null.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::{NewHeader, NewRecord, ReadRecord};

const FIELDS: [&str; 7] = ["topic", "partition", "offset", "timestamp", "key", "value", "headers"];

pub fn written(record: &ReadRecord<'_>) -> Value {
    let headers = record.headers.iter();
    let headers: Vec<Value> =
        headers.map(|(name, value)| json!({ "key": bytes(Some(name)), "value": bytes(*value) })).collect();
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": bytes(record.key),
        "value": bytes(record.value),
        "headers": headers,
    })
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => json!(text),
        Some((bytes, Err(_))) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

/// Reads a line. Only `value` has to be there; null makes a tombstone. The offset is the new broker's to choose.
pub fn read(line: &[u8]) -> Result<NewRecord, String> {
    let line: Value = serde_json::from_slice(line).map_err(|error| format!("this is no JSON: {error}"))?;
    let Value::Object(mut fields) = line else { return Err("this is no JSON object".to_owned()) };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(format!("a record has no field \"{unknown}\", only {}", FIELDS.join(", ")));
    }
    let partition = number(&mut fields, "partition")?;
    number(&mut fields, "offset")?;
    Ok(NewRecord {
        topic: topic(&mut fields)?,
        partition: partition.map(i32::try_from).transpose().map_err(|_| "partition is too large")?,
        timestamp: number(&mut fields, "timestamp")?,
        key: bytes_of(fields.remove("key").unwrap_or_default(), "key")?,
        value: bytes_of(required(&mut fields, "value")?, "value")?,
        headers: headers(fields.remove("headers").unwrap_or_default())?,
    })
}

fn topic(fields: &mut Map<String, Value>) -> Result<Option<String>, String> {
    match fields.remove("topic").unwrap_or_default() {
        Value::Null => Ok(None),
        Value::String(topic) => Ok(Some(topic)),
        _ => Err("topic is not text".to_owned()),
    }
}

fn number(fields: &mut Map<String, Value>, name: &str) -> Result<Option<i64>, String> {
    match fields.remove(name).unwrap_or_default() {
        Value::Null => Ok(None),
        value => {
            let number = value.as_i64().filter(|number| *number >= 0);
            number.map(Some).ok_or_else(|| format!("{name} is not a whole number from 0 on"))
        }
    }
}

fn required(fields: &mut Map<String, Value>, name: &str) -> Result<Value, String> {
    fields.remove(name).ok_or_else(|| format!("there is no \"{name}\"; null is a tombstone"))
}

fn bytes_of(value: Value, name: &str) -> Result<Option<Vec<u8>>, String> {
    let wrong = || format!("{name} is not text, {{\"base64\": \"…\"}} or null");
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.into_bytes())),
        Value::Object(fields) if fields.len() == 1 => {
            let text = fields.get("base64").and_then(Value::as_str).ok_or_else(wrong)?;
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map(Some).map_err(|error| format!("{name} is not valid base64: {error}"))
        }
        Value::Object(_) | Value::Array(_) | Value::Number(_) | Value::Bool(_) => Err(wrong()),
    }
}

fn headers(value: Value) -> Result<Vec<NewHeader>, String> {
    let wrong = || "headers is not a list of {\"key\": …, \"value\": …}".to_owned();
    let all = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(all) => all,
        _ => return Err(wrong()),
    };
    let headers = all.into_iter().map(|header| {
        let Value::Object(mut header) = header else { return Err(wrong()) };
        let name = bytes_of(header.remove("key").unwrap_or_default(), "key of a header")?;
        let value = bytes_of(required(&mut header, "value")?, "value of a header")?;
        let name = name.filter(|_| header.is_empty()).ok_or_else(wrong)?;
        let name = String::from_utf8(name).map_err(|_| "key of a header is not UTF-8")?;
        Ok((name, value))
    });
    headers.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::EXAMPLE;
    use super::*;

    #[test]
    fn a_line_is_one_object_with_all_there_is() {
        let record = ReadRecord {
            value: Some(b"\xff\xfe"),
            headers: vec![(b"trace", Some(b"abc")), (b"none", None), (b"\xff", Some(b""))],
            ..EXAMPLE
        };
        let expected = json!({
            "topic": "orders", "partition": 3, "offset": 42, "timestamp": 1_700_000_000_123_i64,
            "key": "anna", "value": { "base64": "//4=" },
            "headers": [
                { "key": "trace", "value": "abc" },
                { "key": "none", "value": null },
                { "key": { "base64": "/w==" }, "value": "" },
            ],
        });
        assert_eq!(written(&record), expected);
    }

    #[test]
    fn a_line_needs_no_more_than_a_value() {
        let value = |value: &[u8]| NewRecord { value: Some(value.to_vec()), ..NewRecord::default() };
        assert_eq!(read(b"{\"value\": \"x\"}"), Ok(value(b"x")));
        assert_eq!(read(b"{\"value\": {\"base64\": \"//4=\"}, \"headers\": null}"), Ok(value(b"\xff\xfe")));
        assert_eq!(read(b"{\"value\": null}"), Ok(NewRecord::default()));
    }

    #[test]
    fn a_line_that_could_mean_something_else_is_refused_with_the_reason() {
        for (line, why) in [
            ("", "this is no JSON: EOF"),
            ("{\"value\": \"x\"", "this is no JSON: EOF"),
            ("7", "this is no JSON object"),
            ("{\"key\": \"k\"}", "there is no \"value\""),
            ("{\"value\": \"x\", \"val\": 1}", "a record has no field \"val\""),
            ("{\"value\": 7}", "value is not text"),
            ("{\"value\": {\"a\": 1}}", "value is not text"),
            ("{\"value\": {\"base64\": \"*\"}}", "value is not valid base64"),
            ("{\"value\": \"x\", \"key\": []}", "key is not text"),
            ("{\"value\": \"x\", \"topic\": 7}", "topic is not text"),
            ("{\"value\": \"x\", \"partition\": -1}", "partition is not a whole number"),
            ("{\"value\": \"x\", \"partition\": 3000000000}", "partition is too large"),
            ("{\"value\": \"x\", \"timestamp\": \"now\"}", "timestamp is not a whole number"),
            ("{\"value\": \"x\", \"headers\": {\"a\": \"b\"}}", "headers is not a list"),
            ("{\"value\": \"x\", \"headers\": [{\"key\": \"a\"}]}", "there is no \"value\""),
            ("{\"value\": \"x\", \"headers\": [{\"value\": \"a\"}]}", "headers is not a list"),
            (
                "{\"value\": \"x\", \"headers\": [{\"key\": {\"base64\": \"/w==\"}, \"value\": null}]}",
                "not UTF-8",
            ),
        ] {
            let refused = read(line.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{line}: {refused}");
        }
    }

    fn some_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = any::<String>().prop_map(String::into_bytes);
        prop::option::of(prop_oneof![any::<Vec<u8>>(), text, Just(b"{\"base64\": \"eA==\"}".to_vec())])
    }

    proptest! {
        #[test]
        fn every_record_comes_back_as_it_was_printed(
            topic in "[a-z._-]{1,9}",
            partition in 0..i32::MAX,
            timestamp in prop::option::of(0..i64::MAX),
            key in some_bytes(),
            value in some_bytes(),
            headers in prop::collection::vec((any::<String>(), some_bytes()), 0..4),
        ) {
            let shown = ReadRecord {
                topic: &topic,
                partition,
                offset: 7,
                timestamp,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect(),
            };
            let line = written(&shown).to_string();
            prop_assert!(!line.contains('\n'));
            let sent = NewRecord { topic: Some(topic.clone()), partition: Some(partition), timestamp, key, value, headers };
            prop_assert_eq!(read(line.as_bytes()), Ok(sent));
        }
    }
}
