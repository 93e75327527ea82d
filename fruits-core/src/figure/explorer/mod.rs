//! Photos to look around in: one HTML page that needs nothing else.
//!
//! | file | what it knows |
//! |---|---|
//! | `exploration` | what is shown, and by what photos can be coloured |
//! | `columns` | names and numbers to colour by |
//! | `thumbnails` | all photos, small |
//! | `library` | deck.gl, which draws many points |
//! | `data.js` | in the page: what it brings |
//! | `plot.js` | cameras, axes, photos and rings |
//! | `marks.js` | the points, by deck.gl or a canvas |
//! | `gestures.js` | mouse, fingers, keys |
//! | `panel.js` | all beside the plot |

mod columns;
mod exploration;
mod library;
mod thumbnails;

use maud::{DOCTYPE, PreEscaped, html};
use serde_json::Value;

use super::THEME;
use crate::error::Result;
use crate::store;
pub use exploration::Exploration;

const SCRIPT: &str = concat!(
    include_str!("data.js"),
    include_str!("plot.js"),
    include_str!("marks.js"),
    include_str!("gestures.js"),
    include_str!("panel.js"),
);
const STYLE: &str = include_str!("explorer.css");
const BODY: &str = include_str!("body.html");
/// Height of the figure in a notebook, in pixels.
const HEIGHT: u32 = 560;

/// An interactive scatter plot of photos, one page that needs no network: hover shows the photo, a click its neighbours, a lasso lists photos and gives
/// them as lines for a cell; they can be searched, and coloured by label or by any column that is given. Made by [`Exploration::draw`].
///
/// Without deck.gl, which `bootstrap/explorer.sh` brings, the page has a plain plot.
///
/// ```no_run
/// use fruits_core::{Features, Pca};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// Pca::fit(&features)?.explore(&features).await?.write("explorer.html").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Explorer {
    page: String,
    description: String,
}

/// The page that shows what is in `data`.
fn page(data: &Value, description: String) -> Explorer {
    // Within a script element, only `<` could end it.
    let data = data.to_string().replace('<', "\\u003c");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (description) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (PreEscaped(BODY))
                script #data type="application/json" { (PreEscaped(data)) }
                @if let Some(library) = library::library() { script #library type="text/plain" { (library) } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Explorer {
        page: page.into_string(),
        description,
    }
}

impl Explorer {
    /// The page as HTML text.
    pub fn html(&self) -> &str {
        &self.page
    }

    /// What it shows, for screen readers and where no HTML can be shown.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The page in a frame of its own, to be part of another page, whose theme it follows. What is in the frame can reach nothing outside of it; it can
    /// save files.
    pub fn frame(&self) -> String {
        let frame = html! {
            style { (PreEscaped(THEME)) }
            iframe.fruits-figure srcdoc=(self.page) title=(self.description) sandbox="allow-scripts allow-downloads" width="100%" height=(HEIGHT)
                style="border: 0" {}
        };
        frame.into_string()
    }

    /// Writes the page to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn write(&self, path: &str) -> Result<()> {
        store::write(path, self.page.clone().into()).await
    }
}

impl std::fmt::Debug for Explorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes of HTML)", self.description, self.page.len())
    }
}
