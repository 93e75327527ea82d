"""What `fruits check` and cleanlab's Datalab find of faults that were planted: `alike.sh` calls it.

    plant.py FRUITS PHOTOS [SEEDS]

PHOTOS: folders of labels, whose files' names begin with the video (Fruits-360's `35_100.jpg`, `r_35_100.jpg`). For each seed 5 % of the photos,
one by one, and 5 % of the videos go to the folder of another label; 30 photos are there again (saved with quality 75, shifted by two pixels,
or mirrored), and 30 are cut from pictures that scikit-image brings. Both see the same features. Datalab gets predictions by logistic regression,
five folds, as its documentation has it.

A photo that is found counts as right if its label is wrong: it was moved, alone or with its video, or is no fruit. Precision, recall, and the average precision of all that were found,
the strongest first: what was not found counts as never found.
"""

import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

os.environ["TQDM_DISABLE"] = "1"
import numpy
import pyarrow.dataset
import pyarrow.parquet
from PIL import Image

SIDE = 100


def video(name):
    """`r_35_100.jpg` is of `r`."""
    words = [word for word in pathlib.PurePath(name).stem.split("_") if not word.isdigit()]
    return "_".join(words)


def strangers(count, rng):
    """Pieces of pictures that are no fruit."""
    import skimage

    folder = pathlib.Path(skimage.__file__).parent / "data"
    pictures = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    for number in range(count):
        picture = Image.open(pictures[number % len(pictures)]).convert("RGB")
        side = rng.randint(min(picture.size) // 2, min(picture.size))
        left, top = rng.randint(0, picture.width - side), rng.randint(0, picture.height - side)
        yield picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))


def copies(paths):
    for number, path in enumerate(paths):
        picture = Image.open(path).convert("RGB")
        match number % 3:
            case 0:
                encoded = io.BytesIO()
                picture.save(encoded, "JPEG", quality=75)
                picture = Image.open(encoded)
            case 1:
                moved = Image.new("RGB", picture.size, "white")
                moved.paste(picture, (2, 2))
                picture = moved
            case 2:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield path, picture


def plant(photos, folder, seed):
    """Fills a folder, and says what of it is wrong: file names, and for videos lists of them."""
    rng = random.Random(seed)
    labels = sorted(path.name for path in photos.iterdir())
    files = {label: sorted(path.name for path in (photos / label).iterdir()) for label in labels}
    other = lambda label: rng.choice([each for each in labels if each != label])
    videos = sorted({(label, video(name)) for label in labels for name in files[label]})
    several = [(label, series) for label, series in videos if sum(each == label for each, _ in videos) > 1]
    # One video a label at most: others of it have to be where they belong.
    moved_videos = []
    for label, series in rng.sample(several, len(several)):
        if len(moved_videos) < round(0.05 * len(videos)) and all(label != each for each, _ in moved_videos):
            moved_videos.append((label, series))
    all_photos = [(label, name) for label in labels for name in files[label] if (label, video(name)) not in moved_videos]
    singles = rng.sample(all_photos, round(0.05 * sum(map(len, files.values()))))
    doubled = rng.sample(all_photos, 30)
    wrong = {"photos": set(), "videos": [], "copies": {}, "strangers": set()}
    for label in labels:
        (folder / label).mkdir()
    for label, series in moved_videos:
        names, to = [name for name in files[label] if video(name) == series], other(label)
        wrong["videos"].append({f"{to}/moved{len(wrong['videos'])}_{name}" for name in names})
        for name in names:
            shutil.copyfile(photos / label / name, folder / to / f"moved{len(wrong['videos']) - 1}_{name}")
    for label, name in all_photos:
        to = label
        if (label, name) in singles:
            # It keeps its name, as files do that somebody drags to another folder, unless there is one.
            to = other(label)
            while (folder / to / name).exists() or name in files[to]:
                to = other(label)
            wrong["photos"].add(f"{to}/{name}")
        shutil.copyfile(photos / label / name, folder / to / name)
    for number, (path, picture) in enumerate(copies([photos / label / name for label, name in doubled])):
        name = f"{path.parent.name}/copy_{number}.jpg"
        picture.save(folder / name, quality=95)
        wrong["copies"][name] = path.name
    for number, picture in enumerate(strangers(30, rng)):
        name = f"{rng.choice(labels)}/strange_{number}.jpg"
        picture.save(folder / name, quality=95)
        wrong["strangers"].add(name)
    return wrong


def measure(found, right, wanted):
    """Precision, recall and average precision of what was found, the strongest first."""
    hits, precisions = 0, []
    for number, one in enumerate(found, 1):
        if one in right:
            hits += 1
            precisions.append(hits / number)
    precision = hits / len(found) if found else 1.0
    recall = sum(one in wanted for one in set(found)) / len(wanted)
    return precision, recall, sum(precisions) / len(right)


def of_check(issues, wrong, series):
    moved = set().union(*wrong["videos"])
    mislabelled = wrong["photos"] | moved | wrong["strangers"]
    of = lambda kind: [row for row in issues if row["issue"] == kind]
    photos = [row["short"] for row in of("suspect")]
    groups = []
    for row in of("suspect group"):
        if series[row["short"]] not in groups:
            groups.append(series[row["short"]])
    moved_groups = {series[next(iter(names))] for names in wrong["videos"]}
    doubled = {row["short"] for kind in ("duplicate", "near duplicate") for row in of(kind)}
    doubles = [name for name in sorted(doubled) if name.split("/")[1].startswith("copy_")] + [
        name for name in sorted(doubled) if not name.split("/")[1].startswith("copy_") and pathlib.PurePath(name).name not in wrong["copies"].values()
    ]
    return {
        "photos": measure(photos, mislabelled, wrong["photos"])[:2] + measure(photos, wrong["photos"], wrong["photos"])[2:],
        "videos": measure(groups, moved_groups, moved_groups),
        "copies": measure(doubles, set(wrong["copies"]), set(wrong["copies"])),
        "strangers": measure([row["short"] for row in of("outlier")], wrong["strangers"], wrong["strangers"]),
    }


def of_datalab(names, labels, matrix, wrong):
    from cleanlab import Datalab
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    predictions = cross_val_predict(LogisticRegression(max_iter=1000), matrix, labels, cv=5, method="predict_proba")
    lab = Datalab({"label": labels}, label_name="label", verbosity=0)
    lab.find_issues(features=matrix, pred_probs=predictions, issue_types={"label": {}, "outlier": {}, "near_duplicate": {}})
    table = lab.get_issues()

    def found(kind):
        order = numpy.argsort(table[f"{kind}_score"].to_numpy(), kind="stable")
        return [names[row] for row in order if table[f"is_{kind}_issue"].iloc[row]]

    moved = set().union(*wrong["videos"])
    mislabelled = wrong["photos"] | moved | wrong["strangers"]
    photos = found("label")
    copies = [name for name in found("near_duplicate") if name in wrong["copies"] or pathlib.PurePath(name).name not in wrong["copies"].values()]
    hits = [name for name in photos if name in moved]
    return {
        "photos": measure(photos, mislabelled, wrong["photos"])[:2] + measure(photos, wrong["photos"], wrong["photos"])[2:],
        # It knows no groups: the share of their photos.
        "videos": (float("nan"), len(hits) / len(moved), float("nan")),
        "copies": measure(copies, set(wrong["copies"]), set(wrong["copies"])),
        "strangers": measure(found("outlier"), wrong["strangers"], wrong["strangers"]),
    }


def run(fruits, photos, seed):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        planted, features, check = folder / "photos", folder / "features", folder / "check"
        planted.mkdir()
        wrong = plant(photos, planted, seed)
        subprocess.run([fruits, "features", planted, "--out", features], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        subprocess.run([fruits, "check", features, "--out", check], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        table = pyarrow.parquet.read_table(features).to_pydict()
        issues = pyarrow.parquet.read_table(check / "issues.parquet").to_pylist()
    short = lambda path: "/".join(pathlib.PurePath(path).parts[-2:])
    names = [short(path) for path in table["path"]]
    series = {name: (name.split("/")[0], video(name)) for name in names}
    for row in issues:
        row["short"] = short(row["path"])
    matrix = numpy.array(table["features"], numpy.float32)
    return {"ours": of_check(issues, wrong, series), "cleanlab": of_datalab(names, numpy.array(table["label"]), matrix, wrong)}


def main(fruits, photos, seeds=5):
    warnings.simplefilter("ignore")
    results = []
    for seed in range(int(seeds)):
        results.append(run(fruits, pathlib.Path(photos).resolve(), seed))
        print(f"seed {seed}: {json.dumps(results[-1])}", flush=True)
    for fault in ("photos", "videos", "copies", "strangers"):
        for who in ("ours", "cleanlab"):
            each = [[result[who][fault][measure] for result in results] for measure in range(3)]
            words = [f"{name} {numpy.mean(values):.2f} ± {numpy.std(values):.2f}" for name, values in zip(("precision", "recall", "average precision"), each)]
            print(f"{fault}, {who}: {', '.join(words)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
