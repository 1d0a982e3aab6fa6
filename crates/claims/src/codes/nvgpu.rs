//! Codes of NVIDIA GPU evidence and composites.

macro_rules! nvgpu_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            GpuFormat = "E-GPU-FORMAT", "The device evidence is malformed",
                "The SPDM request, the response, an opaque field, or the JSON around them is not in its one form.",
                "A parser that guesses can be led to read one field as another.",
                "Collect the evidence again and send it unchanged.";
            GpuSignature = "E-GPU-SIGNATURE", "The signature of the device evidence is wrong",
                "The evidence was changed, or another device's certificates came with it.",
                "The measurements are made up.",
                "Collect evidence and certificates again, together, from one device.";
            GpuRoot = "E-GPU-ROOT", "The device chain does not end at NVIDIA's pinned root",
                "The last certificate's key is not that of NVIDIA Device Identity CA. Names do not count.",
                "Anybody can make a chain with NVIDIA's names in it.",
                "Send the whole chain of the device, leaf first, root last.";
            GpuChain = "E-GPU-CHAIN", "The device certificate chain is broken",
                "A certificate is missing, in the wrong order, of the wrong kind, or its signature is wrong.",
                "A broken chain proves nothing about the device.",
                "Read the chain from the device again; it has five certificates, leaf first.";
            GpuExpired = "E-GPU-EXPIRED", "A device certificate is not valid at the verification time",
                "The certificate is expired or not yet valid.",
                "Keys of old certificates may be known to others.",
                "Check the time given; NVIDIA's device certificates do not expire.";
            GpuRevoked = "E-GPU-REVOKED", "A certificate of the device or of a RIM is revoked or on hold",
                "The responder's signed answer says so.",
                "The key is known to be bad, or NVIDIA has stopped trusting this device or manifest for now.",
                "Do not use this device or driver until NVIDIA says otherwise; a hold can be accepted by policy, with a reason.";
            GpuRevocation = "E-GPU-REVOCATION", "The revocation state is missing, stale or not signed by the issuer",
                "Policy asks for an OCSP response for each certificate, signed by its issuer and in date.",
                "A revoked certificate would pass unseen.",
                "Fetch OCSP responses as collateral, or say in the policy why none are needed.";
            GpuFwid = "E-GPU-FWID", "The device runs other firmware than its certificate is for",
                "The firmware id in the evidence and the one in the leaf certificate differ, or the certificate has none.",
                "The key may belong to other firmware than the one that answers.",
                "Collect evidence and certificates again after a reset of the device.";
            GpuNonce = "E-GPU-NONCE", "The device evidence was made for another nonce",
                "The nonce in the signed request is not the one of this session.",
                "Evidence of another time, session or machine could be replayed.",
                "Collect the evidence again with the nonce of this session.";
            GpuArchitecture = "E-GPU-ARCHITECTURE", "The device is of an unknown or unwanted architecture",
                "The certified chip is not known, not in the policy, or not what its sender says it is.",
                "Measurements and rules of another architecture would be applied.",
                "Add the architecture to the policy, or use a supported device: Hopper, Blackwell, LS10.";
            GpuVersion = "E-GPU-VERSION", "Driver or VBIOS version is not allowed",
                "The version is not listed, or is below the floor.",
                "Known weaknesses of older drivers and firmware apply.",
                "Update driver or VBIOS, or change the policy knowingly.";
            GpuDevice = "E-GPU-DEVICE", "The device is not one of those allowed",
                "Its certified serial number is not in the policy.",
                "Somebody else's device could answer.",
                "Add the device to the policy, or start the guest on a listed machine.";
            GpuMode = "E-GPU-MODE", "The device is not in the wanted mode of confidential computing",
                "Single GPU, multi GPU and protected PCIe protect different links; the evidence says another mode, or none.",
                "Data between devices could travel in the clear.",
                "Set the mode on the host and reset the devices.";
            GpuGolden = "E-GPU-GOLDEN", "There are no reference values for this driver or VBIOS",
                "No RIM for exactly this product and version was given, or the driver's and the VBIOS's overlap.",
                "Measurements without reference values say nothing.",
                "Fetch the RIM that is named, or import its values; or say in the policy why none are needed.";
            GpuMeasurement = "E-GPU-MEASUREMENT", "Measurements of the device are not the reference values",
                "Firmware, VBIOS, driver or settings differ from what NVIDIA signed; developer tools mode does this, too.",
                "Data on the device may be readable from outside.",
                "Turn developer tools off, install released firmware and driver, reset the device.";
            RimFormat = "E-RIM-FORMAT", "The RIM is malformed",
                "It is not the XML of a reference integrity manifest, too large, or its values are not in their one form.",
                "A lenient reader could take other reference values than the signer wrote.",
                "Fetch the RIM again.";
            RimProfile = "E-RIM-PROFILE", "The RIM is not signed in NVIDIA's one way",
                "It has several signatures, a signature elsewhere, another algorithm, transform or reference, a comment, \
                 an entity or a processing instruction.",
                "Such tricks make a verifier check one part of a document and read another.",
                "Fetch the RIM again; do not edit or reformat it.";
            RimSignature = "E-RIM-SIGNATURE", "The signature of the RIM is wrong",
                "The document or its signature was changed.",
                "The reference values are made up.",
                "Fetch the RIM again.";
            RimRoot = "E-RIM-ROOT", "The RIM's chain does not end at NVIDIA's pinned root",
                "The last certificate's key is not that of NVIDIA CoRIM signing Root CA; a debug root is never trusted.",
                "Anybody can sign reference values under a root of their own.",
                "Fetch the RIM from NVIDIA's service.";
            RimChain = "E-RIM-CHAIN", "The RIM's certificate chain is broken",
                "A certificate is missing, in the wrong order, of the wrong kind, or its signature is wrong.",
                "A broken chain proves nothing about the signer.",
                "Fetch the RIM again.";
            RimExpired = "E-RIM-EXPIRED", "The RIM's signer is not valid at the verification time",
                "Signers of RIMs live for about two years; this one is over, or not yet valid.",
                "Keys of old certificates may be known to others.",
                "Fetch the RIM again; for machines without network, import its values while the signer is valid.";
            CompositeBinding = "E-COMPOSITE-BINDING", "CPU and device evidence do not belong together",
                "The CPU's report data does not hold this session, this key and exactly these devices.",
                "A good CPU and somebody else's good GPU could be shown as one machine.",
                "Collect all evidence anew for one session, the devices first.";
            CompositeDevices = "E-COMPOSITE-DEVICES", "The set of devices is not the promised one",
                "A device is missing, there is one too many, or one is shown twice.",
                "Work could be placed on a device that nobody checked.",
                "Send the evidence of every attached device, each once.";
        }
    };
}
