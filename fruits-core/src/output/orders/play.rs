//! Runs on a store, step by step, and what must hold.

use std::task::{Context, Poll, Waker};

use super::world::{Answer, Failure};
use super::*;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A request that waits is carried out, and answered.
    Do(usize),
    /// It is carried out, but the answer is lost.
    Lose(usize),
    /// Its run takes it for lost; it arrives later.
    Delay(usize),
    /// It is carried out, and arrives once more later.
    Repeat(usize),
    /// A late request arrives.
    Arrive(usize),
    /// A run is killed; what it has asked for last is carried out, or not.
    Kill(usize, bool),
}

/// What is known of a run that has ended.
const GONE: &str = "gone";

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    Kills,
    /// And answers that are lost, requests that are slow, and such that come twice.
    All,
}

/// Runs on a store, as far as they have come.
pub(super) struct Play {
    pub(super) world: Arc<Mutex<World>>,
    runs: Vec<Option<BoxFuture<'static, Result<()>>>>,
    tasks: Vec<Task>,
    first: usize,
    told: Shared,
    /// Runs that were killed, or met what went wrong.
    troubled: BTreeSet<usize>,
    killed: BTreeSet<usize>,
    faults: usize,
    trouble: Trouble,
    protocol: Protocol,
    /// The run that went on last, and how often another one may.
    last: Option<usize>,
    switches: usize,
}

impl Play {
    /// Runs with the names from `first` on.
    pub(super) fn new(
        before: &World,
        tasks: &[Task],
        first: usize,
        (trouble, faults): (Trouble, usize),
        protocol: Protocol,
    ) -> Self {
        let world = Arc::new(Mutex::new(World::of(before.objects.clone(), tasks.len())));
        let told = Shared::default();
        told.lock().unwrap().ended = tasks.iter().map(|_| None).collect();
        let run = |(run, task): (usize, &Task)| -> Option<BoxFuture<'static, Result<()>>> {
            let store = View {
                world: world.clone(),
                run,
            };
            Some(protocol(store, *task, first + run, told.clone()))
        };
        let runs = tasks.iter().enumerate().map(run).collect();
        let mut play = Play {
            world,
            runs,
            tasks: tasks.to_vec(),
            first,
            told,
            troubled: BTreeSet::new(),
            killed: BTreeSet::new(),
            trouble,
            faults,
            protocol,
            last: None,
            switches: usize::MAX,
        };
        play.go_on();
        play
    }

    /// Lets all runs go on until they wait for the store.
    fn go_on(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for (index, run) in self.runs.iter_mut().enumerate() {
            if let Some(future) = run {
                fastrand::seed((self.first + index) as u64); // what a run draws does not depend on the others
                let polled = future.as_mut().poll(&mut context);
                match LEARNED.take() {
                    0 => {}
                    learned => self.world.lock().unwrap().learn(index, learned),
                }
                if let Poll::Ready(result) = polled {
                    self.told.lock().unwrap().ended[index] = Some(result);
                    *run = None;
                    self.world.lock().unwrap().remember(index, GONE);
                    return self.go_on();
                }
            }
        }
    }

    /// Lets runs be interrupted by others so often.
    pub(super) fn switches(mut self, switches: usize) -> Self {
        self.switches = switches;
        self
    }

    /// Whether a run would be interrupted if another one went on.
    fn is_switch(&self, run: usize) -> bool {
        self.last.is_some_and(|last| last != run && self.runs[last].is_some())
    }

    /// All that can happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let world = self.world.lock().unwrap();
        let goes_on = |index: &usize| self.switches > 0 || !self.is_switch(world.waiting[*index].run);
        let mut steps: Vec<Step> = (0..world.waiting.len()).filter(goes_on).map(Step::Do).collect();
        steps.extend((0..world.late.len()).map(Step::Arrive));
        if self.faults > 0 && self.trouble != Trouble::Nothing {
            for run in (0..self.runs.len()).filter(|run| self.runs[*run].is_some()) {
                steps.extend([Step::Kill(run, true), Step::Kill(run, false)]);
            }
        }
        if self.faults > 0 && self.trouble == Trouble::All {
            for index in (0..world.waiting.len()).filter(|index| world.waiting[*index].request.is_write()) {
                steps.extend([Step::Lose(index), Step::Delay(index), Step::Repeat(index)]);
            }
        }
        steps
    }

    /// What a step would do.
    pub(super) fn describe(&self, step: Step) -> String {
        let world = self.world.lock().unwrap();
        match step {
            Step::Do(index) | Step::Lose(index) | Step::Delay(index) | Step::Repeat(index) => {
                let waiting = &world.waiting[index];
                format!("{step:?}, run {}: {:?}", waiting.run, waiting.request)
            }
            Step::Arrive(index) => format!("{step:?}: {:?}", world.late[index]),
            Step::Kill(..) => format!("{step:?}"),
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        let mut world = self.world.lock().unwrap();
        let lost = Answer::Failed(Failure::Lost);
        match step {
            Step::Do(index) => {
                let run = world.waiting[index].run;
                if self.switches < usize::MAX && self.is_switch(run) {
                    self.switches -= 1;
                }
                self.last = Some(run);
                let request = world.waiting[index].request.clone();
                let answer = world.carry_out(&request);
                world.answer(index, answer);
            }
            Step::Lose(index) | Step::Delay(index) => {
                self.troubled.insert(world.waiting[index].run);
                let request = world.waiting[index].request.clone();
                match step {
                    Step::Lose(_) => drop(world.carry_out(&request)),
                    _ => world.late.push(request),
                }
                world.answer(index, lost);
                self.faults -= 1;
            }
            Step::Repeat(index) => {
                let request = world.waiting[index].request.clone();
                let answer = world.carry_out(&request);
                world.answer(index, answer);
                world.late.push(request);
                self.faults -= 1;
            }
            Step::Arrive(index) => {
                let request = world.late.remove(index);
                world.carry_out(&request);
            }
            Step::Kill(run, is_carried_out) => {
                let late = std::mem::take(&mut world.late);
                drop(world);
                self.runs[run] = None;
                let mut world = self.world.lock().unwrap();
                world.remember(run, GONE);
                for request in std::mem::replace(&mut world.late, late) {
                    if is_carried_out {
                        world.carry_out(&request);
                    }
                }
                drop(world);
                self.killed.insert(run);
                self.troubled.insert(run);
                self.faults -= 1;
                return;
            }
        }
        drop(world);
        self.go_on();
    }

    /// Does one after the other, until nothing is left to do.
    pub(super) fn finish(&mut self) {
        while let Some(&step) = self.steps().first() {
            self.step(step);
        }
    }

    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.world.lock().unwrap().hash(&mut hasher);
        let told = self.told.lock().unwrap();
        let ended: Vec<Option<bool>> = told.ended.iter().map(|end| end.as_ref().map(Result::is_ok)).collect();
        let written: BTreeSet<&String> = told.written.iter().collect();
        // Where any number of interruptions is possible, it does not matter who went on last.
        let last = self.last.filter(|_| self.switches < usize::MAX);
        (
            ended,
            written,
            &self.killed,
            &self.troubled,
            self.faults,
            last,
            self.switches,
        )
            .hash(&mut hasher);
        hasher.finish()
    }

    /// What must hold at every moment: where the mark is, all is there and nothing else.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        whole(&self.world.lock().unwrap().objects).map(|_| ())
    }

    /// What must hold when nothing is under way any more.
    pub(super) fn check_end(&self, before: &World) -> std::result::Result<(), String> {
        let told = self.told.lock().unwrap();
        let objects = self.world.lock().unwrap().objects.clone();
        let output = whole(&objects)?;
        let by = |run: usize| matches!(&output, Some((maker, _)) if *maker == run);
        let succeeded = |run: &usize| matches!(told.ended[*run], Some(Ok(())));
        let winners: Vec<usize> = (0..self.tasks.len()).filter(succeeded).collect();
        let may_replace = |run: usize| matches!(self.tasks[run], Task::Overwrite | Task::Resume | Task::Other);
        let own = |run: usize, row: &str| row.starts_with(&format!("{run}."));

        let there_was = before.objects.contains_key(SUCCESS);
        if let Some(run) = (0..self.tasks.len()).find(|run| told.ended[*run].is_none() && !self.killed.contains(run)) {
            return Err(format!("run {run} never ends"));
        }
        // Two kinds of output in one folder may keep each other out.
        let could_win = |run: usize| !self.tasks.contains(&Task::Other) && (!there_was || may_replace(run));
        if winners.is_empty() && self.troubled.is_empty() && (0..self.tasks.len()).any(could_win) {
            return Err("no run has succeeded, and nothing went wrong".to_owned());
        }
        let meek: Vec<_> = winners.iter().filter(|run| !may_replace(**run)).collect();
        if meek.len() + usize::from(there_was) > 1 {
            return Err("a run has succeeded that may not replace what was there".to_owned());
        }
        if let (Some(_), [run]) = (&output, &meek[..])
            && !by(**run)
            && !winners.iter().any(|&other| may_replace(other) && by(other))
            && !self.troubled.iter().any(|&other| may_replace(other))
        {
            return Err("a run that may not replace anything has replaced what a run has made".to_owned());
        }
        match &output {
            Some((maker, _)) => {
                let is_untouched = by(BEFORE);
                // A run that was killed, or thought the last answer lost, may have succeeded without knowing.
                if !winners.contains(maker) && !self.troubled.contains(maker) && !is_untouched {
                    return Err(format!("the output is that of run {maker}, which has failed"));
                }
                if is_untouched && !winners.is_empty() {
                    return Err("a run reported success, and the output is the one before".to_owned());
                }
            }
            None => {
                let is_excused = self.troubled.iter().any(|&run| may_replace(run));
                if !winners.is_empty() && !is_excused {
                    return Err("a run reported success, and there is no output".to_owned());
                }
                if there_was && !is_excused {
                    return Err("a run that failed has destroyed the output before".to_owned());
                }
            }
        }

        // Whatever is left, the next run of this kind takes over.
        if self.tasks.contains(&Task::Other) {
            return Ok(());
        }
        let mut next = Play::new(
            &World::of(objects, 0),
            &[Task::Resume],
            7,
            (Trouble::Nothing, 0),
            self.protocol,
        );
        next.finish();
        if let Some(Err(error)) = &next.told.lock().unwrap().ended[0] {
            return Err(format!("the next run failed: {error}"));
        }
        let resumed = whole(&next.world.lock().unwrap().objects)?
            .map(|(_, rows)| rows)
            .unwrap_or_default();
        // Unless a run that may replace anything was at work: it has computed all rows itself.
        let is_lost = |row: &&String| !resumed.contains(row);
        for run in 0..self.tasks.len() {
            let mut others = (0..self.tasks.len()).filter(|other| *other != run && may_replace(*other));
            let is_replaced = others.any(|other| succeeded(&other) || self.troubled.contains(&other));
            let mut rows = told.written.iter().filter(|row| own(run, row));
            if !is_replaced && let Some(row) = rows.find(is_lost) {
                return Err(format!("row {row} was written, and the next run has {resumed:?}"));
            }
        }
        Ok(())
    }
}

/// Who has made a finished output, and its rows.
pub(super) fn whole(objects: &BTreeMap<String, Bytes>) -> std::result::Result<Option<(usize, Vec<String>)>, String> {
    let Some(success) = objects.get(SUCCESS) else {
        return Ok(None);
    };
    let manifest = objects.get(MANIFEST).ok_or("a mark without a manifest")?;
    let finished: Finished<serde_json::Value> =
        serde_json::from_slice(manifest).map_err(|error| format!("the manifest: {error}"))?;
    if finished.run.as_bytes() != &success[..] {
        return Err("the mark and the manifest are of two runs".to_owned());
    }
    for file in &finished.files {
        match objects.get(&file.name) {
            Some(content) if File::new(file.name.clone(), content) == *file => {}
            Some(_) => return Err(format!("{} is another's", file.name)),
            None => return Err(format!("{} is missing", file.name)),
        }
    }
    let visible = |key: &&String| key.ends_with(".parquet") && !key.starts_with('_');
    let mut rows = Vec::new();
    for key in objects.keys().filter(visible) {
        if !finished.files.iter().any(|file| file.name == *key) {
            return Err(format!("{key} is not in the manifest"));
        }
        rows.extend(text(&objects[key]).lines().map(str::to_owned));
    }
    let maker = finished.about["made by"].as_u64().ok_or("nobody has made it")?;
    Ok(Some((maker as usize, rows)))
}
