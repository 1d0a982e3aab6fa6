//! Makes devices and evidence of NVIDIA's shape under roots of its own, and chains for the other forges.

use attest::nvgpu::{
    DeviceChain, Evidence, Expected, GpuError, References, RevocationInput, UnanchoredRoots, VerifiedEvidence,
    VersionRule,
};
use aws_lc_rs::digest::{SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use claims::bytes::Digest384;
use claims::{Allowed, Nonce, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SerialNumber, date_time_ymd,
};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) use crate::ocsp_forge::{Said, response};
pub(crate) use crate::rim_forge::{END, Manifest, envelop, signature, signature_of, verify_rim};

/// 2024-01-01; signers of RIMs are valid from 2023 to 2025.
pub(crate) const NOW: UnixTime = UnixTime(1_704_067_200);
pub(crate) const NONCE: Nonce = Nonce([7; 32]);
pub(crate) const DRIVER: &str = "550.90.07";
pub(crate) const VBIOS: &str = "96.00.9F.00.01";
pub(crate) const FWID: [u8; 48] = [0xF1; 48];

/// Everything that is made once.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(World::new);

pub(crate) struct World {
    pub(crate) device: Vec<Issued>,
    pub(crate) second: Vec<Issued>,
    pub(crate) signer: Vec<Issued>,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) der: Vec<u8>,
    pub(crate) key: KeyPair,
    pub(crate) params: CertificateParams,
}

/// What is special about a place of a chain.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) authority: Option<BasicConstraints>,
    pub(crate) usages: Vec<KeyUsagePurpose>,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) years: (i32, i32),
    pub(crate) serial: Vec<u8>,
    pub(crate) extensions: Vec<CustomExtension>,
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
}

impl Place {
    pub(crate) fn leaf(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            authority: None,
            usages: vec![KeyUsagePurpose::DigitalSignature],
            purposes: Vec::new(),
            years: (2020, 9999),
            serial: vec![1; 20],
            extensions: Vec::new(),
            algorithm: &PKCS_ECDSA_P384_SHA384,
        }
    }

    pub(crate) fn authority(name: &str) -> Self {
        Self {
            authority: Some(BasicConstraints::Unconstrained),
            usages: vec![KeyUsagePurpose::KeyCertSign],
            serial: vec![2; 9],
            ..Self::leaf(name)
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "TEST");
        params.distinguished_name.push(DnType::CommonName, self.name.as_str());
        params.is_ca = self.authority.map_or(IsCa::NoCa, IsCa::Ca);
        params.key_usages = self.usages.clone();
        params.extended_key_usages = self.purposes.clone();
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        params.serial_number = Some(SerialNumber::from_slice(&self.serial));
        params.custom_extensions = self.extensions.clone();
        params
    }

    pub(crate) fn issue(&self, issuer: Option<&Issued>) -> Issued {
        let (params, key) = (self.params(), KeyPair::generate_for(self.algorithm).unwrap());
        let der = match issuer {
            None => params.self_signed(&key).unwrap(),
            Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)).unwrap(),
        };
        Issued { der: der.der().to_vec(), key, params }
    }
}

/// Issues places given leaf first; the last one is the root.
pub(crate) fn chain(places: &[Place]) -> Vec<Issued> {
    let mut issued: Vec<Issued> = Vec::new();
    for place in places.iter().rev() {
        let next = place.issue(issued.first());
        issued.insert(0, next);
    }
    issued
}

/// Issues places below a root that is there.
pub(crate) fn chain_under(places: &[Place], root: &Issued) -> Vec<Issued> {
    let mut issued: Vec<Issued> = Vec::new();
    for place in places.iter().rev() {
        let next = place.issue(issued.first().or(Some(root)));
        issued.insert(0, next);
    }
    issued
}

pub(crate) fn ders(chain: &[Issued]) -> Vec<Vec<u8>> {
    chain.iter().map(|issued| issued.der.clone()).collect()
}

/// Leaf to chip; the root is given apart.
pub(crate) fn device_places(chip: &str, serial: u8) -> Vec<Place> {
    let mut leaf = Place::leaf(&format!("{chip} A01 GSP FMC LF"));
    leaf.serial = vec![serial; 20];
    leaf.extensions = vec![composite_id(&FWID)];
    let mut rom = Place::authority(&format!("{chip} A01 GSP BROM"));
    rom.serial = vec![serial; 9];
    vec![
        leaf,
        rom,
        Place::authority(&format!("NVIDIA {chip} Provisioner ICA 1")),
        Place::authority(&format!("NVIDIA {chip} Identity")),
    ]
}

pub(crate) fn signer_places() -> Vec<Place> {
    let years = |place: Place, years| Place { years, ..place };
    vec![
        years(Place::leaf("HCC RIM L4 Signer"), (2023, 2025)),
        years(Place::authority("NVIDIA Reference Value L3 GH100 001"), (2023, 2026)),
        years(Place::authority("NVIDIA Reference Value GH100 CA"), (2023, 2033)),
    ]
}

/// `CompositeDeviceID` with some key and this firmware id.
pub(crate) fn composite_id(fwid: &[u8; 48]) -> CustomExtension {
    let key = WORLD_KEY.clone();
    let id = fwid_der(fwid);
    let body = [&[2, 1, 1][..], &key, &id].concat();
    CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], sequence(0x30, &body))
}

/// `DiceTcbInfo` with a vendor and these firmware ids.
pub(crate) fn tcb_info(fwids: &[[u8; 48]]) -> CustomExtension {
    let list: Vec<u8> = fwids.iter().flat_map(fwid_der).collect();
    let body = [&sequence(0x80, b"NVIDIA")[..], &sequence(0x83, &[1]), &sequence(0xA6, &list)].concat();
    CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1, 1], sequence(0x30, &body))
}

fn fwid_der(fwid: &[u8; 48]) -> Vec<u8> {
    let oid = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
    sequence(0x30, &[&oid[..], &sequence(0x04, fwid)].concat())
}

fn sequence(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head, body.to_vec()].concat()
}

static WORLD_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    rcgen::PublicKeyData::subject_public_key_info(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())
});

impl World {
    fn new() -> Self {
        let root = || Place::authority("NVIDIA Device Identity CA").issue(None);
        let under = |root: Issued, places: &[Place]| {
            let mut chain = chain_under(places, &root);
            chain.push(root);
            chain
        };
        let device = under(root(), &device_places("GH100", 0x41));
        let again = Issued {
            der: device[4].der.clone(),
            key: KeyPair::try_from(device[4].key.serialize_der()).unwrap(),
            params: device[4].params.clone(),
        };
        Self {
            second: under(again, &device_places("GH100", 0x42)),
            device,
            signer: under(Place::authority("NVIDIA CoRIM signing Root CA").issue(None), &signer_places()),
        }
    }
}

pub(crate) fn roots() -> UnanchoredRoots {
    UnanchoredRoots { device: pin(&WORLD.device[4]), rim: pin(&WORLD.signer[3]) }
}

pub(crate) fn pin(root: &Issued) -> Digest384 {
    sha384(&rcgen::PublicKeyData::subject_public_key_info(&root.key))
}

pub(crate) fn sha384(bytes: &[u8]) -> Digest384 {
    Digest384::from_slice(digest(&SHA384, bytes).as_ref()).unwrap()
}

/// Evidence to be.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) nonce: Nonce,
    pub(crate) blocks: BTreeMap<u8, [u8; 48]>,
    pub(crate) opaque: Vec<(u16, Vec<u8>)>,
}

impl Report {
    /// A Hopper GPU with NVDEC0 off, and measurements that are their own index.
    pub(crate) fn new() -> Self {
        Self {
            nonce: NONCE,
            blocks: (1..=64).map(|index| (index, [index; 48])).collect(),
            opaque: vec![
                (6, vec![0x00, 0x9F, 0x00, 0x96, 0x01, 0, 0, 0]),
                (15, b"882\0".to_vec()),
                (17, b"1010\0".to_vec()),
                (18, b"0200\0".to_vec()),
                (3, b"550.90.07\0".to_vec()),
                (11, vec![0x55]),
                (20, FWID.to_vec()),
            ],
        }
    }

    pub(crate) fn with(mut self, field: u16, value: &[u8]) -> Self {
        self.opaque.retain(|(other, _)| *other != field);
        self.opaque.push((field, value.to_vec()));
        self
    }

    pub(crate) fn without(mut self, field: u16) -> Self {
        self.opaque.retain(|(other, _)| *other != field);
        self
    }

    pub(crate) fn nonce(mut self, nonce: Nonce) -> Self {
        self.nonce = nonce;
        self
    }

    /// Request and response without the signature.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        let mut out = vec![0x11, 0xE0, 1, 0xFF];
        out.extend(self.nonce.0);
        out.extend([0, 0x11, 0x60, 0, 0, u8::try_from(self.blocks.len()).unwrap()]);
        out.extend(u32::try_from(self.blocks.len() * 55).unwrap().to_le_bytes()[..3].iter());
        for (index, value) in &self.blocks {
            out.extend([*index, 1, 51, 0, 1, 48, 0]);
            out.extend(value);
        }
        out.extend([0xAB; 32]);
        let opaque: Vec<u8> = self
            .opaque
            .iter()
            .flat_map(|(field, value)| {
                [&field.to_le_bytes()[..], &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat()
            })
            .collect();
        out.extend(u16::try_from(opaque.len()).unwrap().to_le_bytes());
        out.extend(opaque);
        out
    }

    pub(crate) fn signed_by(&self, leaf: &Issued) -> Vec<u8> {
        let mut out = self.unsigned();
        out.extend(sign_fixed(&leaf.key, &out));
        out
    }

    /// Signed by the world's device, parsed and verified.
    pub(crate) fn verify(&self) -> Result<VerifiedEvidence<UnanchoredRoots>, GpuError> {
        verify(&self.signed_by(&WORLD.device[0]), &WORLD.device)
    }
}

pub(crate) fn verify(bytes: &[u8], chain: &[Issued]) -> Result<VerifiedEvidence<UnanchoredRoots>, GpuError> {
    let chain = DeviceChain::from_der(ders(chain));
    Evidence::parse(bytes)?.verify(&chain, &roots(), &no_responses(), NOW)
}

pub(crate) fn no_responses() -> RevocationInput {
    RevocationInput::absent("test")
}

pub(crate) fn sign_fixed(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &key.serialize_der()).unwrap();
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

/// Nothing is compared but the nonce.
pub(crate) fn lenient() -> Expected {
    let waived = || References::Waived { reason: "test".to_owned() };
    let version = || VersionRule::Any { reason: "test".to_owned() };
    Expected {
        nonce: Allowed::only(NONCE),
        architectures: Allowed::any("test"),
        devices: Allowed::any("test"),
        modes: Allowed::any("test"),
        driver: version(),
        vbios: version(),
        driver_golden: waived(),
        vbios_golden: waived(),
    }
}
