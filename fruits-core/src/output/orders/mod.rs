//! Orders in which the requests of several runs can reach a store, and what must hold in all of them.
//!
//! Runs are played again from the beginning for each order; where a moment is like one that was seen before (the objects, what each run
//! was answered, what is under way), the order is not followed further. At one place of each order a run may be killed, or something else may go
//! wrong: see [`Step`].

mod before;
mod play;
mod runs;
mod world;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::future::BoxFuture;

use super::*;
use play::{Play, Step, Trouble};
use world::{View, World};

/// What a run is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Two parts, into a folder that must be empty.
    Plain,
    /// Two parts, whatever is there.
    Overwrite,
    /// What is there, and a part.
    Resume,
    /// An output of another kind, whatever is there.
    Other,
    /// A driver of Spark: a task with two tries at the same time, of which the first to answer counts.
    Spark,
}

/// What runs tell their caller.
#[derive(Debug, Default)]
struct Told {
    /// Rows that are written, in the words of the run.
    written: Vec<String>,
    /// How each run has ended.
    ended: Vec<Option<Result<()>>>,
}

type Shared = Arc<Mutex<Told>>;

/// The protocol that is, and the one that was.
fn today(store: View, task: Task, me: usize, told: Shared) -> BoxFuture<'static, Result<()>> {
    Box::pin(runs::make(store, task, me, told))
}

fn yesterday(store: View, task: Task, me: usize, told: Shared) -> BoxFuture<'static, Result<()>> {
    Box::pin(before::make(Arc::new(store), task, me, told))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

thread_local! {
    /// A fingerprint of what the run that goes on at this moment has learned from listings.
    static LEARNED: Cell<u64> = const { Cell::new(0) };
}

/// A run keeps no more of a listing than these names.
pub(super) fn learned(keys: &[String]) {
    LEARNED.set(world::hash(&(LEARNED.get(), keys)));
}

/// The name of the run that made the output before.
const BEFORE: usize = 9;

type Protocol = fn(View, Task, usize, Shared) -> BoxFuture<'static, Result<()>>;

/// The orders of some runs.
#[derive(Debug, Default)]
struct Orders {
    /// Moments that differ.
    moments: usize,
    /// Orders that lead through them.
    orders: f64,
    kills: usize,
    /// How one comes about, and what it is.
    violation: Option<(Vec<String>, String)>,
}

/// Follows all orders, in which at one place something goes wrong.
fn explore(before: &World, tasks: &[Task], switches: usize, trouble: Trouble, protocol: Protocol) -> Orders {
    let mut explorer = Explorer {
        begin: &|| Play::new(before, tasks, 0, (trouble, 1), protocol).switches(switches),
        before,
        path: Vec::new(),
        seen: HashMap::new(),
        found: Orders::default(),
    };
    let orders = explorer.follow(None);
    Orders {
        orders,
        moments: explorer.seen.len(),
        ..explorer.found
    }
}

struct Explorer<'a> {
    begin: &'a dyn Fn() -> Play,
    before: &'a World,
    path: Vec<Step>,
    /// Moments, and the number of orders that go on from them.
    seen: HashMap<u64, f64>,
    found: Orders,
}

impl Explorer<'_> {
    /// What happened until now, in words.
    fn story(&self) -> Vec<String> {
        let mut play = (self.begin)();
        let told = self.path.iter().map(|step| {
            let told = play.describe(*step);
            play.step(*step);
            told
        });
        told.collect()
    }

    /// The number of orders that go on from a moment, which is played again unless it is given.
    fn follow(&mut self, play: Option<Play>) -> f64 {
        let play = play.unwrap_or_else(|| {
            let mut play = (self.begin)();
            self.path.iter().for_each(|step| play.step(*step));
            play
        });
        let hash = play.hash();
        if let Some(orders) = self.seen.get(&hash) {
            return *orders;
        }
        let steps = play.steps();
        let mut checked = play.check();
        if steps.iter().all(|step| matches!(step, Step::Arrive(_))) {
            checked = checked.and_then(|()| play.check_end(self.before));
        }
        if let Err(violation) = checked {
            self.found.violation.get_or_insert((self.story(), violation));
        }
        if self.found.violation.is_some() {
            return 0.0;
        }
        let mut orders: f64 = if steps.is_empty() { 1.0 } else { 0.0 };
        // The first step goes on from here; the others begin again.
        let mut play = Some(play);
        for step in steps {
            self.found.kills += usize::from(matches!(step, Step::Kill(..)));
            self.path.push(step);
            let next = play.take().map(|mut play| {
                play.step(step);
                play
            });
            orders += self.follow(next);
            self.path.pop();
        }
        self.seen.insert(hash, orders);
        orders
    }
}

/// An empty folder, and one with the output of an earlier run.
fn befores(protocol: Protocol) -> [World; 2] {
    let mut play = Play::new(
        &World::default(),
        &[Task::Plain],
        BEFORE,
        (Trouble::Nothing, 0),
        protocol,
    );
    play.finish();
    let objects = play
        .world
        .lock()
        .unwrap()
        .objects
        .iter()
        .map(|(key, content)| (key.clone(), content.clone()))
        .collect();
    [World::default(), World::of(objects, 0)]
}

/// Pairs of runs, and how often one may interrupt the other in the orders that are followed: any number of times, or as often as time allows.
const PAIRS: [([Task; 2], usize); 10] = {
    use Task::{Other, Overwrite, Plain, Resume, Spark};
    [
        ([Plain, Plain], ALL),
        ([Plain, Overwrite], ALL),
        ([Plain, Resume], SOME),
        ([Plain, Other], ALL),
        ([Overwrite, Overwrite], SOME),
        ([Overwrite, Resume], SOME),
        ([Resume, Resume], SOME),
        ([Spark, Plain], ALL),
        ([Spark, Overwrite], SOME),
        ([Spark, Resume], SOME),
    ]
};
const ALL: usize = usize::MAX;
const SOME: usize = 1;
/// The variable that asks for all orders of all pairs, which takes minutes.
const VARIABLE: &str = "FRUITS_TEST_ORDERS";

fn folder(before: &World) -> &'static str {
    match before.objects.is_empty() {
        true => "nothing",
        false => "an output",
    }
}

/// Orders of every pair, in an empty folder and in one with an output; at one place of each, a run may be killed.
#[test]
fn orders_of_two_runs() {
    println!(
        "{:10} {:22} {:>13} {:>8} {:>8} {:>7} {:>6}",
        "before", "runs", "interruptions", "moments", "orders", "kills", "s"
    );
    let is_all = std::env::var(VARIABLE).is_ok_and(|orders| orders == "all");
    let befores = befores(today);
    let cases = Mutex::new(befores.iter().flat_map(|before| PAIRS.map(|pair| (before, pair))));
    let explore_next = || {
        let next = || cases.lock().unwrap().next();
        while let Some((before, (tasks, switches))) = next() {
            let start = Instant::now();
            let switches = if is_all { ALL } else { switches };
            let found = explore(before, &tasks, switches, Trouble::Kills, today);
            println!(
                "{:10} {:22} {:>13} {:8} {:8.0e} {:7} {:6.1}",
                folder(before),
                format!("{:?}, {:?}", tasks[0], tasks[1]),
                if switches == ALL { "all" } else { "some" },
                found.moments,
                found.orders,
                found.kills,
                start.elapsed().as_secs_f64()
            );
            let violation = found.violation;
            assert!(violation.is_none(), "{} {tasks:?}: {violation:#?}", folder(before));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(explore_next);
        }
    });
}

/// All orders of one run, in which at one place anything goes wrong.
#[test]
fn every_trouble_of_one_run() {
    for before in &befores(today) {
        for task in [Task::Plain, Task::Overwrite, Task::Resume, Task::Spark] {
            let found = explore(before, &[task], usize::MAX, Trouble::All, today);
            println!(
                "{:10} {task:?}: {} moments, {:.0e} orders",
                folder(before),
                found.moments,
                found.orders
            );
            assert!(
                found.violation.is_none(),
                "{} {task:?}: {:?}",
                folder(before),
                found.violation
            );
        }
    }
}

/// Some orders of two and three runs, with anything that goes wrong, at up to three places.
#[test]
fn random_orders() {
    use Task::{Overwrite, Plain, Resume, Spark};
    let befores = befores(today);
    for seed in 0..ORDERS {
        let mut random = fastrand::Rng::with_seed(seed);
        let runs = random.usize(2..=3);
        let tasks = (0..runs).map(|_| *random.choice(&[Plain, Overwrite, Resume, Spark]).unwrap());
        let tasks: Vec<Task> = tasks.collect();
        let before = &befores[random.usize(..2)];
        let mut play = Play::new(before, &tasks, 0, (Trouble::All, random.usize(..=3)), today);
        let mut path = Vec::new();
        let mut checked = play.check();
        loop {
            let steps = play.steps();
            let is_trouble = |step: &Step| !matches!(step, Step::Do(_) | Step::Arrive(_));
            let smooth = steps.iter().position(is_trouble).unwrap_or(steps.len());
            let of = if random.u32(..TROUBLE) == 0 {
                &steps[..]
            } else {
                &steps[..smooth]
            };
            let Some(&step) = random.choice(of) else { break };
            path.push(step);
            play.step(step);
            checked = checked.and_then(|()| play.check());
        }
        checked = checked.and_then(|()| play.check_end(before));
        checked.unwrap_or_else(|violation| panic!("order {seed}: {} {tasks:?} {path:?}: {violation}", folder(before)));
    }
}

/// Random orders that are tried, and one of how many steps goes wrong.
const ORDERS: u64 = 20_000;
const TROUBLE: u32 = 40;

/// The faults of the protocol that was are found.
#[test]
fn what_was_wrong_before_is_found() {
    use Task::{Overwrite, Plain, Resume, Spark};
    let befores = befores(yesterday);
    for (before, tasks, trouble) in [
        (0, vec![Plain, Plain], Trouble::Nothing),
        (0, vec![Plain, Overwrite], Trouble::Nothing),
        (0, vec![Overwrite, Overwrite], Trouble::Nothing),
        (0, vec![Spark], Trouble::Nothing),
        (1, vec![Overwrite, Resume], Trouble::Nothing),
    ] {
        let before = &befores[before];
        let found = explore(before, &tasks, usize::MAX, trouble, yesterday);
        let (path, violation) = found.violation.unwrap_or_else(|| panic!("{tasks:?}: nothing found"));
        println!(
            "{:10} {:24} {} steps: {violation}",
            folder(before),
            format!("{tasks:?}"),
            path.len()
        );
    }
}
