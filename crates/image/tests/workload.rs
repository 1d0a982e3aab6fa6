//! The workload file: the guide's own examples, and every way to get one wrong.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use claims::reference::{Chips, Lease};
use claims::site::Network;
use claims::workload::{User, UserData, WorkloadLog};
use image::archive::ImageConfig;
use image::workload::{GIGABYTE, Place, REFERENCE, SettingsProblem, Workload, WorkloadError};
use std::path::{Path, PathBuf};

const SERVER: &str = r#"
compute_env: onprem_cvm
cc_cpu_mechanism: amd_sev_snp
role: server

# All drive sizes are in GB
root_drive_size: 45
applog_drive_size: 1
user_config_drive_size: 1
user_data_drive_size: 1

# Docker image archive saved using:
# docker save <image_name> | gzip > app.tar.gz
docker_archive: ~/NVFlare/examples/advanced/cc_provision/docker/nvflare-site.tar.gz

# Will be mounted inside docker at "/user_config/nvflare"
user_config:
  nvflare: /tmp/startup_kits

# Inbound ports whitelist
allowed_ports:
  - 8002

# Outbound ports whitelist
allowed_out_ports:
  - 443    # HTTPS
  - 8002   # NVFlare
  - 8999   # Trustee KBS

cc_issuers:
  - id: snp_authorizer
    path: nvflare.app_opt.confidential_computing.snp_authorizer.SNPAuthorizer
    token_expiration: 100  # seconds, must be < check_frequency

cc_attestation:
  check_frequency: 120  # seconds
"#;

const CLIENT: &str = r#"
compute_env: onprem_cvm
cc_cpu_mechanism: amd_sev_snp
role: client

# All drive sizes are in GB
root_drive_size: 45
applog_drive_size: 1
user_config_drive_size: 1
user_data_drive_size: 1

# Docker image archive
docker_archive: ~/NVFlare/examples/advanced/cc_provision/docker/nvflare-site.tar.gz

# For non-public domain server names
hosts_entries:
  server1: 10.176.200.152

# Will be mounted inside docker at "/user_config/nvflare"
user_config:
  nvflare: /tmp/startup_kits

cc_issuers:
  - id: snp_authorizer
    path: nvflare.app_opt.confidential_computing.snp_authorizer.SNPAuthorizer
    token_expiration: 100  # seconds, must be < check_frequency

cc_attestation:
  check_frequency: 120  # seconds
"#;

const LEAST: &str = "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\ndocker_archive: app.tar\n";

fn parse(text: &str) -> Result<Workload, WorkloadError> {
    Workload::parse(text, Place { file: Path::new("/w/cc_site-1.yml"), home: Some(Path::new("/home/me")) })
}

/// The least file with one more line, and what is wrong with it.
fn refusal(line: &str) -> WorkloadError {
    parse(&format!("{LEAST}{line}\n")).unwrap_err()
}

fn kind(key: &str, found: &'static str, wanted: &'static str) -> WorkloadError {
    WorkloadError::Kind { line: 4, key: key.into(), found, wanted }
}

#[test]
fn the_guides_server_file_reads_as_it_stands() {
    let workload = parse(SERVER).unwrap();
    assert_eq!(workload.name, "site-1");
    assert_eq!(workload.role.as_deref(), Some("server"));
    assert_eq!(workload.drives.root, 45 * GIGABYTE);
    assert_eq!(workload.drives.user_data, GIGABYTE);
    let archive = "/home/me/NVFlare/examples/advanced/cc_provision/docker/nvflare-site.tar.gz";
    assert_eq!(workload.docker_archive, PathBuf::from(archive));
    assert_eq!(workload.user_config["nvflare"], PathBuf::from("/tmp/startup_kits"));
    assert_eq!(workload.ports.inbound, [8002]);
    assert_eq!(workload.ports.outbound, [443, 8002, 8999]);
    assert_eq!(workload.issuers[0].id, "snp_authorizer");
    assert_eq!(workload.issuers[0].token_expiration, Some(100));
    assert_eq!(workload.check_frequency, 120);
}

#[test]
fn the_guides_client_file_and_both_spellings_of_host_entries_read() {
    let workload = parse(CLIENT).unwrap();
    assert_eq!(workload.hosts["server1"].to_string(), "10.176.200.152");
    let other = parse(&CLIENT.replace("hosts_entries", "host_entries")).unwrap();
    assert_eq!(other, workload);
    let both = format!("{LEAST}host_entries:\n  a: 10.0.0.1\nhosts_entries:\n  b: 10.0.0.2\n");
    assert_eq!(parse(&both), Err(WorkloadError::Duplicate { line: 7, key: "hosts_entries".into(), first: 5 }));
}

#[test]
fn our_own_keys_read() {
    let chip = "ab".repeat(64);
    let identity = "cd".repeat(32);
    let text = format!(
        "{LEAST}name: hello\nsite: berlin\nproject: demo\ncommand: [/bin/hello, --port, 8080]\nenvironment:\n  PORT: 8080\n  EMPTY:\n\
         user: 1000:1000\nvcpus: 4\nvcpu_type: EPYC-Milan\nmemory: 4 GB\nkernel: ~/vmlinuz\nmodules: mods\nfirmware: /f\n\
         broker:\n  url: https://10.0.2.2:8999\n  identity: {identity}\n\
         network:\n  address: 10.0.0.5/24\n  gateway: 10.0.0.1\n  dns: [10.0.0.2]\n\
         workload_log: applog\nuser_data: read-write\ngrace: 10\nchips: [{chip}]\nlease: exclusive\n\
         tcb_floor:\n  snp: 23\ngpu: true\nresources: [hello/secret/hmac]\nlimits:\n  memory: 512 MB\n  processes: 64\nproof:\n  path: /prove/{{challenge}}\n  secret: a/b/c\n\
         cc_gpu_mechanism: nvidia_cc\ncvm_image_name: hello-cvm\n"
    );
    let workload = parse(&text).unwrap();
    assert_eq!(
        (workload.name.as_str(), workload.site.as_str(), workload.project.as_str()),
        ("hello", "berlin", "demo")
    );
    assert_eq!(workload.command.unwrap(), ["/bin/hello", "--port", "8080"]);
    assert_eq!(workload.environment["PORT"], "8080");
    assert_eq!(workload.environment["EMPTY"], "");
    assert_eq!((workload.vcpus, workload.vcpu_type.as_str(), workload.memory_bytes), (4, "EPYC-Milan", 4 * GIGABYTE));
    assert_eq!(workload.kernel.unwrap(), PathBuf::from("/home/me/vmlinuz"));
    assert_eq!(workload.modules.unwrap(), PathBuf::from("/w/mods"));
    assert_eq!(workload.broker.unwrap().identity.to_string(), identity);
    assert!(matches!(workload.network, Network::Static { ref address, .. } if address == "10.0.0.5/24"));
    assert_eq!((workload.workload_log, workload.user_data), (WorkloadLog::Applog, UserData::ReadWrite));
    assert!(matches!(workload.chips, Chips::List(ref chips) if chips.len() == 1));
    assert_eq!((workload.lease, workload.grace, workload.gpu), (Lease::Exclusive, 10, true));
    assert_eq!(workload.tcb_floor.unwrap().snp, 23);
    assert_eq!(workload.resources, ["hello/secret/hmac"]);
    assert_eq!((workload.limits.memory_bytes, workload.limits.processes), (Some(512 << 20), 64));
    assert_eq!(workload.image_name, "hello-cvm");
    assert_eq!(workload.proof.unwrap().path, "/prove/{challenge}");
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_known_key() {
    let unknown = |key: &str, within: &str, nearest: Option<&str>, line| WorkloadError::UnknownKey {
        line,
        key: key.into(),
        within: within.into(),
        nearest: nearest.map(str::to_owned),
    };
    assert_eq!(refusal("allowed_port: [1]"), unknown("allowed_port", "", Some("allowed_ports"), 4));
    assert_eq!(refusal("root-drive-size: 4"), unknown("root-drive-size", "", Some("root_drive_size"), 4));
    assert_eq!(refusal("zzzzzzzzzzzz: 4"), unknown("zzzzzzzzzzzz", "", None, 4));
    assert_eq!(
        refusal("cc_attestation:\n  check_freqency: 9"),
        unknown("check_freqency", "cc_attestation", Some("check_frequency"), 5)
    );
    assert_eq!(
        refusal("cc_issuers:\n  - id: a\n    path: b\n    expires: 3"),
        unknown("expires", "cc_issuers", None, 7)
    );
    assert_eq!(
        refusal("allowed_port: [1]").to_string(),
        "line 4: unknown key `allowed_port`; did you mean `allowed_ports`?"
    );
}

#[test]
fn a_value_of_the_wrong_kind_names_what_was_found_and_wanted() {
    assert_eq!(refusal("allowed_ports: 8080"), kind("allowed_ports", "a number", "a list of ports"));
    assert_eq!(refusal("root_drive_size: big"), kind("root_drive_size", "text", "a number"));
    assert_eq!(refusal("root_drive_size: \"45\""), kind("root_drive_size", "text", "a number"));
    assert_eq!(refusal("root_drive_size: 4.5"), kind("root_drive_size", "a decimal number", "a number"));
    assert_eq!(refusal("name: 12"), kind("name", "a number", "text"));
    assert_eq!(refusal("gpu: yes"), kind("gpu", "text", "true or false"));
    assert_eq!(refusal("user_config: [a]"), kind("user_config", "a list", "a map of name to path"));
    assert_eq!(refusal("network: 3"), kind("network", "a number", "`dhcp` or a map"));
    assert_eq!(
        parse("- a\n"),
        Err(WorkloadError::Kind { line: 1, key: "the workload file".into(), found: "a list", wanted: "a map" })
    );
}

#[test]
fn duplicates_anchors_and_second_documents_are_refused() {
    assert_eq!(refusal("role: a\nrole: b"), WorkloadError::Duplicate { line: 5, key: "role".into(), first: 4 });
    assert_eq!(refusal("role: &x a"), WorkloadError::Alias { line: 4 });
    assert_eq!(refusal("role: !!str a"), WorkloadError::Alias { line: 4 });
    assert_eq!(refusal("---\nrole: a"), WorkloadError::SecondDocument { line: 4 });
    assert!(matches!(refusal("role: [a"), WorkloadError::Syntax { .. }));
    let deep = format!("user_config: {}1{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(refusal(&deep), WorkloadError::TooLarge { line: 4 });
}

#[test]
fn what_exists_elsewhere_has_its_own_error() {
    for (key, ours, others) in [
        ("compute_env", "onprem_cvm", &["azure_cvm", "azure_confidential_container", "mock"][..]),
        ("cc_cpu_mechanism", "amd_sev_snp", &["intel_tdx"][..]),
    ] {
        for other in others {
            let text = LEAST.replace(&format!("{key}: {ours}"), &format!("{key}: {other}"));
            let line = 1 + usize::from(key == "cc_cpu_mechanism");
            let wanted = WorkloadError::Unsupported { line, key: key.into(), value: (*other).into(), supported: ours };
            assert_eq!(parse(&text), Err(wanted));
        }
    }
    let text = LEAST.replace("onprem_cvm", "on_prem");
    assert!(matches!(parse(&text), Err(WorkloadError::Value { line: 1, .. })));
    assert_eq!(parse("role: a\n"), Err(WorkloadError::Missing { key: "compute_env".into() }));
    assert_eq!(refusal("broker:\n  url: https://a:1"), WorkloadError::Missing { key: "broker.identity".into() });
}

#[test]
fn ranges_hold() {
    let port = |value: &str| WorkloadError::Port { line: 4, key: "allowed_ports".into(), value: value.into() };
    assert_eq!(refusal("allowed_ports: [0]"), port("0"));
    assert_eq!(refusal("allowed_ports: [65536]"), port("65536"));
    assert_eq!(refusal("allowed_ports: [-1]"), port("-1"));
    let size = |value: &str| WorkloadError::Range {
        line: 4,
        key: "applog_drive_size".into(),
        value: value.into(),
        least: 1,
        most: 65_536,
    };
    assert_eq!(refusal("applog_drive_size: 0"), size("0"));
    assert_eq!(refusal("applog_drive_size: -3"), size("-3"));
    assert_eq!(refusal("applog_drive_size: 99999999999999999999"), size("99999999999999999999"));
    assert!(matches!(refusal("memory: 1 XB"), WorkloadError::Value { line: 4, .. }));
    assert!(matches!(refusal("memory: 65 MB"), WorkloadError::Value { line: 4, .. }));
    assert!(
        matches!(refusal("vcpu_type: EPYC-Millan"), WorkloadError::Value { ref wanted, .. } if wanted.contains("EPYC-Milan"))
    );
}

#[test]
fn a_token_must_not_outlive_the_check() {
    let text = SERVER.replace("token_expiration: 100", "token_expiration: 120");
    let wanted = WorkloadError::TokenOutlivesCheck {
        line: 33,
        issuer: "snp_authorizer".into(),
        token_expiration: 120,
        check_frequency: 120,
    };
    assert_eq!(parse(&text), Err(wanted));
    let default = SERVER.replace("check_frequency: 120", "").replace("token_expiration: 100", "token_expiration: 600");
    assert!(matches!(parse(&default), Err(WorkloadError::TokenOutlivesCheck { check_frequency: 600, .. })));
}

#[test]
fn hosts_resources_and_paths_are_checked() {
    let address = WorkloadError::Address { line: 5, name: "a".into(), value: "10.0.0".into() };
    assert_eq!(refusal("host_entries:\n  a: 10.0.0"), address);
    let name = refusal("host_entries:\n  a..b: 10.0.0.1");
    assert!(matches!(&name, WorkloadError::Value { line: 5, wanted, .. } if wanted == "a host name"), "{name}");
    for path in ["a/b", "a/b/c/d", "a//c", "../b/c", "a/b/c d"] {
        let wanted = WorkloadError::Resource { line: 4, value: path.into() };
        assert_eq!(refusal(&format!("resources: [\"{path}\"]")), wanted);
    }
    assert!(matches!(refusal("user_config:\n  ../x: /tmp"), WorkloadError::Value { line: 5, .. }));
    assert!(matches!(refusal("kernel: ~other/vmlinuz"), WorkloadError::Value { line: 4, .. }));
    let homeless = Workload::parse(SERVER, Place { file: Path::new("w.yml"), home: None });
    assert_eq!(homeless, Err(WorkloadError::Home { line: 14, key: "docker_archive".into() }));
    for (line, address, gateway, dns) in [
        (5, "fd00::5/64", "10.0.0.1", "10.0.0.2"),
        (6, "10.0.0.5/24", "fe80::1", "10.0.0.2"),
        (7, "10.0.0.5/24", "10.0.0.1", "::1"),
    ] {
        let text = format!("network:\n  address: \"{address}\"\n  gateway: \"{gateway}\"\n  dns: [\"{dns}\"]");
        let error = refusal(&text);
        assert!(
            matches!(&error, WorkloadError::Value { line: at, wanted, .. } if *at == line && wanted.contains("IPv4")),
            "{error}"
        );
    }
    for url in
        ["http://a:1", "https://a:1/path", "https://u@a:1", "https://:1", "https://a:0", "https://a", "https://[::1]:1"]
    {
        let text = format!("broker:\n  url: {url}\n  identity: {}", "ab".repeat(32));
        assert!(matches!(refusal(&text), WorkloadError::Value { line: 5, .. }), "{url}");
    }
}

#[test]
fn settings_come_from_image_and_file() {
    let workload = parse(&format!("{LEAST}environment:\n  A: mine\n  B: new\n")).unwrap();
    let image = ImageConfig {
        entrypoint: vec!["/bin/serve".into()],
        command: vec!["--fast".into()],
        environment: vec!["A=theirs".into(), "C=kept".into()],
        folder: String::new(),
        stop_signal: "SIGRTMIN+3".into(),
        ..ImageConfig::default()
    };
    let user = User { uid: 1000, gid: 1000, groups: vec![] };
    let settings = workload.settings(&image, user.clone()).unwrap();
    assert_eq!(settings.command, ["/bin/serve", "--fast"]);
    assert_eq!(settings.environment[..3], ["A=mine", "C=kept", "B=new"]);
    assert!(settings.environment[3].starts_with("PATH=/usr/local/sbin"));
    assert_eq!((settings.folder.as_str(), settings.stop_signal), ("/", 37));
    let nothing = ImageConfig::default();
    assert_eq!(workload.settings(&nothing, user.clone()), Err(SettingsProblem::NoCommand));
    let odd = ImageConfig { stop_signal: "SIGFOO".into(), ..image };
    assert_eq!(workload.settings(&odd, user), Err(SettingsProblem::Signal { name: "SIGFOO".into() }));
}

#[test]
fn the_site_file_holds_what_is_per_site() {
    let site = parse(SERVER).unwrap().site(None, None);
    assert_eq!((site.site.as_str(), site.project.as_str()), ("site-1", "default"));
    assert_eq!(site.volume_key, "default/volume-key/site-1");
    assert_eq!((site.attestation.check_frequency, site.attestation.grace), (120, 300));
    assert_eq!(site.issuers.len(), 1);
    assert!(image::workload::is_resource_path(&site.volume_key));
}

#[test]
fn the_manual_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/reference/workload-file.md");
    let page = Workload::manual();
    assert!(REFERENCE.iter().all(|doc| page.contains(doc.key)));
    if std::env::var_os("CONFIDE_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(written, page, "run with CONFIDE_WRITE_DOCS=1 to write the page anew");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|\n|  |: |- ){0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("{LEAST}{text}"));
    }
}

#[test]
fn the_example_reads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello/workload.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    let workload = Workload::parse(&text, Place { file: &file, home: None }).unwrap();
    assert_eq!(workload.docker_archive, file.with_file_name("hello.tar"));
    assert_eq!(workload.resources, [workload.proof.unwrap().secret]);
}
