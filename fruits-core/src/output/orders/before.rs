//! The protocol that was: its faults have to be found.
//!
//! A run wrote where readers look, under names with the run in them but for three; the run whose manifest came first won.

use super::*;

const FAILURES: &str = "_failures.jsonl";

pub(super) async fn make(store: Arc<dyn Store>, task: Task, me: usize, told: Shared) -> Result<()> {
    let store = &*store;
    let is_mark = |key: &String| matches!(key.as_str(), SUCCESS | MANIFEST);
    let found = keys(store, |_| true).await?;
    let mut rows = Vec::new();
    match task {
        Task::Plain | Task::Spark if found.is_empty() => {}
        Task::Plain | Task::Spark => return Err(refusal(store, "not empty")),
        Task::Overwrite | Task::Other | Task::Resume => {
            for mark in found.iter().filter(|key| is_mark(key)) {
                store.delete(mark).await?;
            }
            for key in found.iter().filter(|key| !is_mark(key)) {
                match task {
                    Task::Resume if key.ends_with(".parquet") => {
                        let part = store.get(key, Length::AtMost(MAX_FILE)).await?;
                        rows.extend(text(&part).lines().map(str::to_owned));
                    }
                    Task::Resume => {}
                    _ => store.delete(key).await?,
                }
            }
        }
    }
    let run = format!("{:08x}", fastrand::u32(..));
    let mut parts = vec![vec![format!("{me}.0")], vec![format!("{me}.1")]];
    if !rows.is_empty() {
        parts[0] = rows;
    }
    let mut files = Vec::new();
    if task == Task::Spark {
        let name = format!("part-0000000000-{run}.parquet");
        let tries = (0..2).map(|attempt| {
            let (name, content) = (name.clone(), Bytes::from(format!("{me}.{attempt}")));
            async move {
                store
                    .put(&name, content.clone())
                    .await
                    .map(|()| File::new(name, &content))
            }
        });
        files.push(futures::future::select_ok(tries.map(Box::pin)).await?.0);
    } else {
        for (number, rows) in parts.into_iter().enumerate() {
            let (name, content) = (format!("part-{number:05}-{run}.parquet"), Bytes::from(rows.join("\n")));
            store.put(&name, content.clone()).await?;
            told.lock().unwrap().written.extend(rows);
            files.push(File::new(name, &content));
        }
    }
    let failures = Bytes::from(format!("those of run {me}"));
    files.push(File::new(FAILURES.to_owned(), &failures));

    let manifest = Finished {
        run: String::new(),
        is_exclusive: false,
        files,
        about: serde_json::json!({ "made by": me }),
    };
    let json = Bytes::from(serde_json::to_vec(&manifest).unwrap_or_default());
    if let Err(error) = store.swap(MANIFEST, None, Some(json.clone())).await {
        for file in manifest.files.iter().filter(|file| file.name != FAILURES) {
            store.delete(&file.name).await?;
        }
        return Err(error);
    }
    store.put(FAILURES, failures).await?;
    let found = keys(store, |_| true).await?;
    let is_file = |key: &String| manifest.files.iter().any(|file| file.name == *key);
    let is_claimed = optional(store, MANIFEST).await? == Some(json);
    if !is_claimed || !manifest.files.iter().all(|file| found.contains(&file.name)) {
        return Err(refusal(store, "another run has written to this folder meanwhile"));
    }
    for key in found.iter().filter(|key| !is_file(key) && !is_mark(key)) {
        store.delete(key).await?;
    }
    store.put(SUCCESS, Bytes::new()).await
}
