"""Dynamic, weight-only and float16 networks from the experiment to the answers of the file."""
import csv
import io

from harness import *

idx_images("pics", n=400, side=8, classes=4, test=100)
csv_classes("table", n=300)
LAYERS = "[{dense: 24}, batchnorm, relu, {dropout: 0.1}, {dense: 16}, gelu, {dense: 4}]"
MODES = {
    "dynamic": "{weights: {bits: 4}, activations: {range: dynamic}}",
    "dynamic4": "{weights: {bits: 4}, activations: {bits: 4, grid: narrow, range: dynamic}}",
    "groups": "{weights: {bits: 3, granularity: group, group: 16}, activations: {bits: 32}, layers: "
              "{first: {activations: {bits: 8, range: dynamic}}}}",
    "half-dynamic": "{activations: {range: dynamic}, input: {range: min_max}}",
    "weight-only": "{weights: {bits: 3, grid: codebook}, activations: {bits: 32}}",
    "float16": "{weights: {bits: 16}}",
    "by-layer": "{weights: {bits: 4}, activations: {bits: 32}, layers: {first: {weights: {bits: 16}, "
                "activations: {bits: 8, range: dynamic}}, dense2: {activations: {bits: 6}}}}",
}
TRAIN = "{epochs: 6, batch: 20, learning_rate: 5e-3}"


def train(name, quant, data="pics.yaml", layers=LAYERS, **more):
    experiment(name, data, layers, quant=quant, train=more.pop("train", TRAIN), **more)
    r = run("train", name + ".yaml", "-o", "json").json()[0]
    equal(r.get("mismatched_outputs") or 0, 0, "outputs that differ")
    return r


def rows_of(name):
    return run("inspect", "runs/%s/model.h5" % name, "-o", "json")


@test("every mode trains, with no output that differs, and answers from its file")
def _():
    for name, quant in MODES.items():
        r = train(name, quant, dataset="validation: 80")
        assert r["score"] > 0.8, (name, r)
        equal(r["outputs_compared"], 400)
        e = run("eval", "runs/%s/model.h5" % name, "-o", "json").json()[0]
        close(e["score"], r["score"], 1e-12, name)
        exported = run("export", "runs/" + name, "--to", "hdf5", "--out", "out.h5", "-o",
                       "json").json()[0]
        equal(exported["mismatched_outputs"], 0)
        assert read("out.h5") == read("runs", name, "model.h5"), name


@test("predict gives the same for any rows, threads and instruction set")
def _():
    rows = list(csv.reader(io.StringIO(read("table.csv").decode())))[1:]
    for k, part in enumerate((rows, rows[:7], rows[7:8])):
        write("rows%d.csv" % k, "\n".join(",".join(r[:-1]) for r in part) + "\n")
    for name in ("dynamic", "weight-only", "float16"):
        train("t-" + name, MODES[name], data="table.yaml",
              layers="[{dense: 300}, relu, {dense: 33}, tanh, {dense: 3}]")
        model = "runs/t-%s/model.h5" % name
        said = run("predict", model, "rows0.csv", "-o", "csv").out.splitlines()
        for env in ({"HALFTONE_ISA": "c"}, {"HALFTONE_ISA": "avx2"}, {"HALFTONE_THREADS": "3"}):
            again = run("predict", model, "rows0.csv", "-o", "csv", env=env).out.splitlines()
            assert again == said, (name, env)

        def outputs(line):
            return line.split(",")[2:]
        few = run("predict", model, "rows1.csv", "rows2.csv", "-o", "csv").out.splitlines()
        equal([outputs(line) for line in few[1:9]], [outputs(line) for line in said[1:9]])


@test("inspect and check say what is passed on")
def _():
    shown = rows_of("by-layer")
    equal([r.get("output_kind") for r in shown.json()], ["float", "dynamic", "static", "float"])
    equal([r.get("weight_bits") for r in shown.json()], [None, 16, 4, 4])
    contains(shown.err, "mixed model by-layer")
    contains(rows_of("float16").err, "float16 model float16")
    contains(rows_of("weight-only").err, "weight-only model")
    said = run("check", "dynamic.yaml", "-o", "json").json()
    equal([r["output_range"] for r in said][:2], ["dynamic", "dynamic"])
    equal([r["output_bits"] for r in run("check", "weight-only.yaml", "-o", "json").json()], [32] * 3)


@test("bytes: codes, two for a float16 weight, scales and biases")
def _():
    weights, neurons = 64 * 24 + 24 * 16 + 16 * 4, 24 + 16 + 4
    r = json.loads(read("runs/float16/result.json"))
    equal(r["model_bytes"], 2 * weights + 4 * neurons + 4 * (24 + 1 + 1))
    r = json.loads(read("runs/dynamic/result.json"))
    equal(r["model_bytes"], weights // 2 + 8 * neurons)
    equal([r["weight_bits"], r["activation_bits"]], [4, 8])
    equal(json.loads(read("runs/weight-only/result.json"))["activation_bits"], 32)


@test("compare: modes as variants, and a sweep of widths through 16")
def _():
    experiment("cmp", "pics.yaml", LAYERS, quant="{weights: {bits: 4}}", train=TRAIN,
               more="variants:\n  - {name: float, quant: null}\n" + "".join(
                   "  - {name: %s, quant: %s}\n" % (n, q) for n, q in MODES.items()))
    rows = run("compare", "cmp.yaml", "-o", "json", timeout=240).json()
    equal(len(rows), 1 + len(MODES))
    for r in rows[1:]:
        equal(r["mismatched_outputs"], 0, r["name"])
        equal(r["outputs_compared"], 400)
        assert r["latency_us_batch1"] > 0
    rows = run("compare", "cmp.yaml", "--bits", "32,16,4", "-o", "json", timeout=240).json()
    equal([(r["weight_bits"], r["activation_bits"]) for r in rows], [(32, 32), (16, 32), (4, 8)])


@test("a trained float network in every mode without training or calibration")
def _():
    base = train("base", "null")
    for name, quant in (("p16", "{weights: {bits: 16}}"),
                        ("p8", "{weights: {bits: 8, range: mse}, activations: {bits: 32}}"),
                        ("pd", "{weights: {bits: 8, range: mse}, activations: {range: dynamic}}")):
        r = train(name, quant, train="{epochs: 0, from: runs/base}")
        close(r["score"], base["score"], 0.03, name)
    r = train("pb", "{weights: {bits: 3, range: mse}, activations: {range: dynamic, bits: 4}, "
              "calibration_batches: 4, bias_correction: true}",
              train="{epochs: 0, from: runs/base}")
    assert r["score"] > 0.6, r


@test("a stopped run goes on to the same bytes")
def _():
    for name in ("dynamic", "weight-only", "float16"):
        experiment("s-" + name, "pics.yaml", LAYERS,
                   quant=MODES[name][:-1] + ", start_epoch: 1, track_flips: true}",
                   train="{epochs: 4, batch: 10}")
        run("train", "s-%s.yaml" % name, "run.dir=whole")
        stopped = 0
        for _ in range(200):
            if run("train", "s-%s.yaml" % name, "run.max_minutes=0.0001", "--resume",
                   code=(0, 75)).code == 0:
                break
            stopped += 1
        assert stopped > 0
        for n in ("model.h5", "checkpoints/best.h5", "metrics.jsonl"):
            assert read("runs", "s-" + name, n) == read("whole", "s-" + name, n), (name, n)


@test("exports that know integers only refuse the other modes")
def _():
    for name in ("dynamic", "weight-only"):
        contains(run("export", "runs/s-" + name, "--to", "qonnx", code=2).err, "mode " + name)


@test("annealed weights under dynamic and float activations")
def _():
    for name, activations in (("ad", "{range: dynamic}"), ("aw", "{bits: 32}")):
        train(name, "{weights: {bits: 2, estimator: parq}, activations: %s, hard_epochs: 1}"
              % activations, train="{epochs: 4, batch: 20, learning_rate: 5e-3}")


@test("what does not go together is told")
def _():
    for quant, text in (
            ("{input: {bits: 8}, activations: {bits: 32}}", "the input 8"),
            ("{layers: {last: {weights: {bits: 16}}}}", "weights of 16 bits need"),
            ("{weights: {range: dynamic}}", "not for weights"),
            ("{activations: {range: dynamic, estimator: lsq}}", "lsq")):
        experiment("bad", "pics.yaml", LAYERS, quant=quant)
        contains(run("check", "bad.yaml", code=2).err, text)


@test("bench infer --modes")
def _():
    rows = run("bench", "infer", "--modes", "-o", "json", timeout=400,
               env={"HALFTONE_THREADS": "1"}).json()
    equal({r["mode"] for r in rows}, {"integer", "dynamic", "weight-only", "float16"})
    contains(run("bench", "kernels", "--modes", code=2).err, "--modes", "bench infer")


main()
