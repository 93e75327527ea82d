//! What the user has set: the profile of the AWS command line, the way to the service, and what to say about either.

use std::fmt::Write;

use aws_config::profile::{Profile, ProfileSet};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use crate::error::{Error, ErrorKind, Result, Step};

/// Whether the bucket's name goes into the host's name; the variable is the one of polars and of others that use object_store.
pub(super) const HOST_STYLE: &str = "AWS_VIRTUAL_HOSTED_STYLE_REQUEST";

/// The profile that is used, with all others that it may name.
#[derive(Debug)]
pub(super) struct Settings {
    profiles: ProfileSet,
}

impl Settings {
    /// Reads the files of profiles. It is no error if there are none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if they are no such files.
    pub async fn load() -> Result<Self> {
        let profiles = aws_config::profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await;
        let profiles = profiles.map_err(|error| {
            let message = super::error::causes(&error);
            Error::new(ErrorKind::Invalid, Step::Input, profile_files(), message)
        })?;
        Ok(Settings { profiles })
    }

    /// A variable that is not empty, or else what the profile says.
    pub fn value(&self, variable: &str, key: &str) -> Option<String> {
        let variable = std::env::var(variable).ok().filter(|value| !value.is_empty());
        variable.or_else(|| self.profiles.get(key).map(str::to_owned))
    }

    /// Whether the bucket's name goes into the host's name, if somebody said so: a variable, or `addressing_style` among the profile's
    /// settings for `s3`.
    pub fn host_style(&self) -> Option<bool> {
        if std::env::var_os(HOST_STYLE).is_some_and(|value| !value.is_empty()) {
            return Some(super::client::is_set(HOST_STYLE));
        }
        let lines = self.profiles.get("s3")?.lines();
        let mut settings = lines.filter_map(|line| line.split_once('='));
        let (_, style) = settings.find(|(key, _)| key.trim() == "addressing_style")?;
        match style.trim() {
            "virtual" => Some(true),
            "path" => Some(false),
            _ => None,
        }
    }

    /// Which profile it is, and of which kind.
    pub fn describe_profile(&self) -> String {
        let name = self.profiles.selected_profile();
        match self.profile() {
            Some(profile) => match kind(profile) {
                Some(kind) => format!("{name}: {}", kind.describe()),
                None => format!("{name}: no credentials in it"),
            },
            None if name == "default" => format!("none: there is no [default] in {}", profile_files()),
            None => format!("{name}, which is not in {}", profile_files()),
        }
    }

    /// Why there are no credentials, as far as the profile tells, and what to do.
    pub fn why_no_credentials(&self) -> String {
        let name = self.profiles.selected_profile();
        let Some(profile) = self.profile() else {
            return match name {
                "default" => "no credentials found; set AWS_PROFILE or the AWS_* variables, or AWS_SKIP_SIGNATURE=true for a public bucket".to_owned(),
                _ => format!(
                    "there is no profile {name} in {}; `aws configure list-profiles` names those that are",
                    profile_files()
                ),
            };
        };
        let mut message = format!("no credentials from the profile {name}");
        let Some(kind) = kind(profile) else {
            return message + ", which has none; set AWS_PROFILE to another, or the AWS_* variables";
        };
        // What is written to a string arrives.
        let _ = write!(message, " ({}); ", kind.describe());
        let source = profile
            .get("source_profile")
            .and_then(|source| self.profiles.get_profile(source));
        let advised = [Some(profile), source]
            .into_iter()
            .flatten()
            .filter_map(self::kind)
            .find_map(|kind| kind.advice(name));
        let advice = advised.unwrap_or_else(|| format!("see what `aws sts get-caller-identity --profile {name}` says"));
        message + &advice
    }

    fn profile(&self) -> Option<&Profile> {
        self.profiles.get_profile(self.profiles.selected_profile())
    }
}

/// The files of profiles, as messages name them.
fn profile_files() -> String {
    let file = |variable, default: &str| std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    format!(
        "{} and {}",
        file("AWS_CONFIG_FILE", "~/.aws/config"),
        file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    )
}

/// How a profile comes to credentials.
enum Kind<'a> {
    Role { arn: &'a str, asks_for_code: bool },
    WebIdentity { file: &'a str },
    Sso,
    Login,
    Process,
    Keys,
}

/// The kind of a profile, in the order of the SDK, which is that of the command line.
fn kind(profile: &Profile) -> Option<Kind<'_>> {
    let has = |key| profile.get(key).is_some();
    if let Some(file) = profile.get("web_identity_token_file") {
        return Some(Kind::WebIdentity { file });
    }
    if let Some(arn) = profile.get("role_arn") {
        let asks_for_code = has("mfa_serial");
        return Some(Kind::Role { arn, asks_for_code });
    }
    [
        (has("sso_session") || has("sso_start_url"), Kind::Sso),
        (has("login_session"), Kind::Login),
        (has("credential_process"), Kind::Process),
        (has("aws_access_key_id"), Kind::Keys),
    ]
    .into_iter()
    .find_map(|(is_it, kind)| is_it.then_some(kind))
}

impl Kind<'_> {
    fn describe(&self) -> String {
        match self {
            Kind::Role { arn, asks_for_code } => {
                let code = if *asks_for_code {
                    ", with a code (mfa_serial)"
                } else {
                    ""
                };
                format!("assumes the role {arn}{code}")
            }
            Kind::WebIdentity { file } => format!("web identity, with the token in {file}"),
            Kind::Sso => "single sign-on".to_owned(),
            Kind::Login => "login_session, of `aws login`".to_owned(),
            Kind::Process => "credential_process".to_owned(),
            Kind::Keys => "access keys".to_owned(),
        }
    }

    /// What to do if it gives no credentials, where that is known.
    fn advice(&self, name: &str) -> Option<String> {
        // It knows all kinds, asks for codes, and prints variables that a shell can take.
        let export = format!("eval \"$(aws configure export-credentials --profile {name} --format env)\"");
        match self {
            Kind::Sso => Some(format!("sign in with `aws sso login --profile {name}`")),
            Kind::Login => Some(format!("sign in with `aws login --profile {name}`, then `{export}`")),
            Kind::Role { asks_for_code, .. } if *asks_for_code => {
                Some(format!("nobody is asked for a code here; `{export}` asks"))
            }
            _ => None,
        }
    }
}
