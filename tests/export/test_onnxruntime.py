"""Exported networks in ONNX Runtime: the same bits as the integer engine, whatever the runtime
optimizes and however many rows it gets at once; and what runs there are integer kernels.

usage: test_onnxruntime.py HALFTONE WRITE_RANDOM

Skipped without node and the package of tests/export/package.json, which tools/check installs.
"""
import csv
import gzip
import json
import os
import platform
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
sys.dont_write_bytecode = True

import numpy as np  # noqa: E402
import onnx  # noqa: E402

from harness import Skip, equal, folder, main, path, run, test, write  # noqa: E402

WRITE_RANDOM = os.path.abspath(sys.argv[2])
DATA = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
VARIANTS = [(8, 8), (4, 8), (2, 8), (4, 4), (2, 2)]
EXPERIMENT = """name: fashion
seed: 1
data: {name: fashion-mnist}
model: {layers: [{dense: 128}, batchnorm, relu, {dense: 64}, batchnorm, relu, {dense: 10}]}
quant:
  weights: {bits: 8, grid: narrow, range: learned, estimator: lsq, granularity: channel}
  activations: {range: learned, estimator: lsq}
train: {epochs: 1, batch: 128}
run: {dir: runs}
variants:
  - {name: float, quant: null}
"""
# Networks of other modes, quantized after the training: what ONNX Runtime gives of them.
OTHERS = {
    "w8-rows": ("{weights: {bits: 8}, activations: {range: dynamic}}", "bit for bit"),
    "w4-rows": ("{weights: {bits: 4}, activations: {range: dynamic, grid: narrow}, "
                "input: {range: min_max}}", "bit for bit"),
    "w2-rows": ("{weights: {bits: 2}, activations: {bits: 4, range: dynamic}}", "bit for bit"),
    "w4": ("{weights: {bits: 4}, activations: {bits: 32}}", "but for rounding"),
    "w2-groups": ("{weights: {bits: 2, granularity: group, group: 32}, activations: {bits: 32}}",
                  "but for rounding"),
    "w16": ("{weights: {bits: 16}}", "but for rounding"),
}
INTEGER = {"QGemm", "MatMulInteger"}
# Images one by one take a minute, an emulated processor half of one: those are for tools/check.
ALL = os.environ.get("HALFTONE_TESTS") == "all"
IMAGES = 10000 if ALL else 1000


def node_command():
    if not os.path.isdir(os.path.join(HERE, "node_modules", "onnxruntime-node")):
        raise Skip("no onnxruntime-node in tests/export: npm ci --ignore-scripts there")
    node = shutil.which("node")
    if not node:
        raise Skip("no node")
    return [node]


def runtime(where, *arguments, command=None):
    """The rows that onnxruntime.js prints; fails where a network does not load or run."""
    p = subprocess.run((command or node_command()) + [os.path.join(HERE, "onnxruntime.js"), where,
                                                      *arguments],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=500, check=False)
    if p.returncode != 0:
        raise AssertionError(p.stderr.decode()[-3000:])
    results = [json.loads(line) for line in p.stdout.decode().splitlines()]
    errors = [r for r in results if "error" in r]
    equal(errors, [], "networks that do not run")
    return results


def all_equal(results):
    equal([r for r in results if r["mismatched"]], [], "results that differ")
    return sum(r["compared"] for r in results)


def operators(where, name):
    """Of the network that the runtime's optimization left."""
    model = onnx.load(os.path.join(where, name + ".optimized"))
    return [n.op_type for n in model.graph.node]


def put_case(where, name, inputs, outputs, near=False):
    kind = "u8" if inputs.dtype == np.uint8 else "f32"
    inputs.tofile(os.path.join(where, "%s.in.%s" % (name, kind)))
    outputs.astype("<f4").tofile(os.path.join(where, name + (".near.f32" if near else ".out.f32")))
    with open(os.path.join(where, name + ".json"), "w", encoding="utf-8") as f:
        json.dump({"features": inputs.shape[1], "outputs": outputs.shape[1]}, f)


def engine_outputs(model):
    """Of the whole test part, by the integer engine."""
    shown = run("predict", model, DATA, "-o", "csv").out.splitlines()
    return np.array([[float(r["output_%d" % j]) for j in range(10)] for r in csv.DictReader(shown)])


@test("%d images through w8a8, w4a8, w2a8, w4a4 and w2a2: every bit of every output" % IMAGES)
def _():
    node_command()
    if not os.path.exists(DATA):
        raise Skip("no Fashion-MNIST here")
    text = EXPERIMENT + "".join(
        "  - {name: w%da%d, quant: {weights: {bits: %d}, activations: {bits: %d}}}\n" % (w, a, w, a)
        for w, a in VARIANTS)
    write("fashion.yaml", text)
    run("compare", "fashion.yaml", "--quiet", timeout=500)
    with gzip.open(DATA) as f:
        images = np.frombuffer(f.read()[16:], np.uint8).reshape(-1, 784)
    equal(len(images), 10000)
    images = images[:IMAGES]
    where = folder("fashion")
    sizes = {}
    for w, a in VARIANTS:
        name = "w%da%d" % (w, a)
        source = "runs/fashion/%s-seed1" % name
        wanted = engine_outputs(source + "/model.h5")[:IMAGES]
        for kind, inputs in (("u8", images), ("float", images.astype("<f4"))):
            run("export", source, "--to", "onnx", "--input", kind,
                "--out", os.path.join(where, "%s-%s.onnx" % (name, kind)))
            put_case(where, "%s-%s" % (name, kind), inputs, wanted)
        sizes[w, a] = os.path.getsize(os.path.join(where, name + "-u8.onnx"))
    equal(all_equal(runtime(where)), 2 * len(VARIANTS) * 4 * 10 * IMAGES)
    for w, a in VARIANTS:
        for kind in ("u8", "float"):
            left = operators(where, "w%da%d-%s" % (w, a, kind))
            equal(left.count("QGemm"), 3, "integer products")
            equal({"Gemm", "MatMul", "DequantizeLinear"} & set(left), set(), "float products")
    # The weights are packed: 8 bits against 4 and 2, and 20 KB of everything else.
    weights = 784 * 128 + 128 * 64 + 64 * 10
    for w, a in VARIANTS:
        assert weights * w / 8 < sizes[w, a] < weights * w / 8 + 20000, (w, a, sizes)


@test("scales of rows: every bit of %d images; real activations: within the bound of rounding" % IMAGES)
def _():
    node_command()
    if not os.path.exists(path("runs", "fashion")):
        raise Skip("no Fashion-MNIST here")
    base = EXPERIMENT.split("quant:")[0]
    where = folder("others")
    with gzip.open(DATA) as f:
        images = np.frombuffer(f.read()[16:], np.uint8).reshape(-1, 784).astype("<f4")
    images[:200].tofile(path("rows.f32"))
    for name, (quant, agreement) in OTHERS.items():
        write("other.yaml", base.replace("fashion", name, 1) + "quant: " + quant +
              "\ntrain: {epochs: 0, from: runs/fashion/float-seed1}\nrun: {dir: runs}\n")
        run("train", "other.yaml", "--quiet")
        shown = run("export", "runs/" + name, "--to", "onnx", "-o", "json",
                    "--out", os.path.join(where, name + ".onnx")).json()[0]
        equal((shown["agreement"], shown["mismatched_outputs"]), (agreement, 0), name)
        if agreement == "bit for bit":
            wanted = engine_outputs("runs/%s/model.h5" % name)
            n = IMAGES if name == "w8-rows" else 1000
            put_case(where, name, images[:n], wanted[:n])
        else:
            subprocess.run([WRITE_RANDOM, where, name, path("runs", name, "model.h5"),
                            path("rows.f32")], check=True)
    for result in runtime(where):
        all_equal([result])
        # The bound is of the worst case; nothing near it comes of sums in another order.
        assert result["farthest"] <= 1e-5 * result["largest"], result
        print("# %(name)s, optimization %(level)s, batch %(batch)d: %(compared)d outputs, "
              "%(farthest).2g from the engine's; bound %(bound).2g, largest %(largest).3g" % result)
    for name in ("w8-rows", "w2-rows"):
        equal(operators(where, name).count("MatMulInteger"), 3, name)


@test("the float32 network, but for rounding")
def _():
    node_command()
    if not os.path.exists(path("runs", "fashion")):
        raise Skip("no Fashion-MNIST here")
    r = run("export", "runs/fashion/float-seed1", "--to", "onnx", "--out", "float.onnx",
            "-o", "json").json()[0]
    where = folder("random-float")
    subprocess.run([WRITE_RANDOM, where, "1", "14", "float"], check=True)
    assert all_equal(runtime(where)) > 0
    assert r["fake_quant_accuracy"] > 0.7, r


@test("150 random networks of every grid and activation: every bit, by integer kernels")
def _():
    node_command()
    where = folder("random")
    subprocess.run([WRITE_RANDOM, where, "1000", "150", "onnx"], check=True)
    assert all_equal(runtime(where)) > 100000
    products = 0
    for i in range(1000, 1150):
        name = "onnx%04d" % i
        left = operators(where, name)
        with open(os.path.join(where, name + ".json"), encoding="utf-8") as f:
            equal(sum(op in INTEGER for op in left), json.load(f)["layers"], name)
        products += left.count("MatMulInteger")
    assert products > 0


@test("60 random networks of rows that find their scales: every bit; 60 of real values: in bounds")
def _():
    node_command()
    for kind in ("exact", "modes"):
        where = folder("random-" + kind)
        subprocess.run([WRITE_RANDOM, where, "1000", "60", kind], check=True)
        assert all_equal(runtime(where)) > 50000


@test("on a processor without VNNI (emulated), where wide products saturate")
def _():
    command = node_command()
    if not ALL:
        raise Skip("takes long; HALFTONE_TESTS=all")
    emulator = shutil.which("qemu-x86_64")
    if platform.machine() != "x86_64" or not emulator:
        raise Skip("no qemu-x86_64, or no x86 processor")
    where = folder("haswell")
    subprocess.run([WRITE_RANDOM, where, "0", "6", "wide"], check=True)
    subprocess.run([WRITE_RANDOM, where, "25", "12", "onnx"], check=True)
    subprocess.run([WRITE_RANDOM, where, "25", "6", "exact"], check=True)
    results = runtime(where, "all", "64",
                      command=[emulator, "-cpu", "Haswell", command[0], "--jitless"])
    equal(len(results), 24)
    assert all_equal(results) > 0


main()
