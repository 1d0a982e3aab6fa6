//! Looks at a policy's text before the engine reads it, for what the engine does not bound: nesting, which it parses in
//! exponential time, and what ends its stack, and with it the program: long expressions, long chains of rules, and
//! recursion (Rego forbids it; the engine does not look).
//!
//! Words, not a grammar: a policy in which names of rules go round in a circle is refused even where a local variable
//! only happens to have a rule's name.

use super::RegoError;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest brackets.
const MAX_NESTING: usize = 16;
/// The parser's work, which doubles with each bracket inside another: two of the deepest, thousands of the usual ones.
const MAX_PARSING: usize = 1 << 18;
/// Most operators, dots and indexes that follow on each other.
const MAX_OPERATORS: usize = 128;
/// Most rules that rest on each other.
const MAX_RULES: usize = 32;
/// Words that start a line at no bracket and are no rule's name.
const KEYWORDS: [&str; 8] = ["package", "import", "else", "if", "contains", "some", "every", "not"];
/// Words after which an expression goes on.
const OPEN_WORDS: [&str; 9] = ["if", "else", "in", "not", "with", "as", "some", "every", "contains"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A name, and whether it stands behind a dot.
    Word {
        text: &'a str,
        member: bool,
        first_on_line: bool,
    },
    /// Anything else but blanks, comments and texts.
    Sign(char),
    Text,
    /// A new line.
    Line,
}

/// Refuses a policy that is too deep or that may recurse.
pub(super) fn check(text: &str) -> Result<(), RegoError> {
    let tokens = tokens(text);
    let mut rules: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut depth, mut rule, mut before) = (0_usize, "", None);
    let mut parsing = 0_usize;
    // How many operators there were in the expression so far, for each bracket that is open.
    let (mut operators, mut new_line) = (vec![0_usize], false);
    for token in tokens {
        if token == Token::Line {
            new_line = true;
            continue;
        }
        let continues = goes_on(before) || matches!(token, Token::Sign(sign) if !matches!(sign, '{' | '(' | '['));
        if std::mem::take(&mut new_line) && !continues {
            operators.last_mut().into_iter().for_each(|count| *count = 0);
        }
        if let Token::Sign(sign) = token {
            let count = operators.last_mut().ok_or(RegoError::Nesting)?;
            *count = match sign {
                ',' | ';' => 0,
                '(' | '{' | ')' | ']' | '}' => *count,
                _ => count.saturating_add(1),
            };
            if *count > MAX_OPERATORS {
                return Err(RegoError::Nesting);
            }
            match sign {
                '(' | '[' | '{' => operators.push(0),
                ')' | ']' | '}' if operators.len() > 1 => drop(operators.pop()),
                _ => {}
            }
        }
        match token {
            Token::Sign('(' | '[' | '{') => {
                depth = depth.saturating_add(1);
                parsing = parsing.saturating_add(1 << depth.min(MAX_NESTING));
                if depth > MAX_NESTING || parsing > MAX_PARSING {
                    return Err(RegoError::Nesting);
                }
            }
            Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Token::Word { text, member: false, first_on_line } => {
                let starts = depth == 0 && (first_on_line || ends_rule(before)) && !goes_on(before);
                if starts && !KEYWORDS.contains(&text) && text != "default" {
                    rule = text;
                    rules.entry(rule).or_default();
                } else if starts && text != "else" {
                    rule = "";
                } else {
                    rules.entry(rule).or_default().insert(text);
                }
            }
            Token::Sign(_) | Token::Text | Token::Line | Token::Word { .. } => {}
        }
        before = Some(token);
    }
    rules.remove("");
    check_rules(&rules)
}

/// Settles rules that rest on settled ones only, again and again: what never settles goes round in a circle.
fn check_rules(rules: &BTreeMap<&str, BTreeSet<&str>>) -> Result<(), RegoError> {
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    for _ in 0..MAX_RULES {
        let rests = |used: &BTreeSet<&str>| used.iter().all(|one| settled.contains(one) || !rules.contains_key(one));
        let open = rules.iter().filter(|(name, _)| !settled.contains(*name));
        let next: Vec<&str> = open.filter(|(_, used)| rests(used)).map(|(name, _)| *name).collect();
        if next.is_empty() && settled.len() < rules.len() {
            return Err(RegoError::Recursion { rule: in_circle(rules, &settled).to_owned() });
        }
        settled.extend(next);
        if settled.len() == rules.len() {
            return Ok(());
        }
    }
    Err(RegoError::Nesting)
}

/// The first of the names in a circle: every open rule uses an open one, so whoever follows them comes round.
fn in_circle<'a>(rules: &BTreeMap<&'a str, BTreeSet<&'a str>>, settled: &BTreeSet<&str>) -> &'a str {
    let open = |name: &&&str| rules.contains_key(*name) && !settled.contains(*name);
    let mut name = rules.keys().find(|name| open(name)).copied().unwrap_or_default();
    let mut circle = BTreeSet::new();
    for _ in 0..2 {
        // The first time around may start beside the circle.
        circle.clear();
        while circle.insert(name) {
            name = rules.get(name).and_then(|used| used.iter().find(open)).copied().unwrap_or_default();
        }
    }
    circle.first().copied().unwrap_or_default()
}

/// A rule may start behind this on the same line.
fn ends_rule(token: Option<Token<'_>>) -> bool {
    matches!(token, None | Some(Token::Sign('}' | ';') | Token::Word { text: "default", .. }))
}

/// An expression goes on behind this, also on the next line.
fn goes_on(token: Option<Token<'_>>) -> bool {
    match token {
        Some(Token::Sign(sign)) => !matches!(sign, ')' | ']' | '}' | ';'),
        Some(Token::Word { text, .. }) => OPEN_WORDS.contains(&text),
        Some(Token::Text | Token::Line) | None => false,
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    let mut first_on_line = true;
    while let Some(start) = rest.chars().next() {
        let length = match start {
            '\n' => {
                first_on_line = true;
                if tokens.last() != Some(&Token::Sign('.')) {
                    tokens.push(Token::Line);
                }
                1
            }
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => {
                tokens.push(Token::Text);
                first_on_line = false;
                quoted(rest)
            }
            '`' => {
                tokens.push(Token::Text);
                first_on_line = false;
                rest.get(1..).and_then(|inner| inner.find('`')).map_or(rest.len(), |end| end.saturating_add(2))
            }
            _ if is_word(start) => {
                let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
                let member = tokens.last() == Some(&Token::Sign('.'));
                if !start.is_ascii_digit() {
                    tokens.push(Token::Word { text: rest.get(..end).unwrap_or_default(), member, first_on_line });
                } else {
                    tokens.push(Token::Text);
                }
                first_on_line = false;
                end
            }
            _ if start.is_whitespace() => start.len_utf8(),
            _ => {
                tokens.push(Token::Sign(start));
                first_on_line = false;
                start.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// Length of a text in quotes.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' | '\n' => return index.saturating_add(1),
            _ => {}
        }
    }
    rest.len()
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || !letter.is_ascii() && letter.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_helpers_are_not() {
        let recursion = |rule: &str| Err(RegoError::Recursion { rule: rule.into() });
        for (text, rule) in [
            ("f(x) := f(x + 1)", "f"),
            ("a := 1 if {\n b\n}\nb if { c(1) }\nc(x) if {\n a\n}", "a"),
            ("a := 1\n} f(x) = y { y := g(x) } g(x) = y { y := f(x) }", "f"),
            ("allow if f(1)\nf(x) := y if {\n y := x\n} else := f(x - 1)", "f"),
            ("f(x) :=\n f(x)", "f"),
            ("\tf(x) := `)` + f(x)", "f"),
            ("default f(_) := 1\nf(x) := f(x)", "f"),
        ] {
            assert_eq!(check(text), recursion(rule), "{text}");
        }
        for text in [
            "f(x) := x\ng(x) := f(f(x))\nallow if g(1) == f(1)",
            "executables := 3 if {\n input.executables\n} else := 4\nt := {\"t\": executables}",
            "default allow := false\nallow if { input.allow }\nallow if {\n not denied\n}\ndenied if \"allow\" == input.x",
            "# f(x) := f(x)\nf := \"f(\\\"f\"\nimport rego.v1",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_text_does_not_count() {
        let nested = |depth: usize| format!("a := {}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(MAX_NESTING)), Ok(()));
        assert_eq!(check(&nested(MAX_NESTING + 1)), Err(RegoError::Nesting));
        let often = |depth: usize, times: usize| vec![nested(depth); times].join("\n");
        assert_eq!(check(&often(MAX_NESTING, 2)), Ok(()));
        assert_eq!(check(&often(MAX_NESTING, 3)), Err(RegoError::Nesting));
        assert_eq!(check(&often(5, 4000)), Ok(()));
        assert_eq!(check(&format!("a := \"{0}\"\nb := `{0}` # {0}", "[".repeat(100))), Ok(()));
    }

    #[test]
    fn expressions_and_chains_of_rules_are_bounded_and_long_policies_are_not() {
        let sum = |terms: usize| format!("a := 1{}", " + 1".repeat(terms));
        assert_eq!(check(&sum(MAX_OPERATORS - 2)), Ok(()), "`:=` are two more");
        for text in [
            sum(MAX_OPERATORS),
            sum(90_000),
            format!("a := 1{}", "\n + 1".repeat(1000)),
            format!("a := 1{}", " +\n1".repeat(1000)),
            format!("a := input{}", ".a".repeat(1000)),
            format!("a := input{}", "[0]".repeat(1000)),
            format!("a := [{}1]", "- ".repeat(1000)),
            format!("a if {{ {}1 }}", "- ".repeat(1000)),
        ] {
            assert_eq!(check(&text), Err(RegoError::Nesting), "{}", text.get(..20).unwrap());
        }
        for line in ["x.a == input.b", "\"x\" == input.b", "not input.a.b", "[1, 2] == input.c"] {
            assert_eq!(check(&format!("a if {{\n{}}}", format!("\t{line}\n").repeat(500))), Ok(()), "{line}");
        }
        let list = format!("a := {{{}}}\nb := [\n{}]", "\"k\": input.x + 1, ".repeat(500), "\t-1,\n".repeat(500));
        assert_eq!(check(&list), Ok(()));
        let chain = |length: usize| {
            (1..length).fold("a0 := 1\n".to_owned(), |text, one| format!("{text}a{one} := a{} + 1\n", one - 1))
        };
        assert_eq!(check(&chain(MAX_RULES)), Ok(()));
        assert_eq!(check(&chain(MAX_RULES + 1)), Err(RegoError::Nesting));
        assert_eq!(check(&chain(6000)), Err(RegoError::Nesting));
        assert_eq!(check(&(0..500).map(|one| format!("a{one} := b\n")).collect::<String>()), Ok(()));
        let round = format!("z := a\na0 := a{}\n{}", MAX_RULES / 2, chain(MAX_RULES / 2 + 1));
        assert_eq!(check(&round), Err(RegoError::Recursion { rule: "a0".into() }));
    }
}
