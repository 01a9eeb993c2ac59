//! Splits a command line into words and operators, or says why it cannot. Fail-closed: what a shell would
//! expand, substitute or run in the background is not guessed at.

use crate::shell::Word;

/// A piece of a command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Word(Word),
    /// `&&`, `||`, `;`, `|`, newline.
    Separator(Separator),
    /// `>` and its kin; the target is the next word.
    Redirect(Arrow),
    /// `2>&1`, `>&-`: only joins descriptors.
    Duplicate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    /// Needs a command on both sides.
    Joining,
    /// May end the line.
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrow {
    In,
    Out,
    Append,
}

/// Splits `text`. The error says what was not understood.
pub(crate) fn lex(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the command line is longer than {MAX_LENGTH} bytes"));
    }
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, tokens: Vec::new(), word: None };
    lexer.run()?;
    Ok(lexer.tokens)
}

/// Characters that change how a line looks without being seen.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
    word: Option<Word>,
}

impl Lexer {
    fn run(&mut self) -> Result<(), String> {
        while let Some(c) = self.next() {
            match c {
                ' ' | '\t' => self.end_word(),
                '\n' => self.separator(Separator::Ending),
                '\'' => self.single_quotes()?,
                '"' => self.double_quotes()?,
                '\\' => self.backslash()?,
                '#' if self.word.is_none() => self.comment()?,
                '$' => return Err(self.dollar()),
                '`' => return Err("command substitution with backticks".into()),
                '(' | ')' => return Err("a subshell, a function or an array".into()),
                '{' | '}' => self.brace(c)?,
                '~' if self.word.is_none() => self.tilde()?,
                '!' => self.bang()?,
                '&' => self.ampersand()?,
                '|' => self.pipe(),
                ';' => self.semicolon()?,
                '<' | '>' => self.arrow(c)?,
                '*' | '?' => self.glob(c),
                '[' => self.bracket()?,
                '=' => self.equals()?,
                '^' => self.push(c),
                _ => {
                    plain(c)?;
                    self.push(c);
                }
            }
        }
        self.end_word();
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let yes = self.peek() == Some(c);
        self.at += usize::from(yes);
        yes
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_with(|| Word { bare: true, ..Word::default() })
    }

    fn push(&mut self, c: char) {
        self.word().text.push(c);
    }

    fn push_quoted(&mut self, c: char) {
        let word = self.word();
        word.bare = false;
        word.text.push(c);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.tokens.push(Token::Word(word));
        }
    }

    fn separator(&mut self, separator: Separator) {
        self.end_word();
        self.tokens.push(Token::Separator(separator));
    }

    /// Whether the next word would name a program.
    fn at_command(&self) -> bool {
        self.word.is_none() && matches!(self.tokens.last(), None | Some(Token::Separator(_)))
    }

    fn single_quotes(&mut self) -> Result<(), String> {
        self.word().bare = false;
        loop {
            match self.next() {
                None => return Err("a single quote is never closed".into()),
                Some('\'') => return Ok(()),
                Some(c) => {
                    quoted(c)?;
                    self.push_quoted(c);
                }
            }
        }
    }

    fn double_quotes(&mut self) -> Result<(), String> {
        self.word().bare = false;
        loop {
            match self.next() {
                None => return Err("a double quote is never closed".into()),
                Some('"') => return Ok(()),
                Some('$') => return Err(self.dollar()),
                Some('`') => return Err("command substitution with backticks".into()),
                Some('\\') => match self.next() {
                    None => return Err("a double quote is never closed".into()),
                    Some('\n') => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => self.push_quoted(c),
                    Some(c) => {
                        quoted(c)?;
                        self.push_quoted('\\');
                        self.push_quoted(c);
                    }
                },
                Some(c) => {
                    quoted(c)?;
                    self.push_quoted(c);
                }
            }
        }
    }

    fn backslash(&mut self) -> Result<(), String> {
        match self.next() {
            None => Err("a backslash at the end of the line".into()),
            Some('\n') => Ok(()),
            Some(c) => {
                quoted(c)?;
                self.push_quoted(c);
                Ok(())
            }
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        while let Some(c) = self.peek() {
            if c == '\n' {
                break;
            }
            // A comment runs nothing, but it is shown to a person.
            quoted(c)?;
            self.at += 1;
        }
        Ok(())
    }

    fn dollar(&self) -> String {
        match self.peek() {
            Some('(') => "command substitution with $(…)".into(),
            Some('\'') | Some('"') => "a $'…' string".into(),
            _ => "an expansion with $".into(),
        }
    }

    /// `{}` of find and xargs and `@{1}` of git are words; groups and lists are not understood.
    fn brace(&mut self, c: char) -> Result<(), String> {
        let fail = || Err("a group or a brace expansion".to_owned());
        if c == '}' {
            return fail();
        }
        let rest = &self.chars[self.at..];
        let Some(length) = rest.iter().take(64).position(|c| *c == '}') else { return fail() };
        let inner: String = rest[..length].iter().collect();
        let simple = inner.chars().all(|c| c.is_ascii_alphanumeric() || "-+_/^".contains(c));
        if !simple || (self.word.is_none() && !inner.is_empty()) || self.at_command() {
            return fail();
        }
        self.push('{');
        inner.chars().for_each(|c| self.push(c));
        self.push('}');
        self.at += length + 1;
        Ok(())
    }

    fn tilde(&mut self) -> Result<(), String> {
        match self.peek() {
            None | Some('/' | ' ' | '\t' | '\n' | ';' | '|' | '&' | '>' | '<') => {
                let word = self.word();
                word.tilde = true;
                word.text.push('~');
                Ok(())
            }
            _ => Err("a ~user expansion".into()),
        }
    }

    fn bang(&mut self) -> Result<(), String> {
        let alone = matches!(self.peek(), None | Some(' ' | '\t' | '='));
        if self.at_command() || self.word.is_some() || !alone {
            return Err("a negation or history expansion with !".into());
        }
        self.push('!');
        Ok(())
    }

    fn ampersand(&mut self) -> Result<(), String> {
        if self.eat('&') {
            self.separator(Separator::Joining);
        } else if self.eat('>') {
            let arrow = if self.eat('>') { Arrow::Append } else { Arrow::Out };
            self.end_word();
            self.tokens.push(Token::Redirect(arrow));
        } else {
            return Err("a background command with &".into());
        }
        Ok(())
    }

    fn pipe(&mut self) {
        // `||` and `|&` too: what matters is which commands run.
        if !self.eat('|') {
            self.eat('&');
        }
        self.separator(Separator::Joining);
    }

    fn semicolon(&mut self) -> Result<(), String> {
        if self.peek() == Some(';') {
            return Err("a case with ;;".into());
        }
        self.separator(Separator::Ending);
        Ok(())
    }

    fn arrow(&mut self, c: char) -> Result<(), String> {
        // A bare number right before the arrow is a descriptor, not a word.
        let number = |w: &Word| w.bare && !w.text.is_empty() && w.text.bytes().all(|b| b.is_ascii_digit());
        if self.word.as_ref().is_some_and(number) {
            self.word = None;
        }
        self.end_word();
        if c == '<' {
            return match self.peek() {
                Some('<') => Err("a here-document or here-string".into()),
                Some('(') => Err("a process substitution".into()),
                Some('&' | '>') => Err("a redirection that is not understood".into()),
                _ => {
                    self.tokens.push(Token::Redirect(Arrow::In));
                    Ok(())
                }
            };
        }
        let arrow = match self.peek() {
            Some('>') => Arrow::Append,
            Some('|') => Arrow::Out,
            Some('(') => return Err("a process substitution".into()),
            Some('&') => {
                self.at += 1;
                let start = self.at;
                while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '-') {
                    self.at += 1;
                }
                let ended =
                    matches!(self.peek(), None | Some(' ' | '\t' | '\n' | ';' | '|' | '&' | '>' | '<'));
                if self.at == start || !ended {
                    return Err("a redirection that is not understood".into());
                }
                self.tokens.push(Token::Duplicate);
                return Ok(());
            }
            _ => {
                self.tokens.push(Token::Redirect(Arrow::Out));
                return Ok(());
            }
        };
        self.at += 1;
        self.tokens.push(Token::Redirect(arrow));
        Ok(())
    }

    fn glob(&mut self, c: char) {
        self.word().glob = true;
        self.push(c);
    }

    fn bracket(&mut self) -> Result<(), String> {
        if self.at_command() && self.peek() == Some('[') {
            return Err("a [[ … ]] test".into());
        }
        if !self.at_command() {
            self.word().glob = true;
        }
        self.push('[');
        Ok(())
    }

    /// Remembers where `NAME=` ends when nothing of the name was quoted.
    fn equals(&mut self) -> Result<(), String> {
        if let Some(word) = &mut self.word
            && word.bare
            && word.assign.is_none()
            && is_name(&word.text)
        {
            word.assign = Some(word.text.len());
        }
        self.push('=');
        Ok(())
    }
}

/// Whether a variable may have this name.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Outside quotes: visible ASCII, and letters and digits of other scripts.
fn plain(c: char) -> Result<(), String> {
    if c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric() && !is_invisible(c)) {
        return Ok(());
    }
    Err(format!("the character U+{:04X} outside quotes", u32::from(c)))
}

/// Inside quotes: anything that a person would see.
fn quoted(c: char) -> Result<(), String> {
    if matches!(c, '\n' | '\t') || !(c.is_control() || is_invisible(c)) {
        return Ok(());
    }
    Err(format!("the invisible character U+{:04X}", u32::from(c)))
}

/// Longer lines are not read: nobody would read them before saying yes, either.
const MAX_LENGTH: usize = 64 << 10;
