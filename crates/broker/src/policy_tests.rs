//! Each comparison of the policy, one at a time.

use super::*;
use claims::VerityRoot;
use claims::reference::{LaunchMeasurement, Reference};

const TCB: TcbVersion = TcbVersion { fmc: None, bootloader: 4, tee: 1, snp: 20, microcode: 200 };

fn claims() -> Appraised {
    Appraised {
        tee: Tee::Snp,
        product: Product::Milan,
        measurement: LaunchDigest([1; 48]),
        host_data: HostData([2; 32]),
        policy: GuestPolicy::PLAIN,
        vmpl: 0,
        reported_tcb: TCB,
        committed_tcb: TCB,
        current_tcb: TCB,
        launch_tcb: TCB,
        chip_id: ChipId([3; 64]),
        report_id: "aa".into(),
        report_id_ma: NO_AGENT.into(),
    }
}

fn rule() -> Rule {
    let reference = Reference {
        version: 1,
        name: "hello".into(),
        site: "site-1".into(),
        substrate: "cvm".into(),
        launch_measurements: vec![LaunchMeasurement {
            vcpu_type: "EPYC-v4".into(),
            vcpus: 1,
            guest_features: 1,
            launch_measurement: LaunchDigest([1; 48]),
        }],
        host_data: HostData([2; 32]),
        root_hash: VerityRoot([0; 32]),
        resources: vec!["example/key/1".into()],
        tcb_floor: Some(TCB),
        chips: Chips::Any,
        lease: Lease::Shared,
        inputs: vec![],
        command_line: String::new(),
    };
    Rule { id: Digest256([9; 32]), added: 0, reference, chip: None }
}

fn path() -> ResourcePath {
    ResourcePath::parse("example/key/1").unwrap()
}

fn release(rule: Rule, claims: &Appraised, others: &[String]) -> Result<Permit, Code> {
    let question = Question::Release { resource: &path(), others };
    let decision = decide(Mode::Production, &[rule], claims, question);
    decision.outcome.map(|_| decision.permit.expect("an admitted release has a permit"))
}

#[test]
fn matching_evidence_gets_a_permit_for_that_resource_only() {
    let permit = release(rule(), &claims(), &[]).unwrap();
    assert_eq!((permit.resource(), permit.rule()), (&path(), &Digest256([9; 32])));
    assert_eq!(permit.bind_chip(), None);
    let appraisal = decide(Mode::Production, &[rule()], &claims(), Question::Appraise);
    assert_eq!(appraisal.outcome, Ok(Digest256([9; 32])));
    assert!(appraisal.permit.is_none(), "an appraisal releases nothing");
}

#[test]
fn without_rules_everything_is_refused() {
    let decision = decide(Mode::Development, &[], &claims(), Question::Appraise);
    assert_eq!(decision.outcome, Err(Code::NoRule));
}

#[test]
fn each_claim_that_differs_refuses_with_its_code() {
    let low = TcbVersion { snp: 19, ..TCB };
    type Change = fn(&mut Appraised, TcbVersion);
    let cases: [(Code, Change); 10] = [
        (Code::Emulated, |claims, _| claims.tee = Tee::Emulated),
        (Code::SnpDebug, |claims, _| claims.policy = GuestPolicy(0xb_0000)),
        (Code::SnpMigration, |claims, _| claims.policy = GuestPolicy(0x7_0000)),
        (Code::SnpMigration, |claims, _| claims.report_id_ma = "00".repeat(32)),
        (Code::SnpVmpl, |claims, _| claims.vmpl = 1),
        (Code::Measurement, |claims, _| claims.measurement = LaunchDigest([7; 48])),
        (Code::HostData, |claims, _| claims.host_data = HostData([7; 32])),
        (Code::SnpTcbFloor, |claims, low| claims.reported_tcb = low),
        (Code::SnpTcbFloor, |claims, low| claims.committed_tcb = low),
        (Code::SnpTcbFloor, |claims, low| claims.launch_tcb = low),
    ];
    for (code, change) in cases {
        let mut other = claims();
        change(&mut other, low);
        assert_eq!(release(rule(), &other, &[]).unwrap_err(), code);
        let trace = decide(Mode::Production, &[rule()], &other, Question::Appraise).trace;
        let failed: Vec<_> = trace[0].checks.iter().filter(|check| !check.passed).collect();
        assert_eq!(failed.len(), 1, "exactly one comparison fails: {failed:?}");
    }
}

#[test]
fn chips_any_list_and_first_use() {
    let with = |chips: Chips, bound: Option<ChipId>| {
        let mut rule = rule();
        rule.reference.chips = chips;
        rule.chip = bound;
        rule
    };
    let other = ChipId([4; 64]);
    let permit = release(with(Chips::FirstUse, None), &claims(), &[]).unwrap();
    assert_eq!(permit.bind_chip(), Some(&ChipId([3; 64])));
    assert_eq!(release(with(Chips::FirstUse, Some(ChipId([3; 64]))), &claims(), &[]).unwrap().bind_chip(), None);
    assert_eq!(release(with(Chips::FirstUse, Some(other)), &claims(), &[]).unwrap_err(), Code::SnpChip);
    assert_eq!(release(with(Chips::List(vec![other]), None), &claims(), &[]).unwrap_err(), Code::SnpChip);
    release(with(Chips::List(vec![other, ChipId([3; 64])]), None), &claims(), &[]).unwrap();
    let masked = Appraised { chip_id: ChipId([0; 64]), ..claims() };
    release(with(Chips::Any, None), &masked, &[]).unwrap();
    assert_eq!(release(with(Chips::FirstUse, None), &masked, &[]).unwrap_err(), Code::SnpChip);
    assert_eq!(release(with(Chips::List(vec![ChipId([0; 64])]), None), &masked, &[]).unwrap_err(), Code::SnpChip);
}

#[test]
fn an_exclusive_lease_admits_one_guest_and_a_shared_one_several() {
    let mut exclusive = rule();
    exclusive.reference.lease = Lease::Exclusive;
    let others = ["bb".to_owned()];
    release(exclusive.clone(), &claims(), &[]).unwrap();
    assert_eq!(release(exclusive.clone(), &claims(), &others).unwrap_err(), Code::Lease);
    release(rule(), &claims(), &others).unwrap();
    // Who does not meet the rule anyway learns nothing about leases.
    let stranger = Appraised { measurement: LaunchDigest([7; 48]), ..claims() };
    assert_eq!(release(exclusive, &stranger, &others).unwrap_err(), Code::Measurement);
}

#[test]
fn the_nearest_rule_explains() {
    let mut far = rule();
    far.id = Digest256([8; 32]);
    far.reference.host_data = HostData([6; 32]);
    far.reference.launch_measurements.clear();
    let other = Appraised { host_data: HostData([7; 32]), ..claims() };
    let decision = decide(Mode::Production, &[far, rule()], &other, Question::Appraise);
    assert_eq!(decision.outcome, Err(Code::HostData));
    assert_eq!(decision.trace[0].rule, Digest256([9; 32]));
}
