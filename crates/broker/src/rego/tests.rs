//! Policies in every form, and those that must not admit anything.

use super::appraise::{self, Status};
use super::engine::{MAX_POLICY, References};
use super::release::{self, PathForm, consult, covers};
use super::snapshot::Policy;
use super::{Program, RegoError, Use, cases, shipped};
use crate::path::ResourcePath;
use claims::Code;
use serde_json::{Value, json};
use std::sync::Arc;

fn policy(name: &str, prefix: &str, text: &str) -> Arc<Policy> {
    let program = Program::compile(text).unwrap();
    let path_form = PathForm::of(text, program.version);
    Arc::new(Policy { name: name.into(), version: 1, prefix: prefix.into(), path_form, program, revoked: None })
}

fn path(text: &str) -> ResourcePath {
    ResourcePath::parse(text).unwrap()
}

fn ear(status: &str) -> Value {
    json!({"submods": {"cpu0": {"ear.status": status}}})
}

fn nothing() -> Arc<References> {
    Arc::new(References::new())
}

fn allows(text: &str, resource: &str, ear: &Value) -> Result<bool, RegoError> {
    let policy = policy("p", "", text);
    let answer = release::ask(&policy.program, policy.path_form, &path(resource), &json!({}), ear, &nothing())?;
    Ok(answer.allow && answer.status.is_none() && !answer.deny)
}

#[test]
fn every_shipped_policy_compiles_and_its_cases_hold() {
    for (name, text) in shipped::TEXTS {
        let program = Program::compile(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(program.version, 1, "{name}");
        let policy = policy(name, "", text);
        let (count, failed) = cases::run(&policy, Use::Appraisal).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(failed, [], "{name}");
        assert_eq!(count > 0, *name == "snp", "{name}");
        // Without evidence and without reference values nothing is affirmed.
        let (vector, _) = appraise::ask(&program, &json!({}), &nothing()).unwrap();
        assert_eq!(vector.status(), Status::Contraindicated, "{name}");
    }
}

#[test]
fn questions_after_each_other_see_their_own_input_and_reference_values_only() {
    let text = "package policy\nimport rego.v1\ndefault executables := 33\n\
                executables := 3 if input.m in query_reference_value(\"m\")\n\
                executables := 4 if input.m in data.reference.n\n\
                trust_claims := {\"executables\": executables}";
    let program = Program::compile(text).unwrap();
    let one = Arc::new(References::from([("m".into(), json!(["a"])), ("n".into(), json!(["b"]))]));
    let other = Arc::new(References::from([("m".into(), json!(["b"])), ("n".into(), json!(["c"]))]));
    let cases =
        [(&one, "a", 3), (&one, "b", 4), (&other, "b", 3), (&other, "a", 33), (&one, "c", 33), (&other, "c", 4)];
    for (references, measured, wanted) in cases.iter().chain(&cases) {
        let (vector, _) = appraise::ask(&program, &json!({"m": measured}), references).unwrap();
        assert_eq!(vector.json()["executables"], json!(wanted), "{measured}");
        let (vector, _) = appraise::ask(&program, &json!({}), references).unwrap();
        assert_eq!(vector.json()["executables"], json!(33), "no input");
    }
}

#[test]
fn both_versions_of_the_language_and_both_shapes_of_the_path_are_read() {
    let affirming = ear("affirming");
    let list = "package policy\nimport rego.v1\nallow if data[\"resource-path\"][0] == \"a\"";
    let text = "package policy\ndefault allow = false\nallow { data[\"resource-path\"] == \"a/b/c\" }";
    let plugin = "package policy\nallow { startswith(data[\"resource-path\"], \"resource/a/\") }";
    for (policy_text, version) in [(list, 1), (text, 0), (plugin, 0)] {
        assert_eq!(Program::compile(policy_text).unwrap().version, version);
        assert_eq!(allows(policy_text, "a/b/c", &affirming), Ok(true), "{policy_text}");
        assert_eq!(allows(policy_text, "x/b/c", &affirming), Ok(false), "{policy_text}");
    }
    // What is not said positively must not slip through in the other shape.
    let except = "package policy\nimport rego.v1\nallow if data[\"resource-path\"] != \"a/b/c\"";
    assert_eq!(allows(except, "a/b/c", &affirming), Ok(false));
    assert_eq!(allows(except, "x/b/c", &affirming), Ok(true));
    let not = "package policy\nimport rego.v1\nallow if not data[\"resource-path\"][0] == \"a\"";
    assert_eq!(allows(not, "a/b/c", &affirming), Ok(false));
    assert_eq!(allows(not, "x/b/c", &affirming), Ok(true));
}

#[test]
fn nothing_is_allowed_that_is_not_affirmed_unless_the_status_is_named() {
    let all = "package policy\nimport rego.v1\ndefault allow := true";
    assert_eq!(allows(all, "a/b/c", &ear("affirming")), Ok(true));
    for status in ["warning", "contraindicated", "none", "Affirming", ""] {
        assert_eq!(allows(all, "a/b/c", &ear(status)), Ok(false), "{status}");
    }
    for without in [json!({}), json!({"submods": {}}), json!({"submods": {"cpu0": {}}}), json!({"submods": []})] {
        assert_eq!(allows(all, "a/b/c", &without), Ok(false), "{without}");
    }
    let mut mixed = ear("affirming");
    mixed["submods"]["gpu0"] = json!({"ear.status": "warning"});
    assert_eq!(allows(all, "a/b/c", &mixed), Ok(false));
    let named = format!("{all}\naccepted_statuses := {{\"warning\"}}");
    assert_eq!(allows(&named, "a/b/c", &mixed), Ok(true));
    assert_eq!(allows(&named, "a/b/c", &ear("contraindicated")), Ok(false));
    let wrong = format!("{all}\naccepted_statuses := \"warning\"");
    assert!(
        matches!(allows(&wrong, "a/b/c", &mixed), Err(RegoError::Result { rule, .. }) if rule == "accepted_statuses")
    );
}

#[test]
fn what_is_no_answer_is_no_permission() {
    let affirming = ear("affirming");
    assert_eq!(allows("package policy", "a/b/c", &affirming), Ok(false), "no rule");
    assert_eq!(allows("package policy\nimport rego.v1\nallow if input.nothing", "a/b/c", &affirming), Ok(false));
    for value in ["1", "\"true\"", "{}", "[true]", "null"] {
        let text = format!("package policy\nimport rego.v1\nallow := {value}");
        let wanted = RegoError::Result { rule: "allow".into(), wanted: "a boolean" };
        assert_eq!(allows(&text, "a/b/c", &affirming), Err(wanted), "{value}");
    }
    let twice = "package policy\nimport rego.v1\nallow := true\nallow := false";
    assert!(matches!(allows(twice, "a/b/c", &affirming), Err(RegoError::Evaluation(_))));
    assert_eq!(Program::compile("package other\nallow := true").err(), Some(RegoError::Package));
    assert!(matches!(Program::compile("allow {").err(), Some(RegoError::Syntax { .. })));
    assert!(matches!(Program::compile("").err(), Some(RegoError::Syntax { .. })));
    let long = format!("package policy\n{}", "#\n".repeat(MAX_POLICY));
    assert_eq!(Program::compile(&long).err(), Some(RegoError::TooLong { got: long.len() }));
    let deep = format!("package policy\nallow := {}1{}", "[".repeat(2000), "]".repeat(2000));
    assert_eq!(Program::compile(&deep).err(), Some(RegoError::Nesting));
}

#[test]
fn time_is_bounded() {
    let loops = "package policy\nimport rego.v1\nallow if {\n some a in numbers.range(1, 3000)\n \
        some b in numbers.range(1, 3000)\n some c in numbers.range(1, 3000)\n a * b * c < 0\n}";
    let recursive = "package policy\nimport rego.v1\nf(x) := f(x + 1)\nallow if f(1) == 0";
    assert_eq!(allows(loops, "a/b/c", &ear("affirming")), Err(RegoError::Budget));
    assert_eq!(Program::compile(recursive).err(), Some(RegoError::Recursion { rule: "f".into() }));
    let nested = format!("package policy\nallow := {}1{}\n", "[".repeat(16), "]".repeat(16)).repeat(3);
    assert_eq!(Program::compile(&nested).err(), Some(RegoError::Nesting), "the parser would take minutes");
    let large = json!({"submods": {"cpu0": {"ear.status": "affirming", "x": "y".repeat(3 << 20)}}});
    assert_eq!(allows("package policy", "a/b/c", &large), Err(RegoError::Input));
}

#[test]
fn what_functions_make_is_bounded_before_they_make_it() {
    let allow = |condition: &str| {
        // 65,536 letters.
        let text = (1..13).fold("t0 := \"9999999999999999\"\n".to_owned(), |text, one| {
            format!("{text}t{one} := concat(\"\", [t{0}, t{0}])\n", one - 1)
        });
        let text = format!("package policy\nimport rego.v1\n{text}text := t12\nallow if {condition}");
        allows(&text, "a/b/c", &ear("affirming"))
    };
    for condition in [
        "count(numbers.range(1, 300000000)) > 0",
        "count(numbers.range(1, 9000000000000000000)) > 0",
        "count(numbers.range(-9000000000000000000, 9000000000000000000)) > 0",
        "count(numbers.range_step(0, 10000000000, 1)) > 0",
        "count(numbers.range_step(0, 10, 0)) > 0",
        "bits.lsh(1, 4294967295) > 0",
        "product(numbers.range(1, 300000)) > 0",
        "to_number(text) > 0",
        "json.unmarshal(text) > 0",
        "count(replace(text, \"9\", text)) > 0",
        "count(strings.replace_n({\"9\": text}, text)) > 0",
        "count(concat(text, [\"x\" | some _ in numbers.range(1, 5000)])) > 0",
        "count(sprintf(\"%4000000000d\", [1])) > 0",
        "count(sprintf(\"%.4000000000f\", [1.5])) > 0",
        "regex.match(\"(9{1000}){1000}x\", text)",
        "count(regex.replace(text, \"9\", text)) > 0",
        "count(split(text, \"\")) + count([1 | some _ in numbers.range(1, 500000)]) > 0",
    ] {
        assert_eq!(allow(condition), Err(RegoError::Budget), "{condition}");
    }
    for condition in ["count(text) == 65536", "regex.match(\"^9{3}$\", \"999\")", "to_number(\"42\") == 42"] {
        assert_eq!(allow(condition), Ok(true), "{condition}");
    }
    let doubled = (1..30).fold("a0 := \"xxxxxxxx\"\n".to_owned(), |text, one| {
        format!("{text}a{one} := concat(\"\", [a{0}, a{0}])\n", one - 1)
    });
    let multiplied = (1..30)
        .fold("a0 := 99999999999999999\n".to_owned(), |text, one| format!("{text}a{one} := a{0} * a{0}\n", one - 1));
    for (rules, condition) in [(doubled, "count(a29) > 0"), (multiplied, "a29 > 0")] {
        let text = format!("package policy\nimport rego.v1\n{rules}allow if {condition}");
        assert_eq!(allows(&text, "a/b/c", &ear("affirming")), Err(RegoError::Budget), "{condition}");
    }
    // A result that would take the square of its length to write.
    let large = "package policy\nimport rego.v1\na := 99999999999999999\nb := a * a * a * a * a * a * a * a\n\
        c := b * b * b * b * b * b * b * b\nd := c * c * c * c * c * c * c * c\ne := d * d * d * d * d * d * d * d\n\
        allow := e * e * e * e * e * e * e * e";
    assert_eq!(allows(large, "a/b/c", &ear("affirming")), Err(RegoError::Budget));
}

#[test]
fn the_deepest_policies_that_are_read_fit_the_stack_of_a_worker() {
    let chain = (1..31).fold("a0 := [[[[[[1]]]]]]\n".to_owned(), |text, one| {
        format!("{text}a{one} := [[[[[[a{}]]]]]] if {{ not {{1: [a{0}]}} == [2] }}\n", one - 1)
    });
    let sum =
        format!("s := 1{}\nt := -(-(-(-(-(-(-(-(-(-1)))))))))\nr := input{}\n", " + 1".repeat(120), ".a".repeat(120));
    let text =
        format!("package policy\nimport rego.v1\n{chain}{sum}default allow := false\nallow if {{ a30 != s; s > 0 }}");
    // What runtimes give their threads.
    let evaluate = move || allows(&text, "a/b/c", &ear("affirming"));
    let answer = std::thread::Builder::new().stack_size(2 << 20).spawn(evaluate).unwrap().join();
    let answer = answer.unwrap();
    assert!(matches!(answer, Ok(_) | Err(RegoError::Syntax { .. })), "{answer:?}");
}

#[test]
fn the_longest_prefix_permits_and_every_denial_counts() {
    let allow = "package policy\nimport rego.v1\ndefault allow := true";
    let refuse = "package policy\nimport rego.v1\ndefault allow := false";
    let deny = "package policy\nimport rego.v1\ndefault allow := true\ndeny contains \"no\" if input.submods.cpu0.bad";
    let broken = "package policy\nimport rego.v1\nallow := true\nallow := false";
    let ask = |policies: &[Arc<Policy>], resource: &str, ruled: bool| {
        let opinion = consult(policies, &path(resource), &json!({}), &ear("affirming"), &nothing(), ruled);
        (opinion.allowed_by.is_some(), opinion.denied, opinion.code)
    };
    let wide = policy("wide", "", allow);
    let narrow = policy("narrow", "a/b", refuse);
    assert_eq!(ask(&[wide.clone(), narrow.clone()], "x/b/c", false), (true, false, None));
    assert_eq!(ask(&[wide.clone(), narrow.clone()], "a/b/c", false), (false, false, Some(Code::Denied)));
    assert_eq!(ask(&[wide.clone(), narrow.clone()], "a/bc/c", false), (true, false, None), "whole segments");
    // Two of the same prefix: one is enough, in either order.
    let second = policy("second", "a/b", allow);
    assert_eq!(ask(&[narrow.clone(), second.clone()], "a/b/c", false), (true, false, None));
    assert_eq!(ask(&[second.clone(), narrow.clone()], "a/b/c", false), (true, false, None));
    // A rule that names the path is longer than every prefix but the path itself.
    assert_eq!(ask(std::slice::from_ref(&wide), "a/b/c", true), (false, false, Some(Code::Denied)));
    assert_eq!(ask(&[policy("exact", "a/b/c", allow)], "a/b/c", true), (true, false, None));
    // Denials, and policies that fail.
    let guard = policy("guard", "", deny);
    let bad = json!({"submods": {"cpu0": {"ear.status": "affirming", "bad": true}}});
    let opinion = consult(&[guard, second.clone()], &path("a/b/c"), &json!({}), &bad, &nothing(), false);
    assert_eq!((opinion.allowed_by, opinion.denied), (None, true));
    assert_eq!(ask(&[policy("broken", "", broken), second], "a/b/c", false), (false, true, Some(Code::Policy)));
    assert_eq!(ask(&[], "a/b/c", false), (false, false, None));
    assert!(covers("a", "a/b/c") && !covers("a/", "ab/b/c") && !covers("a/b/c/d", "a/b/c"));
}

#[test]
fn both_dialects_of_appraisal_are_read() {
    let references = Arc::new(References::from([("m".to_owned(), json!(["aa"]))]));
    let old = "package policy\ndefault executables = 33\nexecutables = 3 { input.snp.measurement == data.reference.m[_] }\n\
        default hardware = 2\ndefault configuration = 2";
    let new = "package policy\nimport rego.v1\nexecutables := 3 if input.snp.measurement in query_reference_value(\"m\")\n\
        trust_claims := {\"executables\": executables, \"hardware\": 2, \"configuration\": 2}";
    for text in [old, new] {
        let program = Program::compile(text).unwrap();
        let (vector, _) = appraise::ask(&program, &json!({"snp": {"measurement": "aa"}}), &references).unwrap();
        assert_eq!(vector.status(), Status::Affirming, "{text}");
        assert_eq!(vector.json()["executables"], json!(3));
        let (vector, _) = appraise::ask(&program, &json!({"snp": {"measurement": "bb"}}), &references).unwrap();
        assert_ne!(vector.status(), Status::Affirming, "{text}");
    }
    let vector = |claims: &str| {
        let text = format!("package policy\nimport rego.v1\ntrust_claims := {claims}");
        appraise::ask(&Program::compile(&text).unwrap(), &json!({}), &nothing()).map(|(vector, _)| vector.status())
    };
    assert_eq!(vector("{\"instance_identity\": 2}"), Ok(Status::Affirming));
    assert_eq!(vector("{\"hardware\": 0}"), Ok(Status::None));
    for wrong in ["{}", "{\"hardwear\": 2}", "{\"hardware\": 200}", "{\"hardware\": \"2\"}", "{\"hardware\": 2.5}", "2"]
    {
        assert!(matches!(vector(wrong), Err(RegoError::Result { .. })), "{wrong}");
    }
    let failing = Program::compile("package policy\nimport rego.v1\ntrust_claims := {\"hardware\": 200}").unwrap();
    let appraisal = appraise::appraise(
        super::snapshot::Chosen { name: "x".into(), version: None, program: &failing, revoked: None },
        &json!({}),
        &nothing(),
    );
    assert_eq!(appraisal.vector.status(), Status::None);
    assert!(appraisal.error.is_some());
    let extended = "package policy\nimport rego.v1\ntrust_claims := {\"hardware\": 2}\n\
        extensions := [{\"name\": \"ear.status\", \"key\": -1, \"value\": \"affirming\"}]";
    assert!(appraise::ask(&Program::compile(extended).unwrap(), &json!({}), &nothing()).is_err());
}

#[test]
fn cases_say_what_a_policy_must_do() {
    let with = |cases: &str| {
        let text = format!(
            "package policy\nimport rego.v1\ndefault allow := false\nallow if data[\"resource-path\"][0] == \"a\"\n\
             good := {{\"submods\": {{\"cpu0\": {{\"ear.status\": \"affirming\"}}}}}}\nconfide_cases := {cases}"
        );
        cases::run(&policy("p", "", &text), Use::Release)
    };
    let one = |resource: &str, allow: bool| {
        format!("[{{\"name\": \"n\", \"resource\": \"{resource}\", \"input\": good, \"allow\": {allow}}}]")
    };
    assert_eq!(with(&one("a/b/c", true)), Ok((1, vec![])));
    assert_eq!(with(&one("x/b/c", false)), Ok((1, vec![])));
    let (_, failed) = with(&one("x/b/c", true)).unwrap();
    assert_eq!(
        (failed[0].got.as_str(), failed[0].wanted.as_str()),
        ("allow false, deny false", "allow true, deny false")
    );
    for wrong in ["1", "[1]", "[{\"name\": \"n\"}]", &one("a/b", true), &one("a/b/c", true).replace("allow", "alow")] {
        assert!(matches!(with(wrong), Err(RegoError::Result { .. })), "{wrong}");
    }
}
