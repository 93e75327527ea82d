"""The kernel as a notebook's front end sees it: what survives errors, panics, interrupts and kills."""

import contextlib
import os
import pathlib
import signal
import tempfile
import time

import pytest
from conftest import SAMPLE
from jupyter_client.manager import KernelManager

SESSIONS = pathlib.Path(os.environ.get("TMPDIR", tempfile.gettempdir())) / f"fruits-kernels-{os.getuid()}"


class Kernel:
    def __init__(self):
        self.manager = KernelManager(kernel_name="fruits")
        before = set(SESSIONS.glob("*"))
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=300)
        self.sessions = set(SESSIONS.glob("*")) - before

    def run(self, code, timeout=300):
        """What a cell shows: values, text on both streams, and errors."""
        shown = []

        def collect(message):
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    shown.append(content["text"])
                case "execute_result" | "display_data":
                    shown.append(content["data"].get("text/html") or content["data"]["text/plain"])
                case "error":
                    shown.append("\n".join([content["evalue"], *content["traceback"]]))

        self.client.execute_interactive(code, output_hook=collect, timeout=timeout)
        with contextlib.suppress(Exception):  # standard error may come behind the reply
            while True:
                collect(self.client.get_iopub_msg(timeout=0.5))
        return "".join(shown)


@pytest.fixture
def start():
    kernels = []

    def start():
        kernels.append(Kernel())
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


def test_values_show_themselves(start):
    kernel = start()
    kernel.run("use fruits_core::polars::prelude::*;")
    table = 'df!("name" => ["<b>&", "b"], "n" => [1, 2])'
    assert "shape: (2, 2)" in kernel.run(table + "?") and "&lt;b&gt;&amp;" in kernel.run(table)
    assert kernel.run("1 + 1").strip() == "2" and kernel.run('"a"').strip() == '"a"' and kernel.run("()") == ""
    assert "Err(ParseIntError" in kernel.run('"x".parse::<i32>()')
    failed = kernel.client.execute_interactive('ImageFolder::open("/no/such/folder").await', timeout=60)["content"]
    assert failed["status"] == "error" and "/no/such/folder: list: " in failed["evalue"], "as `?` would"
    assert "EVCXR-BEGIN_CONTENT x" in kernel.run('"EVCXR_BEGIN_CONTENT x"'), "a name is no block of evcxr's"
    assert kernel.run("vec![7; 10_000]").endswith(" 7]\n(30000 characters in all)\n")

    kernel.run(f'let photos = ImageFolder::open("{SAMPLE}").await?.filter(|photo| photo.label == "Kiwi");')
    assert kernel.run("photos.photos()[3]").count("data:image/webp") == 1, "the photo itself"
    assert "Kiwi/view-00.jpg" in kernel.run("photos.photos()")
    kernel.run("let features = photos.features(&MobileNetV2::imagenet()?).await?;")
    assert f"{SAMPLE}</span>/Kiwi/view-00.jpg" in kernel.run("features"), "the path as it is in the column"
    assert "shape: (16, 1280) (f32)" in kernel.run("features.matrix()")
    assert "shape: (16, 1280) (f32)" in kernel.run("features.matrix().clone()")
    assert "weights, SHA-256" in kernel.run("features.manifest()") and "<table>" in kernel.run("features.manifest().clone()")
    assert "shape: (16, 1)" in kernel.run("features.labels()")
    assert kernel.run("features.show(&[3, 5]).await").count("data:image/webp") == 2
    assert "25 %" in kernel.run("features.outliers_table().describe()")


def test_what_people_know_of_pandas(start):
    kernel = start()
    kernel.run("use fruits_core::polars::prelude::*;")
    kernel.run('let table: DataFrame = df!("path" => ["a/1.jpg", "a/2.jpg", "b/1.jpg"], "n" => [1.26, 10.0, 100.0])?;')
    said = kernel.run("""table.clone().lazy().filter(col("path").str().contains(lit("^a/"), true).and(col("n").is_in(lit(Series::new("".into(), [1.26, 100.0])).implode(true), false)))
        .select([col("path").str().to_uppercase(), col("n").round(1, RoundMode::HalfAwayFromZero), col("n").log(lit(10.0)).alias("log"), col("n").rank(Default::default(), None).alias("rank")])
        .collect()?""")
    assert "A/1.JPG" in said and ">1.3<" in said and "B/1.JPG" not in said, said
    assert ">3<" in kernel.run('df!("label" => ["x", "y", "x", "x"])?.value_counts("label")?')


def test_what_survives_an_error_a_panic_and_an_interrupt(start):
    kernel = start()
    kernel.run("let kept = vec![1, 2, 3];")
    assert "invalid digit" in kernel.run('let lost = "x".parse::<i32>()?;')
    assert kernel.run("kept").strip() == "[1, 2, 3]"
    assert "oh no" in kernel.run('panic!("oh no");')
    assert kernel.run("kept").strip() == "[1, 2, 3]"
    refused = kernel.run("1 + true")
    assert "cannot add" in refused and "38;5;" not in refused, "in colours for both themes"
    assert "fruits_core::ImageFolder" in (refused := kernel.run("let x: u8 = ImageFolder::open;")) or "fruits_kernel" not in refused
    assert kernel.run("kept.len()").strip() == "3"

    # An interrupt ends the process that holds the variables. What the kernel loaded stays, and the next cell runs.
    request = kernel.client.execute("loop { std::thread::sleep(std::time::Duration::from_millis(10)); }")
    time.sleep(3)
    kernel.manager.interrupt_kernel()
    while kernel.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] != request:
        pass
    assert kernel.run("2 + 3").strip().endswith("5")
    assert "cannot find value `kept`" in kernel.run("kept")
    again = kernel.client.execute_interactive('panic!("again");', timeout=60)["content"]
    assert (again["status"], again["evalue"]) == ("error", "again"), "also in the process that came after"


def test_a_cell_that_fails_says_so_and_what_waits_behind_it_is_not_run(start):
    kernel = start()
    cells = ["1 + 1", '"x".parse::<i32>()?;', 'println!("never");', "2 + 2"]
    asked = [kernel.client.execute(cell) for cell in cells]
    replies = {}
    while not set(asked) <= set(replies):
        reply = kernel.client.get_shell_msg(timeout=60)
        replies[reply["parent_header"]["msg_id"]] = reply["content"]
    assert [replies[cell]["status"] for cell in asked] == ["ok", "error", "aborted", "aborted"]
    assert replies[asked[1]]["traceback"] == ["invalid digit found in string", 'in: "x".parse::<i32>()?;']
    panic = kernel.client.execute_interactive("let x: Option<u8> = None;\nlet y = 1;\nx.unwrap() + y", timeout=60)["content"]
    assert panic["status"] == "error" and panic["ename"] == "Panic"
    assert panic["traceback"] == ["called `Option::unwrap()` on a `None` value", "in: x.unwrap() + y"], "no frames of Rust's"
    refused = kernel.client.execute_interactive("1 + true", timeout=60)["content"]
    assert refused["status"] == "error"
    assert kernel.client.execute_interactive('eprintln!("mine");', timeout=60)["content"]["status"] == "ok"


def test_a_cell_that_prints_much_loses_nothing(start):
    shown = start().run('for i in 0..20_000 { println!("line {i}"); }\nlet lost = "x".parse::<i32>()?;')
    assert shown.count("line ") == 20_000 and "invalid digit" in shown


def test_completion_offers_what_is_for_people(start):
    kernel = start()
    sample = pathlib.Path(__file__).parent.parent / "data-sample"
    kernel.run(f'let photos = ImageFolder::open("{sample}").await?;')

    def complete(code):
        kernel.client.complete(code, len(code))
        while (reply := kernel.client.get_shell_msg(timeout=60))["msg_type"] != "complete_reply":
            pass
        items = reply["content"]["metadata"]["_jupyter_types_experimental"]
        assert [item["text"] for item in items] == reply["content"]["matches"]
        return reply["content"]["matches"]

    offered = complete("photos.")
    assert offered[0] == "features(" and {"len()", "filter(", "counts()"} <= set(offered) and len(offered) < 20
    assert not {"store", "evcxr_display()", "into()", "to_owned()"} & set(offered) and not any("\u2026" in item for item in offered)
    code = "photos.with_labels_of"
    kernel.client.inspect(code, len(code))
    while (reply := kernel.client.get_shell_msg(timeout=60))["msg_type"] != "inspect_reply":
        pass
    assert all("labelled by a table" in text and "df!" in text and "# use" not in text for text in reply["content"]["data"].values())
    assert "distances_to_label_mean()" not in complete("fruits_core::Features::")


def test_what_happens_is_told_if_asked(start, monkeypatch):
    sample = pathlib.Path(__file__).parent.parent / "data-sample" / "Kiwi"
    extract = f'ImageFolder::open("{sample}").await?.features(&MobileNetV2::imagenet()?).await?.len()'
    quiet = start().run(extract)
    assert quiet.strip().endswith("16") and "INFO" not in quiet
    monkeypatch.setenv("RUST_LOG", "info")
    told = start().run(extract)
    assert "INFO 16 photos in" in told and "DEBUG" not in told


def test_another_crate(start):
    kernel = start()
    kernel.run("let number = 300_u64;")
    kernel.run(':dep leb128 = "0.2"')
    kernel.run("let mut bytes: Vec<u8> = Vec::new();\nleb128::write::unsigned(&mut bytes, number)?;")
    assert kernel.run("bytes").strip() == "[172, 2]"
    assert "95" in kernel.run(f'ImageFolder::open("{pathlib.Path(__file__).parent.parent / "data-sample"}").await?.len() - 1')


def test_two_kernels_and_one_that_was_killed(start):
    first, second = start(), start()
    first.run("let x = 1;")
    second.run("let x = 2;")
    assert (first.run("x").strip(), second.run("x").strip()) == ("1", "2")
    assert len(first.sessions) == 1 and len(second.sessions) == 1
    os.killpg(first.manager.provisioner.pid, signal.SIGKILL)
    third = start()
    assert not any(session.exists() for session in first.sessions) and all(session.exists() for session in second.sessions)
    assert second.run("x").strip() == "2" and third.run("1").strip() == "1"
