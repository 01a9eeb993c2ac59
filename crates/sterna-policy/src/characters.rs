//! Which characters a command line may hold, and what a variable may be called.

/// Characters that change how a line looks without being seen.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a variable may have this name.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Outside quotes: visible ASCII, and letters and digits of other scripts.
pub(crate) fn plain(c: char) -> Result<(), String> {
    if c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric() && !is_invisible(c)) {
        return Ok(());
    }
    Err(format!("the character U+{:04X} outside quotes", u32::from(c)))
}

/// Inside quotes: anything that a person would see.
pub(crate) fn quoted(c: char) -> Result<(), String> {
    if matches!(c, '\n' | '\t') || !(c.is_control() || is_invisible(c)) {
        return Ok(());
    }
    Err(format!("the invisible character U+{:04X}", u32::from(c)))
}
