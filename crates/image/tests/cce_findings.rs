//! Findings about a policy, differences between two, and explanations of refusals.
#![expect(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, Refusal};
use image::cce::enforce::{Enforcer, Platform};
use image::cce::{Denial, Document, ImageFacts, Images, Input, Layout, Options, Spec, compare, lint, policy};
use serde_json::{Value, json};

const IMAGE: &str = "reg.example/app@sha256:1111111111111111111111111111111111111111111111111111111111111111";
const LAYER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn container() -> Value {
    json!({ "name": "app", "properties": {
        "image": IMAGE, "command": ["/run"], "environmentVariables": [{ "name": "A", "value": "b" }],
        "securityContext": { "runAsUser": 1000 }
    } })
}

fn specs(containers: &[Value]) -> Vec<Spec> {
    Input::parse(&json!({ "containers": containers }).to_string()).unwrap().containers
}

fn images() -> Images {
    let facts = ImageFacts { layers: vec![LAYER.to_owned()], ..ImageFacts::default() };
    [(IMAGE.to_owned(), facts.clone()), ("reg.example/app:1".to_owned(), facts)].into()
}

fn clean() -> Options {
    Options { identity_endpoints: true, ..Options::confcom() }
}

fn codes(containers: &[Value], images: &Images, options: &Options) -> Vec<Code> {
    let specs = specs(containers);
    let policy = policy(&specs, images, options).unwrap();
    lint(&policy, &specs, images).into_iter().map(|lint| lint.code).collect()
}

fn text(containers: &[Value], options: &Options) -> String {
    policy(&specs(containers), &images(), options).unwrap().text(Layout::Compact)
}

#[test]
fn a_sound_policy_has_no_findings() {
    assert_eq!(codes(&[container()], &images(), &clean()), []);
}

#[test]
fn each_weakness_is_one_finding() {
    let with = |member: &str, value: Value| {
        let mut container = container();
        container["properties"][member] = value;
        codes(&[container], &images(), &clean())
    };
    assert_eq!(with("command", json!([])), [Code::CceNullCommand]);
    assert_eq!(with("image", json!("reg.example/app:1")), [Code::CceUnpinned]);
    assert_eq!(with("environmentVariables", json!([{ "name": "S", "secureValue": "x" }])), [Code::CceSecret]);
    let any = json!([{ "name": "S", "value": ".*", "regex": true }]);
    assert_eq!(with("environmentVariables", any), [Code::CceWildcard]);
    let options = |change: &dyn Fn(&mut Options)| {
        let mut options = clean();
        change(&mut options);
        codes(&[container()], &images(), &options)
    };
    assert_eq!(options(&|options| options.debug = true), [Code::CceDebug]);
    assert_eq!(options(&|options| options.identity_endpoints = false), [Code::CceEnvDropped]);
    let strict = |options: &mut Options| (options.identity_endpoints, options.drop_environment) = (false, false);
    assert_eq!(options(&strict), [Code::CceEnvStrict]);
    let facts = |change: &dyn Fn(&mut ImageFacts)| {
        let mut images = images();
        images.values_mut().for_each(change);
        codes(&[container()], &images, &clean())
    };
    assert_eq!(facts(&|facts| facts.layers.clear()), [Code::CceNoLayers]);
    assert_eq!(facts(&|facts| facts.layer_findings.push("x".to_owned())), [Code::CceLayer]);
    let mut silent = container();
    silent["properties"]["allowStdioAccess"] = json!(false);
    assert_eq!(codes(&[container(), silent], &images(), &clean()), [Code::CceAmbiguous]);
}

#[test]
fn a_difference_names_container_field_and_both_values() {
    let existing = Document::parse(&text(&[container()], &clean())).unwrap();
    assert_eq!(compare(&existing, &existing), []);
    let mut changed = container();
    changed["properties"]["command"] = json!(["/other"]);
    changed["properties"]["environmentVariables"] =
        json!([{ "name": "HOSTNAME", "value": "x" }, { "name": "B", "value": "c" }]);
    let mut second = container();
    second["name"] = json!("second");
    second["properties"]["image"] = json!("reg.example/app:1");
    let now = Document::parse(&text(&[changed, second], &Options { debug: true, ..clean() })).unwrap();
    let found: Vec<(String, String, String)> =
        compare(&existing, &now).into_iter().map(|one| (one.container, one.field, one.got)).collect();
    let has = |container: &str, field: &str, got: &str| {
        found.iter().any(|one| (one.0.as_str(), one.1.as_str()) == (container, field) && one.2.contains(got))
    };
    assert!(has("app", "command", "/other"), "{found:?}");
    assert!(has("app", "env_rules", "B=c"), "{found:?}");
    // HOSTNAME=x fits the rule that every policy has.
    assert!(!has("app", "env_rules", "HOSTNAME"), "{found:?}");
    assert!(has("app", "exec_processes", "/bin/sh"), "{found:?}");
    assert!(has("second", "", "a container"), "{found:?}");
    assert!(has("the group", "allow_dump_stacks", "true"), "{found:?}");
}

fn create(change: &dyn Fn(&mut Value)) -> Value {
    let capabilities = Document::parse(&text(&[container()], &clean())).unwrap();
    let capabilities = capabilities.containers().next().unwrap()["capabilities"].clone();
    let mut input = json!({
        "containerID": "c", "argList": ["/run"], "envList": ["A=b"], "workingDir": "/", "sandboxDir": "/s",
        "hugePagesDir": "/h", "mounts": [], "devices": [], "privileged": false, "noNewPrivileges": false,
        "user": { "id": "1000", "name": "" }, "groups": [], "umask": "0022", "capabilities": capabilities,
        "seccompProfileSHA256": ""
    });
    change(&mut input);
    input
}

/// What the guest would send: its own decision about the request, in its own wrapping.
fn denied(document: &Document, name: &str, input: &Value) -> String {
    let mut guest = Enforcer::new(document, Platform::azure());
    let layer = "/run/mounts/scsi/m1";
    let mount = json!({ "target": layer, "deviceHash": LAYER, "mountPathRegex": "/run/mounts/scsi/m[0-9]+" });
    assert!(guest.decide("mount_device", &mount).allowed);
    assert!(
        guest.decide("mount_overlay", &json!({ "containerID": "c", "layerPaths": [layer], "target": "/t" })).allowed
    );
    let decision = guest.decide(name, input);
    assert!(!decision.allowed);
    let told = json!({ "decision": "deny", "input": input, "reason": { "errors": decision.errors } });
    format!("hcs: error policyDecision< {} >policyDecision: denied", STANDARD.encode(told.to_string()))
}

#[test]
fn a_refusal_names_the_nearest_container_and_the_field() {
    let mut other = container();
    other["name"] = json!("other");
    other["properties"]["command"] = json!(["/far"]);
    other["properties"]["workingDir"] = json!("/far");
    let document = Document::parse(&text(&[other, container()], &clean())).unwrap();
    let explained = |change: &dyn Fn(&mut Value)| {
        let denial = Denial::parse(&denied(&document, "create_container", &create(change))).unwrap();
        assert_eq!(denial.rule, "create_container");
        assert!(!denial.advice().is_empty());
        let nearest = denial.nearest(&document).unwrap();
        let first = nearest.differences.first().cloned().unwrap();
        assert_eq!(nearest.differences.len(), 1, "{nearest:?}");
        (nearest.container, first.field, first.got, first.wanted)
    };
    let (container, field, got, wanted) = explained(&|input| input["argList"] = json!(["/run", "-x"]));
    assert_eq!((container.as_str(), field), ("app", "command"));
    assert_eq!((got.as_str(), wanted.as_str()), ("[\"/run\",\"-x\"]", "[\"/run\"]"));
    assert_eq!(explained(&|input| input["workingDir"] = json!("/x")).1, "working_dir");
    assert_eq!(explained(&|input| input["umask"] = json!("0077")).1, "user");
    assert_eq!(explained(&|input| input["privileged"] = json!(true)).1, "allow_elevated");
    assert_eq!(explained(&|input| input["seccompProfileSHA256"] = json!("00")).1, "seccomp_profile_sha256");
    assert_eq!(explained(&|input| input["devices"] = json!([{ "path": "/dev/sev" }])).1, "devices");
    let mount = json!([{ "destination": "/d", "source": "/s/x", "type": "bind", "options": ["rw"] }]);
    assert_eq!(explained(&|input| input["mounts"] = mount.clone()).1, "mounts");
    assert_eq!(explained(&|input| input["capabilities"]["bounding"] = json!([])).1, "capabilities");
}

#[test]
fn hidden_values_and_shortened_capabilities_are_understood() {
    let options = Options { drop_environment: false, ..clean() };
    let document = Document::parse(&text(&[container()], &options)).unwrap();
    let message =
        denied(&document, "create_container", &create(&|input| input["envList"] = json!(["A=b", "X=secret"])));
    let inside = message.split("policyDecision").nth(1).unwrap().trim_matches(['<', '>', ' ']);
    let mut decision: Value = serde_json::from_slice(&STANDARD.decode(inside).unwrap()).unwrap();
    decision["input"]["envList"] = json!(["A=<<redacted>>", "X=<<redacted>>"]);
    decision["input"]["capabilities"] = json!("[unprivileged]");
    let wrapped = format!(
        "{{\"message\":\"policyDecision\\u003c {} \\u003epolicyDecision\"}}",
        STANDARD.encode(decision.to_string())
    );
    let denial = Denial::parse(&wrapped).unwrap();
    assert_eq!(denial.errors, ["invalid env list", "invalid env list: X"]);
    let nearest = denial.nearest(&document).unwrap();
    assert_eq!(nearest.differences.len(), 1, "{nearest:?}");
    assert_eq!(nearest.differences[0].got, "X=<<redacted>>");
    assert_eq!(nearest.differences[0].wanted, "no rule for this variable");
}

#[test]
fn a_layer_that_is_not_there_is_told_by_its_hash() {
    let document = Document::parse(&text(&[container()], &clean())).unwrap();
    let input =
        json!({ "target": "/run/mounts/scsi/m2", "deviceHash": "ff", "mountPathRegex": "/run/mounts/scsi/m[0-9]+" });
    let denial = Denial::parse(&denied(&document, "mount_device", &input)).unwrap();
    assert_eq!((denial.rule, denial.errors.as_slice()), ("mount_device", &["deviceHash not found".to_owned()][..]));
    assert_eq!(denial.layer(&document), Some(("ff".to_owned(), Vec::new())));
    assert_eq!(denial.nearest(&document), None);
}

#[test]
fn texts_without_a_decision_are_refused() {
    let allowed = STANDARD.encode(json!({ "decision": "allow" }).to_string());
    for text in ["", "no decision here", "policyDecision< e30", "policyDecision< !! >policyDecision", "e30=", &allowed]
    {
        assert_eq!(Denial::parse(text).unwrap_err().code(), Code::AciDecision, "{text}");
    }
}

/// The guest's rules that no published decision reaches, from the framework's text.
#[test]
fn a_rule_that_is_missing_or_fixed_answers_as_the_interface_says() {
    let document = Document::parse(
        "package policy\napi_version := \"0.10.0\"\nframework_version := \"0.2.3\"\ncontainers := [ ] # none\n",
    )
    .unwrap();
    let mut guest = Enforcer::new(&document, Platform::azure());
    let disk = json!({ "target": "/d", "mountPathRegex": "/d", "encrypted": true, "ensureFilesystem": true, "filesystem": "xfs" });
    // Newer than the policy, so the framework answers; an older call that the policy lacks is refused.
    assert!(guest.decide("rw_mount_device", &disk).allowed);
    assert!(!guest.decide("scratch_mount", &disk).allowed);
    assert!(!guest.decide("no_such_request", &disk).allowed);
    let open =
        Document::parse("package policy\ncreate_container := {\"allowed\": true, \"env_list\": null,}\n").unwrap();
    assert!(open.allows_all());
    assert!(Enforcer::new(&open, Platform::azure()).decide("create_container", &json!({})).allowed);
}
