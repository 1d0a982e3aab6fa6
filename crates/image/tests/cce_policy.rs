//! Policies, byte for byte: the published example, and every policy of the vectors from the inputs that made it.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use claims::{Code, Refusal};
use image::cce::{
    self, ApiVersion, Container, Document, ExecProcess, ImageFacts, Images, Input, Layout, Options, Template,
    host_data, insert, pause_container, policy,
};
use serde_json::{Value, json};
use std::path::PathBuf;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const BASE: &str = "mcr.microsoft.com/azurelinux/distroless/base@sha256:1e77d97e1e39f22ed9c52f49b3508b4c1044cec23743df9098ac44e025f654f2";

/// The template of `az confcom`'s sample `environment_variables`.
fn sample() -> Value {
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [{
            "name": "group1", "type": "Microsoft.ContainerInstance/containerGroups", "apiVersion": "2023-05-01",
            "properties": {
                "osType": "Linux", "confidentialComputeProperties": { "ccePolicy": "" },
                "containers": [{ "name": "container1", "properties": {
                    "image": BASE, "environmentVariables": [{ "name": "MY_VAR", "value": "MY_VAL" }],
                    "resources": { "requests": { "cpu": 1, "memoryInGb": 2 } }
                } }]
            }
        }]
    })
}

fn base_image() -> Images {
    let facts = ImageFacts {
        layers: vec!["243e1b3ce08093f2f0d9cd6a9eafde8737f64fec105ed59c346d309fbe760b58".to_owned()],
        environment: vec![PATH.to_owned()],
        ..ImageFacts::default()
    };
    [(BASE.to_owned(), facts)].into()
}

fn made(template: &Value, images: &Images, options: &Options) -> String {
    let template = Template::parse(&template.to_string(), None, false).unwrap();
    policy(&template.groups[0].containers, images, options).unwrap().text(Layout::Compact)
}

/// The example of `az confcom` 2.0 in debug mode: 5197 bytes with this digest.
#[test]
fn the_published_example_comes_out_to_the_byte() {
    let text = made(&sample(), &base_image(), &Options { debug: true, ..Options::confcom() });
    assert_eq!(text.len(), 5197);
    let digest = "ff67d0eb9eb9e15bb17e1ef95ec2a5fa98ab57385a6fa9102068d08189259252";
    assert_eq!(host_data(text.as_bytes()).to_string(), digest);
}

/// The workload of the vectors as a template.
fn workload() -> (Value, Images) {
    let mut template = sample();
    template["resources"][0]["properties"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
    template["resources"][0]["properties"]["containers"][0] = json!({ "name": "app", "properties": {
        "image": "example.test/app:1", "securityContext": { "runAsUser": 1000 },
        "volumeMounts": [{ "name": "data", "mountPath": "/mnt/remote" }]
    } });
    let facts = ImageFacts {
        layers: (1..4).map(|layer| format!("{:064x}", 0x1111 * layer)).collect(),
        entrypoint: vec!["/workspace/sub_start.sh".to_owned()],
        command: vec!["--verify".to_owned()],
        environment: vec![PATH.to_owned(), "EQ=a=b".to_owned()],
        folder: "/workspace".to_owned(),
        ..ImageFacts::default()
    };
    (template, [("example.test/app:1".to_owned(), facts)].into())
}

#[test]
fn every_policy_of_the_vectors_comes_out_to_the_byte() {
    let Some(vectors) = vectors() else { return };
    let (template, images) = workload();
    let usual = Options::confcom();
    let check = |name: &str, text: String| {
        let path = vectors.join("cce/cases").join(format!("{name}.rego"));
        let Ok(wanted) = std::fs::read_to_string(&path) else { return eprintln!("skipped: {name} is not here") };
        assert_eq!(text, wanted, "{name}");
    };
    for name in ["01-happy", "02-layers", "04-create-deny", "05-dropping", "07-scratch"] {
        check(name, made(&template, &images, &usual));
    }
    let strict = Options { drop_environment: false, ..usual.clone() };
    check("03-create", made(&template, &images, &strict));
    let older = Options { api_version: ApiVersion::V0_10, ..usual.clone() };
    check("13-old-0.10.0", made(&template, &images, &older));
    let mut without = images.clone();
    for facts in without.values_mut() {
        facts.entrypoint.clear();
        facts.command.clear();
    }
    check("09-null-command", made(&template, &without, &usual));

    // The rest are policies that no template leads to; their values are put together here.
    let parsed = Template::parse(&template.to_string(), None, false).unwrap();
    let whole = policy(&parsed.groups[0].containers, &images, &usual).unwrap();
    let app = whole.containers[0].clone();
    let with = |containers: Vec<Container>| {
        let mut policy = whole.clone();
        policy.containers = containers;
        policy
    };
    let process = |command: &[&str], signals: &[i64]| ExecProcess {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        signals: signals.to_vec(),
    };
    let exec_processes = vec![process(&["/bin/sh"], &[]), process(&["/bin/probe", "-q"], &[9])];
    let mut debug = with(vec![Container { exec_processes, ..app.clone() }, pause_container()]);
    debug.allow.dump_stacks = true;
    debug.allow.runtime_logging = true;
    check("06-exec", debug.text(Layout::Compact));
    let elevated = Container { allow_elevated: true, ..app.clone() };
    check("08-privileged", with(vec![elevated, pause_container()]).text(Layout::Compact));
    let silent = Container { allow_stdio_access: false, ..app.clone() };
    check("10-two-stdio", with(vec![app.clone(), silent, pause_container()]).text(Layout::Compact));
    check("11-no-containers", with(Vec::new()).text(Layout::Compact));
    let mut ahead = whole.clone();
    ahead.framework_version = "9.0.0".to_owned();
    check("12-ahead", ahead.text(Layout::Compact));
}

/// `az confcom` adds the resolver's mount where the author mounts nothing there.
#[test]
fn a_mount_in_the_resolvers_place_is_the_only_one_there() {
    let (mut template, images) = workload();
    let mounts = |path: &str, template: &mut Value| {
        template["resources"][0]["properties"]["containers"][0]["properties"]["volumeMounts"][0]["mountPath"] =
            path.into();
        let template = Template::parse(&template.to_string(), None, false).unwrap();
        let policy = policy(&template.groups[0].containers, &images, &Options::confcom()).unwrap();
        policy.containers[0].mounts.iter().map(|mount| mount.source.clone()).collect::<Vec<_>>()
    };
    let (own, resolver) = ("sandbox:///tmp/atlas/emptydir/.+", "sandbox:///tmp/atlas/resolvconf/.+");
    assert_eq!(mounts("/mnt/remote", &mut template), [own, resolver]);
    assert_eq!(mounts("/etc/resolv.conf", &mut template), [own]);
}

/// Members of a container that the examples above do not reach, as section 3 of the notes gives them.
#[test]
fn security_settings_probes_and_variables_follow_the_rules() {
    let (mut template, mut images) = workload();
    images.get_mut("example.test/app:1").unwrap().user = "1001:staff".to_owned();
    template["resources"][0]["properties"]["containers"][0]["properties"] = json!({
        "Image": "example.test/app:1",
        "command": ["/x"],
        "environmentVariables": [
            { "name": "EQ", "value": "mine" }, { "name": "TERM", "secureValue": "dumb" },
            { "name": "THIM_ENDPOINT", "value": "===CONFIDENTIAL.THIM.ENDPOINT===" }
        ],
        "livenessProbe": { "exec": { "command": ["cat", "/ok"] } },
        "readinessProbe": { "exec": { "command": ["cat", "/ok"] } },
        "volumeMounts": [{ "name": "data", "mountPath": "/d", "readOnly": true }],
        "securityContext": {
            "privileged": "true", "allowPrivilegeEscalation": false, "runAsGroup": 7,
            "capabilities": { "add": ["CAP_EXTRA"], "drop": ["CAP_CHOWN"] }
        }
    });
    let options = Options { id: false, identity_endpoints: true, ..Options::confcom() };
    let text = made(&template, &images, &options);
    let document = Document::parse(&text).unwrap();
    let app = document.containers().next().unwrap();
    let patterns: Vec<&str> =
        app["env_rules"].as_array().unwrap().iter().map(|rule| rule["pattern"].as_str().unwrap()).collect();
    assert_eq!(&patterns[..4], ["EQ=mine", "TERM=dumb", "THIM_ENDPOINT=.+", PATH]);
    assert_eq!(patterns.last(), Some(&"IMDS_ENDPOINT=.+"));
    assert!(!patterns.contains(&"TERM=xterm"));
    assert_eq!(app["exec_processes"], json!([{ "command": ["cat", "/ok"], "signals": [] }]));
    assert_eq!(app["mounts"][0]["options"], json!(["rbind", "rshared", "ro"]));
    assert_eq!(app["no_new_privileges"], json!(true));
    assert_eq!(app["allow_elevated"], json!(true));
    assert_eq!(app["user"]["user_idname"], json!({ "pattern": "1001", "strategy": "id" }));
    assert_eq!(app["user"]["group_idnames"], json!([{ "pattern": "7", "strategy": "id" }]));
    assert_eq!(app["name"], json!("app"));
    assert_eq!(app.get("id"), None);
    let inheritable = app["capabilities"]["inheritable"].as_array().unwrap();
    assert_eq!(inheritable.len(), 41);
    assert!(inheritable.contains(&json!("CAP_EXTRA")) && !inheritable.contains(&json!("CAP_CHOWN")));
    assert_eq!(app["capabilities"]["ambient"], json!([]));
}

#[test]
fn layouts_are_the_same_policy_with_another_host_data() {
    let template = Template::parse(&sample().to_string(), None, false).unwrap();
    let policy = policy(&template.groups[0].containers, &base_image(), &Options::confcom()).unwrap();
    let (compact, pretty) = (policy.text(Layout::Compact), policy.text(Layout::Pretty));
    assert_ne!(host_data(compact.as_bytes()), host_data(pretty.as_bytes()));
    assert_eq!(Document::parse(&compact).unwrap(), Document::parse(&pretty).unwrap());
    assert!(pretty.contains("\ncontainers := [\n  {\n    \"allow_elevated\": false,\n"));
}

#[test]
fn the_json_input_gives_what_the_template_gives() {
    let (template, images) = workload();
    let wanted = made(&template, &images, &Options::confcom());
    let newer = json!({ "version": "1.0", "fragments": [], "containers": [{ "name": "app", "properties": {
        "image": "example.test/app:1", "securityContext": { "runAsUser": 1000 },
        "volumeMounts": [{ "name": "data", "mountPath": "/mnt/remote", "mountType": "emptyDir", "readOnly": false }]
    } }] });
    let older = json!({ "version": "1.0", "containers": [{
        "name": "app", "containerImage": "example.test/app:1", "securityContext": { "runAsUser": 1000 },
        "environmentVariables": [], "command": [],
        "mounts": [{ "mountType": "emptyDir", "mountPath": "/mnt/remote", "readonly": false }]
    }] });
    for input in [newer, older] {
        let input = Input::parse(&input.to_string()).unwrap();
        let text = policy(&input.containers, &images, &Options::confcom()).unwrap().text(Layout::Compact);
        assert_eq!(text, wanted);
    }
}

#[test]
fn inserting_changes_the_policy_and_nothing_else() {
    let text = "{ // a comment\n  \"Resources\": [ { \"type\": \"other\" },\n    { \"TYPE\": \"microsoft.containerinstance/containergroups\", \"name\": \"[resourceGroup().name]\",\n      \"properties\": { \"containers\": [ { \"name\": \"a\", \"properties\": { \"image\": \"x\" } } ],\n        \"confidentialcomputeproperties\": { \"CCEPolicy\" : \"old\" /* here */ } } } ] }\n";
    let template = Template::parse(text, None, false).unwrap();
    assert_eq!(template.groups[0].existing.as_deref(), Some("old"));
    let changed = insert(text, &[(&template.groups[0], b"package policy")]).unwrap();
    assert_eq!(changed, text.replace("\"old\"", "\"cGFja2FnZSBwb2xpY3k=\""));
    let bare = text.replace("{ \"CCEPolicy\" : \"old\" /* here */ }", "{}");
    let template = Template::parse(&bare, None, false).unwrap();
    let changed = insert(&bare, &[(&template.groups[0], b"x")]).unwrap();
    assert_eq!(Template::parse(&changed, None, false).unwrap().groups[0].existing.as_deref(), Some("eA=="));
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut template = sample();
        change(&mut template);
        let parsed = Template::parse(&template.to_string(), None, false);
        let made = parsed.and_then(|parsed| policy(&parsed.groups[0].containers, &base_image(), &Options::confcom()));
        let error = made.unwrap_err();
        (error.code(), error.to_string())
    };
    let app = |template: &mut Value, member: &str, value: Value| {
        template["resources"][0]["properties"]["containers"][0]["properties"][member] = value;
    };
    let (code, words) = refusal(&|template| app(template, "image", json!("[concat(resourceGroup().name, ':1')]")));
    assert_eq!(code, Code::CceExpression);
    assert!(words.contains("resources[0].properties.containers[0].properties.image"), "{words}");
    assert!(words.contains("resourcegroup"), "{words}");
    let (code, words) = refusal(&|template| app(template, "image", json!("other:1")));
    assert_eq!((code, words.contains("`other:1`")), (Code::CceImage, true));
    let (code, words) = refusal(&|template| app(template, "command", json!("a text")));
    assert_eq!((code, words.contains("properties.command is not a list")), (Code::CceTemplate, true));
    let mounts = json!([{ "name": "absent", "mountPath": "/x" }]);
    assert_eq!(refusal(&|template| app(template, "volumeMounts", mounts.clone())).0, Code::CceTemplate);
    let profile = json!({ "seccompProfile": "e30x" });
    assert_eq!(refusal(&|template| app(template, "securityContext", profile.clone())).0, Code::CceTemplate);
    let (code, words) = refusal(&|template| {
        template["parameters"] = json!({ "secret": { "type": "secureString" } });
        app(template, "environmentVariables", json!([{ "name": "S", "secureValue": "[parameters('secret')]" }]));
    });
    assert_eq!((code, words.contains("`S`")), (Code::CceWildcard, true));
    assert_eq!(refusal(&|template| template["resources"] = json!([])).0, Code::CceTemplate);
    assert_eq!(Template::parse("{", None, false).unwrap_err().code(), Code::CceTemplate);
    assert_eq!(Document::parse("package policy\nx { true }").unwrap_err().code(), Code::CcePolicy);
    let long = " ".repeat(cce::INPUT_LIMIT + 1);
    assert_eq!(Template::parse(&long, None, false).unwrap_err().code(), Code::CceTemplate);
}

#[test]
fn a_parameter_file_wins_and_a_missing_value_can_be_waved_through() {
    let mut template = sample();
    template["parameters"] = json!({ "tag": { "defaultValue": "1" }, "value": { "type": "string" } });
    let properties = &mut template["resources"][0]["properties"]["containers"][0]["properties"];
    properties["image"] = json!("[format('app:{0}', parameters('tag'))]");
    properties["environmentVariables"] = json!([{ "name": "V", "value": "[parameters('value')]" }]);
    let given = json!({ "parameters": { "TAG": { "value": "2" } } }).to_string();
    let template = Template::parse(&template.to_string(), Some(&given), true).unwrap();
    let app = &template.groups[0].containers[0];
    assert_eq!(app.image, "app:2");
    assert_eq!((app.variables[0].value.as_str(), app.variables[0].strategy), (".*", cce::Strategy::Re2));
}

fn vectors() -> Option<PathBuf> {
    let named = std::env::var_os("CONFIDE_VECTORS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"));
    let found = folder.join("cce").is_dir().then_some(folder);
    if found.is_none() {
        eprintln!("skipped: vectors are not here");
    }
    found
}
