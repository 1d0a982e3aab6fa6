//! The master key under a key in a hardware security module: SoftHSM, with tokens of its own in a temporary folder. The
//! programs run as children, because SoftHSM finds its tokens by an environment variable.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];
const PIN: &str = "83519264";

struct House {
    place: tempfile::TempDir,
    module: PathBuf,
}

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

impl House {
    /// A token `broker`; none where SoftHSM is not installed.
    fn new() -> Option<Self> {
        let module = MODULES.iter().map(PathBuf::from).find(|path| path.exists())?;
        let house = Self { place: tempfile::tempdir().unwrap(), module };
        std::fs::create_dir(house.path("tokens")).unwrap();
        let text = format!("directories.tokendir = {}\n", house.path("tokens").display());
        std::fs::write(house.path("softhsm2.conf"), text).unwrap();
        std::fs::write(house.path("pin"), format!("{PIN}\n")).unwrap();
        let made = house
            .run(Path::new("softhsm2-util"))
            .args(["--init-token", "--free", "--label", "broker", "--so-pin", "00000000", "--pin", PIN])
            .output()
            .ok()?;
        assert!(made.status.success(), "{made:?}");
        Some(house)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("CONFIDE_BROKER_DIR", self.path("broker"))
            .env_remove("CONFIDE_BROKER_URL")
            .current_dir(self.place.path());
        command
    }

    fn confide(&self, arguments: &[&str]) -> Output {
        let output = self.run(Path::new(env!("CARGO_BIN_EXE_confide"))).args(arguments).output().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(stream).contains(PIN), "the PIN is in the output of {arguments:?}");
        }
        output
    }

    fn json(&self, arguments: &[&str], status: i32) -> Value {
        let output = self.confide(&[arguments, &["--json"]].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {words}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn init(&self) -> Output {
        let module = self.module.to_str().unwrap();
        let flags = ["broker", "init", "--dir", "broker", "--master", "pkcs11", "--master-key", "confide"];
        let token = ["--pkcs11-module", module, "--pkcs11-token", "broker", "--pkcs11-pin-file", "pin"];
        self.confide(&[flags.as_slice(), &token].concat())
    }

    fn serve(&self) -> Running {
        let mut child = self
            .run(Path::new(env!("CARGO_BIN_EXE_confide")))
            .args(["broker", "serve", "--listen", "127.0.0.1:0", "--config", "broker/broker.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "the broker does not serve");
        Running { child, url: format!("https://{}", address.trim()) }
    }

    /// Why the broker does not serve.
    fn refusal(&self) -> String {
        let output = self.confide(&["broker", "serve", "--listen", "127.0.0.1:0", "--config", "broker/broker.toml"]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The settings with another text in place of one.
    fn change(&self, from: &str, to: &str) {
        let file = self.path("broker/broker.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }
}

#[test]
fn the_master_key_is_under_a_key_of_a_token() {
    let Some(house) = House::new() else {
        eprintln!("skipped: SoftHSM is not installed (package softhsm2)");
        return;
    };
    let made = house.init();
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert!(!house.path("broker/master.key").exists());
    let wrapped = || std::fs::read_to_string(house.path("broker/master.wrapped")).unwrap();
    let first = wrapped();
    assert!(first.starts_with("{\"version\":1,\"mechanism\":\"CKM_AES_GCM\","), "{first}");

    let broker = house.serve();
    std::fs::write(house.path("value"), "a value").unwrap();
    let stored = house.json(&["secret", "put", "example/key/1", "--file", "value", "--url", &broker.url], 0);
    assert_eq!(stored["version"], json!(1));
    drop(broker);
    let settings = house.confide(&["broker", "serve", "--config", "broker/broker.toml", "--show-settings"]);
    assert!(String::from_utf8_lossy(&settings.stdout).contains("source = \"pkcs11\""), "{settings:?}");
    assert_eq!(house.json(&["broker", "rotate-master"], 0), json!({"epoch": 2, "data_keys": 1}));
    assert_ne!(wrapped(), first);
    drop(house.serve());
    let rewrap = house.json(&["broker", "rotate-master", "--rewrap"], 3);
    assert_eq!(rewrap["error"], json!("the master key was not wrapped again"));

    // The key that the store is under now is not in the file of before.
    let current = wrapped();
    std::fs::write(house.path("broker/master.wrapped"), &first).unwrap();
    assert!(house.refusal().contains("the master key is not the one that this store's secrets are under"));
    let last = current.rfind('"').unwrap();
    let digit = if current.as_bytes()[last - 1] == b'0' { "1" } else { "0" };
    let mut spoilt = current.clone();
    spoilt.replace_range(last - 1..last, digit);
    std::fs::write(house.path("broker/master.wrapped"), spoilt).unwrap();
    assert!(house.refusal().contains("the wrapped master key is damaged, or is not under this key of the token"));
    std::fs::write(house.path("broker/master.wrapped"), current).unwrap();

    std::fs::write(house.path("pin"), "11111111").unwrap();
    assert!(house.refusal().contains("the token `broker` does not take the PIN (it is wrong)"));
    std::fs::write(house.path("pin"), PIN).unwrap();
    house.change("key = \"confide\"", "key = \"other\"");
    assert!(house.refusal().contains("the token `broker` has no AES key `other`"));
    house.change("key = \"other\"", "key = \"confide\"");
    house.change("token = \"broker\"", "token = \"elsewhere\"");
    assert!(house.refusal().contains("there is no token `elsewhere`; there are: `broker`"));
    house.change("token = \"elsewhere\"", "token = \"broker\"");
    house.change(house.module.to_str().unwrap(), "/nowhere/module.so");
    assert!(house.refusal().contains("the PKCS #11 library /nowhere/module.so cannot be used"));
    house.change("/nowhere/module.so", house.module.to_str().unwrap());
    drop(house.serve());
}

#[test]
fn a_master_key_moves_from_a_file_to_a_token() {
    let Some(house) = House::new() else {
        eprintln!("skipped: SoftHSM is not installed (package softhsm2)");
        return;
    };
    assert_eq!(house.confide(&["broker", "init", "--dir", "broker"]).status.code(), Some(0));
    let file = house.path("broker/broker.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!(
        "[master]\nsource = \"pkcs11\"\nmodule = {:?}\ntoken = \"broker\"\nkey = \"confide\"\npin_file = \"../pin\"\n",
        house.module
    );
    std::fs::write(&file, text + &more).unwrap();
    let moved = house.json(&["broker", "rotate-master", "--from", "broker/master.key"], 0);
    assert_eq!(moved, json!({"epoch": 2, "data_keys": 0}));
    std::fs::remove_file(house.path("broker/master.key")).unwrap();
    drop(house.serve());
}

#[test]
fn a_flag_that_is_missing_is_named() {
    let place = tempfile::tempdir().unwrap();
    let confide = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_confide"))
            .args(["broker", "init", "--dir", "broker"])
            .args(arguments)
            .current_dir(place.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(confide(&["--master", "pkcs11"]).contains("a flag is missing: --pkcs11-module FILE"));
    assert!(confide(&["--master", "vault-transit"]).contains("a flag is missing: --master-key NAME"));
    let vault = ["--master", "vault-transit", "--master-key", "k"];
    assert!(confide(&vault).contains("a flag is missing: --vault-address URL"));
    let address = [vault.as_slice(), &["--vault-address", "https://127.0.0.1:1"]].concat();
    assert!(confide(&address).contains("a flag is missing: --vault-role-id ID and --vault-secret-id-file FILE"));
    let token = [address.as_slice(), &["--vault-token-file", "t"]].concat();
    assert!(confide(&token).contains("a flag is missing: --vault-ca FILE"));
    assert!(!place.path().join("broker").exists());
}
