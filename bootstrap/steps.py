"""Brings what is asked for: runs the steps of steps.toml that it needs, side by side, and says what happens.

    steps.py [--times] STEP [STEP...]

On a terminal, a line for each step that runs moves; elsewhere a line comes now and then. What a step prints goes into a log; of one that
fails, the end is shown. A step that finds all there is not mentioned. Started by a step, it runs what is missing in order, without a display.
"""

import argparse
import collections
import os
import pathlib
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("FRUITS_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "fruits")
# Steps at once. One of them mostly waits for the network, so there is one more than processors.
AT_ONCE = max(2, os.cpu_count() or 1) + 1
# Parts of the tests at once: on a machine that has too much to do, things take longer than tests wait for them.
TESTS_AT_ONCE = max(2, os.cpu_count() or 1)
# Seconds between the lines of a step where no line can move.
EVERY = 30
# Letters of what a step is doing just now.
WIDTH = 80
# The seconds in steps.toml are those of a machine with so many processors.
PROCESSORS = 2
# Crates that come late in a build are large: when half of them are there, two fifths of the time have passed.
LATE = 1.4

# What tools say of how far they are: cargo, cargo's downloads, pip, pytest, run_notebook.py.
CRATES = re.compile(r"Building \[[^\]]*\] (\d+)/(\d+)(?:: (.*))?")
DOWNLOADS = re.compile(r"Downloading \[[^\]]*\] .*?(\d+)/(\d+)(?:: .*remaining bytes: (\S+))?")
PACKAGE = re.compile(r"Downloading (\S+?)(?:-\d\S*)? \(([\d.]+) ([kM])B\)")
TESTS = re.compile(r"\[ *(\d+)%\]")
CELL = re.compile(r"cell (\d+) of (\d+)")
# What a step prints when it does something, and not when it finds all there.
WORK = re.compile(r"^== |^ *Compiling |^ *Downloading ")
CRATE = re.compile(r"^ *(Checking|Compiling|Downloaded|Downloading|Documenting) ")
REASONS = {
    "No space left on device": "a disk is full",
    "Could not resolve host|name resolution|Network is unreachable|NewConnectionError|Could not connect to|failed to lookup address|dns error|spurious network error|from versions: none": "no way to the network",
}


class Step:
    def __init__(self, name: str, facts: dict):
        self.name, self.title, self.run = name, facts["title"], facts["run"]
        self.after, self.seconds, self.is_shown = [*facts.get("after", []), *facts.get("behind", [])], facts["seconds"], facts.get("show", False)
        self.state, self.number = "waits", 0

    def start(self, done: list[str]) -> None:
        self.state, self.began, self.said, self.log = "runs", time.monotonic(), time.monotonic(), CACHE / "logs" / f"{self.name}.log"
        self.works, self.share, self.doing, self.megabytes, self.rest = self.is_shown, 0.0, "", 0.0, ""
        self.end, self.whole = collections.deque(maxlen=20), []
        try:
            self.file = self.log.open("w", encoding="utf-8", errors="replace")
        except OSError:
            self.file = None  # a full disk shall not hide what happens
        environment = os.environ | {"FRUITS_STEP": self.name, "FRUITS_DONE": " ".join(done)}
        environment |= {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "200", "CARGO_TERM_COLOR": "never"}
        self.process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", self.run],
            cwd=HERE.parent, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        os.set_blocking(self.process.stdout.fileno(), False)

    def read(self) -> bool:
        """Takes what the step has printed; false at its end."""
        data = self.process.stdout.read()
        if data is None:
            return True
        lines = re.split(r"[\r\n]", self.rest + data.decode(errors="replace"))
        self.rest = lines.pop() if data else ""
        for line in filter(str.strip, lines):
            self.understand(line)
        return bool(data)

    def understand(self, line: str) -> None:
        self.works = self.works or bool(WORK.match(line))
        if crates := CRATES.search(line):
            done, of, names = int(crates[1]), int(crates[2]), crates[3] or ""
            self.share, self.doing = done / of, f"{done} of {of} crates, {names.split(', ')[0].strip().removesuffix('(build)')}"
            return
        if files := DOWNLOADS.search(line):
            self.doing = f"downloading crates, {files[1]} of {files[2]}" + (f", {files[3]} to come" if files[3] else "")
            return
        if "\u2501" in line:
            return  # one of pip's bars
        self.end.append(line)
        if self.is_shown and not CRATE.match(line):
            self.whole.append(line)
        try:
            print(line, file=self.file, flush=True)
        except (OSError, AttributeError):
            pass
        if package := PACKAGE.search(line):
            self.megabytes += float(package[2]) / (1000 if package[3] == "k" else 1)
            self.doing = f"{package[1]}, {self.megabytes:.0f} MB so far"
        elif cell := CELL.search(line):
            self.share, self.doing = int(cell[1]) / int(cell[2]), line.strip()
        elif tests := TESTS.search(line):
            self.share, self.doing = int(tests[1]) / 100, f"{tests[1]} % of the tests"
        else:
            self.doing = " ".join(line.removeprefix("== ").split())

    def expected(self) -> float:
        """Seconds from beginning to end: what it takes elsewhere, and what it has taken here so far, by how far it is."""
        elsewhere = self.seconds * max(0.25, PROCESSORS / (os.cpu_count() or 1))
        if self.share < 0.05:
            return elsewhere
        here = (time.monotonic() - self.began) / self.share**LATE
        return elsewhere * (1 - self.share) + here * self.share

    def status(self) -> str:
        elapsed = time.monotonic() - self.began
        doing = self.doing if len(self.doing) <= WIDTH else self.doing[:WIDTH] + " …"
        return f"{span(elapsed)} of about {span(max(self.expected(), elapsed), is_rough=True)}" + f" · {doing}" * bool(doing)

    def stop(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def span(seconds: float, is_rough: bool = False) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if not is_rough or seconds < 20 else f"{seconds / 10:.0f}0 s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{round(seconds / 60)} min" if is_rough else f"{minutes} min {rest:02} s"


class Screen:
    """Lines that stay, and below them, on a terminal, a line that moves for each step that runs."""

    def __init__(self):
        self.moves, self.shown = sys.stdout.isatty() and os.environ.get("TERM") != "dumb", 0

    def say(self, text: str, moving: list[str] = ()) -> None:
        up = f"\x1b[{self.shown}A\x1b[J" if self.shown else ""
        width = shutil.get_terminal_size().columns - 1
        moving = [line[:width] for line in moving] if self.moves else []
        sys.stdout.write(up + "".join(line + "\n" for line in (*([text] if text else []), *moving)))
        sys.stdout.flush()
        self.shown = len(moving)


class Run:
    def __init__(self, steps: list[Step]):
        self.steps, self.screen, self.selector, self.began = steps, Screen(), selectors.DefaultSelector(), time.monotonic()
        for number, step in enumerate(steps, 1):
            step.number = number

    def head(self, step: Step) -> str:
        return f"[{step.number}/{len(self.steps)}] {step.title}"

    def say(self, text: str) -> None:
        self.screen.say(text, [f"{self.head(step)}: {step.status()}" for step in self.running() if step.works])

    def running(self) -> list[Step]:
        return [step for step in self.steps if step.state == "runs"]

    def start(self) -> None:
        done = {step.name for step in self.steps if step.state == "done"}
        for step in self.steps:
            has_room = len(self.running()) < AT_ONCE and sum(other.is_shown for other in self.running()) < TESTS_AT_ONCE + (not step.is_shown)
            if step.state == "waits" and set(step.after) <= done and has_room:
                step.start(sorted(done))
                self.selector.register(step.process.stdout, selectors.EVENT_READ, step)

    def all(self) -> int:
        self.start()
        while self.running():
            for key, _ in self.selector.select(timeout=0.2):
                step, worked = key.data, key.data.works
                is_open = step.read()
                if step.works and not worked and not self.screen.moves:
                    self.say(f"{self.head(step)}: about {span(step.expected(), is_rough=True)}")
                if not is_open:
                    self.selector.unregister(step.process.stdout)
                    if not self.finish(step):
                        return 1
                    self.start()
            now = time.monotonic()
            for step in self.running():
                if not self.screen.moves and step.works and now - step.said >= EVERY:
                    step.said = now
                    self.say(f"{self.head(step)}: {step.status()}")
            if self.screen.moves:
                self.say("")
        return 1 if any(step.state == "failed" for step in self.steps) else 0

    def finish(self, step: Step) -> bool:
        status = step.process.wait()
        step.took = time.monotonic() - step.began
        step.state = "done" if status == 0 else "failed"
        if step.is_shown:
            self.say("\n".join([f"== {step.title}", *step.whole]))
        if status == 0:
            if step.works or step.is_shown:
                self.say(f"{self.head(step)}: done in {span(step.took)}")
            return True
        if not step.is_shown:
            for other in self.running():
                other.stop()
                other.state = "stopped"
        end = [] if step.is_shown else [f"   {line}" for line in step.end]
        text = "\n".join(step.end)
        why = next((f": {reason}" for pattern, reason in REASONS.items() if re.search(pattern, text)), "")
        self.say("\n".join([*end, f"error: {self.head(step)} failed after {span(step.took)}{why}", f"the whole log: {step.log}", "What was done stays; run again to go on."]))
        return step.is_shown  # parts of the tests say something each, the others go on

    def stop(self) -> None:
        for step in self.running():
            step.stop()
        self.screen.say("")

    def summary(self, with_times: bool) -> None:
        worked = [step for step in self.steps if step.state == "done" and (step.works or step.is_shown)]
        if not worked and all(step.state == "done" for step in self.steps):
            self.screen.say(f"== all is there: {', '.join(step.title for step in self.steps)}")
        elif with_times:
            lines = [f"{span(step.took):>14}  {step.title}" for step in sorted(worked, key=lambda step: -step.took)]
            self.screen.say("\n".join(["== how long each part took", *lines, f"{span(time.monotonic() - self.began):>14}  all, side by side"]))


def needed(names: list[str], catalog: dict) -> list[Step]:
    """The steps with all that they come after, in the catalog's order."""
    wanted, names = set(), list(names)
    while names:
        name = names.pop()
        if name not in catalog:
            sys.exit(f"error: there is no step {name}; there are: {', '.join(catalog)}")
        if name not in wanted:
            wanted.add(name)
            names += catalog[name].get("after", [])
    steps = [Step(name, facts) for name, facts in catalog.items() if name in wanted]
    for step in steps:
        step.after = [name for name in step.after if name in wanted]
    return steps


def nested(steps: list[Step]) -> int:
    """What the step that asks has not behind it already, in order."""
    done = os.environ.get("FRUITS_DONE", "").split()
    for step in steps:
        if step.name not in done:
            environment = os.environ | {"FRUITS_DONE": " ".join(done)}
            if status := subprocess.run(["bash", "-euo", "pipefail", "-c", step.run], cwd=HERE.parent, env=environment).returncode:
                return status
            done.append(step.name)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("steps", nargs="+", metavar="STEP")
    parser.add_argument("--times", action="store_true", help="end with how long each part took")
    arguments = parser.parse_args()
    steps = needed(arguments.steps, tomllib.loads((HERE / "steps.toml").read_text()))
    if os.environ.get("FRUITS_STEP"):
        return nested(steps)

    try:
        (CACHE / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: {error}")
    run = Run(steps)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = run.all()
    except KeyboardInterrupt:
        run.stop()
        print("stopped. What was done stays; run again to go on.")
        return 130
    if status == 0 or arguments.times:
        run.summary(arguments.times)
    return status


if __name__ == "__main__":
    sys.exit(main())
