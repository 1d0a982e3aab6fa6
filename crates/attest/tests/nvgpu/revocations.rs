//! OCSP responses: who may sign them, when they count, and what they say.

use crate::forge::{Manifest, NOW, Place, Report, Said, WORLD, ders, no_responses, response, roots};
use attest::expiry;
use attest::nvgpu::{
    DeviceChain, Evidence, GpuError, HoldPolicy, RevocationError, RevocationInput, RevocationPolicy, Rim,
};
use claims::nvgpu::Revocation;
use claims::{Code, Digest256, Refusal, UnixTime};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use x509_cert::der::Decode;
use x509_ocsp::{BasicOcspResponse, OcspRequest, OcspResponse};

fn verify(revocation: &RevocationInput, at: UnixTime) -> Result<Vec<Revocation>, GpuError> {
    let evidence = Evidence::parse(&Report::new().signed_by(&WORLD.device[0])).unwrap();
    let verified = evidence.verify(&DeviceChain::from_der(ders(&WORLD.device)), &roots(), revocation, at)?;
    Ok(verified.claims().revocation.clone())
}

/// A response about one place of the device chain, signed by its issuer.
fn about(place: usize, said: Said) -> Vec<u8> {
    response(&WORLD.device, place, said, &WORLD.device[place + 1], &[], NOW)
}

fn all(said: Said) -> Vec<Vec<u8>> {
    (1..4).map(|place| about(place, said)).collect()
}

#[test]
fn good_responses_about_every_certificate_are_enough() {
    let from = NOW.0 - 43_200;
    let good = Revocation::Good { from, until: NOW.0 + 43_200 };
    assert_eq!(verify(&RevocationInput::required(all(Said::Good)), NOW), Ok(vec![good.clone(); 3]));
    // The leaf is made by the device itself; nobody is asked about it, and the root is pinned.
    let mut fewer = all(Said::Good);
    fewer.remove(1);
    let missing = GpuError::Revocation(RevocationError::Missing { place: 2 });
    assert_eq!(verify(&RevocationInput::required(fewer.clone()), NOW), Err(missing.clone()));
    assert_eq!(missing.code(), Code::GpuRevocation);
    let policy = RevocationPolicy::AbsentOk { reason: "lab".to_owned() };
    let found = verify(&RevocationInput { responses: fewer, policy, hold: HoldPolicy::Refused }, NOW).unwrap();
    assert_eq!(found, [good.clone(), Revocation::Absent { reason: "lab".to_owned() }, good]);
    assert!(matches!(&verify(&no_responses(), NOW).unwrap()[..], [Revocation::Absent { .. }, ..]));
}

#[test]
fn what_is_asked_is_what_a_responder_answers_and_its_date_is_when_to_ask_again() {
    let questions = DeviceChain::from_der(ders(&WORLD.device)).ocsp_questions();
    assert_eq!(questions.len(), 3, "boot ROM, intermediate, chip");
    for (question, place) in questions.iter().zip(1..) {
        assert_eq!(question.certificate, Digest256::of(&WORLD.device[place].der));
        let asked = OcspRequest::from_der(&question.request).unwrap().tbs_request;
        let answer = about(place, Said::Good);
        let answered = OcspResponse::from_der(&answer).unwrap().response_bytes.unwrap();
        let answered = BasicOcspResponse::from_der(answered.response.as_bytes()).unwrap().tbs_response_data;
        let [asked, answered] = [
            asked.request_list.into_iter().map(|request| request.req_cert).collect::<Vec<_>>(),
            answered.responses.into_iter().map(|single| single.cert_id).collect(),
        ];
        assert_eq!(asked, answered, "place {place}");
        assert_eq!(expiry::of(&answer), Some(UnixTime(NOW.0 + 43_200)));
    }
}

#[test]
fn a_bad_state_refuses_whatever_the_policy() {
    let policies = [RevocationPolicy::Required, RevocationPolicy::AbsentOk { reason: "lab".to_owned() }];
    for policy in policies {
        let with = |responses: Vec<Vec<u8>>, hold: HoldPolicy| {
            let input = RevocationInput { responses, policy: policy.clone(), hold };
            verify(&input, NOW).map_err(|error| match error {
                GpuError::Revocation(error) => error,
                other => panic!("{other}"),
            })
        };
        let mixed = |place: usize, said: Said| {
            let mut responses = all(Said::Good);
            responses.push(about(place, said));
            responses
        };
        let since = NOW.0 - 10;
        // Also when a good response is there, too, before or behind.
        let error = with(mixed(1, Said::Revoked), HoldPolicy::Refused).unwrap_err();
        assert_eq!(error, RevocationError::Revoked { place: 1, since });
        assert_eq!(error.code(), Code::GpuRevoked);
        let mut behind = mixed(3, Said::Revoked);
        behind.rotate_right(1);
        let accepted = HoldPolicy::Accepted { reason: "pre-release".to_owned() };
        assert_eq!(with(behind, accepted.clone()), Err(RevocationError::Revoked { place: 3, since }));
        let error = with(mixed(2, Said::Hold), HoldPolicy::Refused).unwrap_err();
        assert_eq!(error, RevocationError::Hold { place: 2, since });
        assert_eq!(error.code(), Code::GpuRevoked);
        let hold = Revocation::Hold { since, reason: "pre-release".to_owned() };
        assert_eq!(with(mixed(2, Said::Hold), accepted.clone()).unwrap()[1], hold);
        let mut before = mixed(2, Said::Hold);
        before.rotate_right(1);
        assert_eq!(with(before, accepted).unwrap()[1], hold);
        assert_eq!(with(mixed(3, Said::Unknown), HoldPolicy::Refused), Err(RevocationError::Unknown { place: 3 }));
    }
}

#[test]
fn a_response_counts_while_it_is_in_date_and_signed_by_the_issuer() {
    let day = 86_400;
    for at in [UnixTime(NOW.0 - day), UnixTime(NOW.0 + day)] {
        let error = verify(&RevocationInput::required(all(Said::Good)), at).unwrap_err();
        assert!(matches!(error, GpuError::Revocation(RevocationError::Stale { place: 1, .. })), "{error}");
        assert_eq!(error.code(), Code::GpuRevocation);
        // A revocation does not go stale.
        let error = verify(&RevocationInput::required(vec![about(1, Said::Revoked)]), at).unwrap_err();
        assert_eq!(error.code(), Code::GpuRevoked);
    }
    let with = |by: &crate::forge::Issued, inside: &[&crate::forge::Issued]| {
        let mut responses = all(Said::Good);
        responses[1] = response(&WORLD.device, 2, Said::Good, by, inside, NOW);
        verify(&RevocationInput::required(responses), NOW).map(|_| ())
    };
    let refused = Err(GpuError::Revocation(RevocationError::Signature { place: 2 }));
    let issuer = &WORLD.device[3];
    assert_eq!(with(issuer, &[]), Ok(()));
    // Not the root, not the certificate itself, not the second chain's.
    for other in [&WORLD.device[4], &WORLD.device[2], &WORLD.second[3]] {
        assert_eq!(with(other, &[]), refused);
    }
    // A delegate of the issuer, for this purpose.
    let delegate = |change: &dyn Fn(&mut Place), under: &crate::forge::Issued| {
        let mut place = Place::leaf("responder");
        place.purposes = vec![ExtendedKeyUsagePurpose::OcspSigning];
        change(&mut place);
        place.issue(Some(under))
    };
    let good = delegate(&|_| (), issuer);
    assert_eq!(with(&good, &[&good]), Ok(()));
    assert_eq!(with(&good, &[]), refused);
    for bad in [
        delegate(&|_| (), &WORLD.device[2]),
        delegate(&|_| (), &WORLD.second[3]),
        delegate(&|place| place.purposes.clear(), issuer),
        delegate(&|place| place.purposes = vec![ExtendedKeyUsagePurpose::ServerAuth], issuer),
        delegate(&|place| place.years = (2020, 2021), issuer),
    ] {
        assert_eq!(with(&bad, &[&bad]), refused);
    }
    let other_key = delegate(&|place| place.usages = vec![KeyUsagePurpose::DigitalSignature], issuer);
    assert_eq!(with(&other_key, &[&good]), refused);
}

#[test]
fn malformed_responses_are_refused() {
    let refused = |responses: Vec<Vec<u8>>| match verify(&RevocationInput::required(responses), NOW) {
        Err(error @ GpuError::Revocation(RevocationError::Malformed { .. })) => {
            assert_eq!(error.code(), Code::GpuRevocation);
        }
        other => panic!("{other:?}"),
    };
    refused(vec![Vec::new()]);
    refused(vec![vec![0; 65 * 1024]]);
    refused(vec![about(1, Said::Good); 65]);
    // The responder says that it cannot answer.
    refused(vec![vec![0x30, 0x03, 0x0A, 0x01, 0x03]]);
    let good = about(1, Said::Good);
    for length in (0..good.len()).step_by(7) {
        refused(vec![good[..length].to_vec()]);
    }
    // No change of any byte makes a revoked certificate good.
    let revoked = about(1, Said::Revoked);
    for place in 0..revoked.len() {
        let mut changed = revoked.clone();
        changed[place] ^= 1;
        assert!(verify(&RevocationInput::required(vec![changed]), NOW).is_err(), "{place}");
    }
}

#[test]
fn signers_of_manifests_can_be_revoked() {
    let rim = Rim::parse(Manifest::driver(&[7]).signed().as_bytes()).unwrap();
    let with = |said: Said| {
        let about = |place: usize, said| response(&WORLD.signer, place, said, &WORLD.signer[place + 1], &[], NOW);
        let responses = vec![about(0, said), about(1, Said::Good), about(2, Said::Good)];
        rim.verify(&roots(), &RevocationInput::required(responses), NOW)
    };
    assert_eq!(with(Said::Good).unwrap().revocation().len(), 3);
    assert_eq!(with(Said::Revoked).unwrap_err().code(), Code::GpuRevoked);
    assert_eq!(with(Said::Hold).unwrap_err().code(), Code::GpuRevoked);
    assert_eq!(with(Said::Unknown).unwrap_err().code(), Code::GpuRevocation);
}
