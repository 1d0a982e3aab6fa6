//! Template expressions of Azure Resource Manager, as far as they can be evaluated without a deployment: `parameters`,
//! `variables`, and functions of text, lists and conditions. Anything else is an error: a policy that was made from a
//! guess would not match what is deployed.

use super::node::member_of;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// What parameters and variables stand for.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// `parameters` of the template.
    pub(super) parameters: Value,
    /// `parameters` of the parameter file, which win.
    pub(super) given: Value,
    /// `variables` of the template.
    pub(super) variables: Value,
}

/// Why an expression has no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The parameter has none.
    NoValue(String),
    /// It is not understood.
    Because(String),
}

type Result<T> = std::result::Result<T, Trouble>;

/// Whether a text is an expression rather than itself.
pub(super) fn is_expression(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']') && !text.starts_with("[[")
}

impl Scope {
    /// The value of a text: itself, or what its expression says.
    pub(super) fn value_of(&self, text: &str) -> Result<Value> {
        self.text(text, 0)
    }

    /// Evaluates the texts inside lists and objects, too.
    fn deep(&self, value: &Value, depth: usize) -> Result<Value> {
        limit(depth)?;
        let next = depth.saturating_add(1);
        Ok(match value {
            Value::String(text) => self.text(text, next)?,
            Value::Array(items) => items.iter().map(|item| self.deep(item, next)).collect::<Result<Vec<_>>>()?.into(),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| Ok((name.clone(), self.deep(value, next)?)));
                members.collect::<Result<Map<_, _>>>()?.into()
            }
            other => other.clone(),
        })
    }

    fn text(&self, text: &str, depth: usize) -> Result<Value> {
        limit(depth)?;
        if let Some(rest) = text.strip_prefix("[[") {
            return Ok(format!("[{rest}").into());
        }
        let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            return Ok(text.into());
        };
        let mut parser = Parser { scope: self, rest: inside, depth };
        let value = parser.expression()?;
        parser.blanks();
        match parser.rest.chars().next() {
            None => Ok(value),
            Some(letter) => Err(because(format!("`{letter}` is not expected here"))),
        }
    }

    fn parameter(&self, name: &str, depth: usize) -> Result<Value> {
        let given = member_of(&self.given, name);
        let declared = member_of(&self.parameters, name);
        if given.is_none() && declared.is_none() {
            return Err(because(format!("the template has no parameter `{name}`")));
        }
        // What a person gives is a value, never an expression; a default may be one.
        if let Some(value) = given.and_then(|given| member_of(given, "value").or(member_of(given, "secureValue"))) {
            return Ok(value.clone());
        }
        let declared = declared.and_then(|one| member_of(one, "value").or(member_of(one, "defaultValue")));
        match declared {
            Some(value) => self.deep(value, depth.saturating_add(1)),
            None => Err(Trouble::NoValue(name.to_owned())),
        }
    }

    fn variable(&self, name: &str, depth: usize) -> Result<Value> {
        match member_of(&self.variables, name) {
            Some(value) => self.deep(value, depth.saturating_add(1)),
            None => Err(because(format!("the template has no variable `{name}`"))),
        }
    }
}

struct Parser<'a> {
    scope: &'a Scope,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Result<Value> {
        self.depth = self.depth.saturating_add(1);
        limit(self.depth)?;
        self.blanks();
        let mut value = match self.rest.chars().next() {
            Some('\'') => self.literal()?.into(),
            Some(letter) if letter.is_ascii_digit() || letter == '-' => self.number()?,
            Some(letter) if letter.is_ascii_alphabetic() => self.call()?,
            Some(letter) => return Err(because(format!("`{letter}` is not expected here"))),
            None => return Err(because("it ends too early")),
        };
        loop {
            self.blanks();
            if self.eat('.') {
                let name = self.word()?;
                value = found(member_of(&value, name), name)?;
            } else if self.eat('[') {
                let index = self.expression()?;
                self.expect(']')?;
                let key = words(&index)?;
                value = match &index {
                    Value::Number(_) => found(index_of(&index).and_then(|index| value.get(index)), &key)?,
                    _ => found(member_of(&value, &key), &key)?,
                };
            } else {
                self.depth = self.depth.saturating_sub(1);
                return Ok(value);
            }
        }
    }

    fn call(&mut self) -> Result<Value> {
        let name = self.word()?;
        self.expect('(')?;
        let mut arguments = Vec::new();
        self.blanks();
        if !self.eat(')') {
            loop {
                arguments.push(self.expression()?);
                self.blanks();
                if self.eat(')') {
                    break;
                }
                self.expect(',')?;
            }
        }
        match (name.to_ascii_lowercase().as_str(), arguments.as_slice()) {
            ("parameters", [Value::String(name)]) => self.scope.parameter(name, self.depth),
            ("variables", [Value::String(name)]) => self.scope.variable(name, self.depth),
            (known, arguments) => function(known, arguments),
        }
    }

    /// Text between single quotes; two of them are one.
    fn literal(&mut self) -> Result<String> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != '\'' {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == '\'').is_some() {
                text.push('\'');
            } else {
                self.rest = self.rest.get(at.saturating_add(1)..).unwrap_or_default();
                return Ok(text);
            }
        }
        Err(because("a text has no end"))
    }

    fn number(&mut self) -> Result<Value> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse::<i64>().map(Value::from).map_err(|_| because(format!("`{digits}` is not a number")))
    }

    fn word(&mut self) -> Result<&'a str> {
        self.blanks();
        let inside = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        let end = self.rest.find(|letter| !inside(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Err(because("a name is missing")) } else { Ok(word) }
    }

    fn expect(&mut self, letter: char) -> Result<()> {
        self.blanks();
        if self.eat(letter) { Ok(()) } else { Err(because(format!("`{letter}` is missing"))) }
    }

    fn eat(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// Functions that need no deployment.
fn function(name: &str, arguments: &[Value]) -> Result<Value> {
    Ok(match (name, arguments) {
        ("concat", [Value::Array(_), ..]) => {
            let lists = arguments.iter().map(|list| list.as_array().ok_or_else(|| because("concat of list and text")));
            lists.collect::<Result<Vec<_>>>()?.into_iter().flatten().cloned().collect::<Vec<_>>().into()
        }
        ("concat", parts) => parts.iter().map(words).collect::<Result<String>>()?.into(),
        ("format", [Value::String(pattern), parts @ ..]) => format(pattern, parts)?.into(),
        ("tolower", [Value::String(text)]) => text.to_lowercase().into(),
        ("toupper", [Value::String(text)]) => text.to_uppercase().into(),
        ("trim", [Value::String(text)]) => text.trim().into(),
        ("replace", [Value::String(text), Value::String(old), Value::String(new)]) => text.replace(old, new).into(),
        ("split", [Value::String(text), Value::String(by)]) if !by.is_empty() => {
            text.split(by.as_str()).collect::<Vec<_>>().into()
        }
        ("join", [Value::Array(items), Value::String(by)]) => {
            items.iter().map(words).collect::<Result<Vec<_>>>()?.join(by).into()
        }
        ("string", [value]) => words(value)?.into(),
        ("int", [value]) => match value {
            Value::Number(_) => value.clone(),
            other => words(other)?.trim().parse::<i64>().map_err(|_| because("int of a text without a number"))?.into(),
        },
        ("bool", [value]) => match words(value)?.to_ascii_lowercase().as_str() {
            "true" | "1" => true.into(),
            "false" | "0" => false.into(),
            _ => return Err(because("bool of another text than true or false")),
        },
        ("true", []) => true.into(),
        ("false", []) => false.into(),
        ("null", []) => Value::Null,
        ("base64", [Value::String(text)]) => STANDARD.encode(text).into(),
        ("base64tostring", [Value::String(text)]) => {
            let bytes = STANDARD.decode(text).map_err(|_| because("base64ToString of a text that is not base64"))?;
            String::from_utf8(bytes).map_err(|_| because("base64ToString of bytes that are not text"))?.into()
        }
        ("json", [Value::String(text)]) => {
            serde_json::from_str(text).map_err(|_| because("json of a text that is not JSON"))?
        }
        ("createarray" | "array", items) => items.to_vec().into(),
        ("length", [Value::Array(items)]) => items.len().into(),
        ("length", [Value::String(text)]) => text.chars().count().into(),
        ("first", [Value::Array(items)]) => items.first().cloned().unwrap_or_default(),
        ("last", [Value::Array(items)]) => items.last().cloned().unwrap_or_default(),
        ("first", [Value::String(text)]) => text.chars().next().map(String::from).unwrap_or_default().into(),
        ("last", [Value::String(text)]) => text.chars().next_back().map(String::from).unwrap_or_default().into(),
        ("empty", [value]) => match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        }
        .into(),
        ("contains", [Value::String(text), Value::String(part)]) => text.contains(part.as_str()).into(),
        ("contains", [Value::Array(items), item]) => items.contains(item).into(),
        ("equals", [a, b]) => (a == b).into(),
        ("not", [Value::Bool(value)]) => (!value).into(),
        ("and", values) => values.iter().all(|value| *value == json!(true)).into(),
        ("or", values) => values.contains(&json!(true)).into(),
        ("if", [Value::Bool(which), yes, no]) => if *which { yes } else { no }.clone(),
        ("coalesce", values) => values.iter().find(|value| !value.is_null()).cloned().unwrap_or_default(),
        _ => {
            let many = arguments.len();
            return Err(because(format!("the function `{name}` with {many} such arguments is not known here")));
        }
    })
}

/// `{0}` and so on; `{{` is a brace.
fn format(pattern: &str, parts: &[Value]) -> Result<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out.push_str(before);
        rest = brace.get(1..).unwrap_or_default();
        let opens = brace.starts_with('{');
        if let Some(after) = rest.strip_prefix(if opens { '{' } else { '}' }) {
            out.push(if opens { '{' } else { '}' });
            rest = after;
            continue;
        }
        let hole = rest.split_once('}').filter(|_| opens);
        let (digits, after) = hole.ok_or_else(|| because("format has a brace without a partner"))?;
        let part = digits.trim().parse::<usize>().ok().and_then(|index| parts.get(index));
        out.push_str(&words(part.ok_or_else(|| because(format!("format has no argument {{{digits}}}")))?)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn words(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(true) => Ok("True".to_owned()),
        Value::Bool(false) => Ok("False".to_owned()),
        Value::Null => Err(because("null has no text")),
        Value::Array(_) | Value::Object(_) => Ok(value.to_string()),
    }
}

fn index_of(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|index| usize::try_from(index).ok())
}

fn found(value: Option<&Value>, name: &str) -> Result<Value> {
    value.cloned().ok_or_else(|| because(format!("there is no member `{name}`")))
}

fn because(why: impl Into<String>) -> Trouble {
    Trouble::Because(why.into())
}

/// Parameters and variables may name each other, and themselves.
fn limit(depth: usize) -> Result<()> {
    if depth < 64 { Ok(()) } else { Err(because("it is nested too deeply, or stands for itself")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Value> {
        let scope = Scope {
            parameters: json!({
                "Image": { "defaultValue": "[concat(variables('registry'), '/app:', parameters('tag'))]" },
                "tag": { "type": "string" },
                "none": { "type": "string" },
                "loop": { "defaultValue": "[parameters('loop')]" },
                "one": { "defaultValue": { "two": ["x", "y"] } }
            }),
            given: json!({ "tag": { "value": "[1]" } }),
            variables: json!({ "registry": "r.example" }),
        };
        scope.value_of(text)
    }

    #[test]
    fn expressions_have_the_values_that_a_deployment_gives_them() {
        for (text, wanted) in [
            ("plain", json!("plain")),
            ("[[parameters('x')]", json!("[parameters('x')]")),
            ("[parameters('image')]", json!("r.example/app:[1]")),
            ("[ PARAMETERS( 'one' ).two[1] ]", json!("y")),
            ("[format('{0}-{1}{{}}', 'a', 7)]", json!("a-7{}")),
            ("[if(equals(length('ab'), 2), toUpper('it''s'), 'no')]", json!("IT'S")),
            ("[join(split('a,b', ','), '+')]", json!("a+b")),
            ("[base64ToString(base64('x'))]", json!("x")),
            ("[createArray('a', int('2'), true())]", json!(["a", 2, true])),
        ] {
            assert_eq!(value(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_never_guessed() {
        assert_eq!(value("[parameters('none')]"), Err(Trouble::NoValue("none".to_owned())));
        for text in [
            "[resourceGroup().location]",
            "[parameters('absent')]",
            "[parameters('loop')]",
            "[concat('a']",
            "['a' 'b']",
            "[format('{3}', 'a')]",
            "[]",
        ] {
            assert!(matches!(value(text), Err(Trouble::Because(_))), "{text}");
        }
        let deep = format!("[{}'a'{}]", "concat(".repeat(100), ")".repeat(100));
        assert!(matches!(value(&deep), Err(Trouble::Because(_))));
    }
}
