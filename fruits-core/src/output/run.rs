//! A run at work on an output.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::future::{join, try_join};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{File, Finished, IfExists, Kind, MANIFEST, Name, OWNER, RUNS, SUCCESS, keys, optional, refusal};
use crate::error::{Error, ErrorKind, Result, Step, printable};
use crate::interrupt;
use crate::store::{self, Store};

/// How the name of a file begins with which a store is tried.
const PROBE: &str = "_probe";
/// Tries to take a folder whose owner changes.
const ATTEMPTS: u32 = 5;
/// Files that are copied or removed at the same time: 50,000 of 100 million photos, in a minute if S3 takes a tenth of a second for each. In
/// tests one after the other, so that all orders of two runs are not too many.
const AT_ONCE: usize = if cfg!(test) { 1 } else { 128 };
/// Requests that are made before the first of them is sent: one to S3 takes 13 KB, sent or not.
const MADE: usize = 8 * AT_ONCE;

/// The name of this machine.
static HOST: LazyLock<String> =
    LazyLock::new(|| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default());

/// A run that makes an output: see the [protocol](super).
pub(crate) struct Run {
    store: Arc<dyn Store>,
    kind: &'static Kind,
    id: String,
    is_exclusive: bool,
    files: Vec<File>,
}

/// What `_owner.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    run: String,
    state: State,
    /// For people who look for it.
    process: u32,
    host: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Working,
    Finishing,
}

impl Run {
    /// Fails if there is what a run may not replace; the owner's mark otherwise, if there is one.
    pub async fn look_before(store: &dyn Store, kind: &Kind, if_exists: IfExists) -> Result<Option<Bytes>> {
        let is_in_the_way = |key: &str| match if_exists {
            IfExists::Refuse => kind.is_there(key),
            IfExists::Replace => kind.name(key) == Name::Foreign || kind.is_made_for_another(key),
        };
        let (keys, owner) = try_join(keys(store, is_in_the_way), optional(store, OWNER)).await?;
        match if_exists {
            IfExists::Refuse if owner.is_some() || !keys.is_empty() => {
                return Err(refusal(store, occupied(owner.as_deref())));
            }
            IfExists::Refuse => {}
            IfExists::Replace => {
                let is_ours = |owner: &Bytes| serde_json::from_slice::<Owner>(owner).is_ok();
                let foreign = owner.as_ref().filter(|owner| !is_ours(owner)).map(|_| OWNER.to_owned());
                kind.refuse(store, keys.first().or(foreign.as_ref()))?;
            }
        }
        Ok(owner)
    }

    /// Takes the folder.
    pub async fn begin(store: Arc<dyn Store>, kind: &'static Kind, if_exists: IfExists) -> Result<Self> {
        let owner = interrupt::race(Step::Write, Self::look_before(&*store, kind, if_exists)).await??;
        let mut run = Self::join(store, kind, format!("{:016x}", fastrand::u64(..)));
        let taken = run.take(owner, if_exists).await;
        run.or_release(taken).await?;
        let probe = run.made(&format!("{PROBE}-{}.txt", run.id));
        let is_still_empty = async {
            // Another run may have begun and finished since the folder was empty.
            match if_exists {
                IfExists::Refuse => keys(&*run.store, |key| kind.is_there(key) && !run.has_made(key)).await,
                IfExists::Replace => Ok(Vec::new()),
            }
        };
        let looks = try_join(is_still_empty, run.store.compares(&probe)).await;
        let (theirs, is_exclusive) = run.or_release(looks).await?;
        if !theirs.is_empty() {
            run.or_release(Err::<(), _>(overtaken(&*run.store))).await?;
        }
        run.is_exclusive = is_exclusive;
        info!(
            exclusive = is_exclusive,
            "{} is taken by the run {}",
            printable(&run.store.uri("")),
            run.id
        );
        Ok(run)
    }

    /// Becomes the owner, after the one that was found.
    async fn take(&self, mut owner: Option<Bytes>, if_exists: IfExists) -> Result<()> {
        for _ in 1..ATTEMPTS {
            match self.store.swap(OWNER, owner, Some(self.owner(State::Working))).await {
                // The owner has begun to finish, or has finished, or is another one: all of them may be replaced.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && if_exists == IfExists::Replace => {
                    owner = optional(&*self.store, OWNER).await?;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => break,
                result => return result,
            }
        }
        Err(overtaken(&*self.store))
    }

    /// Works for a run that has begun elsewhere.
    pub fn join(store: Arc<dyn Store>, kind: &'static Kind, id: String) -> Self {
        Run {
            store,
            kind,
            id,
            is_exclusive: true,
            files: Vec::new(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The files that it has made.
    pub fn files(self) -> Vec<File> {
        self.files
    }

    /// Whether a file is one that this run, or who works for it, has made.
    pub fn has_made(&self, key: &str) -> bool {
        matches!(self.kind.name(key), Name::Made(run, _) if run == self.id)
    }

    /// What it has made in a folder, as a store of its own: to be listed without all else that is in the output.
    pub fn made_in(&self, folder: &str) -> Result<Arc<dyn Store>> {
        store::open(&self.store.uri(&self.made(folder)))
    }

    /// Takes over files that were made for it elsewhere.
    pub fn add(&mut self, files: Vec<File>) {
        self.files.extend(files);
    }

    /// Makes a file.
    pub async fn put(&mut self, name: &str, content: Bytes) -> Result<()> {
        debug_assert_eq!(self.kind.name(name), Name::Visible(&self.id), "{name}");
        let file = File::new(name.to_owned(), &content);
        let made = self.made(name);
        let put = try_join(self.look(), self.store.put(&made, content)).await;
        self.unless_overtaken(put.map(|_| ())).await?;
        self.files.push(file);
        Ok(())
    }

    /// Makes what it has made the output.
    pub async fn finish<T: Serialize>(mut self, about: T) -> Result<()> {
        let finished = Finished {
            run: self.id.clone(),
            is_exclusive: self.is_exclusive,
            files: std::mem::take(&mut self.files),
            about,
        };
        let made = self.or_release(self.replace(&finished).await).await?;
        info!("{}: the output is there", printable(&self.store.uri("")));
        // The output is there; what cannot be removed now, the next run removes.
        let _ = join(self.delete(made), self.release()).await;
        Ok(())
    }

    /// Passes a result on; an error gives the folder back, if it is still this run's.
    pub async fn or_release<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.release().await;
        }
        result
    }

    /// Removes what it has made, and gives the folder back.
    pub async fn discard(self) {
        let made = self.files.iter().map(|file| self.made(&file.name)).collect();
        let _ = join(self.delete(made), self.release()).await;
    }

    async fn release(&self) {
        for state in [State::Working, State::Finishing] {
            if self.store.swap(OWNER, Some(self.owner(state)), None).await.is_ok() {
                return;
            }
        }
    }

    /// Replaces what is in the output, and gives the names of what this run has made.
    async fn replace<T: Serialize>(&self, finished: &Finished<T>) -> Result<Vec<String>> {
        let manifest = serde_json::to_vec_pretty(finished)
            .map_err(|error| Error::from_source(Step::Write, self.store.uri(MANIFEST), error))?;
        let (made_manifest, made_success) = (self.made(MANIFEST), self.made(SUCCESS));
        let manifest = self.store.put(&made_manifest, manifest.into());
        try_join(manifest, self.store.put(&made_success, self.id.clone().into())).await?;
        let (working, finishing) = (self.owner(State::Working), self.owner(State::Finishing));
        self.swap(OWNER, Some(working), Some(finishing)).await?;

        let is_of_outputs = |key: &str| !matches!(self.kind.name(key), Name::Hidden | Name::Mark);
        let mut keys = keys(&*self.store, is_of_outputs).await?;
        let theirs = |key: &String| matches!(self.kind.name(key), Name::Made(run, _) if run != self.id);
        if keys.iter().any(theirs) {
            self.look().await?;
            self.delete(keys.into_iter().filter(theirs).collect()).await?;
            keys = super::keys(&*self.store, is_of_outputs).await?;
        }
        // Now there is nothing that other runs could copy, and all that they have copied is seen.
        self.kind.refuse_foreign(&*self.store, &keys)?;
        self.remove_marks().await?;
        let is_before = |key: &&String| match self.kind.name(key) {
            Name::Visible(run) => run != self.id,
            name => matches!(name, Name::Earlier | Name::Temporary),
        };
        self.delete(keys.iter().filter(is_before).cloned().collect()).await?;

        self.look().await?;
        for files in finished.files.chunks(MADE) {
            in_parallel(files.iter().map(|file| self.show(&file.name)).collect()).await?;
        }
        self.show(MANIFEST).await?;
        self.show(SUCCESS).await?;
        keys.retain(|key| self.has_made(key));
        Ok(keys)
    }

    /// Makes what is there no output any more.
    async fn remove_marks(&self) -> Result<()> {
        let mark = |key| optional(&*self.store, key);
        for _ in 1..ATTEMPTS {
            let (success, manifest) = try_join(mark(SUCCESS), mark(MANIFEST)).await?;
            if success.is_none() && manifest.is_none() {
                return Ok(());
            }
            self.look().await?;
            let mut is_changed = false;
            for (mark, there) in [(SUCCESS, success), (MANIFEST, manifest)] {
                if there.is_none() {
                    continue;
                }
                match self.store.swap(mark, there, None).await {
                    // The owner before was about to do the same.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => is_changed = true,
                    result => result?,
                }
            }
            if !is_changed {
                return Ok(());
            }
        }
        Err(overtaken(&*self.store))
    }

    /// Lets readers see a file.
    async fn show(&self, name: &str) -> Result<()> {
        let made = self.made(name);
        let copied = self.store.copy(&made, name).await;
        self.unless_overtaken(copied).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        for keys in keys.chunks(MADE) {
            in_parallel(keys.iter().map(|key| self.store.delete(key)).collect()).await?;
        }
        Ok(())
    }

    /// Says of what failed because another run has taken the folder over that this is why.
    async fn unless_overtaken(&self, result: Result<()>) -> Result<()> {
        if matches!(&result, Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)) {
            self.look().await?;
        }
        result
    }

    /// Fails if another run has taken the folder over.
    pub async fn look(&self) -> Result<()> {
        let owner = optional(&*self.store, OWNER).await?.unwrap_or_default();
        match serde_json::from_slice::<Owner>(&owner) {
            Ok(owner) if owner.run == self.id => Ok(()),
            _ => Err(overtaken(&*self.store)),
        }
    }

    async fn swap(&self, key: &str, from: Option<Bytes>, to: Option<Bytes>) -> Result<()> {
        match self.store.swap(key, from, to).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(overtaken(&*self.store)),
            result => result,
        }
    }

    /// Where a file lies before it is shown.
    fn made(&self, name: &str) -> String {
        format!("{RUNS}{}/{name}", self.id)
    }

    fn owner(&self, state: State) -> Bytes {
        let owner = Owner {
            run: self.id.clone(),
            state,
            process: std::process::id(),
            host: HOST.trim().to_owned(),
        };
        serde_json::to_vec(&owner).unwrap_or_default().into()
    }
}

impl Kind {
    /// Fails if there is something that is not an output's of this kind.
    fn refuse_foreign(&self, store: &dyn Store, keys: &[String]) -> Result<()> {
        self.refuse(store, keys.iter().find(|key| self.name(key) == Name::Foreign))
    }

    /// Whether a run has made it for an output of another kind.
    fn is_made_for_another(&self, key: &str) -> bool {
        match self.name(key) {
            Name::Made(_, name) => {
                !matches!(self.name(name), Name::Visible(_) | Name::Mark) && !name.starts_with(PROBE)
            }
            _ => false,
        }
    }

    fn refuse(&self, store: &dyn Store, foreign: Option<&String>) -> Result<()> {
        foreign.map_or(Ok(()), |foreign| {
            let message = format!("the folder holds {foreign}, which is not part of an earlier output of this kind");
            Err(refusal(store, message))
        })
    }
}

async fn in_parallel(all: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    stream::iter(all).buffer_unordered(AT_ONCE).try_collect().await
}

fn overtaken(store: &dyn Store) -> Error {
    refusal(store, "another run has taken this folder over")
}

/// Why a folder is not for a new output.
fn occupied(owner: Option<&[u8]>) -> String {
    match owner.map(serde_json::from_slice::<Owner>) {
        Some(Ok(Owner { process, host, .. })) => format!(
            "process {process} on {host} is writing to this folder, or was killed while it did; wait for it, or give a new folder; --overwrite (IfExists::Replace) replaces what is there, --resume (resume_to) goes on with features"
        ),
        _ => "the folder is not empty; give a new one, or replace what is there by --overwrite (IfExists::Replace), or bring features up to date by --resume (resume_to)".to_owned(),
    }
}
