//! What runs do in these tests.

use super::*;

/// What the runs of these tests write.
static KIND: Kind = Kind {
    files: &[("features/part-", ".parquet"), ("_failures", ".jsonl")],
    is_earlier: |_| false,
};

static OTHER: Kind = Kind {
    files: &[("components/part-", ".parquet"), ("_pca", ".safetensors")],
    is_earlier: |_| false,
};

pub(super) async fn make(view: View, task: Task, me: usize, told: Shared) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(view.clone());
    let rows = match task {
        Task::Resume => earlier_rows(&*store).await?,
        _ => Vec::new(),
    };
    view.knows(&rows);
    let if_exists = match task {
        Task::Overwrite | Task::Resume | Task::Other => IfExists::Replace,
        Task::Plain | Task::Spark => IfExists::Refuse,
    };
    let kind = if task == Task::Other { &OTHER } else { &KIND };
    let mut run = Run::begin(store, kind, if_exists).await?;
    view.knows((&rows, "begun"));
    let made = match task {
        Task::Spark => make_with_tries(&view, &mut run, me).await,
        Task::Other => {
            let name = format!("components/part-00000-{}.parquet", run.id());
            run.put(&name, format!("{me}.0").into()).await
        }
        _ => make_parts(&view, &mut run, me, rows, &told).await,
    };
    if made.is_err() {
        view.knows("it has failed");
    }
    run.or_release(made).await?;
    run.finish(serde_json::json!({ "made by": me })).await
}

async fn make_parts(view: &View, run: &mut Run, me: usize, earlier: Vec<String>, told: &Shared) -> Result<()> {
    let mut parts = vec![vec![format!("{me}.0")], vec![format!("{me}.1")]];
    if !earlier.is_empty() {
        parts[0] = earlier;
    }
    for (number, rows) in parts.iter().cloned().enumerate() {
        let name = format!("features/part-{number:05}-{}.parquet", run.id());
        run.put(&name, rows.join("\n").into()).await?;
        view.knows((&parts, number));
        told.lock().unwrap().written.extend(rows);
    }
    let name = format!("_failures-{}.jsonl", run.id());
    run.put(&name, "none".into()).await
}

async fn make_with_tries(view: &View, run: &mut Run, me: usize) -> Result<()> {
    let tries = (0..2).map(|attempt| {
        let mut task = Run::join(run.store().clone(), &KIND, run.id().to_owned());
        async move {
            let name = format!("features/part-00000-{attempt}-{}.parquet", task.id());
            task.put(&name, format!("{me}.{attempt}").into())
                .await
                .map(|()| task.files())
        }
    });
    let (files, _) = futures::future::select_ok(tries.map(Box::pin)).await?;
    view.knows(files.iter().map(|file| &file.name).collect::<Vec<_>>());
    run.add(files);
    Ok(())
}

/// The rows of all parts, of the earliest run first.
async fn earlier_rows(store: &dyn Store) -> Result<Vec<String>> {
    let mut rows = BTreeSet::new();
    for key in keys(store, |key| key.ends_with(".parquet")).await? {
        if let Some(part) = optional(store, &key).await? {
            rows.extend(text(&part).lines().map(str::to_owned));
        }
    }
    Ok(rows.into_iter().collect())
}
