//! A strict parser of metrics pages in OpenMetrics 1.0 and in Prometheus's text format, as far as our page
//! uses them. It refuses everything that these formats do not allow or that our page does not need.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    OpenMetrics,
    Prometheus,
}

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    help: bool,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

pub type Families = BTreeMap<String, Family>;

pub fn read(page: &str, form: Form) -> Result<Families, String> {
    let lines = match form {
        Form::OpenMetrics => page.strip_suffix("\n# EOF\n").ok_or("the end is not # EOF")?,
        Form::Prometheus => page.strip_suffix('\n').ok_or("the last line has no end")?,
    };
    let mut families = Families::new();
    // The metric of the current lines: all lines of a metric must be together.
    let mut now = String::new();
    for line in lines.split('\n') {
        let wrong = |why: &str| format!("{why}: {line:?}");
        if let Some(described) = line.strip_prefix("# ") {
            let (what, rest) = described.split_once(' ').ok_or_else(|| wrong("a comment"))?;
            let (name, text) = rest.split_once(' ').ok_or_else(|| wrong("nothing is said"))?;
            if !is_name(name, true) {
                return Err(wrong("no name"));
            }
            if name != now {
                if families.insert(name.to_owned(), Family::default()).is_some() {
                    return Err(wrong("a family in two places"));
                }
                name.clone_into(&mut now);
            }
            let family = families.entry(now.clone()).or_default();
            if !family.samples.is_empty() {
                return Err(wrong("said behind the samples"));
            }
            match what {
                "HELP" if !family.help => {
                    unescaped(text, form == Form::OpenMetrics).ok_or_else(|| wrong("an escape"))?;
                    family.help = true;
                }
                "TYPE" if family.kind.is_empty() && ["counter", "gauge", "histogram"].contains(&text) => {
                    text.clone_into(&mut family.kind);
                }
                "UNIT" if form == Form::OpenMetrics && name.ends_with(&format!("_{text}")) => {}
                _ => return Err(wrong("not this, or not again")),
            }
            continue;
        }
        let sample = sample(line).ok_or_else(|| wrong("no sample"))?;
        let family = families.get_mut(&now).ok_or_else(|| wrong("of no family"))?;
        let suffix = sample.name.strip_prefix(&*now).ok_or_else(|| wrong("of another family"))?;
        let has_bound = sample.labels.contains_key("le");
        let fits = match (family.kind.as_str(), suffix) {
            ("counter", "_total") => form == Form::OpenMetrics && !has_bound,
            ("counter", "") => form == Form::Prometheus && !has_bound,
            ("gauge", "") | ("histogram", "_sum" | "_count") => !has_bound,
            ("histogram", "_bucket") => has_bound,
            _ => false,
        };
        let counts = family.kind != "gauge";
        if !fits || (counts && (sample.value.is_nan() || sample.value < 0.0)) {
            return Err(wrong("not in such a family"));
        }
        family.samples.push(sample);
    }
    for (name, family) in &families {
        each_once(family).map_err(|why| format!("{name}: {why}"))?;
        if family.kind == "histogram" {
            adds_up(name, family).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(families)
}

/// `name{label="value",…} value`, without a time or an exemplar.
fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    let value = match rest.strip_prefix('{') {
        None => rest.strip_prefix(' ')?,
        Some(mut rest) => loop {
            if let Some(value) = rest.strip_prefix("} ") {
                break value;
            }
            if !labels.is_empty() {
                rest = rest.strip_prefix(',')?;
            }
            let (label, behind) = rest.split_once("=\"")?;
            let end = end_of_text(behind)?;
            let is_new = labels.insert(label.to_owned(), unescaped(&behind[..end], true)?).is_none();
            if !is_new || !is_name(label, false) {
                return None;
            }
            rest = &behind[end + 1..];
        },
    };
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number if number.bytes().all(|letter| b"0123456789+-.eE".contains(&letter)) => number.parse().ok()?,
        _ => return None,
    };
    is_name(name, true).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The position of the quotation mark that ends a text.
fn end_of_text(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|letter| {
        let ends = letter == b'"' && !is_escaped;
        is_escaped = letter == b'\\' && !is_escaped;
        ends
    })
}

fn unescaped(text: &str, quotes: bool) -> Option<String> {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                '\\' => '\\',
                '"' if quotes => '"',
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(plain)
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let is_letter =
        |letter: char| letter.is_ascii_alphabetic() || letter == '_' || (may_have_colons && letter == ':');
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn each_once(family: &Family) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match family.samples.iter().find(|sample| !seen.insert((&sample.name, &sample.labels))) {
        Some(twice) => Err(format!("twice there: {twice:?}")),
        None => Ok(()),
    }
}

/// Buckets do not fall, and the last one equals the count.
fn adds_up(name: &str, family: &Family) -> Result<(), String> {
    let mut last: BTreeMap<BTreeMap<String, String>, (f64, f64)> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut of = sample.labels.clone();
        let bound = of.remove("le").unwrap_or_default();
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| "a bound")? };
        let (before, count) = last.get(&of).copied().unwrap_or((f64::NEG_INFINITY, 0.0));
        if bound <= before || sample.value < count {
            return Err(format!("buckets do not rise: {sample:?}"));
        }
        last.insert(of, (bound, sample.value));
    }
    let all = family.samples.iter().filter(|sample| sample.name == format!("{name}_count"));
    let all: BTreeMap<_, _> =
        all.map(|sample| (sample.labels.clone(), (f64::INFINITY, sample.value))).collect();
    if all == last { Ok(()) } else { Err("the last bucket is not the count".to_owned()) }
}

#[test]
fn the_reader_refuses_other_text_than_a_page() {
    const PAGE: &str = "# HELP a Counts.\n# TYPE a counter\na_total{x=\"1\\\"\\n\"} 2\n# TYPE h histogram\n\
        h_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 7.5\nh_count 3\n# EOF\n";
    let page = read(PAGE, Form::OpenMetrics).unwrap();
    assert_eq!(page["a"].samples[0].labels["x"], "1\"\n");
    assert_eq!((page["a"].samples[0].value, page["h"].samples[2].value), (2.0, 7.5));
    for (right, wrong) in [
        ("# EOF\n", "# EOF"),
        ("# EOF\n", "# EOF\n# EOF\n"),
        ("# EOF\n", "a_total 1\n# EOF\n"),
        ("# EOF\n", "# TYPE a counter\n# EOF\n"),
        ("# EOF\n", "\n# EOF\n"),
        ("# TYPE a", "# TYPE a counter\n# TYPE a"),
        ("counter", "count"),
        ("a_total{", "a{"),
        ("a_total{", "b_total{"),
        ("a_total{", "1_total{"),
        ("x=\"1", "1=\"1"),
        ("x=\"1", "x=\"\\t1"),
        ("x=\"1", "x=\"1\",x=\"1"),
        ("x=\"1", "x=\"1\"y=\"1"),
        ("} 2", "} -2"),
        ("} 2", "} 2 1700000000"),
        ("} 2", "} inf"),
        ("} 2", "}2"),
        ("} 2\n", "} 2\na_total{x=\"1\\\"\\n\"} 2\n"),
        ("le=\"1.0\"} 1", "le=\"1.0\"} 4"),
        ("le=\"1.0\"", "le=\"+Inf\""),
        ("h_count 3", "h_count 4"),
        ("h_count 3", "h_sum 3"),
    ] {
        let broken = PAGE.replacen(right, wrong, 1);
        assert!(read(&broken, Form::OpenMetrics).is_err(), "{broken}");
    }
}
