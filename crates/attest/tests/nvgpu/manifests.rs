//! RIMs: the signature's one shape, wrapping attacks, and values that outlive their signer.

use crate::forge::{
    END, Manifest, NONCE, NOW, Place, Report, WORLD, chain, chain_under, envelop, no_responses, roots, sha384,
    signature, signature_of, signer_places, verify_rim,
};
use attest::nvgpu::{ChainError, Expected, GpuError, NvidiaRoots, Rim, RimError};
use claims::nvgpu::{GoldenError, GoldenMeasurements, Measres};
use claims::{Code, Refusal, UnixTime};

fn driver() -> Manifest {
    Manifest::driver(&[7, 21])
}

#[test]
fn a_signed_manifest_verifies_whatever_its_spelling() {
    let verified = driver().verify().unwrap();
    let document = verified.document();
    assert_eq!((document.product.as_str(), document.edition.as_str()), ("GH100", "GPU"));
    assert_eq!(document.resources.len(), 64);
    let golden = verified.golden();
    assert_eq!(golden.measurements.iter().map(|entry| entry.index).collect::<Vec<_>>(), [7, 21]);
    assert_eq!(golden.verified_at, NOW);
    assert_eq!(golden.signer_until, UnixTime(1_735_689_600));
    assert_eq!(verified.signer_until(), 1_735_689_600);
    assert_eq!(verified.revocation().len(), 3);
    // Other spellings of the same canonical form: order of attributes, quotes, empty elements, blanks, references,
    // declaration, byte order mark.
    let xml = driver().signed();
    for (from, to) in [
        ("corpus=\"false\" name=\"GH100\"", "name='GH100'\n  corpus=\"false\""),
        ("></ns0:Meta>", " />"),
        ("A &amp; B", "A &#38; B"),
        ("name=\"Measurement_0\" size=\"48\"", "size=\"48\"   name=\"Measurement_&#48;\""),
        ("<SoftwareIdentity ", "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SoftwareIdentity "),
        (END, "</SoftwareIdentity >\n\n"),
        ("text &amp;", "te&#x78;t &amp;"),
        ("\n</ds:X509Certificate>", "</ds:X509Certificate>"),
        ("></ds:DigestMethod>", "/>"),
        (" xmlns:ns3=\"urn:x\">\n", " xmlns:ns3=\"urn:x\">\r\n"),
    ] {
        assert!(xml.contains(from), "{from}");
        assert_eq!(
            verify_rim(&xml.replacen(from, to, 1)).map(|rim| rim.document().clone()).as_ref(),
            Ok(document),
            "{to}"
        );
    }
}

#[test]
fn a_changed_manifest_is_refused() {
    let xml = driver().signed();
    for (from, to) in [
        ("active=\"False\" alternatives=\"1\" index=\"5\"", "active=\"True\" alternatives=\"1\" index=\"5\""),
        ("index=\"7\"", "index=\"70\""),
        ("eeeeee", "eeeeef"),
        ("colloquialVersion=\"550.90.07\"", "colloquialVersion=\"550.90.08\""),
        ("tagId=\"t1\"", "tagId=\"t2\""),
        ("text &amp;", "text  &amp;"),
        ("urn:x", "urn:y"),
        ("\n<ns0:Entity", "<ns0:Entity"),
        ("name=\"Measurement_3\"", "name=\"Measurement_3\" extra=\"\""),
    ] {
        assert!(xml.contains(from), "{from}");
        let error = verify_rim(&xml.replacen(from, to, 1)).unwrap_err();
        assert!(matches!(error, RimError::Digest { .. }), "{to}: {error}");
        assert_eq!(error.code(), Code::RimSignature);
        assert_eq!(error.finding().unwrap().claim, "DigestValue");
    }
    // With a digest made to fit, the signature is wrong.
    let changed = driver().canonical().replace("550.90.07", "550.90.08");
    let spliced = signature(&driver().canonical(), &WORLD.signer);
    let (old, new) = (sha384(driver().canonical().as_bytes()), sha384(changed.as_bytes()));
    let base64 = |digest: claims::bytes::Digest384| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest.0);
    let fitted = spliced.replace(&base64(old), &base64(new));
    assert_ne!(fitted, spliced);
    let xml = changed.replace(END, &format!("{fitted}{END}"));
    assert_eq!(verify_rim(&xml).map(|_| ()), Err(RimError::Signature));
    // A namespace that only the signature's surroundings have is signed, too.
    let xml = driver().signed().replacen("<SoftwareIdentity ", "<SoftwareIdentity xmlns:new=\"urn:n\" ", 1);
    assert_eq!(verify_rim(&xml).map(|_| ()), Err(RimError::Signature));
}

/// What a document of the wrong shape is refused with, as far as the words are.
fn profile(xml: &str, words: &str) {
    let error = verify_rim(xml).unwrap_err();
    assert!(matches!(error, RimError::Profile { .. } | RimError::Construct { .. }), "{words}: {error}");
    assert!(error.to_string().contains(words), "{words}: {error}");
    assert_eq!(error.code(), Code::RimProfile);
}

#[test]
fn wrapping_attacks_are_refused() {
    let canonical = driver().canonical();
    let evil = canonical.replace("eeeeee", "e0e0e0").replace("active=\"False\"", "active=\"True\"");
    let good = signature(&canonical, &WORLD.signer);
    let before_end = |document: &str, insert: &str| document.replace(END, &format!("{insert}{END}"));
    // Two signatures, of which one is good for the rest.
    profile(&before_end(&canonical, &format!("{good}{good}")), "two signatures");
    profile(&before_end(&before_end(&evil, &good), &signature(&evil, &chain_of_others())), "two signatures");
    // The signature elsewhere, or inside of something.
    profile(&before_end(&evil, &format!("<x>{good}</x>")), "not a child of the root");
    profile(&evil.replace("</ns0:Payload>", &format!("{good}</ns0:Payload>")), "not a child of the root");
    profile(
        &good.replace(
            "<ds:Signature xmlns:ds",
            "<ds:Signature xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" xmlns:ds",
        ),
        "not a child of the root",
    );
    profile(&canonical, "there is no signature");
    // The good document inside of the signature, the evil one outside.
    let object = good.replace("</ds:KeyInfo>", &format!("</ds:KeyInfo><ds:Object>{canonical}</ds:Object>"));
    profile(&before_end(&evil, &object), "does not have 3 elements");
    let nested = good.replace("</ds:KeyInfo>", &format!("</ds:KeyInfo>{good}"));
    profile(&before_end(&canonical, &nested), "inside of another");
    // The good document moved below, the evil one on top: what is read is what is digested, so this is a digest error.
    let moved = before_end(&evil, &format!("<old>{canonical}</old>{good}"));
    assert!(matches!(verify_rim(&moved), Err(RimError::Digest { .. } | RimError::Construct { .. })));
    // References to a part by name, several references, other transforms: even validly signed ones.
    let signed = |from: &str, to: &str| {
        let digest = signature(&canonical, &WORLD.signer);
        let inner = digest.split("<ds:SignedInfo>").nth(1).unwrap().split("</ds:SignedInfo>").next().unwrap();
        assert!(inner.contains(from), "{from}");
        before_end(&canonical, &signature_of(&inner.replacen(from, to, 1), &WORLD.signer))
    };
    assert!(verify_rim(&signed("URI=\"\"", "URI=\"\"")).is_ok());
    profile(&signed("URI=\"\"", "URI=\"#t1\""), "not to the whole document");
    profile(&signed(" URI=\"\"", ""), "Reference has other attributes");
    profile(&signed("URI=\"\"", "Id=\"x\" URI=\"\""), "Reference has other attributes");
    profile(&signed("</ds:Reference>", "</ds:Reference><ds:Reference URI=\"\"></ds:Reference>"), "does not have 3");
    profile(&signed("#enveloped-signature", "#base64"), "Transform is `");
    profile(
        &signed("</ds:Transforms>", "<ds:Transform Algorithm=\"x\"></ds:Transform></ds:Transforms>"),
        "does not have 2",
    );
    profile(&signed("sha384\"></ds:DigestMethod>", "sha256\"></ds:DigestMethod>"), "DigestMethod is `");
    profile(&signed("#ecdsa-sha384", "#ecdsa-sha256"), "SignatureMethod is `");
    profile(&signed("xml-c14n11\"></ds:Canon", "xml-exc-c14n\"></ds:Canon"), "CanonicalizationMethod is `");
    profile(&signed("></ds:SignatureMethod>", ">x</ds:SignatureMethod>"), "SignatureMethod has content");
    profile(&signed("<ds:DigestValue>", "<ds:DigestValue>AAAA"), "digest value has 51 bytes");
    profile(&signed("<ds:DigestValue>", "<ds:DigestValue>!"), "DigestValue: ");
    profile(&signed("<ds:Reference URI", "text<ds:Reference URI"), "text between its elements");
    // The shape around.
    let around = |from: &str, to: &str| {
        let xml = before_end(&canonical, &good);
        assert!(xml.contains(from), "{from}");
        xml.replacen(from, to, 1)
    };
    profile(&around("<ds:SignedInfo>", "<ds:SignedInfo Id=\"a\">"), "SignedInfo has other attributes");
    profile(&around("<ds:SignatureValue>", "<ds:SignatureValue>AAAA"), "has 99 bytes");
    profile(&around("<ds:X509Data>", "<ds:KeyName>k</ds:KeyName><ds:X509Data>"), "does not have 1");
    profile(
        &around("<ds:X509Certificate>", "<ds:X509CRL>AAAA</ds:X509CRL><ds:X509Certificate>"),
        "X509CRL stands where",
    );
    profile(
        &around(
            "<ds:X509Certificate>",
            &format!("{}<ds:X509Certificate>", "<ds:X509Certificate>AA==</ds:X509Certificate>".repeat(9)),
        ),
        "more than 8",
    );
    profile(&around("<ds:DigestValue>", "<ds:DigestValue><x></x>"), "more than text");
}

fn chain_of_others() -> Vec<crate::forge::Issued> {
    let mut places = signer_places();
    places.push(Place::authority("NVIDIA CoRIM signing Root CA"));
    chain(&places)
}

#[test]
fn constructs_of_no_use_are_refused() {
    let xml = driver().signed();
    let with = |from: &str, to: &str| xml.replacen(from, to, 1);
    profile(&with("550.90.07", "550.90.07<!-- -->"), "a comment");
    profile(&with("text", "te<!-- c -->xt"), "a comment");
    profile(&with("text", "<?pi?>text"), "a processing instruction");
    profile(&with("text", "<![CDATA[text]]>"), "a CDATA section");
    profile(&format!("<!DOCTYPE a [<!ENTITY e \"x\">]>{xml}"), "a document type");
    profile(
        &format!("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{xml}"),
        "a document type",
    );
    profile(&format!("<?xml version=\"<!DOCTYPE\"?>{xml}"), "");
    profile(&with(" corpus=", " xml:base=\"urn:b\" corpus="), "an attribute of xml:*");
    profile(&with("text", &format!("{}{}", "<x>".repeat(20), "</x>".repeat(20))), "deep nesting");
    profile(&with("text", "<x xmlns=\"\"></x>"), "");
    profile(&with("text", &"<x a=\"\"></x>".repeat(9000)), "too many attributes");
    profile(&with("text", &"<x xmlns:a=\"urn:a\"></x>".repeat(65)), "too many attributes");
    let xml_error = |xml: &[u8]| {
        let error = Rim::parse(xml).unwrap_err();
        assert!(matches!(error, RimError::Xml { .. }), "{error}");
        assert_eq!(error.code(), Code::RimFormat);
    };
    xml_error(with("text", "&e;").as_bytes());
    xml_error(with("</ns0:Payload>", "").as_bytes());
    xml_error(b"");
    xml_error(b"\xff\xfe");
    assert_eq!(Rim::parse(&vec![b' '; 1024 * 1024 + 1]).unwrap_err(), RimError::TooLong { got: 1024 * 1024 + 1 });
}

#[test]
fn content_has_one_form() {
    let refused = |manifest: Manifest, words: &str| {
        let error = manifest.verify().unwrap_err();
        assert!(matches!(error, RimError::Content { .. }), "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.code(), Code::RimFormat);
    };
    let mut twice = driver();
    twice.resources.push(twice.resources[3].clone());
    refused(twice, "an index is there twice");
    refused(Manifest::driver(&[]), "no measurement is active");
    refused(Manifest { product: String::new(), ..driver() }, "has no product");
    let changed = |from: &str, to: &str, words: &str| {
        let canonical = driver().canonical();
        assert!(canonical.contains(from), "{from}");
        let error = verify_rim(&envelop(&canonical.replacen(from, to, 1), &WORLD.signer)).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.code(), Code::RimFormat, "{error}");
    };
    changed("index=\"3\"", "index=\"03\"", "not a number in range");
    changed("index=\"3\"", "index=\"256\"", "not a number in range");
    changed("index=\"3\"", "index=\"-1\"", "not a number in range");
    changed("active=\"False\"", "active=\"false\"", "neither True nor False");
    changed("alternatives=\"2\"", "alternatives=\"1\"", "says 1 values and has 2");
    changed("alternatives=\"1\"", "alternatives=\"0\"", "says 0 values and has 1");
    changed("ns2:Hash1=\"08", "ns2:Hash2=\"08", "value 1 of measurement 7 is no digest");
    changed("ns2:Hash0=\"ee", "ns2:Hash0=\"", "value 0 of measurement 7 is no digest");
    changed("ns2:Hash0=\"ee", "ns2:Hash0=\"zz", "value 0 of measurement 7 is no digest");
    changed("size=\"48\"", "size=\"32\"", "another size than 48");
    changed("type=\"Measurement\"", "type=\"File\"", "no measurement");
    changed("corpus=\"false\"", "corpus=\"true\"", "corpus is not false");
    changed("<ns0:Meta ", "<ns0:Meta></ns0:Meta><ns0:Meta ", "not exactly one Meta");
    changed("</ns0:Payload>", "</ns0:Payload><ns0:Payload></ns0:Payload>", "not exactly one Payload");
    changed("tagId=\"t1\" ", "", "has no tagId");
}

#[test]
fn the_signers_chain_ends_at_the_root_in_date() {
    let canonical = driver().canonical();
    let with = |places: &[Place]| {
        let mut chain = chain_under(places, &WORLD.signer[3]);
        let ders = |chain: &[crate::forge::Issued]| envelop(&canonical, chain);
        chain.push(chain_of_root());
        verify_rim(&ders(&chain)).map(|_| ())
    };
    assert_eq!(with(&signer_places()), Ok(()));
    let constraints = |place, what| Err(RimError::Chain(ChainError::Constraints { place, what }));
    let mut places = signer_places();
    places[0].authority = Some(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(with(&places), constraints(0, "is an authority, a leaf is none"));
    // An authority between that allows none below.
    let mut places = signer_places();
    places[2].authority = Some(rcgen::BasicConstraints::Constrained(0));
    assert_eq!(with(&places), constraints(2, "allows no chain of this length"));
    // A debug root, or any other, is no root: the last certificate counts, by its key.
    let debug = chain(&[
        signer_places()[0].clone(),
        Place::authority("L3"),
        Place::authority("NVIDIA CoRIM L1 Root CA Debug Only"),
    ]);
    let error = verify_rim(&envelop(&canonical, &debug)).unwrap_err();
    assert!(matches!(&error, RimError::Chain(ChainError::RootNotPinned { name, .. }) if name.contains("Debug Only")));
    assert_eq!(error.code(), Code::RimRoot);
    assert_eq!(verify_rim(&envelop(&canonical, &chain_of_others())).unwrap_err().code(), Code::RimRoot);
    let rim = Rim::parse(driver().signed().as_bytes()).unwrap();
    assert_eq!(rim.verify(&NvidiaRoots, &no_responses(), NOW).unwrap_err().code(), Code::RimRoot);
    // The root's own word is not enough: signers are below two authorities.
    let short = [&WORLD.signer[2], &WORLD.signer[3]].map(|issued| issued.der.clone());
    let error = verify_rim(&envelop(&canonical, &rebuilt(&short))).unwrap_err();
    assert!(matches!(error, RimError::Chain(ChainError::Length { got: 2, .. })), "{error}");
    assert_eq!(error.code(), Code::RimChain);
    // Another key than the signer's.
    let mut swapped = chain_under(&signer_places(), &WORLD.signer[3]);
    swapped.push(chain_of_root());
    swapped[0].key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(verify_rim(&envelop(&canonical, &swapped)).map(|_| ()), Err(RimError::Signature));
}

fn chain_of_root() -> crate::forge::Issued {
    rebuilt(&[WORLD.signer[3].der.clone()]).remove(0)
}

/// Certificates with keys that do not matter.
fn rebuilt(ders: &[Vec<u8>]) -> Vec<crate::forge::Issued> {
    let fresh = || Place::leaf("any").issue(None);
    ders.iter().map(|der| crate::forge::Issued { der: der.clone(), ..fresh() }).collect()
}

#[test]
fn values_imported_in_time_outlive_their_signer() {
    let later = UnixTime(NOW.0 + 3 * 366 * 86_400);
    let rim = Rim::parse(driver().signed().as_bytes()).unwrap();
    let error = rim.verify(&roots(), &no_responses(), later).unwrap_err();
    assert!(matches!(error, RimError::Chain(ChainError::Time { place: 0, .. })));
    assert_eq!(error.code(), Code::RimExpired);
    assert_eq!(rim.verify(&roots(), &no_responses(), UnixTime(0)).unwrap_err().code(), Code::RimExpired);
    // Kept as JSON, read back, used later.
    let kept = [driver(), Manifest::vbios(&[1])].map(|manifest| serde_json::to_vec(&manifest.golden()).unwrap());
    let [driver, vbios] = kept.map(|bytes| GoldenMeasurements::parse(&bytes).unwrap());
    let bytes = Report::new().signed_by(&WORLD.device[0]);
    let chain = attest::nvgpu::DeviceChain::from_der(crate::forge::ders(&WORLD.device));
    let evidence = attest::nvgpu::Evidence::parse(&bytes).unwrap();
    let verified = evidence.verify(&chain, &roots(), &no_responses(), later).unwrap();
    let appraised =
        verified.clone().appraise(&Expected::strict(NONCE, vec![driver.clone()], vec![vbios.clone()])).unwrap();
    assert_eq!(appraised.claims().measres, Some(Measres::Success));
    // They still compare.
    let mut other = driver.clone();
    other.measurements[0].values.truncate(1);
    let error = verified.appraise(&Expected::strict(NONCE, vec![other], vec![vbios])).unwrap_err();
    assert!(matches!(error, GpuError::Measurements { .. }));
    // Files that are not in the form.
    let with = |change: &dyn Fn(&mut GoldenMeasurements)| {
        let mut golden = driver.clone();
        change(&mut golden);
        GoldenMeasurements::parse(&serde_json::to_vec(&golden).unwrap())
    };
    assert!(with(&|_| ()).is_ok());
    for (change, words) in [
        (&(|golden: &mut GoldenMeasurements| golden.version = 2) as &dyn Fn(&mut _), "the version is not 1"),
        (&|golden: &mut GoldenMeasurements| golden.measurements.clear(), "there are no values"),
        (&|golden: &mut GoldenMeasurements| golden.measurements[1].values.clear(), "there are no values"),
        (&|golden: &mut GoldenMeasurements| golden.measurements.swap(0, 1), "the indices are not rising"),
        (&|golden: &mut GoldenMeasurements| golden.measurements[1].index = 7, "the indices are not rising"),
    ] {
        assert!(matches!(with(change), Err(GoldenError::Form { what }) if what == words), "{words}");
    }
    assert!(matches!(GoldenMeasurements::parse(b"{}"), Err(GoldenError::Json(_))));
}
