"""halftone compare: rows, statistics over seeds, jobs, resume."""
import math
import os
import re
import shutil
import signal
import statistics
import time

from harness import *

csv_classes("toy", spread=1.5)
LAYERS = "[{dense: 10}, batchnorm, relu, {dense: 3}]"
EXPERIMENT = experiment("cmp", "toy.yaml", LAYERS, quant="{activations: {bits: 6}}",
                        dataset="validation: 0.2, test: 0.3", train="{epochs: 4, batch: 32}", seed=5)
FIELDS = ["name", "weight_bits", "activation_bits", "seeds", "float_accuracy",
          "fake_quant_accuracy", "integer_accuracy", "mismatched_outputs", "outputs_compared",
          "model_bytes", "train_seconds", "samples_per_s", "latency_us_batch1"]
TIMES = ("train_seconds", "samples_per_s", "latency_us_batch1")


def result(name, variant, seed):
    return json.loads(read("runs", name, "%s-seed%d" % (variant, seed), "result.json"))


def check_stat(stat, values, what):
    equal(stat["n"], len(values), what)
    if not values:
        assert stat["mean"] is None and stat["std"] is None, (what, stat)
        return
    close(stat["mean"], statistics.mean(values), 1e-12, what)
    if len(values) > 1:
        close(stat["std"], statistics.stdev(values), 1e-12, what + " std")
    else:
        equal(stat["std"], None, what + " std of one")


@test("json has the contract's fields; statistics are those of the result files")
def _():
    rows = run("compare", EXPERIMENT, "--bits", "32,8,4,2,1", "--seeds", "3", "-o", "json").json()
    equal([r["weight_bits"] for r in rows], [32, 8, 4, 2, 1])
    equal([r["activation_bits"] for r in rows], [32, 6, 6, 6, 6])
    floats = [result("cmp", "float32", s)["score"] for s in (5, 6, 7)]
    for r in rows:
        for field in FIELDS:
            assert field in r, (field, r)
        equal(r["seeds"], 3)
        equal(r["mismatched_outputs"], 0)
        quantized = r["weight_bits"] != 32
        parts = [result("cmp", r["name"], s) for s in (5, 6, 7)]
        equal([p["seed"] for p in parts], [5, 6, 7])
        check_stat(r["float_accuracy"], floats, "float_accuracy")
        check_stat(r["fake_quant_accuracy"], [p["score"] for p in parts] if quantized else [],
                   "fake_quant_accuracy")
        check_stat(r["integer_accuracy"], [p["integer_score"] for p in parts] if quantized else [],
                   "integer_accuracy")
        equal(r["outputs_compared"], 3 * 90 * 3 if quantized else 0)
        close(r["train_seconds"], statistics.mean(p["train_seconds"] for p in parts), 1e-9)
        close(r["samples_per_s"], statistics.mean(p["samples_per_s"] for p in parts), 1e-3)
        equal(r["model_bytes"], parts[0]["model_bytes"])
        assert r["latency_us_batch1"] > 0
        if quantized:
            d = [p["integer_score"] - f for p, f in zip(parts, floats)]
            close(r["accuracy_difference"], statistics.mean(d), 1e-12)
            close(r["accuracy_difference_error"], statistics.stdev(d) / math.sqrt(3), 1e-12)
    sizes = [r["model_bytes"] for r in rows]
    equal(sizes, sorted(sizes, reverse=True), "fewer bits, smaller models")


@test("the float network is the baseline also when no row asks for it")
def _():
    rows = run("compare", EXPERIMENT, "name=hidden", "--bits", "4", "-o", "json").json()
    equal([r["name"] for r in rows], ["w4a6"])
    assert os.path.exists(path("runs/hidden/float32-seed5/result.json"))
    close(rows[0]["float_accuracy"]["mean"], result("hidden", "float32", 5)["score"], 1e-12)


@test("without --bits or variants: 32, 8, 4, 2; with variants: those by their names")
def _():
    rows = run("compare", EXPERIMENT, "name=default", "train.epochs=1", "-o", "json").json()
    equal([r["weight_bits"] for r in rows], [32, 8, 4, 2])
    experiment("variants", "toy.yaml", LAYERS, more="variants:\n"
               "  - {name: plain, quant: null}\n"
               "  - {name: int4, quant: {weights: {bits: 4}}}\n"
               "  - {name: tiny acts, quant: {activations: {bits: 2}}}\n"
               .replace("tiny acts", "tiny-acts"), train="{epochs: 2, batch: 32}")
    rows = run("compare", "variants.yaml", "-o", "json").json()
    equal([r["name"] for r in rows], ["plain", "int4", "tiny-acts"])
    equal([(r["weight_bits"], r["activation_bits"]) for r in rows], [(32, 32), (4, 8), (4, 2)])


def without_times(rows):
    return [{k: v for k, v in r.items() if k not in TIMES and k != "run_dir"} for r in rows]


@test("-j 2 gives what -j 1 gives, down to the bytes of models and checkpoints")
def _():
    args = ["compare", EXPERIMENT, "name=jobs", "--bits", "8,2", "--seeds", "2", "-o", "json"]
    one = run(*args, "-j", "1").json()
    first = files_below("runs/jobs")
    two = run(*args, "-j", "2").json()
    equal(without_times(two), without_times(one))
    second = {n: b for n, b in files_below("runs/jobs").items() if ".1/" not in n}
    for name, data in first.items():
        if not name.endswith(("result.json", "timing.json")):
            assert second[name] == data, name + " differs"


@test("--resume keeps what is finished and trains only the rest")
def _():
    args = ["compare", EXPERIMENT, "name=kept", "--seeds", "2", "--resume", "-o", "json"]
    first = run(*args, "--bits", "8").json()
    before = os.stat(path("runs/kept/w8a6-seed5/result.json")).st_mtime_ns
    rows = run(*args, "--bits", "8,4").json()
    equal(os.stat(path("runs/kept/w8a6-seed5/result.json")).st_mtime_ns, before,
          "time of a finished job's result")
    equal(without_times(rows)[0], without_times(first)[0])
    equal(rows[0]["train_seconds"], first[0]["train_seconds"])
    equal(rows[1]["weight_bits"], 4)


@test("--resume after the experiment changed is refused, twice, and keeps the old run")
def _():
    args = ["compare", EXPERIMENT, "name=changed", "--bits", "4", "-o", "json"]
    run(*args)
    before = files_below("runs/changed")
    for _ in range(2):
        r = run(*args, "--resume", "train.learning_rate=0.01", code=2)
        contains(r.err, "another experiment")
        equal(r.out, "")
    after = files_below("runs/changed")
    equal({n for n in before if after.get(n) != before[n]}, set(), "changed files")


@test("variants that would share a run folder are refused")
def _():
    contains(run("compare", EXPERIMENT, "--bits", "8,4,8", code=2).err, "w8a6")


@test("stopped by SIGTERM: exit 143 soon; --resume then gives what an undisturbed run gives")
def _():
    args = ["compare", EXPERIMENT, "name=stopped", "--bits", "8,2", "--seeds", "2", "-j", "2",
            "train.epochs=60", "-o", "json"]
    whole = run(*args).json()
    os.rename(path("runs/stopped"), path("runs/whole"))
    p = start(*args)
    deadline = time.monotonic() + 60
    while not os.path.exists(path("runs/stopped/w8a6-seed5/checkpoints/last.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=60)
    check_sane(p.returncode, err.decode())
    if p.returncode != 0:  # 0: it was done before the signal came
        equal(p.returncode, 143, err.decode())
        contains(err.decode(), "--resume")
        equal(out, b"")
    equal(without_times(run(*args, "--resume").json()), without_times(whole))


@test("the parent killed: children stop soon, with checkpoints that go on to the same result")
def _():
    args = ["compare", EXPERIMENT, "name=orphans", "--bits", "2", "-j", "2", "train.epochs=400",
            "-o", "json"]
    whole = run(*args).json()
    os.rename(path("runs/orphans"), path("runs/orphans-whole"))
    p = start(*args)
    deadline = time.monotonic() + 60
    while not os.path.exists(path("runs/orphans/w2a6-seed5/checkpoints/last.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    p.kill()
    p.communicate(timeout=60)  # ends when the last child has closed its stderr
    assert not os.path.exists(path("runs/orphans/w2a6-seed5/result.json")), \
        "the orphan trained to its end"
    equal(without_times(run(*args, "--resume").json()), without_times(whole))


LINKED = experiment("linked", "toy.yaml", LAYERS, dataset="validation: 0.2, test: 0.3", seed=5,
                    quant="{calibration_batches: 2}", train="{epochs: 4, batch: 32}",
                    more="""variants:
  - {name: tuned, train: {from: variant:ptq, epochs: 2}}
  - {name: ptq, train: {from: variant:float32, epochs: 0}, quant: {weights: {bits: 4}}}
  - {name: float32, quant: null}
""")


@test("variant:NAME starts from the network that variant trained with the same seed, after it")
def _():
    args = ["compare", LINKED, "--seeds", "2", "-o", "json"]
    one = run(*args).json()
    first = files_below("runs/linked")
    equal([r["name"] for r in one], ["tuned", "ptq", "float32"])
    equal([r["mismatched_outputs"] for r in one], [0, 0, 0])
    for seed in (5, 6):
        for name, base in (("tuned", "ptq"), ("ptq", "float32")):
            contains(read("runs/linked/%s-seed%d/config.yaml" % (name, seed)).decode(),
                     "from: runs/linked/%s-seed%d\n" % (base, seed))
        write("alone.yaml", read("runs/linked/tuned-seed%d/config.yaml" % seed))
        run("train", "alone.yaml", "run.dir=runs/alone")
        equal(read("runs/alone/tuned-seed%d/model.h5" % seed),
              read("runs/linked/tuned-seed%d/model.h5" % seed), "trained by hand from the path")
    two = run(*args, "-j", "3").json()
    equal(without_times(two), without_times(one))
    for name, data in first.items():
        if not name.endswith(("result.json", "timing.json")):
            assert read("runs/linked", name) == data, name + " differs with -j 3"
    before = os.stat(path("runs/linked/float32-seed5/result.json")).st_mtime_ns
    shutil.rmtree(path("runs/linked/tuned-seed6"))
    equal(without_times(run(*args, "--resume").json()), without_times(one))
    equal(os.stat(path("runs/linked/float32-seed5/result.json")).st_mtime_ns, before)


@test("stopped in the first of a chain: the others have not begun; --resume trains them all")
def _():
    args = ["compare", LINKED, "name=chain", "train.epochs=60", "-o", "json", "-j", "2"]
    whole = run(*args).json()
    os.rename(path("runs/chain"), path("runs/whole-chain"))
    p = start(*args)
    deadline = time.monotonic() + 60
    while not os.path.exists(path("runs/chain/float32-seed5/checkpoints/last.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    begun = os.path.exists(path("runs/chain/ptq-seed5"))
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=60)
    assert not begun, "it did not wait"
    check_sane(p.returncode, err.decode())
    if p.returncode != 0:
        equal(p.returncode, 143, err.decode())
    equal(without_times(run(*args, "--resume").json()), without_times(whole))


@test("a training that diverges is lost, with those that need it; the others go on")
def _():
    csv_regression("wild", n=300)
    wild = "learning_rate: 100, optimizer: sgd, schedule: constant"
    experiment("lost", "wild.yaml", "[{dense: 16}, relu, {dense: 16}, relu, {dense: 1}]",
               quant="{calibration_batches: 2}", train="{epochs: 30, batch: 8}", more="""variants:
  - {name: ptq, train: {from: variant:wild, epochs: 0}}
  - {name: float32, quant: null}
  - {name: wild, quant: null, train: {%s}}
  - {name: w4, quant: {weights: {bits: 4}}}
""" % wild)
    r = run("compare", "lost.yaml", "-j", "3", "--seeds", "2", "-o", "json", code=6)
    contains(r.err, "wild-seed1: training diverged", "wild-seed2: training diverged",
             "ptq-seed1: not trained: it needs wild-seed1", "4 of 8 trainings diverged")
    assert not os.path.exists(path("runs/lost/ptq-seed1"))
    ptq, float32, lost, w4 = r.json()
    for row in (ptq, lost):
        equal((row["seeds"], row["integer_accuracy"]["mean"], row["mismatched_outputs"], row["model_bytes"],
               row["latency_us_batch1"], row["train_seconds"]), (0,) + 5 * (None,), row)
    equal((float32["seeds"], w4["seeds"], w4["mismatched_outputs"]), (2, 2, 0))
    assert w4["integer_accuracy"]["mean"] > 0.5 and abs(w4["accuracy_difference"]) < 0.5, w4
    table = run("compare", "lost.yaml", "-j", "3", "--seeds", "2", "--resume", code=6).out
    assert re.search(r"^wild +32 +32 +\S+ ± \S+ +(- +)+-$", table, re.M), table
    run("compare", "lost.yaml", "name=all", "train.learning_rate=100", "train.optimizer=sgd",
        "train.schedule=constant", code=6)


@test("links to variants that are not there, to themselves, in circles, or without compare")
def _():
    def refused(variants, *parts, command="compare"):
        experiment("links", "toy.yaml", LAYERS, more="variants:\n" + variants)
        r = run(command, "links.yaml", code=2)
        contains(r.err, *parts)
        assert not os.path.exists(path("runs/links")), "something was trained"
    for command in ("compare", "check"):
        refused("  - {name: float32, quant: null}\n  - {name: b, train: {from: variant:flaot32}}\n",
                "links.yaml:10:22", "b: train.from: no variant is named 'flaot32' (did you mean "
                "'float32'?)", command=command)
        refused("  - {name: a, train: {from: variant:a}}\n", "links.yaml:9:22", "a needs a",
                command=command)
        refused("  - {name: a, train: {from: variant:b}}\n  - {name: b, train: {from: variant:c}}\n"
                "  - {name: c, train: {from: variant:d}}\n  - {name: d, train: {from: variant:b}}\n",
                "a circle: c needs d needs b needs c", command=command)
        refused("  - {name: a, train: {from: 'variant:'}}\n", "no variant is named ''", command=command)
    for more in ([], ["--dry-run"]):
        r = run("train", EXPERIMENT, "name=no", "train.from=variant:float32", *more, code=2)
        contains(r.err, "train.from", "variant:float32", "halftone compare", "run folder")
    assert not os.path.exists(path("runs/no"))
    r = run("compare", EXPERIMENT, "--bits", "8", "train.from=variant:w8a6", code=2)
    contains(r.err, "w8a6 needs w8a6")


@test("regression: r2 takes the place of accuracy")
def _():
    csv_regression("line", n=200)
    experiment("line-exp", "line.yaml", "[{dense: 8}, relu, {dense: 1}]",
               train="{epochs: 3, batch: 32}")
    rows = run("compare", "line-exp.yaml", "--bits", "32,8", "-o", "json").json()
    equal({r["score_name"] for r in rows}, {"r2"})
    equal(rows[1]["mismatched_outputs"], 0)


main()
