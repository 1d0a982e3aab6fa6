//! A broker of the release program, run and administered from outside: exit statuses and the JSON that scripts rely on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A broker's folder.
struct House {
    place: tempfile::TempDir,
}

/// A broker that runs; ended when dropped.
struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// SIGTERM, and the exit status.
    fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM)
            .unwrap();
        self.child.wait().unwrap().code()
    }
}

impl House {
    fn new() -> Self {
        let house = Self { place: tempfile::tempdir().unwrap() };
        let made = house.confide(&["broker", "init", "--dir", house.broker().to_str().unwrap()]);
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        house
    }

    fn broker(&self) -> PathBuf {
        self.path("broker")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn confide(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_confide"))
            .args(arguments)
            .env_remove("CONFIDE_BROKER_URL")
            .env("CONFIDE_BROKER_DIR", self.broker())
            .current_dir(self.place.path())
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str], status: i32) -> Value {
        let output = self.confide(&[arguments, &["--json"]].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {words}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {words}"))
    }

    fn serve(&self) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_confide"))
            .args(["broker", "serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(self.broker().join("broker.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Running { child, url: format!("https://{}", address.trim()) }
    }

    fn put(&self, running: &Running, path: &str, value: &str) -> Value {
        std::fs::write(self.path("value"), value).unwrap();
        self.json(&["secret", "put", path, "--file", "value", "--url", &running.url], 0)
    }

    /// Edits the store as somebody with the disk would.
    fn edit(&self, statement: &str) {
        let script =
            format!("import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute({statement:?})\nc.commit()\n");
        let done = Command::new("python3").arg("-c").arg(script).arg(self.broker().join("broker.sqlite")).status();
        assert!(done.unwrap().success());
    }
}

fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn the_log_is_checked_with_and_without_its_broker() {
    let house = House::new();
    let identity = house.json(&["audit", "head"], 0)["head"].as_str().unwrap()[15..79].to_owned();
    assert_eq!(house.json(&["audit", "verify"], 0)["entries"], json!(0), "a log without entries is whole");
    let broker = house.serve();
    for number in 0..4 {
        house.put(&broker, "example/key/1", &number.to_string());
    }
    let online = house.json(&["audit", "verify", "--url", &broker.url], 0);
    assert_eq!((&online["ok"], &online["entries"], &online["bad"]), (&json!(true), &json!(5), &Value::Null));
    assert_eq!(house.json(&["audit", "verify"], 0), online, "the store says what the broker says");
    house.json(&["audit", "export", "-o", "online.jsonl", "--url", &broker.url], 0);
    write(&house.path("head.json"), &house.json(&["audit", "head"], 0));
    let head = house.confide(&["audit", "head"]);
    std::fs::write(house.path("head.txt"), head.stdout).unwrap();
    assert_eq!(broker.stop(), Some(0));

    house.json(&["audit", "export", "-o", "offline.jsonl"], 0);
    let exported = |name: &str| std::fs::read(house.path(name)).unwrap();
    assert_eq!(exported("online.jsonl"), exported("offline.jsonl"));
    let anywhere = ["audit", "verify", "offline.jsonl", "--identity", &identity, "--kept", "head.txt"];
    assert_eq!(house.json(&anywhere, 0)["entries"], json!(5));
    let other = "0".repeat(64);
    let refused = house.json(&["audit", "verify", "offline.jsonl", "--identity", &other], 1);
    assert_eq!(refused["error"], json!("offline.jsonl does not verify"));
    assert_eq!(
        house.json(&["audit", "export", "-o", "offline.jsonl"], 3)["error"],
        json!("cannot write offline.jsonl")
    );
    let absent = house.json(&["audit", "receipt", "0123456789abcdef"], 1);
    assert_eq!(absent["error"], json!("there is no decision 0123456789abcdef"));
    assert_eq!(house.json(&["audit", "receipt", "x"], 2)["error"], json!("`x` is not the name of a decision"));

    house.edit("UPDATE audit SET body = replace(body, 'put', 'get') WHERE sequence = 3");
    let verdict = house.json(&["audit", "verify"], 1);
    let bad = json!({"sequence": 3, "through": 3, "problem": "the entry was changed"});
    assert_eq!((&verdict["ok"], &verdict["bad"]), (&json!(false), &bad));
}

#[test]
fn versions_backup_restore_and_a_new_master_key() {
    let house = House::new();
    let broker = house.serve();
    let path = "example/key/1";
    assert_eq!(house.put(&broker, path, "first"), json!({"stored": path, "version": 1, "bytes": 5}));
    assert_eq!(house.put(&broker, path, "second")["version"], json!(2));
    let url = ["--url", &broker.url];
    let with = |arguments: &[&str], status| house.json(&[arguments, &url].concat(), status);
    let deleted = with(&["secret", "delete", path, "--secret-version", "1"], 0);
    assert_eq!(deleted, json!({"deleted": path, "version": 1}));
    with(&["secret", "delete", path, "--secret-version", "1"], 1);
    let listed = with(&["secret", "list", path], 0);
    let gone: Vec<bool> = listed["versions"].as_array().unwrap().iter().map(|row| !row["deleted"].is_null()).collect();
    assert_eq!(gone, [true, false]);

    house.json(&["broker", "backup", "-o", "whole", "--with-keys"], 0);
    let again = house.json(&["broker", "backup", "-o", "whole"], 3);
    assert_eq!(again["causes"], json!(["whole exists already, and nothing is overwritten"]));
    let busy = house.json(&["broker", "rotate-master"], 3);
    assert!(busy["causes"][0].as_str().unwrap().ends_with("is in use by a broker that runs, or by another command"));
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(house.json(&["broker", "rotate-master"], 0), json!({"epoch": 2, "data_keys": 1}));
    let restored = house.json(&["broker", "restore", "whole", "--dir", "restored"], 0);
    // Start, two changes, one deletion, one that found nothing, the restore.
    assert_eq!(restored["entries"], json!(6));
    assert_eq!(house.json(&["audit", "verify", "--broker-dir", "restored"], 0)["entries"], json!(6));
    house.json(&["broker", "restore", "whole", "--dir", "restored"], 3);
    assert_eq!(house.serve().stop(), Some(0), "the new master key serves");
}

#[test]
fn what_was_acknowledged_survives_a_broker_that_is_killed() {
    let house = House::new();
    let path = "example/key/1";
    std::fs::write(house.path("value"), "x").unwrap();
    let mut acknowledged = 0;
    for round in 0..6_u64 {
        let broker = house.serve();
        let url = broker.url.clone();
        acknowledged += std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let put = || house.confide(&["secret", "put", path, "--file", "value", "--url", &url]);
                (0..100).take_while(|_| put().status.success()).count()
            });
            std::thread::sleep(std::time::Duration::from_millis(150 + 37 * round));
            drop(broker); // SIGKILL
            writer.join().unwrap()
        });
    }
    let broker = house.serve();
    let verdict = house.json(&["audit", "verify", "--url", &broker.url], 0);
    let versions = house.json(&["secret", "list", path, "--url", &broker.url], 0)["versions"].as_array().unwrap().len();
    // Seven starts; each change is there with its entry, or neither is.
    assert_eq!(verdict["entries"].as_u64().unwrap(), versions as u64 + 7);
    assert!(acknowledged > 0 && versions >= acknowledged, "{acknowledged} acknowledged, {versions} kept");
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn settings_are_shown_as_used_and_the_log_is_json_where_asked() {
    let house = House::new();
    let file = house.broker().join("broker.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("[revocation]", "log = \"json\"\n\n[revocation]", 1)).unwrap();
    let shown = ["broker", "serve", "--config", file.to_str().unwrap(), "--show-settings"];
    let settings = house.json(&[&shown, ["--listen", "127.0.0.1:1"].as_slice()].concat(), 0);
    assert_eq!((&settings["log"], &settings["listen"]), (&json!("json"), &json!("127.0.0.1:1")));
    assert_eq!(settings["limits"]["requests_per_second"], json!(250));
    let toml = String::from_utf8(house.confide(&shown).stdout).unwrap();
    assert!(toml.contains("requests_per_second = 250") && toml.contains("source = \"file\""), "{toml}");

    let log = house.path("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_confide"))
        .args(["--quiet", "broker", "serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    assert_eq!(Running { child, url: String::new() }.stop(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "listening" && line["scheme"] == "https"), "{text}");
}

#[test]
fn a_store_in_postgresql_is_a_setting_without_a_password_in_it() {
    let house = House::new();
    let folder = house.path("shared");
    let init = |url: &str| house.confide(&["broker", "init", "--dir", folder.to_str().unwrap(), "--postgres", url]);
    let refused = init("postgres://confide:hush@127.0.0.1/confide");
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(words.contains("with a password") && !words.contains("hush") && !folder.exists(), "{words}");
    assert_eq!(init("postgres://confide@127.0.0.1:1/confide").status.code(), Some(0));
    assert!(!folder.join("broker.sqlite").exists());
    let file = folder.join("broker.toml");
    let serve = ["broker", "serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    let settings = house.json(&[serve.as_slice(), &["--show-settings"]].concat(), 0);
    assert_eq!((&settings["store"]["kind"], &settings["store"]["tls"]), (&json!("postgres"), &json!("verify")));
    assert_eq!(settings["store"]["password_file"], json!(folder.join("postgres.password")));

    // Nobody answers there.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("password_file", "# ").replace("tls = \"verify\"", "tls = \"off\"")).unwrap();
    std::fs::copy(folder.join("identity.pem"), folder.join("postgres-ca.pem")).unwrap();
    let down = house.confide(&serve);
    let words = String::from_utf8(down.stderr).unwrap();
    assert_eq!(down.status.code(), Some(3));
    assert!(words.contains("the database cannot be used now") && words.contains("Connection refused"), "{words}");
    std::fs::write(&file, format!("{}password = \"hush\"\n", std::fs::read_to_string(&file).unwrap())).unwrap();
    let words = String::from_utf8(house.confide(&serve).stderr).unwrap();
    assert!(words.contains("store.password") && !words.contains("hush"), "{words}");
}

#[test]
fn the_systemd_unit_is_one() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/confide-broker.service");
    let text = std::fs::read_to_string(unit).unwrap();
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("confide-broker.service");
    // systemd wants to see the program.
    std::fs::write(&copy, text.replace("/usr/bin/confide", env!("CARGO_BIN_EXE_confide"))).unwrap();
    let Ok(checked) = Command::new("systemd-analyze").arg("verify").arg(&copy).output() else {
        println!("skipped: systemd-analyze is not here");
        return;
    };
    let words = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && !words.contains("confide-broker.service:"), "{words}");
}

#[test]
fn reference_values_are_added_ended_revoked_signed_and_imported() {
    let house = House::new();
    let broker = house.serve();
    let url = ["--url", broker.url.as_str()];
    let with = |arguments: &[&str], status| house.json(&[arguments, &url].concat(), status);
    let added =
        with(&["reference", "add", "snp_bootloader", "10", "--as-json", "--expires", "2099-01-01T00:00:00Z"], 0);
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!(added["added"], json!(true));
    with(&["reference", "add", "snp_launch_measurement", "aa"], 0);
    with(&["reference", "add", "snp_launch_measurement", "bb"], 0);
    let error = |arguments: &[&str], status| with(arguments, status)["error"].as_str().unwrap().to_owned();
    assert_eq!(error(&["reference", "add", "x", "{", "--as-json"], 2), "the value is not JSON");
    let wrong = "--expires tomorrow is not a time like 2027-01-01T00:00:00Z";
    assert_eq!(error(&["reference", "add", "x", "1", "--expires", "tomorrow"], 2), wrong);
    assert_eq!(error(&["reference", "add", "nowhere.json"], 3), "cannot read nowhere.json");

    let rows = || with(&["reference", "list"], 0)["values"].as_array().unwrap().clone();
    let row = |id: &str| rows().into_iter().find(|row| row["id"] == json!(id)).unwrap();
    assert_eq!((&row(&id)["value"], &row(&id)["expires"]), (&json!(10), &json!(4_070_908_800_u64)));
    with(&["reference", "expire", &id], 0);
    assert!(row(&id)["expires"].as_u64().unwrap() < 4_070_908_800);
    with(&["reference", "revoke", &id, "--reason", "a leaked loader"], 0);
    assert_eq!(row(&id)["reason"], json!("a leaked loader"));
    assert_eq!(
        error(&["reference", "revoke", "snp_bootloader", "--reason", "x"], 2),
        "`snp_bootloader` is not a reference value's id"
    );
    with(&["reference", "remove", "snp_launch_measurement"], 0);
    assert_eq!(rows().len(), 1);
    with(&["reference", "remove", &id], 0);
    assert_eq!(with(&["reference", "remove", &id], 1)["code"], json!("E-ABSENT"));
    assert_eq!(with(&["reference", "remove", "snp_launch_measurement"], 1)["code"], json!("E-ABSENT"));

    let bundle = |serial: u64| {
        write(
            &house.path("values.json"),
            &json!({"type": "confide-reference-values", "version": 1, "serial": serial,
                "values": [{"name": "snp_launch_measurement", "value": "cc"}]}),
        );
    };
    bundle(2);
    assert_eq!(with(&["reference", "import", "values.json", "--dry-run"], 0)["values"], json!(1));
    assert!(rows().is_empty());
    let keys = house.broker();
    let (private, public) = (keys.join("admin-key.pem"), keys.join("admin.pem"));
    with(&["reference", "trust", "builder", "--key", public.to_str().unwrap()], 0);
    assert_eq!(with(&["reference", "import", "values.json"], 1)["code"], json!("E-SIGNER"));
    house.json(&["reference", "sign", "values.json", "--key", private.to_str().unwrap()], 0);
    let taken = with(&["reference", "import", "values.json"], 0);
    assert_eq!((&taken["signed_by"], &taken["added"]), (&json!("builder"), &json!(1)));
    bundle(1);
    house.json(&["reference", "sign", "values.json", "--key", private.to_str().unwrap()], 0);
    assert_eq!(with(&["reference", "import", "values.json"], 1)["code"], json!("E-ROLLBACK"));
    assert_eq!(
        house.json(&["reference", "sign", "broker/broker.toml", "--key", "broker/admin-key.pem"], 2)["causes"],
        json!([])
    );
    with(&["reference", "untrust", "builder"], 0);
    with(&["reference", "import", "values.json", "--signature", "broker/admin.pem"], 1);
}

#[test]
fn things_are_revoked_listed_and_lifted() {
    let house = House::new();
    let broker = house.serve();
    let url = ["--url", broker.url.as_str()];
    let with = |arguments: &[&str], status| house.json(&[arguments, &url].concat(), status);
    house.put(&broker, "example/key/1", "x");
    let revoked = with(&["revoke", "key", "example/key", "--reason", "copied"], 0);
    let one = &revoked["revoked"][0];
    assert_eq!((&one["what"], &one["subject"], &one["known"]), (&json!("key"), &json!("example/key"), &json!(true)));
    let chip = "ab".repeat(64);
    assert_eq!(with(&["revoke", "chip", &chip, "--reason", "stolen", "--dry-run"], 0)["dry_run"], json!(true));
    let absent = with(&["revoke", "policy", "ours@3", "--reason", "wrong"], 1);
    assert_eq!(absent["code"], json!("E-ABSENT"));
    assert_eq!(with(&["revoke", "image", "hello", "--reason", "x"], 1)["code"], json!("E-FORMAT"));
    let list = with(&["revoke", "list"], 0);
    assert_eq!(list["revocations"].as_array().unwrap().len(), 1, "a dry run revokes nothing");
    let id = list["revocations"][0]["id"].as_str().unwrap().to_owned();
    with(&["revoke", "lift", &id, "--reason", "it was not"], 0);
    assert_eq!(with(&["revoke", "lift", &id, "--reason", "again"], 1)["code"], json!("E-ABSENT"));
    assert_eq!(with(&["revoke", "lift", "x", "--reason", "again"], 2)["error"], json!("`x` is not a revocation's id"));
    assert!(with(&["revoke", "list"], 0)["revocations"][0]["lifted"].is_u64());
}

#[test]
fn a_trustee_is_imported_and_keys_are_renewed() {
    let house = House::new();
    let storage = house.path("trustee/repository/default/key");
    std::fs::create_dir_all(&storage).unwrap();
    std::fs::write(storage.join("1"), "value").unwrap();
    let import = |more: &[&str]| house.json(&[["broker", "import", "trustee"].as_slice(), more].concat(), 0);
    assert_eq!(import(&["--dry-run"])["imported"], json!(1));
    let report = import(&[]);
    assert_eq!((&report["imported"], &report["items"][0]["name"]), (&json!(1), &json!("default/key/1")));
    assert_eq!(import(&[])["unchanged"], json!(1));
    let missing = house.json(&["broker", "import", "nowhere"], 3);
    assert_eq!(missing["error"], json!("nothing was imported"));

    assert_eq!(house.json(&["broker", "rotate-token-key"], 0)["restart"], json!(true));
    house.json(&["broker", "renew-leaf", "--name", "broker.example.com"], 0);
    let names = house.json(&["broker", "renew-leaf"], 0)["names"].clone();
    assert!(names.as_array().unwrap().contains(&json!("broker.example.com")), "{names}");
    let other = House::new();
    let foreign = other.broker().join("identity-key.pem");
    let refused = house.json(&["broker", "rotate-token-key", "--identity-key", foreign.to_str().unwrap()], 1);
    assert_eq!(refused["error"], json!("the token key was not rotated"));
    let broker = house.serve();
    let listed = house.json(&["secret", "list", "--url", &broker.url], 0);
    assert_eq!(listed["resources"][0]["path"], json!("default/key/1"));
}
