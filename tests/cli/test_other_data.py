"""Models and runs that meet other data than their own, other processes, or targets that do not fit."""
import csv
import io
import os
import signal
import time

from harness import *

LAYERS = "[{dense: 16}, batchnorm, relu, {dense: %d}]"


def train(file, *more):
    return run("train", file, "-o", "json", *more).json()[0]


def scored(model, data, split="train"):
    r = run("eval", model, "--data", data, "--split", split, "-o", "json").json()[0]
    return round(r["score"] * r["samples"]), r["samples"]


@test("eval on other data uses the model's standardization: it counts what predict says")
def _():
    csv_classes("all", n=400, spread=0.7)
    experiment("base", "all.yaml", LAYERS % 3, train="{epochs: 8, batch: 16, learning_rate: 1e-2}")
    train("base.yaml")
    rows = list(csv.reader(io.StringIO(read("all.csv").decode())))
    half = [r for r in rows[1:] if float(r[1]) > 0.5]  # other means and deviations than the whole
    write("half.csv", "\n".join(",".join(r) for r in rows[:1] + half) + "\n")
    write("half.yaml", "name: half\nformat: csv\nfiles: [{role: table, path: half.csv}]\n")
    write("half-x.csv", "\n".join(",".join(r[:-1]) for r in half) + "\n")
    said = run("predict", "runs/base/model.h5", "half-x.csv", "-o", "json").json()
    right = sum(p["name"] == r[-1] for p, r in zip(said, half))
    parts = [scored("runs/base/model.h5", "half.yaml", s) for s in ("train", "validation", "test")]
    equal((sum(p[0] for p in parts), sum(p[1] for p in parts)), (right, len(half)))


@test("eval on other data matches classes by name, and refuses one the model does not know")
def _():
    text = read("all.csv").decode()
    # Only two of three classes: numbered otherwise in this file than in the model.
    lines = [l for l in text.splitlines() if not l.endswith(",blue")]
    write("two.csv", "\n".join(lines) + "\n")
    write("two.yaml", "name: two\nformat: csv\nfiles: [{role: table, path: two.csv}]\n")
    right, n = scored("runs/base/model.h5", "two.yaml")
    assert right > 0.8 * n, (right, n)
    write("odd.csv", text.replace(",blue", ",violet"))
    write("odd.yaml", "name: odd\nformat: csv\nfiles: [{role: table, path: odd.csv}]\n")
    contains(run("eval", "runs/base/model.h5", "--data", "odd.yaml", code=3).err, "violet")


@test("a run folder stands for its model; changed data are noted")
def _():
    run("inspect", "runs/base")
    equal(run("eval", "runs/base").err, "")
    before = read("all.csv")
    write("all.csv", before + before.splitlines(keepends=True)[1])
    contains(run("eval", "runs/base").err, "not those that the model was trained on")
    write("all.csv", before)


@test("--resume on changed data is refused with exit code 3 and loses nothing")
def _():
    stopped = run("train", "base.yaml", "name=moved", "train.epochs=4000", "run.max_minutes=0.003",
                  code=75)
    contains(stopped.err, "--resume")
    before, kept = read("all.csv"), files_below("runs/moved")
    write("all.csv", before + before.splitlines(keepends=True)[1])
    r = run("train", "base.yaml", "name=moved", "train.epochs=4000", "--resume", code=3)
    contains(r.err, "other data")
    equal(files_below("runs/moved"), kept)
    write("all.csv", before)


@test("a second process in the same run folder is refused with exit code 5")
def _():
    first = start("train", "base.yaml", "name=busy", "train.epochs=100000", "-q")
    try:
        deadline = time.time() + 30
        while not os.path.exists(path("runs/busy/checkpoints/last.h5")) and time.time() < deadline:
            time.sleep(0.02)
        for more in ([], ["--resume"]):
            r = run("train", "base.yaml", "name=busy", "train.epochs=100000", *more, code=5)
            contains(r.err, "in use")
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate()
    equal(first.returncode, 130)
    equal([n for n in os.listdir(path("runs")) if n.endswith(".lock")], [])
    equal([n for n in os.listdir(path("runs")) if n.startswith("busy.")], [])


@test("times are of the whole run, also after stop and resume")
def _():
    args = ("train", "base.yaml", "name=timed", "train.epochs=400", "train.early_stopping=0")
    run(*args, "run.max_minutes=0.002", code=(0, 75))
    done = json.loads(read("runs/timed/timing.json"))
    run(*args, "--resume")
    result = json.loads(read("runs/timed/result.json"))
    assert result["train_seconds"] > done["train_seconds"] > 0, (result, done)
    assert result["samples_per_s"] > 0, result


@test("bce refuses targets that are no probabilities")
def _():
    csv_regression("wide")
    experiment("bce", "wide.yaml", LAYERS % 1, train="{epochs: 2, loss: bce}")
    contains(run("train", "bce.yaml", code=2).err, "bce.yaml:", "from 0 to 1")
    experiment("auto", "all.yaml", LAYERS % 4, dataset="target: input",
               train="{epochs: 2, loss: bce}")
    contains(run("train", "auto.yaml", code=2).err, "from 0 to 1")


@test("every variant is checked against its data before anything is trained")
def _():
    experiment("vars", "all.yaml", LAYERS % 3, more="variants:\n  - {name: good}\n"
               "  - {name: bad, model: {layers: [{dense: 8}, relu, {dense: 5}]}}\n")
    contains(run("compare", "vars.yaml", code=2).err, "bad", "5")
    assert not os.path.exists(path("runs/vars"))


@test("augmentation of data that are no images is refused; export keeps checkpoints")
def _():
    contains(run("train", "base.yaml", "name=aug", "data.augment.shift=2", code=2).err, "augment")
    checkpoint = "runs/base/checkpoints/best.h5"
    before = read(checkpoint)
    contains(run("export", "runs/base", "--out", checkpoint, code=2).err, "checkpoint")
    equal(read(checkpoint), before)


@test("predict takes files that are delimited by ; or tab")
def _():
    plain = run("predict", "runs/base", "half-x.csv", "-o", "json").json()
    for name, delimiter in (("semi.csv", ";"), ("tabs.csv", "\t")):
        write(name, read("half-x.csv").decode().replace(",", delimiter))
        other = run("predict", "runs/base", name, "-o", "json").json()
        equal([p["output_0"] for p in other], [p["output_0"] for p in plain], name)


@test("SIGINT ends a command that does not train at once")
def _():
    idx_images("big", n=30000, side=16)
    experiment("slow", "big.yaml", "[{dense: 4096}, relu, {dense: 4096}, relu, {dense: 4}]")
    p = start("check", "slow.yaml")
    time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    p.communicate()
    assert p.returncode == -signal.SIGINT, p.returncode


main()
