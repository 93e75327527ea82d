//! Tests of things that may not be there. One that cannot run is reported as ignored, with what is missing and the command that brings it;
//! where all has to be there, under `tests/run.sh`, it fails.

use std::future::Future;
use std::process::ExitCode;

use fruits_core::MobileNetV2;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Set by `tests/run.sh`: nothing may be ignored.
const ALL_IS_THERE: &str = "FRUITS_TEST_ALL";

/// What a test needs.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each file of tests has its own needs")]
pub enum Need {
    Nothing,
    /// The network's weights.
    Weights,
    /// What a variable names that `tests/run.sh` sets.
    Variable(&'static str),
}

impl Need {
    /// Why it is not there.
    fn missing(self) -> Option<String> {
        match self {
            Need::Nothing => None,
            Need::Weights => {
                let error = MobileNetV2::imagenet().err()?;
                Some(format!("no weights: bootstrap/weights.sh brings them; {error}"))
            }
            Need::Variable(name) if std::env::var_os(name).is_some_and(|value| !value.is_empty()) => None,
            Need::Variable(name) => Some(format!("{name} is not set: tests/run.sh brings what it names")),
        }
    }
}

/// A test that runs on tokio, if what it needs is there.
pub fn trial<F: Future<Output = ()>>(need: Need, name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match need.missing() {
        Some(why) if std::env::var_os(ALL_IS_THERE).is_some() => Err(Failed::from(why)),
        Some(why) => Ok(Completion::ignored_with(why)),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(test());
            Ok(Completion::Completed)
        }
    })
}

/// The tests of a file, each by its function: `trials![Need::Weights => a, b; Need::Nothing => c;]`.
#[allow(unused_macros, reason = "one file makes its tests by itself")]
macro_rules! trials {
    ($($need:expr => $($test:ident),+;)*) => {
        vec![$($(support::trial($need, stringify!($test), $test)),+),*]
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use trials;

/// Runs tests as `cargo test` does.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
