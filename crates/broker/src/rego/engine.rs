//! One compiled policy, and budgets.

use super::budget;
use super::claims_form::ClaimsForm;
use claims::{Code, Digest256};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, PolicyLengthConfig, Value};
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest policy.
pub(crate) const MAX_POLICY: usize = 256 << 10;
/// Longest input, as JSON.
pub(crate) const MAX_INPUT: usize = 2 << 20;
/// Longest line of a policy.
const MAX_LINE: u32 = 4096;
/// How long one question may take.
const BUDGET: Duration = Duration::from_millis(500);
/// Steps between looks at the clock: each may multiply numbers of a million digits, so it is looked at after each.
const STEPS: u32 = 1;
/// The function that policies ask reference values with.
const QUERY: &str = "query_reference_value";
/// The package of every policy.
const PACKAGE: &str = "data.policy";
/// A rule that no policy has: names of rules begin with a letter.
const NOTHING: &str = "0";

/// Why a policy gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegoError {
    #[error("the policy has {got} bytes, at most {MAX_POLICY} are read")]
    TooLong { got: usize },
    #[error("the policy is neither Rego of version 1 ({v1}) nor of version 0 ({v0})")]
    Syntax { v1: String, v0: String },
    #[error("this version of the policy is revoked: {reason}")]
    Revoked { reason: String },
    #[error("the policy's package is not `policy`")]
    Package,
    #[error(
        "the policy is too deep: 16 brackets, 128 operators in a row, and 32 rules that rest on each other are read"
    )]
    Nesting,
    #[error("the rule `{rule}` refers to itself")]
    Recursion { rule: String },
    #[error("the input is over {MAX_INPUT} bytes, or is no JSON")]
    Input,
    #[error("the policy took longer than {} ms, or its functions made more than {} MiB", BUDGET.as_millis(), budget::MAX_WORK >> 20)]
    Budget,
    #[error("the policy cannot be evaluated: {0}")]
    Evaluation(String),
    #[error("`{rule}` is not {wanted}")]
    Result { rule: String, wanted: &'static str },
}

impl RegoError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Budget => Code::PolicyBudget,
            Self::Revoked { .. } => Code::Revoked,
            _ => Code::Policy,
        }
    }
}

/// Reference values by name.
pub(crate) type References = BTreeMap<String, serde_json::Value>;

/// A policy, parsed and analysed once; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    engine: Engine,
    digest: Digest256,
    /// Functions that it names and that have a budget.
    bounded: Arc<[usize]>,
    /// Language version that it was read as.
    pub(crate) version: u8,
    /// How it wants to see evidence.
    pub(crate) claims: ClaimsForm,
    ready: Ready,
}

/// The engine with the reference values in it, prepared: questions without data of their own start from it.
type Ready = Arc<Mutex<Option<(Arc<References>, Engine)>>>;

impl Program {
    /// Reads a policy: as version 1 of the language, else as version 0.
    pub(crate) fn compile(text: &str) -> Result<Self, RegoError> {
        if text.len() > MAX_POLICY {
            return Err(RegoError::TooLong { got: text.len() });
        }
        super::guard::check(text)?;
        let (engine, version) = match read(text, false) {
            Ok(engine) => (engine, 1),
            Err(v1) => match read(text, true) {
                Ok(engine) => (engine, 0),
                Err(v0) => return Err(RegoError::Syntax { v1: first_words(&v1), v0: first_words(&v0) }),
            },
        };
        if engine.get_packages().map_err(|error| failed(&error))? != [PACKAGE] {
            return Err(RegoError::Package);
        }
        let (digest, bounded) = (Digest256::of(text.as_bytes()), budget::named(text));
        Ok(Self { engine, digest, bounded, version, claims: ClaimsForm::of(text), ready: Ready::default() })
    }

    /// Of the text.
    pub(crate) fn digest(&self) -> Digest256 {
        self.digest
    }

    /// Prepares one question: input, data, and reference values, which are there as a function and as `data.reference`.
    pub(crate) fn ask(
        &self,
        input: &serde_json::Value,
        data: Option<serde_json::Value>,
        references: &Arc<References>,
    ) -> Result<Question, RegoError> {
        let text = serde_json::to_string(input).map_err(|_| RegoError::Input)?;
        if text.len() > MAX_INPUT {
            return Err(RegoError::Input);
        }
        let mut engine = match data {
            Some(data) => self.prepare(data, references)?,
            None => self.ready(references)?,
        };
        let error = |error: anyhow::Error| failed(&error);
        // Each question has a budget of its own: what is kept has none.
        budget::limit(&mut engine, &self.bounded).map_err(error)?;
        engine.set_input(Value::from_json_str(&text).map_err(error)?);
        Ok(Question { engine })
    }

    /// A prepared engine for these reference values: they change rarely, questions come all the time.
    fn ready(&self, references: &Arc<References>) -> Result<Engine, RegoError> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, engine)) = &*ready
            && Arc::ptr_eq(known, references)
        {
            return Ok(engine.clone());
        }
        let mut engine = self.prepare(serde_json::Value::Null, references)?;
        // Any question makes the engine prepare itself, also one that nothing answers.
        let _unanswered = engine.eval_rule(format!("{PACKAGE}.{NOTHING}"));
        *ready = Some((Arc::clone(references), engine.clone()));
        Ok(engine)
    }

    fn prepare(&self, data: serde_json::Value, references: &Arc<References>) -> Result<Engine, RegoError> {
        let mut engine = self.engine.clone();
        let error = |error: anyhow::Error| failed(&error);
        let known = Arc::clone(references);
        let query = move |arguments: Vec<Value>| -> anyhow::Result<Value> {
            let name = arguments.first().and_then(|name| name.as_string().ok().cloned());
            let value = name.and_then(|name| known.get(name.as_ref()).cloned());
            Ok(value.map_or(Value::Null, Value::from))
        };
        engine.add_extension(QUERY.into(), 1, Box::new(query)).map_err(error)?;
        let mut all = match data {
            serde_json::Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        let values: serde_json::Map<_, _> =
            references.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        all.insert("reference".into(), values.into());
        engine.add_data(Value::from(serde_json::Value::Object(all))).map_err(error)?;
        Ok(engine)
    }
}

/// A policy with input and data.
pub(crate) struct Question {
    engine: Engine,
}

impl Question {
    /// The value of a rule; none when there is no such rule or it is undefined.
    pub(crate) fn rule(&mut self, name: &str) -> Result<Option<serde_json::Value>, RegoError> {
        match self.engine.eval_rule(format!("{PACKAGE}.{name}")) {
            Ok(Value::Undefined) => Ok(None),
            Ok(value) if !budget::fits(&value) => Err(RegoError::Budget),
            Ok(value) => {
                let text = value.to_json_str().map_err(|error| failed(&error))?;
                serde_json::from_str(&text).map(Some).map_err(|_| RegoError::Input)
            }
            // The engine knows its rules only after it prepared the modules.
            Err(error) if error.to_string() == "not a valid rule path" => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn read(text: &str, old: bool) -> Result<Engine, anyhow::Error> {
    let mut engine = Engine::new();
    engine.set_rego_v0(old);
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::new(MAX_LINE).unwrap_or(NonZeroU32::MIN),
        max_file_bytes: NonZeroUsize::new(MAX_POLICY).unwrap_or(NonZeroUsize::MIN),
        ..PolicyLengthConfig::default()
    });
    let check_interval = NonZeroU32::new(STEPS).unwrap_or(NonZeroU32::MIN);
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: BUDGET, check_interval });
    engine.add_policy("policy.rego".into(), text.into())?;
    Ok(engine)
}

fn failed(error: &anyhow::Error) -> RegoError {
    let over = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. })));
    let words = error.to_string();
    if over || words.contains("execution exceeded time limit") || words.contains(budget::OVER) {
        return RegoError::Budget;
    }
    RegoError::Evaluation(first_words(error))
}

/// The engine quotes the source in its messages; a few lines are enough.
fn first_words(error: &anyhow::Error) -> String {
    let text = error.to_string();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(400)
        .collect()
}
