//! `fruits identify` and `fruits serve`.

use clap::Args;
use fruits_core::error::{counted, printable};
use fruits_core::recognise::Answers;
use fruits_core::{Classifier, IfExists, Recogniser, Result, Server, store};
use serde_json::json;

use crate::{say, tell};

/// Failures that are told; more are counted.
const FAILURES: usize = 5;

#[derive(Args)]
pub struct IdentifyArgs {
    /// Location that `fruits train` wrote
    classifier: String,
    /// A photo, a location of photos, or one that `fruits features` wrote
    photos: String,
    /// Location to write the answers to, of a location of photos; must be new or empty
    #[arg(short, long, value_name = "LOCATION")]
    out: Option<String>,
    /// Replace an earlier output there, finished or not
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// Print JSON, alone on standard output: a line for each answer, or, with --out, one line at the end
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ServeArgs {
    /// Location that `fruits train` wrote
    classifier: String,
    /// Port on 127.0.0.1; 0 is any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// A further name under which the page may be asked for, of a proxy in front of it
    #[arg(long, value_name = "HOST")]
    name: Vec<String>,
}

pub async fn identify(args: IdentifyArgs) -> Result<()> {
    let if_exists = match args.overwrite {
        true => IfExists::Replace,
        false => IfExists::Refuse,
    };
    if let Some(out) = &args.out {
        Answers::can_write(out, if_exists).await?;
    }
    let recogniser = Recogniser::new(&Classifier::read(&args.classifier).await?)?;
    if args.out.is_none() && store::is_file(&args.photos).await {
        let answer = recogniser.identify_at(&args.photos).await?;
        say(if args.json {
            answer.to_json().to_string()
        } else {
            answer.in_words()
        });
        return Ok(());
    }
    let answers = recogniser.identify_all(&args.photos).await?;
    match &args.out {
        Some(out) => answers.write(out, if_exists).await?,
        None if args.json => answers.all().iter().for_each(|answer| say(answer.to_json())),
        None => answers
            .all()
            .iter()
            .for_each(|answer| say(format!("{}: {answer}", printable(&answer.path)))),
    }
    let unknown = answers.all().iter().filter(|answer| answer.is_unknown).count();
    let failed = answers.failures().len();
    tell(format!(
        "{} identified, {unknown} of them unknown, {}",
        counted(answers.all().len(), "photo"),
        counted(failed, "failure")
    ));
    for failure in answers.failures().iter().take(FAILURES) {
        tell(format!(
            "{}: {}: {}",
            printable(&failure.path),
            failure.step,
            printable(&failure.message)
        ));
    }
    if args.json && args.out.is_some() {
        say(json!({ "photos": answers.all().len(), "unknown": unknown, "failures": failed, "out": args.out }));
    }
    Ok(())
}

pub async fn serve(args: ServeArgs) -> Result<()> {
    let recogniser = Recogniser::new(&Classifier::read(&args.classifier).await?)?;
    let server = Server::bind(recogniser, args.port)?.with_names(&args.name)?;
    say(format!("http://{}", server.address()));
    server.run().await
}
