//! The files for people and for the host: `launch_vm.sh` and `README.txt`, made of a manifest.

use super::{Manifest, names};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::site::Site;

/// The launch script of a bundle. It needs QEMU and the folder it lies in, and nothing of Confide.
pub fn launch_script(manifest: &Manifest) -> String {
    let digests: Vec<String> = manifest.files.iter().map(|file| format!("{}  {}", file.sha256, file.name)).collect();
    let drive = |drive: &super::BundleDrive| {
        let readonly = if drive.writable { "off" } else { "on" };
        format!("{} {} {} {readonly}", drive.serial, drive.file, drive.format.name())
    };
    let drives: Vec<String> = manifest.drives.iter().map(drive).collect();
    let mut files: Vec<&str> = vec![names::FIRMWARE, names::KERNEL, names::INITRD];
    files.extend(manifest.drives.iter().map(|drive| drive.file.as_str()));
    let ports: Vec<String> = manifest.ports.iter().map(u16::to_string).collect();
    fill(
        include_str!("launch_vm.sh.in"),
        &[
            ("@VCPUS@", &manifest.vcpus.to_string()),
            ("@VCPU_TYPE@", &quoted(&manifest.vcpu_type)),
            ("@MEMORY@", &(manifest.memory_bytes >> 20).to_string()),
            ("@POLICY@", &format!("{:#x}", manifest.policy)),
            ("@HOST_DATA@", &quoted(&STANDARD.encode(manifest.host_data.as_bytes()))),
            ("@PORTS@", &quoted(&ports.join(" "))),
            ("@GPU@", if manifest.gpu { "yes" } else { "no" }),
            ("@APPEND@", &quoted(&manifest.command_line)),
            ("@DIGESTS@", &quoted(&digests.join("\n"))),
            ("@DRIVES@", &quoted(&drives.join("\n"))),
            ("@FILES@", &files.join(" ")),
            ("@FIRMWARE@", names::FIRMWARE),
            ("@KERNEL@", names::KERNEL),
            ("@INITRD@", names::INITRD),
            ("@NAME@", &manifest.name),
        ],
    )
}

/// The page for the administrator of a site.
pub fn readme(manifest: &Manifest, site: &Site) -> String {
    let list = |ports: &[u16]| match ports {
        [] => "none".to_owned(),
        ports => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    };
    let broker = site.broker.as_ref().map_or("none: this bundle cannot be started", |broker| &broker.url);
    fill(
        include_str!("README.txt.in"),
        &[
            ("@NAME@", &manifest.name),
            ("@SITE@", &manifest.site),
            ("@PORTS@", &list(&manifest.ports)),
            ("@OUTBOUND@", &list(&site.ports.outbound)),
            ("@BROKER@", broker),
        ],
    )
}

/// Fills the places of a template, in one pass, so that a value is never taken for a place.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + 4096);
    let mut rest = template;
    while let Some(start) = rest.find('@') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        match values.iter().find(|(place, _)| from.starts_with(place)) {
            Some((place, value)) => {
                out.push_str(value);
                rest = from.split_at(place.len()).1;
            }
            None => {
                out.push('@');
                rest = from.split_at(1).1;
            }
        }
    }
    out.push_str(rest);
    out
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_taken_for_a_place() {
        assert_eq!(fill("a @X@ b@c @Y@", &[("@X@", "@Y@"), ("@Y@", "2")]), "a @Y@ b@c 2");
        assert_eq!(quoted("a'b"), "'a'\\''b'");
    }
}
