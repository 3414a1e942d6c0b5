"""What can be trained: tasks, losses, data formats; and that eval, predict and export agree."""
import csv
import io
import os
import shutil
import subprocess

from harness import *

HIDDEN = "[{dense: 16}, batchnorm, relu, {dense: %d}]"


def predict(model, *files):
    return run("predict", model, *files, "-o", "json").json()


def features_and_labels(name):
    """Rows of a CSV that the tests wrote: its features as a file for predict, and the labels."""
    rows = list(csv.reader(io.StringIO(read(name + ".csv").decode())))[1:]
    write(name + "-x.csv", "\n".join(",".join(r[:-1]) for r in rows) + "\n")
    return [r[-1] for r in rows]


def train(file, *more):
    r = run("train", file, "-o", "json", *more).json()[0]
    equal(r.get("mismatched_outputs") or 0, 0, "outputs that differ")
    return r


def check_eval(name, data_name, count):
    """eval over all three parts counts what predict says, row by row."""
    labels = features_and_labels(data_name)
    said = predict("runs/%s/model.h5" % name, data_name + "-x.csv")
    equal(len(said), len(labels))
    right = sum(p["name"] == label for p, label in zip(said, labels))
    scored = 0
    for split in ("train", "validation", "test"):
        e = run("eval", "runs/%s/model.h5" % name, "--split", split, "-o", "json").json()[0]
        equal(e["split"], split)
        equal(e["score_name"], "accuracy")
        scored += round(e["score"] * e["samples"])
        count -= e["samples"]
    equal(count, 0, "samples over all parts")
    equal(right, scored, "right answers by predict and by eval")
    return right / len(labels)


@test("CSV with text labels: class names, eval equals predict")
def _():
    csv_classes("words", n=400, spread=0.4)
    experiment("words-exp", "words.yaml", HIDDEN % 3, train="{epochs: 12, batch: 16, learning_rate: 1e-2}")
    r = train("words-exp.yaml")
    assert r["score"] > 0.8, r
    accuracy = check_eval("words-exp", "words", 400)
    assert accuracy > 0.8, accuracy
    said = predict("runs/words-exp/model.h5", "words-x.csv")[0]
    equal(said["class"], max(range(3), key=lambda j: said["output_%d" % j]))


@test("binary classification with one output (bce)")
def _():
    csv_classes("two", n=300, classes=2, spread=0.5)
    experiment("two-exp", "two.yaml", HIDDEN % 1, train="{epochs: 12, batch: 16, loss: bce, learning_rate: 1e-2}")
    r = train("two-exp.yaml")
    assert r["score"] > 0.9, r
    check_eval("two-exp", "two", 300)
    for p in predict("runs/two-exp/model.h5", "two-x.csv"):
        equal(p["class"], int(p["output_0"] > 0))


@test("every loss for classification trains and ships without a mismatch")
def _():
    for loss in ("cross_entropy", "mse", "bce", "squared_hinge"):
        r = train("words-exp.yaml", "name=loss-" + loss, "train.loss=" + loss)
        assert r["score"] > 0.6, (loss, r)
    r = run("train", "words-exp.yaml", "model.layers=1", code=2)


@test("a loss or a last layer that does not fit is refused with its place")
def _():
    experiment("misfit", "words.yaml", HIDDEN % 5)
    contains(run("train", "misfit.yaml", code=2).err, "misfit.yaml:4:", "5", "3")
    contains(run("check", "misfit.yaml", code=2).err, "misfit.yaml:4:")
    csv_regression("line")
    experiment("misfit2", "line.yaml", HIDDEN % 1, train="{loss: cross_entropy}")
    contains(run("train", "misfit2.yaml", code=2).err, "cross_entropy", "regression")
    # Shown as errors of the file itself are: the line, and a caret under the place.
    experiment("caret", "words.yaml", HIDDEN % 7)
    lines = run("check", "caret.yaml", code=2).err.splitlines()
    contains(lines[0], "caret.yaml:4:", "units 7", "needs 3")
    equal(lines[1].strip(), read("caret.yaml").decode().splitlines()[3])
    equal(lines[2].index("^"), lines[1].index("{dense: 7"), "column of the caret")


@test("regression: r2, and predictions in the unit of the targets")
def _():
    experiment("line-exp", "line.yaml", "[{dense: 32}, relu, {dense: 1}]",
               quant="{weights: {bits: 8}}", train="{epochs: 40, batch: 16, learning_rate: 5e-3}")
    r = train("line-exp.yaml")
    equal(r["score_name"], "r2")
    assert r["score"] > 0.97, r
    targets = [float(v) for v in features_and_labels("line")]
    said = [p["output_0"] for p in predict("runs/line-exp/model.h5", "line-x.csv")]
    mean = sum(targets) / len(targets)
    r2 = 1 - (sum((a - b) ** 2 for a, b in zip(said, targets)) /
              sum((b - mean) ** 2 for b in targets))
    assert r2 > 0.97, r2
    assert 30 < sum(said) / len(said) < 70, "not in the unit of the targets"
    equal(run("eval", "runs/line-exp/model.h5", "-o", "json").json()[0]["score"],
          r["integer_score"])


@test("autoencoder: the input is the target")
def _():
    idx_images("clear", n=300, side=8, test=80, noise=20)
    experiment("auto", "clear.yaml", "[{dense: 24}, relu, {dense: 64}]", dataset="target: input",
               quant="{weights: {bits: 8}}", train="{epochs: 25, batch: 16, learning_rate: 1e-2}")
    r = train("auto.yaml")
    equal(r["score_name"], "r2")
    assert r["score"] > 0.5, r
    equal(r["outputs_compared"], 80 * 64)
    shutil.copy(path("clear-test-images"), path("in.idx"))
    equal(len(predict("runs/auto/model.h5", "in.idx")), 80)


@test("IDX images, plain and gzip: bytes go in as they are; predict on the images equals eval")
def _():
    idx_images("pics", n=300, side=8, test=80)
    experiment("pics-exp", "pics.yaml", HIDDEN % 4, train="{epochs: 8, batch: 16, learning_rate: 1e-2}")
    r = train("pics-exp.yaml")
    assert r["score"] > 0.8, r
    said = predict("runs/pics-exp/model.h5", "pics-test-images")
    labels = read("pics-test-labels")[8:]
    right = sum(p["class"] == k for p, k in zip(said, labels))
    equal(right, round(r["integer_score"] * 80))
    equal({p["name"] for p in said} <= set(CLASS_NAMES), True)
    idx_images("packed", n=300, side=8, test=80, suffix=".gz")
    write("packed.yaml", read("packed.yaml").decode().replace("name: packed", "name: pics"))
    r2 = train("pics-exp.yaml", "data.name=packed.yaml", "name=packed-exp")
    equal(r2["integer_score"], r["integer_score"], "gzip and plain")
    signed = train("pics-exp.yaml", "name=signed", "data.pixels=symmetric")
    said = predict("runs/signed/model.h5", "pics-test-images")
    equal(sum(p["class"] == k for p, k in zip(said, labels)), round(signed["integer_score"] * 80))


@test("HDF5 tables")
def _():
    script = """
import h5py, sys
rows = [line.split(',') for line in open(sys.argv[1]).read().split()[1:]]
with h5py.File(sys.argv[2], 'w') as f:
    f['x'] = [[float(v) for v in r[:-1]] for r in rows]
    f['y'] = [['red', 'green', 'blue'].index(r[-1]) for r in rows]
"""
    done = subprocess.run(["/usr/bin/python3", "-c", script, path("words.csv"), path("table.h5")],
                          stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Skip("no h5py here")
    write("table.yaml", "name: words\nformat: hdf5\ntask: classification\nfiles:\n"
          "  - {role: features, path: table.h5, dataset: x}\n"
          "  - {role: labels, path: table.h5, dataset: y}\n")
    r = train("words-exp.yaml", "name=h5", "data.name=table.yaml")
    assert r["score"] > 0.8, r
    said = predict("runs/h5/model.h5", "words-x.csv")
    assert len(said) == 400


@test("a descriptor of a few lines beside the experiment, from any working directory")
def _():
    os.makedirs(path("project/deep"), exist_ok=True)
    csv_classes("project/own", n=120)
    experiment("project/deep/own", "../own.yaml", HIDDEN % 3, train="{epochs: 2, batch: 16}",
               run="{dir: %s}" % "out")
    away = folder("away")
    run("train", path("project/deep/own.yaml"), cwd=away)
    for cwd, run_folder in ((away, "out/own"), (ROOT, "away/out/own"), ("/", path("away/out/own"))):
        run("eval", run_folder + "/model.h5", cwd=cwd)
        run("export", run_folder, "--out", path("e.h5"), cwd=cwd)
        run("export", run_folder + "/checkpoints/last.h5", "--out", path("e.h5"), cwd=cwd)
    shutil.copy(path("away/out/own/model.h5"), path("lonely.h5"))
    r = run("eval", path("lonely.h5"), cwd="/", code=None)
    assert r.code != 0
    contains(r.err, "own.yaml", "--data")
    run("eval", path("lonely.h5"), "--data", path("project/own.yaml"), cwd="/")
    run("eval", "lonely.h5", "--data", "project/own.yaml")


@test("eval on other data: the same columns do, others are refused")
def _():
    csv_classes("fresh", n=90, seed=5, spread=0.4)
    r = run("eval", "runs/words-exp/model.h5", "--data", "fresh.yaml", "-o", "json").json()[0]
    equal(r["data"], "fresh")
    assert r["score"] > 0.8, r
    csv_classes("narrow", n=90, features=3)
    r = run("eval", "runs/words-exp/model.h5", "--data", "narrow.yaml", code=3)
    contains(r.err, "3", "4")
    r = run("eval", "runs/words-exp/model.h5", "--data", "iriss", code=2)
    contains(r.err, "'iris'")


@test("export of a run folder and of a checkpoint: the bytes that training shipped, 0 mismatches")
def _():
    r = run("export", "runs/words-exp", "--to", "hdf5", "--out", "a.h5", "-o", "json").json()[0]
    equal(r["mismatched_outputs"], 0)
    equal(r["outputs_compared"], 80 * 3)
    equal(read("a.h5"), read("runs/words-exp/model.h5"))
    run("export", "runs/words-exp/checkpoints/best.h5", "--out", "b.h5")
    equal(read("b.h5"), read("runs/words-exp/model.h5"))
    r = run("export", "runs/words-exp/checkpoints/last.h5", "--out", "c.h5", "-o", "json").json()[0]
    equal(r["mismatched_outputs"], 0)
    run("eval", "c.h5")
    os.makedirs(path("here"), exist_ok=True)
    run("export", path("runs/words-exp"), cwd=path("here"))
    assert os.path.exists(path("here/words-exp.h5"))


@test("a float32 run has no integer model, and export says so")
def _():
    r = train("words-exp.yaml", "name=plain", "quant=null")
    equal(r["weight_bits"], 32)
    assert not os.path.exists(path("runs/plain/model.h5"))
    contains(run("export", "runs/plain", code=2).err, "float32")


main()
