//! Flags about the master key, as settings of a broker.

use crate::args::{MasterArgs, MasterKind};
use crate::outcome::{Failure, Result};
use broker::{MasterSource, VaultAuth, VaultSettings};
use std::path::{Path, PathBuf};

/// Seconds one request to Vault may take.
const SECONDS: u64 = 5;

/// `[master]` and `[vault]` of a new broker.
pub(super) fn settings(args: &MasterArgs) -> Result<(MasterSource, Option<VaultSettings>)> {
    let source = match args.master {
        MasterKind::File => MasterSource::File,
        MasterKind::VaultTransit => MasterSource::VaultTransit {
            mount: args.transit_mount.clone(),
            key: needed(&args.master_key, "--master-key NAME")?,
        },
        MasterKind::Pkcs11 => MasterSource::Pkcs11 {
            module: absolute(&needed(&args.pkcs11_module, "--pkcs11-module FILE")?)?,
            token: needed(&args.pkcs11_token, "--pkcs11-token LABEL")?,
            key: needed(&args.master_key, "--master-key LABEL")?,
            pin_file: absolute(&needed(&args.pkcs11_pin_file, "--pkcs11-pin-file FILE")?)?,
        },
    };
    Ok((source, vault(args)?))
}

/// Also without a master key in it: `[[secrets]]` are added by hand.
fn vault(args: &MasterArgs) -> Result<Option<VaultSettings>> {
    let Some(address) = &args.vault_address else {
        return match args.master {
            MasterKind::VaultTransit => Err(missing("--vault-address URL")),
            _ => Ok(None),
        };
    };
    let auth = match (&args.vault_role_id, &args.vault_secret_id_file, &args.vault_token_file) {
        (Some(role_id), Some(file), None) => {
            VaultAuth::Approle { role_id: role_id.clone(), secret_id_file: absolute(file)?, mount: "approle".into() }
        }
        (None, None, Some(file)) => VaultAuth::Token { token_file: absolute(file)? },
        _ => return Err(missing("--vault-role-id ID and --vault-secret-id-file FILE, or --vault-token-file FILE")),
    };
    Ok(Some(VaultSettings {
        address: address.clone(),
        ca_file: Some(absolute(&needed(&args.vault_ca, "--vault-ca FILE")?)?),
        namespace: args.vault_namespace.clone(),
        seconds: SECONDS,
        auth,
    }))
}

fn needed<T: Clone>(value: &Option<T>, flag: &str) -> Result<T> {
    value.clone().ok_or_else(|| missing(flag))
}

fn missing(flag: &str) -> Failure {
    Failure::usage(format!("a flag is missing: {flag}")).hint("see the examples: confide broker init --help")
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Failure::usage(format!("{} is no path", path.display())).because(error))
}
