"""halftone bits: what widths cost, the choice under a budget, and the experiment it prints."""
import csv
import io
import itertools
import os

from harness import *

csv_classes("toy", n=900, spread=1.0)
LAYERS = ("[{dense: 24, name: one}, batchnorm, relu, {dense: 16, name: two}, batchnorm, relu, "
          "{dense: 3, name: out}]")
EXPERIMENT = experiment("base", "toy.yaml", LAYERS, train="{epochs: 6, batch: 16}",
                        dataset="validation: 0.2")
run("train", EXPERIMENT, "name=float", "quant=null", "train.epochs=30")
FROM = "train.from=runs/float"
WEIGHTS = {"one": 4 * 24, "two": 24 * 16, "out": 16 * 3}


def bits(*more, code=0):
    return run("bits", EXPERIMENT, FROM, *more, code=code)


def rows(*more):
    return bits("-o", "json", *more).json()


def stored(layer, width):
    """Codes, one scale and one bias for each neuron."""
    units = {"one": 24, "two": 16, "out": 3}[layer]
    return -(-WEIGHTS[layer] * width // 8) + 8 * units


@test("every layer at every width: loss, score, bytes and bit operations of that network")
def _():
    r = rows()
    equal([(x["layer"], x["bits"]) for x in r],
          [(l, b) for l in ("one", "two", "out") for b in (8, 4, 3, 2)])
    widest = sum(stored(l, 8) for l in WEIGHTS)
    for x in r:
        for key in ("layer", "what", "parameters", "macs", "bits", "loss", "loss_increase", "score",
                    "score_change", "sensitivity", "bytes", "bops", "layer_bytes"):
            assert x[key] is not None, key
        equal(x["what"], "weights")
        equal(x["parameters"], WEIGHTS[x["layer"]])
        equal(x["layer_bytes"], stored(x["layer"], x["bits"]))
        equal(x["bytes"], widest - stored(x["layer"], 8) + stored(x["layer"], x["bits"]))
        equal(x["bops"], sum(WEIGHTS.values()) * 64 - x["macs"] * 8 * (8 - x["bits"]))
        equal(x["sensitivity"], x["loss_increase"])
    assert max(x["loss_increase"] for x in r if x["bits"] == 2) > 0.01
    equal([x["loss_increase"] for x in r if x["bits"] == 8], [0, 0, 0])


@test("the loss of a row is that of post-training quantization by train.epochs 0")
def _():
    x = next(x for x in rows("--widths", "8,3") if (x["layer"], x["bits"]) == ("two", 3))
    widths = ["quant.weights.bits=8", "quant.layers.two.weights.bits=3"]
    row = run("train", EXPERIMENT, FROM, "name=ptq", "train.epochs=0", *widths,
              "quant.calibration_batches=16", "-o", "json").json()[0]
    equal(row["validation_score"], x["score"])
    equal(row["model_bytes"], x["bytes"])
    same = rows("--widths", "8,3", "quant.calibration_batches=16")
    equal(same, rows("--widths", "3,8"), "16 batches are the default, the order does not matter")


@test("activations have no bytes; both come layer by layer")
def _():
    r = rows("--what", "activations", "--widths", "8,2")
    equal([(x["layer"], x["bits"]) for x in r], [("one", 8), ("one", 2), ("two", 8), ("two", 2)])
    equal([x["parameters"] for x in r], [None] * 4)
    equal([x["macs"] for x in r], [384, 384, 48, 48])
    # activations at 8, weights at 4 as in the experiment
    equal(r[0]["bops"], (96 + 384 + 48) * 32)
    equal(r[1]["bops"], 96 * 32 + 384 * 8 + 48 * 32)
    equal([(x["layer"], x["what"]) for x in rows("--what", "both", "--widths", "4")],
          [("one", "weights"), ("one", "activations"), ("two", "weights"), ("two", "activations"),
           ("out", "weights")])


def best(r, key, budget):
    """By trying everything: the least summed sensitivity within the budget."""
    cells = {}
    for x in r:
        cells.setdefault(x["layer"], []).append(x)
    found = None
    for pick in itertools.product(*cells.values()):
        cost = sum(x["layer_bytes"] if key == "bytes" else x["macs"] * x["bits"] * 8 for x in pick)
        loss = sum(x["sensitivity"] for x in pick)
        if cost <= budget and (found is None or loss < found[0]):
            found = (loss, {x["layer"]: x["bits"] for x in pick})
    return found[1]


@test("a budget of bytes or bit operations gets the best of all choices")
def _():
    r = rows()
    for method in ("measured", "hessian"):
        table = rows("--method", method)
        for key, budgets in (("bytes", (480, 550, 600, 700, 900)),
                             ("bops", (9000, 12000, 15000, 20000, 40000))):
            for budget in budgets:
                chosen = rows("--method", method, "--budget-" + key, budget)
                equal([x["layer"] for x in chosen], ["one", "two", "out"])
                equal({x["layer"]: x["weight_bits"] for x in chosen}, best(table, key, budget),
                      "%s %d" % (key, budget))
                assert sum(x[key] for x in chosen) <= budget
                for x in chosen:
                    equal(x["bytes"], stored(x["layer"], x["weight_bits"]))
                    equal(x["bops"], x["macs"] * x["weight_bits"] * x["input_bits"])
    assert len(r) == 12


@test("the experiment that is printed trains as it is, with the bytes that were said")
def _():
    r = bits("--budget-bytes", "590", "name=mixed")
    contains(r.err, "chosen:", "all at 4 bits")
    write("mixed.yaml", r.out)
    chosen = rows("--budget-bytes", "590")
    widths = [x["weight_bits"] for x in chosen]
    assert len(set(widths)) > 1, widths
    equal([x["weight_bits"] for x in run("check", "mixed.yaml", "-o", "json").json()], widths)
    row = run("train", "mixed.yaml", "-o", "json").json()[0]
    equal(row["mismatched_outputs"], 0)
    equal(row["model_bytes"], sum(x["bytes"] for x in chosen))
    assert row["score"] > 0.5, row
    equal(row["run_dir"], "runs/mixed")
    table = run("inspect", "runs/mixed/model.h5", "-o", "json").json()
    equal([x["weight_bits"] for x in table if x.get("weight_bits")], widths)


@test("--out writes it to a file, and stdout has the widths as a table")
def _():
    printed = bits("--budget-bytes", "590").out
    r = bits("--budget-bytes", "590", "--out", "out.yaml", "-o", "json")
    equal(read("out.yaml").decode(), printed)
    equal(r.json(), rows("--budget-bytes", "590"))
    contains(bits("--budget-bytes", "590", "--out", "out.yaml").out, "layer", "two")
    quiet = bits("--budget-bytes", "590", "--quiet")
    equal((quiet.out, quiet.err), (printed, ""))
    bits("--budget-bytes", "590", "--out", "nowhere/out.yaml", code=5)


@test("from another folder the printed experiment still finds its data")
def _():
    folder("elsewhere")
    r = run("bits", "../base.yaml", "train.from=../runs/float", "--budget-bytes", "590",
            "--out", "../deep.yaml", cwd=path("elsewhere"))
    folder("further")
    os.rename(path("deep.yaml"), path("further/deep.yaml"))
    run("check", "further/deep.yaml")
    assert r.out


@test("both widths of a layer under bit operations; quant.layers.first stays what it was")
def _():
    r = run("bits", EXPERIMENT, FROM, "--what", "both", "--widths", "8,4,2", "--budget-bops",
            "8000", "quant.layers.first.weights.range=mse",
            "quant.layers.first.weights.estimator=clipped_ste")
    write("both.yaml", r.out)
    table = run("check", "both.yaml", "-o", "json").json()
    equal(table[0]["weight_range"], "mse")
    equal(table[1]["weight_range"], "learned")
    bops = sum(m * w * a for m, w, a in zip((96, 384, 48), [x["weight_bits"] for x in table],
                                            [8] + [x["output_bits"] for x in table[:-1]]))
    assert bops <= 8000, table
    run("train", "both.yaml", "name=both", "train.epochs=1")


@test("--order goes from all at the narrowest width to all at the widest")
def _():
    for unit in ("bytes", "bops"):
        widths = {l: 2 for l in WEIGHTS}
        steps = rows("--order", unit)
        cells = {(x["layer"], x["bits"]): x for x in rows()}
        for number, x in enumerate(steps, 1):
            equal(x["step"], number)
            equal(x["from_bits"], widths[x["layer"]])
            assert x["bits"] > x["from_bits"], x
            widths[x["layer"]] = x["bits"]
            equal(x["bytes"], sum(stored(l, b) for l, b in widths.items()))
            equal(x["bops"], sum(WEIGHTS[l] * 8 * b for l, b in widths.items()))
            close(x["sensitivity"], sum(cells[c]["sensitivity"] for c in widths.items()), 1e-12)
        equal(set(widths.values()), {8})
        equal(len(rows("--what", "both", "--order", "bops")) > len(steps), True)


@test("method hessian: a trace for each layer, Omega = trace x rounding error")
def _():
    r = rows("--method", "hessian", "--samples", "200")
    for x in r:
        assert x["trace_error"] > 0 and abs(x["trace"]) > x["trace_error"] / 10, x
        close(x["sensitivity"], max(x["trace"], 0) * x["rounding_error"], 1e-12)
        equal((x["loss"], x["score"]), (None, None))
    for l in WEIGHTS:
        errors = [x["rounding_error"] for x in r if x["layer"] == l]
        equal(sorted(errors), errors, "narrower is further off")
    equal(rows("--method", "hessian", "--samples", "200"), r, "same seed, same numbers")
    assert rows("--method", "hessian", "--samples", "200", "seed=2") != r


def learned(*more):
    return run("bits", EXPERIMENT, "--method", "learned", "-o", "json", *more).json()


@test("method learned: widths fall with the penalty, from 8 bits to 2")
def _():
    sums = []
    for penalty in ("0.001", "0.1", "100"):
        r = learned("--penalty", penalty)
        for x in r:
            assert 2 <= x["learned_weight_bits"] <= 8, x
            assert abs(x["learned_weight_bits"] - x["weight_bits"]) <= 0.5, x
            equal(x["learned_input_bits"], None)
        sums.append(sum(x["bytes"] for x in r))
    assert sums[0] > sums[1] > sums[2], sums
    equal([x["weight_bits"] for x in r], [2, 2, 2])
    equal(learned(), learned("--penalty", "0.1"), "the same again, and 0.1 is the default")
    assert {x["weight_bits"] for x in learned("--widths", "6,2")} <= {6, 2}


@test("method learned keeps a budget, of both widths, too; what it prints trains")
def _():
    for budget in (490, 540, 700):
        assert sum(x["bytes"] for x in learned("--budget-bytes", budget)) <= budget
    r = learned("--what", "both", "--budget-bops", "9000", "--out", "learned.yaml")
    assert sum(x["bops"] for x in r) <= 9000, r
    equal([x["learned_input_bits"] is None for x in r], [True, False, False])
    table = run("check", "learned.yaml", "-o", "json").json()
    equal([x["weight_bits"] for x in table], [x["weight_bits"] for x in r])
    equal([x["output_bits"] for x in table[:-1]], [x["input_bits"] for x in r[1:]])
    contains(read("learned.yaml").decode(), "# Widths by halftone bits", "learned")
    run("train", "learned.yaml", "name=learned")


@test("the same numbers with every instruction set and number of threads")
def _():
    for more in ([FROM], [FROM, "--method", "hessian"], ["--method", "learned", "--what", "both"]):
        r = run("bits", EXPERIMENT, "-o", "json", *more).out
        equal(run("bits", EXPERIMENT, "-o", "json", *more,
                  env={"HALFTONE_ISA": "c", "HALFTONE_THREADS": "1"}).out, r)


@test("what it cannot do is told in words, and nothing is printed")
def _():
    for args, code, words in (
            (["--widths", "8,0"], 2, ["--widths", "1 to 8"]),
            (["--widths", "9"], 2, ["--widths"]), (["--widths", "4,4"], 2, ["twice"]),
            (["--widths", "many"], 2, ["--widths"]), (["--widths", ""], 2, ["--widths"]),
            (["--widths", "8,"], 2, ["last comma"]),
            (["--method", "hesian"], 2, ["did you mean 'hessian'"]),
            (["--what", "wieghts"], 2, ["did you mean 'weights'"]),
            (["--order", "byte"], 2, ["did you mean 'bytes'"]),
            (["--budget-bytes", "0"], 2, ["--budget-bytes"]),
            (["--budget-bytes", "1e3"], 2, ["--budget-bytes"]),
            (["--budget-bytes", "300"], 2, ["too small", "smallest possible", str(
                sum(stored(l, 2) for l in WEIGHTS))]),
            (["--budget-bops", "100"], 2, ["too small", str(sum(WEIGHTS.values()) * 16)]),
            (["--budget-bytes", "500", "--budget-bops", "9000"], 2, ["exclude"]),
            (["--budget-bytes", "500", "--order", "bops"], 2, ["exclude"]),
            (["--budget-bytes", "500", "--what", "both"], 2, ["no bytes"]),
            (["--budget-bytes", "590", "--out", "base.yaml"], 2, ["--out", "itself"]),
            (["--samples", "3"], 2, ["hessian"]), (["--penalty", "3"], 2, ["learned"]),
            (["--method", "learned", "--penalty", "much"], 2, ["--penalty", "much"]),
            (["--method", "learned", "--penalty", "-1"], 2, ["--penalty"]),
            (["--method", "learned", "--penalty", "nan"], 2, ["--penalty"]),
            (["--method", "learned", "--order", "bops"], 2, ["--order"]),
            (["--method", "learned", "--widths", "2,1"], 2, ["2 bits or more"]),
            (["--method", "learned", "train.epochs=0", "quant.calibration_batches=4"], 2,
             ["train.epochs"]),
            (["--method", "hessian", "--what", "activations"], 2, ["measured"]),
            (["--what", "activations", "--widths", "8,1"], 2, ["activations of one", "binary"]),
            (["quant=null"], 2, ["float32"]), (["data.validation=0"], 3, ["validation"]),
            (["train.from=runs/nothing"], 4, ["train.from", "runs/nothing"]),
            (["train.from=toy.csv"], 4, ["train.from"]),
            (["model.layers=[{dense: 3}]"], 2, ["model.layers"])):
        r = bits(*args, code=code)
        contains(r.err, *words)
        equal(r.out, "", " ".join(args))
    contains(run("bits", EXPERIMENT, code=2).err, "train.from", "runs/base")
    run("bits", code=2)


@test("csv, jsonl and the tables agree with json")
def _():
    for more in ([], ["--order", "bytes"], ["--budget-bytes", "590"], ["--method", "hessian"]):
        r = rows(*more)
        equal([json.loads(line) for line in bits("-o", "jsonl", *more).out.splitlines()], r)
        table = list(csv.DictReader(io.StringIO(bits("-o", "csv", *more).out)))
        equal([x["layer"] for x in table], [x["layer"] for x in r])
        equal(list(table[0]), list(r[0]))
        contains(bits("-o", "md", *more).out, "| layer" if not more or "--order" not in more
                 else "layer", "two")


@test("regression has r2 for a score")
def _():
    csv_regression("line")
    e = experiment("line-exp", "line.yaml", "[{dense: 8}, relu, {dense: 1}]",
                   train="{epochs: 3, batch: 16}", dataset="validation: 0.2")
    run("train", e, "name=line-float", "quant=null")
    r = run("bits", e, "train.from=runs/line-float", "-o", "json").json()
    assert all(x["score"] is not None for x in r)
    contains(run("bits", e, "train.from=runs/line-float").out, "dense1")
    run("bits", e, "train.from=runs/line-float", "--budget-bytes", "60", code=2)
    run("bits", e, "train.from=runs/line-float", "--budget-bytes", "90")
    r = run("bits", e, "--method", "learned", "train.optimizer=sgd", "train.learning_rate=100",
            code=6)
    contains(r.err, "diverged", "train.learning_rate")
    equal(r.out, "")


main()
