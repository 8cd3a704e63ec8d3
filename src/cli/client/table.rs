//! Results as a table or as JSON.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::shown;

/// Rows with named columns. A name such as `start_offset` is a key in JSON and `START OFFSET` in a table.
pub struct Table {
    names: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub fn new(names: &'static [&'static str]) -> Table {
        Table { names, rows: Vec::new() }
    }

    /// Adds a row with one value for each name.
    pub fn row<const N: usize>(&mut self, values: [Value; N]) {
        debug_assert_eq!(N, self.names.len(), "a row has a value for each name");
        self.rows.push(values.into());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn json(&self) -> Vec<Value> {
        let rows = self.rows.iter().map(|row| {
            let named = self.names.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
            Value::Object(named.collect::<Map<String, Value>>())
        });
        rows.collect()
    }

    pub fn print(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", Value::Array(self.json()));
        }
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let width = |column: usize| {
            let widths = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            widths.chain([self.names[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let is_number = |column: usize| {
            self.rows.iter().all(|row| matches!(row.get(column), Some(Value::Number(_) | Value::Null)))
        };
        let right: Vec<bool> = (0..self.names.len()).map(is_number).collect();
        let heads = self.names.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
        for row in std::iter::once(&heads).chain(&cells) {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                line.push_str(&if *right { gap + cell } else { cell.clone() + &gap });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => shown(text),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["topic", "end_offset", "replicas"]);
        table.row([json!("a\u{1b}[31m"), json!(7), json!([1, 2])]);
        table.row([json!("payments"), Value::Null, json!([])]);
        table
    }

    #[test]
    fn columns_line_up_numbers_to_the_right_and_nothing_escapes_to_the_terminal() {
        let mut out = Vec::new();
        table().print(false, &mut out).unwrap();
        let expected =
            "TOPIC        END OFFSET  REPLICAS\na\\u{1b}[31m           7  1,2\npayments              -\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_same_under_the_same_names() {
        let mut out = Vec::new();
        table().print(true, &mut out).unwrap();
        let read: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read[0], json!({ "topic": "a\u{1b}[31m", "end_offset": 7, "replicas": [1, 2] }));
        assert_eq!(read[1]["end_offset"], Value::Null);
    }
}
