//! JAAS: the login modules of a `sasl.jaas.config`, or of a file in the syntax of Java.
//!
//! ```text
//! org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";
//! KafkaServer { org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret"; };
//! ```
//!
//! Errors name classes, but neither options nor values: these are passwords, and a quote too many makes a name of a part of
//! one.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::types::Secret;

/// The setting with a login module.
pub(super) const JAAS: &str = "sasl.jaas.config";
/// The setting with the path of a file.
pub(super) const JAAS_FILE: &str = "jackdaw.sasl.jaas.file";

/// A login module with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginModule {
    pub class: String,
    pub options: BTreeMap<String, Secret>,
}

/// The login module of a `sasl.jaas.config`. As in Kafka it has exactly one.
pub fn of_setting(text: &str) -> Result<LoginModule, String> {
    let mut tokens = Tokens::new(text, Syntax::Setting);
    let mut modules = Vec::new();
    while let Some(class) = tokens.next()? {
        modules.push(module(class, modules.len() + 1, &mut tokens)?);
    }
    match <[LoginModule; 1]>::try_from(modules) {
        Ok([module]) => Ok(module),
        Err(modules) => Err(format!("expected one login module, got {}", modules.len())),
    }
}

/// The contexts of a file, such as `KafkaServer`, each with its login modules.
pub fn of_file(text: &str) -> Result<BTreeMap<String, Vec<LoginModule>>, String> {
    let mut tokens = Tokens::new(text, Syntax::File);
    let mut contexts = BTreeMap::new();
    while let Some(token) = tokens.next()? {
        let name = token.word().ok_or("expected the name of a context")?;
        tokens.expect('{', &name)?;
        let mut modules = Vec::new();
        loop {
            match tokens.next()? {
                Some(Token::Mark('}')) => break,
                Some(class) => modules.push(module(class, modules.len() + 1, &mut tokens)?),
                None => return Err(format!("the context {name} has no end")),
            }
        }
        tokens.expect(';', &name)?;
        if contexts.insert(name.clone(), modules).is_some() {
            return Err(format!("the context {name} is there twice"));
        }
    }
    Ok(contexts)
}

/// The rest of the nth login module, after its class. A word in the wrong place is not named in the error: it can be a part of
/// a password.
fn module(class: Token, nth: usize, tokens: &mut Tokens<'_>) -> Result<LoginModule, String> {
    const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];
    let class = class.word().ok_or("expected the class of a login module")?;
    let flag = tokens.next()?.and_then(Token::word).unwrap_or_default().to_ascii_lowercase();
    if !FLAGS.contains(&flag.as_str()) {
        return Err(format!("expected one of {} after the class of login module {nth}", FLAGS.join(", ")));
    }
    let mut options = BTreeMap::new();
    loop {
        let name = match tokens.next()? {
            Some(Token::Mark(';')) => return Ok(LoginModule { class, options }),
            Some(token) => token.word(),
            None => return Err(format!("the options of {class} do not end with a semicolon")),
        };
        let name = name.ok_or_else(|| format!("expected the name of an option of {class}"))?;
        let is_set = tokens.next()? == Some(Token::Mark('='));
        let value = if is_set { tokens.next()?.and_then(Token::word) } else { None };
        let value = value.ok_or_else(|| {
            let at = options.len() + 1;
            format!("option {at} of {class} has no value; values other than plain words need quotes")
        })?;
        options.insert(name, Secret::new(value));
    }
}

#[derive(PartialEq)]
enum Token {
    Word(String),
    Mark(char),
}

impl Token {
    fn word(self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word),
            Token::Mark(_) => None,
        }
    }
}

/// Java reads settings and files with two different readers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Setting,
    File,
}

struct Tokens<'a> {
    rest: Peekable<Chars<'a>>,
    syntax: Syntax,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str, syntax: Syntax) -> Tokens<'a> {
        Tokens { rest: text.chars().peekable(), syntax }
    }

    fn expect(&mut self, mark: char, context: &str) -> Result<(), String> {
        let is_there = self.next()? == Some(Token::Mark(mark));
        if is_there { Ok(()) } else { Err(format!("expected {mark} in the context {context}")) }
    }

    fn next(&mut self) -> Result<Option<Token>, String> {
        self.skip_blanks_and_comments()?;
        let Some(first) = self.rest.next() else { return Ok(None) };
        if matches!(first, '"' | '\'') {
            return self.quoted(first).map(Some);
        }
        if !is_of_word(first) {
            return Ok(Some(Token::Mark(first)));
        }
        let mut word = String::from(first);
        while let Some(letter) = self.rest.next_if(|letter| is_of_word(*letter)) {
            word.push(letter);
        }
        Ok(Some(Token::Word(word)))
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), String> {
        loop {
            while self.rest.next_if(|letter| letter.is_whitespace()).is_some() {}
            let mut ahead = self.rest.clone();
            match (ahead.next(), ahead.next()) {
                (Some('#'), _) if self.syntax == Syntax::File => self.skip_line(),
                (Some('/'), Some('/')) => self.skip_line(),
                (Some('/'), Some('*')) => self.skip_block()?,
                (Some(_) | None, _) => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        while self.rest.next_if(|letter| *letter != '\n').is_some() {}
    }

    fn skip_block(&mut self) -> Result<(), String> {
        self.rest.nth(1);
        let mut last = ' ';
        for letter in self.rest.by_ref() {
            if (last, letter) == ('*', '/') {
                return Ok(());
            }
            last = letter;
        }
        Err("a comment has no end".to_owned())
    }

    /// The text up to the closing quote. Escapes are those of Java.
    fn quoted(&mut self, quote: char) -> Result<Token, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some(letter) if letter == quote => break,
                Some('\\') => text.push(self.escaped().ok_or("a text in quotes ends with a backslash")?),
                Some('\n') | None => return Err("a text in quotes has no end".to_owned()),
                Some(letter) => text.push(letter),
            }
        }
        if self.syntax == Syntax::File && text.contains("${") {
            // Java puts system properties there, and there are none.
            return Err("${…} in a file is not supported; write the value itself".to_owned());
        }
        Ok(Token::Word(text))
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.rest.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'v' => '\u{b}',
            digit @ '0'..='7' => self.octal(digit),
            other => other,
        })
    }

    /// Up to three octal digits, at most 0o377.
    fn octal(&mut self, first: char) -> char {
        let mut code = first.to_digit(8).unwrap_or(0);
        let most = if first <= '3' { 2 } else { 1 };
        for _ in 0..most {
            let Some(digit) = self.rest.next_if(|letter| letter.is_digit(8)) else { break };
            code = code * 8 + digit.to_digit(8).unwrap_or(0);
        }
        char::from_u32(code).unwrap_or_default()
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '.' | '$' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(module: &LoginModule) -> Vec<(&str, &str)> {
        let text =
            |secret: &'_ Secret| std::str::from_utf8(secret.bytes()).unwrap().to_owned().leak() as &str;
        module.options.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
    }

    #[test]
    fn a_setting_has_one_login_module_with_options() {
        let module =
            of_setting("a.b.PlainLoginModule REQUIRED\n username=\"admin\" user_al.ice='x y';").unwrap();
        assert_eq!(module.class, "a.b.PlainLoginModule");
        assert_eq!(options(&module), [("user_al.ice", "x y"), ("username", "admin")]);
        assert_eq!(of_setting("a.Scram required;").unwrap().options, BTreeMap::new());
    }

    #[test]
    fn texts_in_quotes_have_the_escapes_of_java_and_comments_are_skipped() {
        let text = r#"M required // one = "two";
            /* user_x="y" */ user_a="a\"b\\c\101;=" user_b="" ;"#;
        assert_eq!(options(&of_setting(text).unwrap()), [("user_a", "a\"b\\cA;="), ("user_b", "")]);
    }

    #[test]
    fn a_setting_that_is_wrong_is_refused_without_its_values() {
        for (text, why) in [
            ("", "expected one login module, got 0"),
            ("M required; N required;", "expected one login module, got 2"),
            (
                "M",
                "expected one of required, requisite, sufficient, optional after the class of login module 1",
            ),
            (
                "M perhaps user_a=\"geheim\";",
                "expected one of required, requisite, sufficient, optional after the class of login module 1",
            ),
            ("M required user_a=\"geheim\"", "the options of M do not end with a semicolon"),
            (
                "M required user_a \"geheim\";",
                "option 1 of M has no value; values other than plain words need quotes",
            ),
            ("M required user_a=;", "option 1 of M has no value; values other than plain words need quotes"),
            (
                "M required user_a=\"pa\"geheim word\";",
                "option 2 of M has no value; values other than plain words need quotes",
            ),
            (
                "M required user_a=pa;geheim;",
                "expected one of required, requisite, sufficient, optional after the class of login module 2",
            ),
            ("M required user_a=\"geheim", "a text in quotes has no end"),
            ("M required user_a=\"geheim\\", "a text in quotes ends with a backslash"),
            ("M required /* geheim", "a comment has no end"),
            ("= required;", "expected the class of a login module"),
        ] {
            assert_eq!(of_setting(text).unwrap_err(), why, "{text}");
        }
        assert!(!format!("{:?}", of_setting("M required user_a=geheim;")).contains("geheim"));
    }

    #[test]
    fn a_file_has_contexts_with_any_number_of_login_modules() {
        let text = "# a comment\nKafkaServer {\n  a.Plain required user_a=\"1\";\n  a.Scram optional;\n};\n\
                    Client { };";
        let contexts = of_file(text).unwrap();
        assert_eq!(contexts.keys().collect::<Vec<_>>(), ["Client", "KafkaServer"]);
        let classes: Vec<&str> = contexts["KafkaServer"].iter().map(|module| module.class.as_str()).collect();
        assert_eq!(classes, ["a.Plain", "a.Scram"]);
        assert!(contexts["Client"].is_empty());
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_without_its_values() {
        for (text, why) in [
            ("KafkaServer a.Plain required;", "expected { in the context KafkaServer"),
            ("K { M required;", "the context K has no end"),
            ("K { M required; }", "expected ; in the context K"),
            ("K { }; K { };", "the context K is there twice"),
            ("{", "expected the name of a context"),
            (
                "K { M required user_a=\"${geheim}\"; };",
                "${…} in a file is not supported; write the value itself",
            ),
        ] {
            assert_eq!(of_file(text).unwrap_err(), why, "{text}");
        }
    }
}
