//! The page for people.

use maud::{DOCTYPE, Markup, html};

pub(super) const SCRIPT: &str = include_str!("page.js");
pub(super) const STYLE: &str = include_str!("page.css");

/// A pear, for the browser's tab: its policy allows pictures that are part of the page only.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Cpath fill='%232f8f4e' \
                    d='M16 8c4 0 5 3 5 6s5 5 5 10c0 5-5 7-10 7S6 29 6 24c0-5 5-7 5-10s1-6 5-6z'/%3E%3Cpath fill='none' stroke='%238a5a44' \
                    stroke-width='2.5' stroke-linecap='round' d='M16 9c0-3 1-5 3-7'/%3E%3C/svg%3E";

/// The page as HTML text: `sentence` says how often answers are right. Its script refuses photos of more than `limit` bytes itself, so that nobody waits for their way here.
pub(super) fn page(labels: &[String], sentence: &str, limit: usize) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
                meta name="color-scheme" content="light dark";
                title { "Which fruit is this?" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href="page.css";
                script src="page.js" defer {}
            }
            body {
                header {
                    h1 { (pear()) "Which fruit is this?" }
                    p { "Show a photo of a fruit, and read its name." }
                }
                main data-limit=(limit) data-state="empty" {
                    div #show {
                        label #zone {
                            input #file type="file" accept="image/*";
                            img #photo alt="The photo that you chose" hidden;
                            span #unseen hidden {}
                            span #invitation { (picture()) strong { "Choose a photo" } span.pointer { "or drop it here, or paste it" } }
                            span #another { "Choose another photo" span.pointer { ", or drop or paste it" } }
                        }
                        label #take { input #camera type="file" accept="image/*" capture="environment"; "Take a photo" }
                    }
                    div #result {
                        p #say role="status" aria-live="polite" aria-atomic="true" { strong #headline {} " " span #more {} }
                        div #reasons hidden {
                            ol #answers aria-label="The most likely fruits" {}
                            h2 #alike { "The most similar photos that it knows" }
                            ul #nearest aria-labelledby="alike" {}
                        }
                    }
                }
                noscript { p { "This page needs JavaScript." } }
                footer {
                    p { (sentence) }
                    p { "Photos are looked at and forgotten: they are kept nowhere." }
                    details {
                        summary { "The " (labels.len()) " kinds of fruit that it knows" }
                        ul { @for label in labels { li { (label) } } }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// A pear, as in the browser's tab.
fn pear() -> Markup {
    html! {
        svg viewBox="4 0 24 32" aria-hidden="true" {
            path.stalk d="M16 9c0-3 1-5 3-7" {}
            path.fruit d="M16 8c4 0 5 3 5 6s5 5 5 10c0 5-5 7-10 7S6 29 6 24c0-5 5-7 5-10s1-6 5-6z" {}
        }
    }
}

/// A drawing of a picture.
fn picture() -> Markup {
    html! {
        svg viewBox="0 0 48 48" aria-hidden="true" {
            rect x="5" y="9" width="38" height="30" rx="6" {}
            circle cx="16" cy="19" r="3.5" {}
            path d="M6 34l10-9 7 6 9-10 10 9" {}
        }
    }
}
