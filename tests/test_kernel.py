"""The kernel as a notebook's front end sees it: what survives errors, panics, interrupts and kills."""

import contextlib
import os
import pathlib
import queue
import signal
import socket
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

    def begin(self, code):
        """Starts a cell, and gives back its request when it runs."""
        request = self.client.execute('println!("it runs");\n' + code)
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") == request and "it runs" in message["content"].get("text", ""):
                return request

    def reply(self, request, timeout=60):
        """The reply to a cell, which is to come."""
        while (reply := self.client.get_shell_msg(timeout=timeout))["parent_header"]["msg_id"] != request:
            pass
        return reply["content"]

    def interrupt(self):
        self.manager.interrupt_kernel()

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

    # One interrupt ends what waits for something of ours, and what waits behind it. While no cell runs it is nothing, however often it comes.
    waits = [kernel.begin(f'loop {{ ImageFolder::open("{SAMPLE}").await?; }}'), kernel.client.execute("let never = 1;")]
    kernel.interrupt()
    (ended, aborted) = map(kernel.reply, waits)
    assert (ended["status"], ended["ename"], ended["evalue"]) == ("error", "Interrupted", "list: interrupted")
    assert "ImageFolder::open" in ended["traceback"][1] and aborted["status"] == "aborted"
    for _ in range(3):
        kernel.interrupt()
    time.sleep(1)
    assert kernel.run(f'ImageFolder::open("{SAMPLE}").await?.len() + kept.len()').strip() == "99"

    # Also what comes as a signal to all processes, and while the cell is compiled.
    request = kernel.begin(f'loop {{ ImageFolder::open("{SAMPLE}").await?; }}')
    os.killpg(kernel.manager.provisioner.pid, signal.SIGINT)
    assert kernel.reply(request)["ename"] == "Interrupted"
    request = kernel.client.execute("\n".join(f'println!("{{:?}}", ("it was run", {i}));' for i in range(5000)))
    time.sleep(2)
    kernel.interrupt()
    refused = kernel.reply(request)
    assert refused["ename"] == "Interrupted" and "compiled" in refused["evalue"]
    assert kernel.run("kept").strip().endswith("[1, 2, 3]")

    # Another cell goes on, and says how it can be ended: by two interrupts, soon after each other, of the process that holds the variables.
    # What the kernel loaded stays, and the next cell runs.
    request = kernel.begin("loop { std::thread::sleep(std::time::Duration::from_millis(10)); }")
    for _ in range(2):
        kernel.interrupt()
        while "interrupt twice" not in kernel.client.get_iopub_msg(timeout=60)["content"].get("text", ""):
            pass
        time.sleep(2)
    with pytest.raises(queue.Empty):
        kernel.reply(request, timeout=1)
    kernel.interrupt()
    kernel.interrupt()
    assert kernel.reply(request)["status"] == "error"
    assert kernel.run("2 + 3").strip().endswith("5")
    assert "cannot find value `kept`" in kernel.run("kept")
    again = kernel.client.execute_interactive('panic!("again");', timeout=60)["content"]
    assert (again["status"], again["evalue"]) == ("error", "again"), "also in the process that came after"


def test_an_interrupt_ends_whatever_takes_long(start, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for copy in range(200):
        (photos / str(copy)).mkdir(parents=True)
        for label in SAMPLE.iterdir():
            if label.is_dir():
                (photos / str(copy) / label.name).symlink_to(label)
    kernel = start()
    kernel.run("use fruits_core::linfa::prelude::*; use fruits_core::ndarray::Array1; use fruits_core::recognise::LogisticRegression;")
    kernel.run(f'let network = MobileNetV2::imagenet()?;\nlet few = ImageFolder::open("{SAMPLE}").await?.features(&network).await?;')
    kernel.run("let rows: Vec<usize> = (0..few.len()).cycle().take(10_000).collect();\nlet features = few.take(&rows)?;")
    kernel.run("let groups = Groups::series(&features);")
    kernel.run("let recogniser = Recogniser::new(&Classifier::train(&few, &Groups::series(&few)).await?)?;")
    kernel.run(f'features.write("{tmp_path}/features").await?;')
    fit = "LogisticRegression::new().fit(&DatasetBase::new(features.matrix().view(), Array1::from(features.labels())))?"
    calls = {
        "extraction": f'ImageFolder::open("{photos}").await?.features(&network).await?',
        "extraction to a place": f'Extraction::open("{photos}", &network)?.run_to("{out}", IfExists::Refuse).await?',
        "listing": f'ImageFolder::open("{photos}").await?',
        "reading": f'Features::read("{tmp_path}/features").await?',
        "writing": f'features.write_with("{tmp_path}/again", IfExists::Replace).await?',
        "neighbours": "features.neighbours(5)?",
        "search": "features.search(&features, 5)?",
        "issues": "features.issues(&groups).await?",
        "k-means": "features.kmeans(50)?",
        "PCA": "Pca::fit(&features)?",
        "map": "features.map()?",
        "diffusion map": "few.diffusion_map().await?",  # those that are the same have none
        "regression": fit,
        "evaluation": "features.evaluate(&Splits::by_group(&features, &groups, 5)?, &LogisticRegression::new())?",
        "recognition": "features.recognition(&groups)?",
        "identification": f'recogniser.identify_all("{photos}").await?',
    }
    for name, call in calls.items():
        request = kernel.begin(f"loop {{ {call}; }}")
        time.sleep(1)
        begin = time.monotonic()
        kernel.interrupt()
        ended = kernel.reply(request)
        print(f"{name}: {time.monotonic() - begin:.2f} s, {ended.get('evalue')}")
        assert ended["status"] == "error" and ended["ename"] == "Interrupted", (name, ended)
    assert kernel.run("features.len()").strip() == "10000"
    resumed = kernel.run(f'Extraction::open("{SAMPLE}", &network)?.resume_to("{tmp_path}/other").await?.photos')
    assert resumed.strip().endswith("96")
    kernel.run("let deadline = std::time::Duration::from_secs(1);")
    partial = kernel.run(f'Extraction::open("{photos}", &network)?.deadline(deadline).resume_to("{out}").await')
    assert "photos are kept" in partial, "it goes on where the interrupt has ended it"


def test_an_interrupt_ends_waiting_for_a_store_that_does_not_answer(start, aws):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        aws(f"http://127.0.0.1:{silent.getsockname()[1]}")
        kernel = start()
        for call in ("ImageFolder::open", "Features::read", "read_table"):
            request = kernel.begin(f'{call}("s3://bucket/there").await?;')
            time.sleep(1)
            kernel.interrupt()
            assert kernel.reply(request)["ename"] == "Interrupted"


def test_an_interrupt_ends_spark(start, monkeypatch, processes, tmp_path):
    home = next(iter(os.environ.get("FRUITS_TEST_SPARK", "").split(":")))
    if not home:
        pytest.skip("FRUITS_TEST_SPARK names no Spark")
    monkeypatch.setenv("SPARK_HOME", home)
    monkeypatch.delenv("FRUITS")  # the kernel brings the program
    kernel = start()
    kernel.run("let spark = Spark::local()?;\nlet network = MobileNetV2::imagenet()?;")
    before = processes()
    request = kernel.begin(f'loop {{ spark.extract(&network, "{SAMPLE}", "{tmp_path}/out", IfExists::Replace).await?; }}')
    while len(processes()) == len(before):
        time.sleep(0.1)
    time.sleep(5)
    kernel.interrupt()
    ended = kernel.reply(request)
    assert ended["ename"] == "Interrupted" and ended["evalue"].startswith("spark: interrupted")
    while not processes() <= before:  # workers end when they see that Spark is gone
        time.sleep(0.1)
    assert kernel.run("network").strip().startswith("MobileNetV2")


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
