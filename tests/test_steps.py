"""What a person sees of steps that run: bootstrap/steps.py on small catalogs."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Starts steps.py on a catalog: what it prints goes to a file or, if asked for, to a terminal."""
    monkeypatch.setenv("FRUITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FRUITS_STEP", raising=False)
    (tmp_path / "bootstrap").mkdir()
    shutil.copy(ROOT / "bootstrap" / "steps.py", tmp_path / "bootstrap")

    def start(catalog, *names, output=subprocess.PIPE):
        (tmp_path / "bootstrap" / "steps.toml").write_text(catalog)
        command = [sys.executable, tmp_path / "bootstrap" / "steps.py", *names]
        # What is started in the background by a shell would not hear an interrupt.
        hears = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
        return subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT, text=True, preexec_fn=hears)

    start.folder = tmp_path
    return start


def step(name, run, **facts):
    lines = [f"[{name}]", f'title = "the {name}"', "seconds = 10", f"run = '''{run}'''"]
    return "\n".join(lines + [f"{key} = {value}" for key, value in facts.items()]) + "\n"


def test_what_is_missing_is_made_in_order_and_once(steps):
    make = '[ -e {0} ] || {{ echo "== making {0}"; touch {0}; }}'
    catalog = step("second", "[ -e first ]; " + make.format("second"), after='["first"]') + step("first", make.format("first")) + step("else", "exit 1")
    done = steps(catalog, "second")
    said = done.communicate()[0]
    assert done.returncode == 0 and "[2/2] the first: done in 0 s" in said and "[1/2] the second: done in 0 s" in said, said
    assert steps(catalog, "second").communicate()[0] == "== all is there: the second, the first\n"


def test_of_what_fails_the_end_and_its_log_are_shown_and_the_others_stop(steps):
    fails = 'for i in $(seq 100); do echo "line $i"; done; sleep 1; echo "curl: Could not resolve host: nowhere"; exit 3'
    began = time.monotonic()
    done = steps(step("long", 'echo "== long"; sleep 100; touch finished') + step("bad", fails), "long", "bad")
    said = done.communicate()[0]
    assert done.returncode == 1 and time.monotonic() - began < 50 and not (steps.folder / "finished").exists()
    assert "line 100" in said and "line 82" in said and "line 81" not in said
    assert "error: [2/2] the bad failed after 1 s: no way to the network" in said
    log = steps.folder / "cache" / "logs" / "bad.log"
    assert f"the whole log: {log}" in said and log.read_text().startswith("line 1\nline 2\n")


def test_lines_move_on_a_terminal(steps):
    cargo = 'printf "   Compiling serde v1\\n    Building [==>   ] 3/10: serde, syn(build)\\r"; sleep 1.5'
    leader, follower = pty.openpty()
    process = steps(step("crates", cargo) + step("other", 'echo "== looking"; sleep 1.5'), "crates", "other", output=follower)
    process.wait()
    os.close(follower)
    said = os.read(leader, 1 << 20).decode()
    assert re.search(r"\[1/2\] the crates: 1 s of about \d+ s · 3 of 10 crates, serde", said), said
    assert re.search(r"\[2/2\] the other: 1 s of about \d+ s · looking", said), said
    assert "\x1b[2A\x1b[J" in said, "two lines are written again"
    assert said.splitlines()[-1].endswith("done in 2 s") or said.splitlines()[-2].endswith("done in 2 s"), said


def test_shown_steps_are_shown_whole_and_a_step_in_a_step_makes_only_what_is_missing(steps):
    inner = step("base", 'echo "== base" >>order') + step("part", "echo part >>order", after='["base"]')
    nested = f"{sys.executable} bootstrap/steps.py part; echo the result"
    done = steps(inner + step("tests", nested, after='["base"]', show="true"), "tests")
    said = done.communicate()[0]
    assert done.returncode == 0 and "== the tests\nthe result\n[2/2] the tests: done" in said, said
    assert (steps.folder / "order").read_text() == "== base\npart\n"


def test_an_interrupt_stops_everything(steps):
    process = steps(step("long", 'echo "== long"; sleep 100 & echo $! >pid; wait'), "long")
    pid = steps.folder / "pid"
    while not pid.exists() or not pid.read_text().endswith("\n"):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "run again to go on" in process.communicate()[0] and process.returncode == 130
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid.read_text().strip()}"):
            return
        time.sleep(0.1)
    raise AssertionError("what the step started goes on")


def test_a_step_that_is_not_there_is_named(steps):
    process = steps(step("one", "true"), "two")
    assert "there is no step two; there are: one" in process.communicate()[0] and process.returncode == 1
