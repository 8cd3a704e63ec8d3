//! Kafka's answers as they are stored in `kafka`: a file for each script, a heading for each step, and one
//! line for all versions with the same answer.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::play::{Answers, NEVER};
use super::script::{Script, folder};

/// By the version of the run; `None` if there is only one run.
pub type Plays = BTreeMap<Option<i16>, Answers>;

fn path(script: &Script) -> PathBuf {
    folder().join("kafka").join(format!("{}.txt", script.name))
}

pub fn write(script: &Script, plays: &Plays) {
    let mut text = String::new();
    for step in &script.steps {
        let answers: Vec<(Option<i16>, String)> = plays
            .iter()
            .filter_map(|(version, answers)| Some((*version, answers.get(&step.number)?.to_string())))
            .collect();
        if answers.is_empty() {
            continue;
        }
        let _ = writeln!(text, "# {} {}", step.number + 1, step.title);
        let is_wrong = answers.iter().any(|(_, answer)| answer.contains(NEVER));
        assert!(!is_wrong, "{}.txt:{}: Kafka never answers what is waited for", script.name, step.line);
        for alike in answers.chunk_by(|(_, one), (_, next)| one == next) {
            let versions = match (alike[0].0, alike[alike.len() - 1].0) {
                (Some(first), Some(last)) if first == last => first.to_string(),
                (Some(first), Some(last)) => format!("{first}-{last}"),
                _ => "once".to_owned(),
            };
            let _ = writeln!(text, "{versions} {}", alike[0].1);
        }
    }
    fs::create_dir_all(folder().join("kafka")).expect("the folder can be made");
    fs::write(path(script), text).expect("the answers can be written");
}

/// The recorded answers, or nothing if the script is newer.
pub fn read(script: &Script) -> Plays {
    let text = fs::read_to_string(path(script)).unwrap_or_default();
    let mut plays = Plays::new();
    let mut number_of_step = None;
    for line in text.lines() {
        let (first, rest) = line.split_once(' ').expect("two words");
        if first == "#" {
            let (number, title) = rest.split_once(' ').expect("a number and a title");
            let number: usize = number.parse().expect("a number");
            let step = script.steps.get(number - 1).filter(|step| step.title == title);
            number_of_step = step.map(|step| step.number);
            continue;
        }
        let Some(step) = number_of_step else { continue };
        let answer: Json = serde_json::from_str(rest).expect("an answer is JSON");
        let versions: Vec<Option<i16>> = match first.split_once('-').unwrap_or((first, first)) {
            ("once", _) => vec![None],
            (first, last) => {
                let number = |text: &str| text.parse::<i16>().expect("a version");
                (number(first)..=number(last)).map(Some).collect()
            }
        };
        for version in versions {
            plays.entry(version).or_default().insert(step, answer.clone());
        }
    }
    plays
}
