"""The Python module: outputs equal to the command's to the bit, and clear refusals.

usage: test_python.py HALFTONE LIBRARY SOURCE_DIR, by a Python that has NumPy
"""
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
sys.dont_write_bytecode = True

import numpy as np  # noqa: E402

from harness import (Skip, contains, csv_regression, equal, environment, experiment,  # noqa: E402
                     idx_images, main, path, read, run, test, write)

LIBRARY, SOURCE = os.path.abspath(sys.argv[2]), sys.argv[3]
FASHION = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
os.environ["HALFTONE_LIBRARY"] = LIBRARY
sys.path.insert(0, os.path.join(SOURCE, "python"))
import halftone  # noqa: E402

QUANT = {"integer": "{weights: {bits: 4}}",
         "dynamic": "{weights: {bits: 4}, activations: {range: dynamic}}",
         "weight-only": "{weights: {bits: 4}, activations: {bits: 32}}"}


def trained(mode="integer"):
    if not os.path.exists(path("images.yaml")):
        idx_images("images", n=300, test=90)
    if not os.path.exists(path("runs", mode)):
        run("train", experiment(mode, "images.yaml", "[{dense: 12}, batchnorm, relu, {dense: 4}]",
                                quant=QUANT[mode], train="{epochs: 1}"), "--quiet")
    return path("runs", mode, "model.h5")


def images():
    return np.frombuffer(read("images-test-images")[16:], np.uint8).reshape(90, 8, 8)


def command(model, file):
    """Outputs and classes; the shortest decimals that give the float32 back."""
    shown = run("predict", model, file, "-o", "json").json()
    n = sum(k.startswith("output_") for k in shown[0])
    return (np.array([[r["output_%d" % j] for j in range(n)] for r in shown], np.float32),
            np.array([r["class"] for r in shown]) if shown[0].get("class") is not None else None)


def refused(kind, part, function, *args):
    try:
        function(*args)
    except kind as e:
        contains(str(e), part)
        return e
    raise AssertionError("%r passed" % (args,))


@test("outputs and classes are the command's to the bit, in every mode and for every kind of input")
def _():
    for mode in QUANT:
        path_ = trained(mode)
        wanted, classes = command(path_, "images-test-images")
        with halftone.Model(path_) as model:
            equal(model.mode, mode)
            x = images()
            for rows in (x, x.reshape(90, 64), x.astype(np.float32), x.astype(np.float64),
                         x.astype(np.int64), np.asfortranarray(x), x[::-1][::-1], x.tolist()):
                y = model.predict(rows)
                equal((y.dtype, y.shape), (np.float32, (90, 4)))
                equal(int((y.view(np.uint32) != wanted.view(np.uint32)).sum()), 0, "bits that differ")
            equal(model.classify(x).tolist(), classes.tolist())
            one = model.predict(x[7].reshape(64))
            equal((one.shape, one.tolist()), ((4,), wanted[7].tolist()))
            equal(int(model.classify(x[7].reshape(64))), int(classes[7]))
            equal(model.predict(x[:0]).shape, (0, 4))


@test("what a model says of itself")
def _():
    model = halftone.Model(trained(), threads=2, max_batch=5)
    equal((model.name, model.task, model.inputs, model.outputs, model.classes),
          ("integer", "classification", 64, 4, ["red", "green", "blue", "grey"]))
    equal([(x.name, x.inputs, x.outputs, x.weight_bits, x.input_bits, x.activation)
           for x in model.layers], [("dense1", 64, 12, 4, 8, "relu"), ("dense2", 12, 4, 4, 8, "none")])
    contains(repr(model), "integer", "64 inputs, 4 outputs, 4/4-bit weights")
    contains(repr(model.layers[0]), "dense1: 64 -> 12, 4-bit weights, relu")
    equal([x.input_bits for x in halftone.Model(trained("weight-only")).layers], [32, 32])
    contains(run("--version").out, halftone.version())
    equal(model.predict(images()).tolist(), command(trained(), "images-test-images")[0].tolist())
    model.close()
    model.close()
    contains(repr(model), "closed")
    refused(ValueError, "closed", model.predict, images())


@test("10,000 images of Fashion-MNIST")
def _():
    if not os.path.exists(FASHION):
        raise Skip("no Fashion-MNIST here")
    import gzip
    write("fashion.yaml", "name: fashion\ndata: {name: fashion-mnist}\n"
          "model: {layers: [{dense: 16}, relu, {dense: 10}]}\nquant: {weights: {bits: 8}}\n"
          "train: {epochs: 1, batch: 512}\nrun: {dir: runs}\n")
    run("train", "fashion.yaml", "--quiet")
    wanted, classes = command("runs/fashion/model.h5", FASHION)
    with gzip.open(FASHION) as f:
        x = np.frombuffer(f.read()[16:], np.uint8).reshape(-1, 28, 28)
    with halftone.Model(path("runs/fashion/model.h5"), threads=0) as model:
        y = model.predict(x)
        equal((len(y), int((y.view(np.uint32) != wanted.view(np.uint32)).sum())), (10000, 0))
        equal((model.classify(x) != classes).sum(), 0)


@test("threads share one model, and close waits for them")
def _():
    model, x = halftone.Model(trained()), images()
    wanted, wrong = model.predict(x).tobytes(), []

    def call():
        for _ in range(50):
            if model.predict(x).tobytes() != wanted:
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(wrong, [])
    late = threading.Thread(target=lambda: model.predict(np.tile(x, (2000, 1, 1))))
    late.start()
    model.close()
    late.join()
    opened = [threading.Thread(target=lambda: halftone.Model(trained()).close()) for _ in range(4)]
    for t in opened:
        t.start()
    for t in opened:
        t.join()


@test("what is wrong is said: files, shapes, types, options")
def _():
    e = refused(halftone.Error, "no-such.h5", halftone.Model, "no-such.h5")
    assert e.status in (4, 5), e.status
    write("noise.h5", b"no model at all" * 50)
    equal(refused(halftone.Error, "noise.h5", halftone.Model, path("noise.h5")).status, 4)
    model = halftone.Model(trained())
    for x in (np.zeros((3, 63)), np.zeros(65), np.zeros((8, 8)), np.float32(1), np.zeros((0,))):
        refused(ValueError, "inputs of integer are [rows, 64], not", model.predict, x)
    for x in (np.zeros((3, 64), complex), [["a"] * 64], np.zeros((1, 64), object)):
        refused(TypeError, "must be numbers", model.predict, x)
    refused(ValueError, "threads", halftone.Model, trained(), -1)
    refused(ValueError, "max_batch", halftone.Model, trained(), 1, 0)


@test("regression: outputs in the unit of the targets, no classes")
def _():
    csv_regression("points")
    run("train", experiment("line", "points.yaml", "[{dense: 8}, tanh, {dense: 1}]"), "--quiet")
    write("rows.csv", "a,b\n0.5,-0.5\n-0.25,0.75\n")
    wanted, _ = command("runs/line/model.h5", "rows.csv")
    with halftone.Model(path("runs/line/model.h5")) as model:
        y = model.predict([[0.5, -0.5], [-0.25, 0.75]])
        np.testing.assert_allclose(y, wanted, rtol=1e-6)
        refused(TypeError, "has no classes", model.classify, [[0, 0]])
        equal(model.classes, [])


@test("a library that is not there, or not halftone's")
def _():
    for library in (path("none.so"), path("noise.h5"), "libm.so.6"):
        env = environment(HALFTONE_LIBRARY=library, PYTHONPATH=os.path.join(SOURCE, "python"))
        p = subprocess.run([sys.executable, "-c", "import halftone; halftone.version()"], env=env,
                           stderr=subprocess.PIPE, check=False)
        contains(p.stderr.decode(), "ImportError: libhalftone is not usable", library)


main()
