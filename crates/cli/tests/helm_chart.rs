//! The Helm chart of the key broker: it lints, renders for several sets of values, keeps secrets out of settings, and
//! its `broker.toml` is one that the broker takes.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says what went wrong by failing")]

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/helm/confide-broker")
}

fn values(name: &str) -> String {
    chart().join("ci").join(format!("{name}-values.yaml")).display().to_string()
}

/// Runs helm without a cluster, and without a home of the caller's; none where it is not here.
fn helm(arguments: &[&str]) -> Option<Output> {
    let home = tempfile::tempdir().unwrap();
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    let mut command = Command::new(program);
    // A helm that was built from its source believes in a very old cluster.
    command.args(arguments).args(["--kube-version", "1.30.0"]).env("HOME", home.path()).env_remove("KUBECONFIG");
    let output = command.output().ok();
    if output.is_none() {
        println!("skipped: helm is not here");
    }
    output
}

/// The objects of a rendering, by kind.
fn rendered(values_file: &str, set: &[&str]) -> Option<Map<String, Value>> {
    let folder = chart().display().to_string();
    let file = values(values_file);
    let mut arguments = vec!["template", "keys", folder.as_str(), "--namespace", "vault", "-f", file.as_str()];
    arguments.extend(set.iter().flat_map(|set| ["--set", *set]));
    let output = helm(&arguments)?;
    assert!(output.status.success(), "{values_file}: {}", String::from_utf8_lossy(&output.stderr));
    let objects = documents(&String::from_utf8(output.stdout).unwrap());
    let kinds = objects.into_iter().map(|object| (object["kind"].as_str().unwrap().to_owned(), object));
    Some(kinds.collect())
}

#[test]
fn the_chart_lints_and_refuses_values_that_would_hurt() {
    let folder = chart().display().to_string();
    for name in ["minimal", "full", "single"] {
        let Some(output) = helm(&["lint", "--strict", &folder, "-f", &values(name)]) else { return };
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let refused = [
        ("keysSecret=", "keysSecret"),
        ("postgresql.url=postgresql://confide:hunter2@postgres/confide", "url"),
        ("postgresql.url=https://postgres/confide", "url"),
        ("postgresql.password=hunter2", "password"),
        ("replicas=0", "replicas"),
        ("podDisruptionBudget.minAvailable=3", "podDisruptionBudget"),
        ("settings.revocation.crl=absent-ok", "reason"),
        ("settings.revocation.crl=never", "crl"),
        ("settings.dev=true", "dev"),
        ("image.digest=sha256:12", "digest"),
    ];
    for (set, words) in refused {
        let output = helm(&["template", &folder, "-f", &values("minimal"), "--set", set]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{set}: {said}");
    }
}

#[test]
fn three_replicas_share_a_database_and_nothing_secret_is_in_the_chart() {
    let Some(objects) = rendered("minimal", &[]) else { return };
    let kinds = kinds(&objects);
    let wanted = ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"];
    assert_eq!(kinds, wanted, "no Secret is made");
    let deployment = &objects["Deployment"];
    assert_eq!(deployment["spec"]["replicas"], json!(3));
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    assert_eq!(objects["PodDisruptionBudget"]["spec"]["minAvailable"], json!(2));
    let pod = &deployment["spec"]["template"]["spec"];
    let safe = &pod["securityContext"];
    assert_eq!(
        (&safe["runAsNonRoot"], &safe["runAsUser"], &safe["fsGroup"]),
        (&json!(true), &json!(65532), &json!(65532))
    );
    assert_eq!(safe["seccompProfile"]["type"], json!("RuntimeDefault"));
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    let container = &pod["containers"][0];
    let safe = &container["securityContext"];
    assert_eq!(safe["readOnlyRootFilesystem"], json!(true));
    assert_eq!((&safe["allowPrivilegeEscalation"], &safe["capabilities"]["drop"]), (&json!(false), &json!(["ALL"])));
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "https", "scheme": "HTTPS"}), "{probe}");
    }
    assert_eq!(container["image"], json!(concat!("confide-broker:", env!("CARGO_PKG_VERSION"))));
    assert!(container.get("env").is_none(), "nothing goes by the environment");
    // Every key that a broker reads is mounted, and the two that must stay away are not.
    let mounted: Vec<&str> =
        container["volumeMounts"].as_array().unwrap().iter().filter_map(|mount| mount["subPath"].as_str()).collect();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("broker");
    let made = Command::new(env!("CARGO_BIN_EXE_confide")).args(["broker", "init", "--dir"]).arg(&folder).output();
    assert!(made.unwrap().status.success());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stays = name == "identity-key.pem" || name == "admin-key.pem" || name.starts_with("broker.sqlite");
        assert_eq!(mounted.contains(&name.as_str()), !stays, "{name}");
    }
    let folder_of = |name: &str| pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == json!(name));
    assert_eq!(folder_of("keys").unwrap()["secret"]["secretName"], json!("confide-broker-keys"));
    assert_eq!(folder_of("folder").unwrap()["emptyDir"]["medium"], json!("Memory"));
    let selector = &deployment["spec"]["selector"]["matchLabels"];
    assert_eq!(&objects["Service"]["spec"]["selector"], selector);
    assert_eq!(&objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"], selector);
    assert_eq!(&objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], selector);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert!(selector.as_object().unwrap().iter().all(|(name, value)| &labels[name] == value));
    assert_eq!(objects["NetworkPolicy"]["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(objects["NetworkPolicy"]["spec"]["egress"][0]["ports"][0]["port"], json!(5432));
}

/// In order of their names.
fn kinds(objects: &Map<String, Value>) -> Vec<&str> {
    let mut kinds: Vec<_> = objects.keys().map(String::as_str).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn every_value_arrives() {
    let Some(objects) = rendered("full", &[]) else { return };
    let pod = &objects["Deployment"]["spec"]["template"]["spec"];
    let digest = format!("registry.example/confide-broker@sha256:{}", "0".repeat(64));
    assert_eq!(pod["containers"][0]["image"], json!(digest));
    assert_eq!(pod["terminationGracePeriodSeconds"], json!(35));
    assert_eq!((&pod["priorityClassName"], &pod["imagePullSecrets"][0]["name"]), (&json!("high"), &json!("registry")));
    assert_eq!(objects["Deployment"]["metadata"]["name"], json!("keys"));
    assert_eq!(objects["Service"]["spec"]["externalTrafficPolicy"], json!("Local"));
    let policy = &objects["NetworkPolicy"]["spec"];
    assert_eq!(policy["ingress"][0]["from"][0]["ipBlock"]["cidr"], json!("192.0.2.0/24"));
    assert_eq!(policy["egress"][0]["to"][0]["ipBlock"]["cidr"], json!("10.0.0.5/32"));
    assert_eq!(policy["egress"][0]["ports"][0]["port"], json!(6432));
    let monitor = &objects["ServiceMonitor"]["spec"]["endpoints"][0];
    assert_eq!((&monitor["path"], &monitor["scheme"]), (&json!("/metrics"), &json!("https")));
    assert_eq!(monitor["tlsConfig"]["ca"]["secret"], json!({"name": "hospital-keys", "key": "identity.pem"}));
    let one = rendered("single", &[]).unwrap();
    assert_eq!(kinds(&one), ["ConfigMap", "Deployment", "Service", "ServiceAccount"]);
    // Other settings, other pods.
    let sum = |objects: &Map<String, Value>| {
        objects["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"].clone()
    };
    let again = rendered("single", &["settings.sessionSeconds=7"]).unwrap();
    assert_ne!(sum(&one), sum(&again));
    assert_eq!(sum(&one), sum(&rendered("single", &["image.tag=x"]).unwrap()));
}

#[test]
fn the_settings_are_a_brokers_and_hold_no_secret() {
    for name in ["minimal", "full", "single"] {
        let Some(objects) = rendered(name, &[]) else { return };
        let data = objects["ConfigMap"]["data"].as_object().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["broker.toml"]);
        let text = data["broker.toml"].as_str().unwrap();
        assert!(!text.contains("password =") && !text.contains("PRIVATE"), "{text}");
        assert!(text.contains("password_file = \"/run/confide-broker/postgresql/password\""), "{text}");
        let shown = shown(text).unwrap_or_else(|words| panic!("{name}: {words}"));
        assert_eq!(shown["store"]["kind"], "postgres");
        if name == "full" {
            assert_eq!((&shown["session_seconds"], &shown["limits"]["connections"]), (&json!(120), &json!(4096)));
            assert_eq!(shown["limits"]["body_bytes"], json!(2_097_152), "not as a decimal number");
            let reason = "no list yet: \"agreed\" with <security> & others";
            assert_eq!(shown["revocation"], json!({"crl": "absent-ok", "reason": reason}));
        }
    }
}

/// What `confide broker serve --show-settings` makes of a settings file.
fn shown(text: &str) -> Result<Value, String> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("broker.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_confide"))
        .args(["broker", "serve", "--show-settings", "--json", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let words = format!("{} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(serde_json::from_slice(&output.stdout).unwrap()) } else { Err(words) }
}

/// YAML documents as values: the plain kinds that Helm writes.
fn documents(text: &str) -> Vec<Value> {
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    // What is open: a list, or a map with the key that waits for its value.
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.unwrap();
        let finished = match event {
            Event::Scalar(text, style, ..) => Some(scalar(&text, style == ScalarStyle::Plain)),
            Event::SequenceStart(..) => {
                open.push((json!([]), None));
                None
            }
            Event::MappingStart(..) => {
                open.push((json!({}), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|(value, _)| value),
            Event::Alias(_) => panic!("an alias in line {}", span.start.line()),
            _ => None,
        };
        let Some(value) = finished else { continue };
        match open.last_mut() {
            None => documents.push(value),
            Some((Value::Array(items), _)) => items.push(value),
            Some((Value::Object(members), key)) => match key.take() {
                None => *key = Some(value.as_str().unwrap().to_owned()),
                Some(name) => {
                    assert!(members.insert(name, value).is_none(), "a key twice in line {}", span.start.line())
                }
            },
            Some(_) => {}
        }
    }
    documents.retain(Value::is_object);
    documents
}

fn scalar(text: &str, plain: bool) -> Value {
    match (plain, text) {
        (true, "" | "~" | "null") => Value::Null,
        (true, "true") => json!(true),
        (true, "false") => json!(false),
        (true, number) if number.parse::<i64>().is_ok() => json!(number.parse::<i64>().unwrap()),
        _ => json!(text),
    }
}

#[test]
fn the_schema_knows_every_value_of_the_chart() {
    let schema: Value = serde_json::from_slice(&std::fs::read(chart().join("values.schema.json")).unwrap()).unwrap();
    let values = documents(&std::fs::read_to_string(chart().join("values.yaml")).unwrap()).remove(0);
    known("", &values, &schema);
    let text = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let facts = documents(&text).remove(0);
    assert_eq!(facts["appVersion"], json!(env!("CARGO_PKG_VERSION")));
}

/// Every member stands in the schema, and where the schema is closed nothing else may.
fn known(place: &str, value: &Value, schema: &Value) {
    let (Some(members), Some(properties)) = (value.as_object(), schema.get("properties")) else { return };
    assert_eq!(schema["additionalProperties"], json!(false), "{place} is open");
    for (name, value) in members {
        let inner = properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not in the schema"));
        known(&format!("{place}.{name}"), value, inner);
    }
}
