//! A budget for what built-in functions make and compare: the engine looks at the clock between steps, and one call of such
//! a function is one step, however long it takes and however much it makes.
//!
//! *Takes* the text of a policy, once, to see which of these functions it names.
//! *Guarantees* that a question ends with an error before calls whose work, told from their arguments, is over the budget.
//! *Does not check* operators and comprehensions: the clock does.

use regorus::{Engine, Value};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes, or elements compared, in all calls of one question.
pub(super) const MAX_WORK: usize = 16 << 20;
/// What an error says of a question that is over it.
pub(super) const OVER: &str = "over the budget for what functions make";
/// Bytes that an element of a list takes.
const ELEMENT: usize = 32;

/// A function, and the work of a call.
#[derive(Debug)]
pub(super) struct Bounded {
    name: &'static str,
    arguments: u8,
    work: fn(&[Value]) -> usize,
}

const TABLE: &[Bounded] = &[
    Bounded { name: "numbers.range", arguments: 2, work: range },
    Bounded { name: "numbers.range_step", arguments: 3, work: range },
    Bounded { name: "bits.lsh", arguments: 2, work: shift },
    Bounded { name: "product", arguments: 1, work: squared_count },
    Bounded { name: "to_number", arguments: 1, work: squared },
    Bounded { name: "json.unmarshal", arguments: 1, work: numerals },
    Bounded { name: "json.is_valid", arguments: 1, work: numerals },
    Bounded { name: "json.marshal", arguments: 1, work: sixfold },
    Bounded { name: "format_int", arguments: 2, work: sixfold },
    Bounded { name: "sprintf", arguments: 2, work: printed },
    Bounded { name: "concat", arguments: 2, work: joined },
    Bounded { name: "array.concat", arguments: 2, work: sixfold },
    Bounded { name: "split", arguments: 2, work: pieces },
    Bounded { name: "replace", arguments: 3, work: squared },
    Bounded { name: "strings.replace_n", arguments: 2, work: squared },
    Bounded { name: "hex.encode", arguments: 1, work: sixfold },
    Bounded { name: "base64.encode", arguments: 1, work: sixfold },
    Bounded { name: "base64url.encode", arguments: 1, work: sixfold },
    Bounded { name: "base64url.encode_no_pad", arguments: 1, work: sixfold },
    Bounded { name: "indexof_n", arguments: 2, work: squared },
    Bounded { name: "strings.any_prefix_match", arguments: 2, work: squared },
    Bounded { name: "strings.any_suffix_match", arguments: 2, work: squared },
    Bounded { name: "object.subset", arguments: 2, work: squared },
    Bounded { name: "regex.find_all_string_submatch_n", arguments: 3, work: pattern },
    Bounded { name: "regex.find_n", arguments: 3, work: pattern },
    Bounded { name: "regex.is_valid", arguments: 1, work: pattern },
    Bounded { name: "regex.match", arguments: 2, work: pattern },
    Bounded { name: "regex.replace", arguments: 3, work: pattern },
    Bounded { name: "regex.split", arguments: 2, work: pattern },
    Bounded { name: "regex.template_match", arguments: 4, work: pattern },
];

/// The engine's own function of each: what this module stands in front of.
static ORIGINALS: LazyLock<Vec<Option<Engine>>> = LazyLock::new(|| TABLE.iter().map(original).collect());

/// The functions that a text names.
pub(super) fn named(text: &str) -> Arc<[usize]> {
    TABLE.iter().enumerate().filter(|(_, function)| text.contains(function.name)).map(|(index, _)| index).collect()
}

/// Gives an engine, for one question, these functions with one budget in front of them.
pub(super) fn limit(engine: &mut Engine, functions: &[usize]) -> anyhow::Result<()> {
    let left = Arc::new(AtomicUsize::new(MAX_WORK));
    for index in functions.iter().copied() {
        let Some(function) = TABLE.get(index) else { continue };
        let left = Arc::clone(&left);
        let call = move |arguments: Vec<Value>| -> anyhow::Result<Value> {
            let work = (function.work)(&arguments);
            let paid = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(work));
            anyhow::ensure!(paid.is_ok(), "{}: {OVER}", function.name);
            let original = ORIGINALS.get(index).and_then(Option::as_ref);
            let mut original = original.ok_or_else(|| anyhow::anyhow!("{} is not known", function.name))?.clone();
            original.set_input(Value::from(arguments));
            original.eval_rule("data.original.result".into())
        };
        engine.add_extension(function.name.into(), function.arguments, Box::new(call))?;
    }
    Ok(())
}

/// Whether a result may be written as text: writing a number takes the square of its length.
pub(super) fn fits(value: &Value) -> bool {
    size(value) <= MAX_WORK
}

fn original(function: &Bounded) -> Option<Engine> {
    let arguments: Vec<String> = (0..function.arguments).map(|index| format!("input[{index}]")).collect();
    let text = format!("package original\nimport rego.v1\nresult := {}({})", function.name, arguments.join(", "));
    let mut engine = Engine::new();
    engine.add_policy("original.rego".into(), text).ok()?;
    // It learns its rules with the first question.
    engine.set_input(Value::from(Vec::new()));
    let _ = engine.eval_rule("data.original.result".into());
    Some(engine)
}

/// Bytes, about; more than the budget is as good as the whole.
fn size(value: &Value) -> usize {
    fn add(value: &Value, sum: &mut usize) {
        if *sum > MAX_WORK {
            return;
        }
        let own = match (value.as_string(), value.as_number()) {
            (Ok(text), _) => text.len(),
            (_, Ok(number)) if number.as_u64().is_none() && number.as_i64().is_none() => {
                let bits = number.as_big().map_or(0, |number| number.bits());
                let words = usize::try_from(bits / 64).unwrap_or(usize::MAX);
                words.saturating_mul(words)
            }
            _ => 0,
        };
        *sum = sum.saturating_add(own).saturating_add(ELEMENT);
        if let Ok(list) = value.as_array() {
            list.iter().for_each(|item| add(item, sum));
        } else if let Ok(set) = value.as_set() {
            set.iter().for_each(|item| add(item, sum));
        } else if let Ok(object) = value.as_object() {
            for (key, item) in object.iter() {
                add(key, sum);
                add(item, sum);
            }
        }
    }
    let mut sum = 0;
    add(value, &mut sum);
    sum
}

fn total(arguments: &[Value]) -> usize {
    arguments.iter().map(size).fold(0, usize::saturating_add)
}

/// As much as is in the arguments, at most six times (texts that are escaped).
fn sixfold(arguments: &[Value]) -> usize {
    total(arguments).saturating_mul(6)
}

/// Each with each: what is replaced, compared or turned into a number.
fn squared(arguments: &[Value]) -> usize {
    let total = total(arguments);
    total.saturating_mul(total) / 16
}

fn squared_count(arguments: &[Value]) -> usize {
    let count = total(arguments) / ELEMENT;
    count.saturating_mul(count)
}

/// A list between two numbers.
fn range(arguments: &[Value]) -> usize {
    let number = |index: usize| arguments.get(index).and_then(|value| value.as_f64().ok());
    let step = if arguments.len() > 2 { number(2) } else { Some(1.0) };
    match (number(0), number(1), step) {
        (Some(first), Some(last), Some(step)) if step > 0.0 => {
            let count = ((last - first).abs() / step).min(1e12) + 1.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of at most 1e12")]
            let count = count as usize;
            count.saturating_mul(ELEMENT)
        }
        _ => usize::MAX,
    }
}

fn shift(arguments: &[Value]) -> usize {
    let bits = arguments.get(1).and_then(|value| value.as_u32().ok()).and_then(|bits| usize::try_from(bits).ok());
    // The number is written with the square of its length, if it is.
    bits.map_or(usize::MAX, |bits| (bits / 8).saturating_mul(bits / 8)).saturating_add(total(arguments))
}

/// Text, and the square of the longest numeral in it.
fn numerals(arguments: &[Value]) -> usize {
    let text = arguments.first().and_then(|value| value.as_string().ok());
    let longest =
        text.map_or(0, |text| text.split(|letter: char| !letter.is_ascii_digit()).map(str::len).max().unwrap_or(0));
    sixfold(arguments).saturating_add(longest.saturating_mul(longest) / 16)
}

/// Format and arguments, and each width that the format asks for.
fn printed(arguments: &[Value]) -> usize {
    let format = arguments.first().and_then(|value| value.as_string().ok());
    let widths = format.map_or(0, |format| {
        let behind = format.split('%').skip(1).map(|rest| rest.trim_start_matches(['+', '-', '#', ' ', '.']));
        behind.map(leading_number).fold(0, usize::saturating_add)
    });
    sixfold(arguments).saturating_add(widths)
}

fn leading_number(text: &str) -> usize {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let parts = text.get(..end).unwrap_or_default().split('.').filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
}

/// The texts, and the one between them as often.
fn joined(arguments: &[Value]) -> usize {
    let between = arguments.first().map_or(0, size).saturating_sub(ELEMENT);
    let list = arguments.get(1).map_or(0, size);
    list.saturating_add((list / ELEMENT).saturating_mul(between))
}

/// A piece for each letter, at worst.
fn pieces(arguments: &[Value]) -> usize {
    total(arguments).saturating_mul(if arguments.get(1).is_some_and(|by| size(by) <= ELEMENT) { ELEMENT } else { 4 })
}

/// A pattern is compared at each place; what it repeats, as often.
fn pattern(arguments: &[Value]) -> usize {
    let texts = arguments.iter().filter_map(|value| value.as_string().ok());
    let braces = texts.flat_map(|text| text.split('{').skip(1).map(str::to_owned).collect::<Vec<_>>());
    let repeated = braces.map(|rest| {
        let inner = rest.split('}').next().unwrap_or_default();
        inner.split(',').filter_map(|part| part.trim().parse::<usize>().ok()).max().unwrap_or(1).max(1)
    });
    squared(arguments).saturating_mul(repeated.fold(1, usize::saturating_mul))
}
