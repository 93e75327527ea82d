//! Finding, checking and loading the weights.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_store::{KeyRemapper, ModuleSnapshot, SafetensorsStore};

use super::Network;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::store;

/// SHA-256 of the safetensors file with Keras' ImageNet weights, as `bootstrap/weights.sh` makes it.
pub const IMAGENET_SHA256: &str = "53fae1a21d7645bfd48a9c77b95e3465ff5cbd890d3f42c42e276a58f96577ff";

/// Name of the weights' file beside the program, or in the folder `fruits` of the user's data folder (`~/.local/share` on Linux).
pub const WEIGHTS_FILE: &str = "mobilenet_v2.safetensors";

/// Environment variable that names another file.
pub const WEIGHTS_VARIABLE: &str = "FRUITS_WEIGHTS";

/// Keras' layer names and the places of the module that they belong to.
const KEYS: [(&str, &str); 8] = [
    (r"^Conv1\.", "stem.conv."),
    (r"^bn_Conv1\.", "stem.norm."),
    (r"^Conv_1\.", "head.conv."),
    (r"^Conv_1_bn\.", "head.norm."),
    (r"^expanded_conv_([a-z]+)_BN\.", "blocks.0.$1.norm."),
    (r"^expanded_conv_([a-z]+)\.", "blocks.0.$1.conv."),
    (r"^block_(\d+)_([a-z]+)_BN\.", "blocks.$1.$2.norm."),
    (r"^block_(\d+)_([a-z]+)\.", "blocks.$1.$2.conv."),
];

/// The file that the environment names, else one beside the program, else the one in the user's data folder.
pub(super) fn find() -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .map(|program| program.with_file_name(WEIGHTS_FILE))
        .ok()
        .filter(|path| path.is_file());
    let path = match std::env::var_os(WEIGHTS_VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => beside.unwrap_or_else(|| dirs::data_dir().unwrap_or_default().join("fruits").join(WEIGHTS_FILE)),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::new(
        ErrorKind::NotFound,
        Step::Weights,
        path.display().to_string(),
        format!("no such file; run bootstrap/weights.sh to get it, or name another one by {WEIGHTS_VARIABLE}"),
    ))
}

/// The network with the weights of a file, and the file's SHA-256.
pub(super) fn load(path: &Path, device: &Device) -> Result<(Network, String)> {
    let subject = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Error::from_source(Step::Weights, &subject, error))?;
    let sha256 = store::sha256(&bytes);

    let invalid = |message: String| Error::new(ErrorKind::Invalid, Step::Weights, &subject, message);
    let keys = KeyRemapper::from_patterns(KEYS.to_vec()).map_err(|error| invalid(error.to_string()))?;
    let mut tensors = SafetensorsStore::from_bytes(Some(bytes))
        .remap(keys)
        .validate(false)
        .allow_partial(true);
    let mut network = Network::new(device);
    let result = network.load_from(&mut tensors).map_err(|error| {
        invalid(format!(
            "no file of weights (safetensors), which bootstrap/weights.sh makes: {error}"
        ))
    })?;
    if let Some(error) = result.errors.first() {
        return Err(invalid(error.to_string()));
    }
    match result.missing.as_slice() {
        [] => Ok((network, sha256)),
        [(first, _), ..] => Err(invalid(format!(
            "{} tensors are missing, {first} is the first",
            result.missing.len()
        ))),
    }
}
