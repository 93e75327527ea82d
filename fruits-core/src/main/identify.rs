//! `fruits identify` and `fruits serve`.

use clap::Args;
use fruits_core::error::{counted, printable};
use fruits_core::recognise::{Answers, Identified};
use fruits_core::{Classifier, IfExists, Recogniser, Result, Server, store};
use serde_json::json;

use crate::place::PlaceArgs;
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
    #[command(flatten)]
    place: PlaceArgs,
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
    let identified = match (&args.out, args.place.spark(args.out.as_deref().unwrap_or_default())?) {
        (Some(out), Some(spark)) => {
            let (classifier, photos) = (&args.classifier, &args.photos);
            let spark = spark.show_progress();
            spark.identify_to(classifier, photos, out, if_exists).await?
        }
        _ => match identify_here(&args, if_exists).await? {
            Some(identified) => identified,
            None => return Ok(()),
        },
    };
    let Identified {
        photos,
        unknown,
        failures,
        ..
    } = identified;
    tell(format!(
        "{} identified, {unknown} of them unknown, {}",
        counted(photos, "photo"),
        counted(failures.len(), "failure")
    ));
    for failure in failures.iter().take(FAILURES) {
        tell(format!(
            "{}: {}: {}",
            printable(&failure.path),
            failure.step,
            printable(&failure.message)
        ));
    }
    if args.json && args.out.is_some() {
        say(json!({ "photos": photos, "unknown": unknown, "failures": failures.len(), "out": args.out }));
    }
    Ok(())
}

/// Says or writes the answers; nothing more is to be said of one photo.
async fn identify_here(args: &IdentifyArgs, if_exists: IfExists) -> Result<Option<Identified>> {
    let recogniser = Recogniser::new(&Classifier::read(&args.classifier).await?)?;
    if let Some(out) = &args.out {
        return recogniser.identify_to(&args.photos, out, if_exists).await.map(Some);
    }
    if store::is_file(&args.photos).await {
        let answer = recogniser.identify_at(&args.photos).await?;
        say(match args.json {
            true => answer.to_json().to_string(),
            false => answer.in_words(),
        });
        return Ok(None);
    }
    let answers = recogniser.identify_all(&args.photos).await?;
    for answer in answers.all() {
        say(match args.json {
            true => answer.to_json().to_string(),
            false => format!("{}: {answer}", printable(&answer.path)),
        });
    }
    Ok(Some(answers.into()))
}

pub async fn serve(args: ServeArgs) -> Result<()> {
    let recogniser = Recogniser::new(&Classifier::read(&args.classifier).await?)?;
    let server = Server::bind(recogniser, args.port)?.with_names(&args.name)?;
    say(format!("http://{}", server.address()));
    server.run().await
}
