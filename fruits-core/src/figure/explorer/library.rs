//! deck.gl, which draws very many points: it comes with the weights and is put into each page, so that pages need no network.

use std::path::PathBuf;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::mobilenet::WEIGHTS_VARIABLE;

/// Its name, as `bootstrap/explorer.sh` makes it.
const FILE: &str = "deck.gl-9.4.0.js.gz";

/// The file's content in base64; nothing if it is not there. It is looked for beside the weights that the environment names, beside the program, and in
/// the user's data folder.
pub(super) fn library() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let weights = std::env::var_os(WEIGHTS_VARIABLE).map(PathBuf::from);
        let places = [
            weights,
            std::env::current_exe().ok(),
            dirs::data_dir().map(|folder| folder.join("fruits").join(FILE)),
        ];
        let mut files = places.into_iter().flatten().map(|path| path.with_file_name(FILE));
        let file = files.find_map(|path| std::fs::read(path).ok())?;
        Some(BASE64_STANDARD.encode(file))
    });
    found.as_deref()
}
