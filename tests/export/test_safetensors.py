"""safetensors files: NumPy, struct and json alone rebuild the network and give the same bits.
usage: test_safetensors.py HALFTONE WRITE_RANDOM"""
import glob
import gzip
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("cli", "qmodel"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
sys.dont_write_bytecode = True

import numpy as np  # noqa: E402

import rebuild  # noqa: E402
import safetensors_numpy  # noqa: E402
from harness import (SANITIZED, Skip, contains, csv_classes, equal, experiment, folder, idx_images,  # noqa: E402
                     main, no_temporary_files, path, read, run, test)

WRITE_RANDOM = os.path.abspath(sys.argv[2])
NETWORKS = 60 if SANITIZED else 120
FASHION = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"


def random_networks(kind, count):
    """(file, input rows, what must come) of each."""
    where = folder("random-" + kind)
    subprocess.run([WRITE_RANDOM, where, "1", str(count), kind], check=True, timeout=100,
                   stdout=subprocess.PIPE)
    for file in sorted(glob.glob(os.path.join(where, "*.json"))):
        name = file[:-5]
        with open(file, encoding="utf-8") as f:
            shape = json.load(f)
        outputs = name + (".out.f32" if os.path.exists(name + ".out.f32") else ".near.f32")
        yield (name + ".safetensors",
               np.fromfile(name + ".in.f32", "<f4").reshape(-1, shape["features"]),
               np.fromfile(outputs, "<f4").reshape(-1, shape["outputs"]))


def outputs_of(model, raw):
    file = rebuild.open_model(model)
    return rebuild.run(file, rebuild.transform(file, raw))


def same_bits(y, wanted, what):
    equal(y.dtype, np.float32, what)
    equal(int((y.view(np.uint32) != wanted.astype(np.float32).view(np.uint32)).sum()), 0,
          what + ": outputs that differ")


@test("random integer networks of every grid, granularity and table give the same bits")
def _():
    grids, groups, tables, seen, channels = set(), 0, 0, 0, set()
    for file, x, wanted in random_networks("safetensors", NETWORKS):
        same_bits(outputs_of(file, x), wanted, file)
        _, metadata = safetensors_numpy.load(file)
        grids |= {v for k, v in metadata.items() if k.endswith("/weight:grid")}
        channels |= {v for k, v in metadata.items() if k.endswith("/weight:axis")}
        groups += sum(v != "0" for k, v in metadata.items() if k.endswith("/weight:group"))
        tables += sum(k.endswith("/table:grid") for k in metadata)
        seen += 1
    equal((seen, channels), (NETWORKS, {"0", "-1"}))
    equal(grids, {"full", "narrow", "affine", "binary", "ternary", "zero_free", "pow2",
                  "pow2_zero_free", "apot", "codebook"})
    assert groups > NETWORKS // 6 and tables > NETWORKS // 6, (groups, tables)


def float_network(tensors, metadata, x):
    """As PyTorch would: Linear, BatchNorm1d, activation; in double precision."""
    t = {k: v.astype(np.float64) for k, v in tensors.items()}
    for layer in metadata["layers"].split():
        x = x @ t[layer + ".weight"].T + t.get(layer + ".bias", 0)
        norm = layer + "_batchnorm."
        if norm + "weight" in t:
            spread = np.sqrt(t[norm + "running_var"] + float(metadata[norm[:-1] + ":epsilon"]))
            x = (x - t[norm + "running_mean"]) / spread * t[norm + "weight"] + t[norm + "bias"]
        slope = float(metadata.get(layer + ":slope", 0))
        x = {"none": lambda v: v, "relu": lambda v: np.maximum(v, 0), "tanh": np.tanh,
             "relu6": lambda v: np.clip(v, 0, 6), "leaky_relu": lambda v: np.where(v > 0, v, slope * v),
             "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
             "gelu": lambda v: v * (1 + np.vectorize(__import__("math").erf)(v / 2**0.5)) / 2,
             }[metadata[layer + ":activation"]](x)
    return x


@test("random float32 networks with PyTorch's names give the same values")
def _():
    for file, x, wanted in random_networks("float-safetensors", 21):
        tensors, metadata = safetensors_numpy.load(file)
        y = float_network(tensors, metadata, x.astype(np.float64))
        assert np.abs(y - wanted).max() < 1e-4 * np.abs(wanted).max(), file


IMAGES = "idx-test-images"
MODES = {
    "plain": ("{weights: {bits: 4}}", "relu"),
    "table": ("{weights: {bits: 3}}", "tanh"),
    "groups": ("{weights: {bits: 4, granularity: group, group: 16}}", "relu6"),
    "dynamic": ("{weights: {bits: 4}, activations: {range: dynamic}}", "relu"),
    "weight-only": ("{weights: {bits: 3, grid: codebook}, activations: {bits: 32}}", "leaky_relu"),
    "float16": ("{weights: {bits: 16}}", "relu"),
    "mixed": ("{weights: {bits: 4}, activations: {bits: 32}, layers: {first: {weights: {bits: 16}, "
              "activations: {bits: 8, range: dynamic}}, dense2: {activations: {bits: 6}}}}", "relu"),
}


@test("trained networks of every mode: the line about parity, equal bytes, predict's outputs")
def _():
    idx_images("idx", n=300, test=80)
    images = np.frombuffer(read("idx-test-images")[16:], np.uint8).reshape(80, 64)
    for name, (quant, activation) in MODES.items():
        if SANITIZED and name in ("plain", "table", "dynamic", "weight-only"):
            continue
        run("train", experiment(name, "idx.yaml", "[{dense: 24}, batchnorm, %s, {dense: 12}, relu, "
                                "{dense: 4}]" % activation, quant=quant, train="{epochs: 1}"),
            "--quiet")
        r = run("export", "runs/" + name, "--to", "safetensors", "-o", "json").json()[0]
        equal((r["format"], r["file"], r["mismatched_outputs"], r["outputs_compared"]),
              ("safetensors", name + ".safetensors", 0, 320))
        run("export", "runs/" + name, "--to", "safetensors", "--out", "again.safetensors")
        equal(read(name + ".safetensors"), read("again.safetensors"), name + ": equal bytes")
        shown = run("predict", "runs/%s/model.h5" % name, IMAGES, "-o", "json").json()
        wanted = np.array([[s["output_%d" % j] for j in range(4)] for s in shown], np.float32)
        same_bits(outputs_of(path(name + ".safetensors"), images), wanted, name)
        try:
            same_bits(outputs_of(path("runs", name, "model.h5"), images), wanted, name + " (HDF5)")
        except ImportError:
            print("# without h5py: HDF5 is not compared")
        _, metadata = safetensors_numpy.load(path(name + ".safetensors"))
        equal((metadata["name"], metadata["classes"]), (name, "red\ngreen\nblue\ngrey\n"))
        contains(metadata["experiment"], "epochs: 1")
    no_temporary_files(".")


@test("Fashion-MNIST: all 10,000 test images, the same outputs and classes")
def _():
    if SANITIZED:
        raise Skip("the other builds do it")
    if not os.path.exists(FASHION):
        raise Skip("dataset-fashion-mnist is not installed")
    run("train", experiment("fashion", "fashion-mnist", "[{dense: 16}, batchnorm, relu, {dense: 10}]",
                            train="{epochs: 1, batch: 256}", dataset="validation: 5000"), "--quiet")
    run("export", "runs/fashion", "--to", "safetensors")
    with gzip.open(FASHION) as f:
        images = np.frombuffer(f.read()[16:], np.uint8).reshape(10000, 784)
    shown = run("predict", "runs/fashion/model.h5", FASHION, "-o", "csv").out.splitlines()
    columns = shown[0].split(",")
    at = columns.index("output_0")
    wanted = np.array([[float(v) for v in line.split(",")[at:at + 10]] for line in shown[1:]],
                      np.float32)
    y = outputs_of(path("fashion.safetensors"), images)
    same_bits(y, wanted, "fashion")
    accuracy = run("eval", "runs/fashion", "-o", "json").json()[0]["score"]
    with gzip.open(FASHION.replace("images-idx3", "labels-idx1")) as f:
        labels = np.frombuffer(f.read()[8:], np.uint8)
    equal(float((y.argmax(axis=1) == labels).mean()), accuracy)
    assert accuracy > 0.75, accuracy


@test("standardized features, targets and float32 runs; names that collide are exit 2")
def _():
    csv_classes("table", n=150)
    run("train", experiment("real", "table.yaml", "[{dense: 8}, batchnorm, relu, {dense: 3}]",
                            quant="null", train="{epochs: 1}"), "--quiet")
    r = run("export", "runs/real", "--to", "safetensors", "-o", "json").json()[0]
    equal((r["outputs_compared"], r["integer_accuracy"]), (0, None))
    tensors, metadata = safetensors_numpy.load(path("real.safetensors"))
    equal({k: v.shape for k, v in tensors.items()}, {
        "dense1.weight": (8, 4), "dense1_batchnorm.weight": (8,), "dense1_batchnorm.bias": (8,),
        "dense1_batchnorm.running_mean": (8,), "dense1_batchnorm.running_var": (8,),
        "dense2.weight": (3, 8), "dense2.bias": (3,), "input.mean": (4,), "input.std": (4,)})
    equal((metadata["format"], metadata["layers"]), ("pt", "dense1 dense2"))
    run("train", experiment("twins", "table.yaml", "[{dense: 8, name: a}, batchnorm, relu, {dense: 3, "
                            "name: a_batchnorm}]", quant="null", train="{epochs: 1}"), "--quiet")
    r = run("export", "runs/twins", "--to", "safetensors", code=2)
    contains(r.err, "two tensors would be called 'a_batchnorm.weight'")
    assert not os.path.exists(path("twins.safetensors"))
    contains(run("export", "runs/real", "--to", "safetensors", "--input", "u8", code=2).err, "--input")


main()
