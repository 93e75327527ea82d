//! What can go wrong, with the file or key and the step it happened in.

use std::error::Error as StdError;
use std::fmt;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The step of the work that failed. It is the `step` column of a failures table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Understanding what the caller asked for.
    Input,
    /// Listing a location.
    List,
    /// Reading bytes.
    Read,
    /// Turning bytes into pixels.
    Decode,
    /// Loading the weights of the network.
    Weights,
    /// Running the network.
    Infer,
    /// Writing bytes.
    Write,
    /// Comparing photos.
    Compare,
    /// Fitting or applying a PCA.
    Pca,
    /// Learning labels, or telling them.
    Recognise,
    /// Drawing a figure.
    Draw,
    /// Serving a page.
    Serve,
    /// Letting Spark do the work.
    Spark,
}

impl Step {
    /// The step as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Input => "input",
            Step::List => "list",
            Step::Read => "read",
            Step::Decode => "decode",
            Step::Weights => "weights",
            Step::Infer => "infer",
            Step::Write => "write",
            Step::Compare => "compare",
            Step::Pca => "pca",
            Step::Recognise => "recognise",
            Step::Draw => "draw",
            Step::Serve => "serve",
            Step::Spark => "spark",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of failure it was, for programs that react to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file, key or folder does not exist.
    NotFound,
    /// The output exists already.
    AlreadyExists,
    /// The operating system failed, or the network in the middle of an answer.
    Io,
    /// The store does not accept the credentials, or does not let them do this.
    Denied,
    /// The store does not answer, or keeps asking to come back later.
    Unavailable,
    /// More bytes or pixels than the limits allow.
    TooLarge,
    /// The content is damaged, or is not what it should be.
    Invalid,
    /// A format or location that this version cannot handle.
    Unsupported,
    /// More photos failed than the caller accepts.
    TooManyFailures,
    /// The caller's deadline passed.
    TimedOut,
    /// The user of a notebook interrupted the cell. Its variables, and what was computed and written before, stay.
    Interrupted,
}

/// An error: what kind, in which step, on which file or key, and why.
///
/// ```
/// use fruits_core::{ErrorKind, Features};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let error = Features::read("no/such/folder").await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert!(error.to_string().contains("no/such/folder: read: there is nothing here"));
/// # });
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    step: Step,
    subject: String,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message of ours. `subject` is the path, key or option that it is about; it may be empty.
    pub(crate) fn new(kind: ErrorKind, step: Step, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            step,
            subject: subject.into(),
            message: message.into(),
            source: None,
        }))
    }

    /// An error that passes on another one. I/O errors keep their kind.
    pub(crate) fn from_source(
        step: Step,
        subject: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let io = (&source as &dyn StdError).downcast_ref::<std::io::Error>();
        let kind = match io.map(std::io::Error::kind) {
            Some(std::io::ErrorKind::NotFound) => ErrorKind::NotFound,
            Some(std::io::ErrorKind::AlreadyExists) => ErrorKind::AlreadyExists,
            Some(_) => ErrorKind::Io,
            None => ErrorKind::Invalid,
        };
        let mut error = Error::new(kind, step, subject, source.to_string());
        error.0.source = Some(Box::new(source));
        error
    }

    /// The same error about a subject that only the caller knows.
    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = subject.into();
        self
    }

    /// The same error with more to say.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.0.message.push_str(more);
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        self.0.step
    }

    /// The file, key or option that the error is about; empty when there is none.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Why it failed, without the subject and the step.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.subject.is_empty() {
            write!(f, "{}: ", printable(&self.0.subject))?;
        }
        write!(f, "{}: {}", self.0.step, printable_lines(&self.0.message))
    }
}

/// A name from outside as it may be printed: control characters are shown, not sent, so that none forges a line or steers a terminal.
pub fn printable(name: &str) -> String {
    name.chars()
        .fold(String::with_capacity(name.len()), |mut printable, c| {
            match c.is_control() {
                true => printable.extend(c.escape_default()),
                false => printable.push(c),
            }
            printable
        })
}

/// So many things, for people.
///
/// ```
/// use fruits_core::error::counted;
///
/// assert_eq!((&*counted(1, "photo"), &*counted(2, "photo")), ("1 photo", "2 photos"));
/// ```
pub fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// Text of several lines, in which nothing but these is left of control characters.
pub(crate) fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// The same sentence as [`Display`](fmt::Display): this is what a notebook prints when a cell ends in an error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// A photo that gave no features: a row of the failures table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// The photo's path or URI, as the user would open it.
    pub path: String,
    /// The step that failed: see [`Step::as_str`].
    pub step: String,
    /// Why it failed.
    pub message: String,
}

impl Failure {
    /// The failure of the photo at `path`.
    pub(crate) fn new(path: impl Into<String>, error: &Error) -> Self {
        Failure {
            path: path.into(),
            step: error.step().to_string(),
            message: error.message().to_owned(),
        }
    }

    /// A line of JSON each.
    pub(crate) fn lines(failures: &[Failure]) -> bytes::Bytes {
        // Strings are always JSON.
        let line = |failure| serde_json::to_string(failure).unwrap_or_default() + "\n";
        failures.iter().map(line).collect::<String>().into()
    }
}
