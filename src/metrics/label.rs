//! A client's text as the value of a label. The page escapes quotes and line ends. Other characters that
//! a scraper may not accept, and long texts, are changed here.

use std::fmt::Write;

/// The maximum number of characters of a client's text in a label.
const LONGEST: usize = 255;

/// The text itself if possible. Otherwise it is cut, control characters are replaced, and a checksum of
/// the whole text is added, so that different texts stay different.
pub fn shown(text: &str) -> String {
    let is_odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    let is_long = text.chars().nth(LONGEST).is_some();
    if !is_long && !text.contains(is_odd) {
        return text.to_owned();
    }
    let letters = text.chars().take(LONGEST);
    let mut shown: String =
        letters.map(|letter| if is_odd(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect();
    let _ = write!(shown, "…#{:08x}", crc32c::crc32c(text.as_bytes()));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_of_any_language_stays_as_it_is() {
        for text in ["", "billing", "grüße \"quoted\"\\\n\tend", "支払い", &"é".repeat(LONGEST)] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn characters_that_a_scraper_cannot_read_or_keep_are_replaced_and_names_stay_distinct() {
        let (zero, one) = (shown("a\0b"), shown("a\u{1}b"));
        assert!(zero.starts_with("a\u{fffd}b…#") && one.starts_with("a\u{fffd}b…#"), "{zero} {one}");
        assert_ne!(zero, one);
        let (long, longer) = (shown(&"x".repeat(32 << 10)), shown(&"x".repeat(33 << 10)));
        assert_eq!(long.chars().count(), LONGEST + "…#00000000".chars().count());
        assert_ne!(long, longer);
    }
}
