//! A value of a JSON document with its path, so that an error can name it. Names are compared without case, as ARM does.

use super::CceError;
use super::expression::{Scope, Trouble, is_expression};
use serde_json::Value;

/// A value, where it stands, and what its expressions are evaluated with.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) value: Value,
    pub(super) place: String,
    scope: Option<&'a Scope>,
}

/// A member by name, without case; the exact name wins.
pub(super) fn member_of<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let members = value.as_object()?;
    let exact = members.get(name).filter(|value| !value.is_null());
    exact.or_else(|| {
        let mut same = members.iter().filter(|(other, value)| other.eq_ignore_ascii_case(name) && !value.is_null());
        same.next().map(|(_, value)| value)
    })
}

impl<'a> Node<'a> {
    pub(super) fn new(value: Value, place: impl Into<String>, scope: Option<&'a Scope>) -> Self {
        Self { value, place: place.into(), scope }
    }

    /// A member, evaluated; absent and null are the same.
    pub(super) fn member(&self, name: &str) -> Result<Option<Self>, CceError> {
        let place = if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) };
        member_of(&self.value, name).map(|value| self.child(value, place)).transpose().map(|node| node.filter(Self::is))
    }

    /// A member that must be there.
    pub(super) fn needed(&self, name: &str, wanted: &str) -> Result<Self, CceError> {
        self.member(name)?.ok_or_else(|| CceError::Field {
            place: format!("{}.{name}", self.place),
            wanted: format!("{wanted}: it is missing"),
        })
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<Vec<Self>, CceError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let child = |(index, value)| self.child(value, format!("{}[{index}]", self.place));
        items.iter().enumerate().map(child).collect()
    }

    /// The items of a list that may be absent.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Self>, CceError> {
        self.member(name)?.map_or_else(|| Ok(Vec::new()), |list| list.items())
    }

    /// Text; a number is written out.
    pub(super) fn text(&self) -> Result<String, CceError> {
        match &self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.wrong("a text")),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self) -> Result<Vec<String>, CceError> {
        self.items()?.iter().map(Self::text).collect()
    }

    /// A list of texts that may be absent.
    pub(super) fn member_texts(&self, name: &str) -> Result<Vec<String>, CceError> {
        self.member(name)?.map_or_else(|| Ok(Vec::new()), |list| list.texts())
    }

    /// A text that may be absent; empty is absent.
    pub(super) fn member_text(&self, name: &str) -> Result<Option<String>, CceError> {
        let text = self.member(name)?.map(|text| text.text()).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// True or false, also as text.
    pub(super) fn member_bool(&self, name: &str) -> Result<Option<bool>, CceError> {
        let Some(node) = self.member(name)? else { return Ok(None) };
        match &node.value {
            Value::Bool(value) => Ok(Some(*value)),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            _ => Err(node.wrong("true or false")),
        }
    }

    /// A number from zero, also as text.
    pub(super) fn member_number(&self, name: &str) -> Result<Option<u64>, CceError> {
        let Some(node) = self.member(name)? else { return Ok(None) };
        let number = match &node.value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| node.wrong("a whole number"))
    }

    /// The error that this value is something else.
    pub(super) fn wrong(&self, wanted: &str) -> CceError {
        CceError::Field { place: self.place.clone(), wanted: wanted.to_owned() }
    }

    fn is(&self) -> bool {
        !self.value.is_null()
    }

    fn child(&self, value: &Value, place: String) -> Result<Self, CceError> {
        let Self { scope, .. } = *self;
        let value = match (scope, value) {
            (Some(scope), Value::String(text)) if is_expression(text) || text.starts_with("[[") => {
                scope.value_of(text).map_err(|trouble| match trouble {
                    Trouble::NoValue(parameter) => CceError::NoValue { place: place.clone(), parameter },
                    Trouble::Because(why) => {
                        CceError::Expression { place: place.clone(), text: text.chars().take(200).collect(), why }
                    }
                })?
            }
            (_, value) => value.clone(),
        };
        Ok(Self { value, place, scope })
    }
}
