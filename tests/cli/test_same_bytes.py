"""Instruction sets and threads are ways to the same bytes: a training has one outcome."""
from harness import *

idx_images("pics", n=260, side=16, classes=4, test=60)
# Layers wider than a part of each division, and not multiples of it.
WIDE = "[{dense: 300}, batchnorm, relu, {dropout: 0.2}, {dense: 70}, relu, {dense: 4}]"
PLAIN = "[{dense: 150, bias: false}, batchnorm, {dense: 530}, relu6, {dense: 4}]"
TABLES = "[{dropout: 0.1}, {dense: 140}, tanh, {dense: 40}, gelu, {dense: 4}]"


def outcome(name, isa=None, threads=1):
    env = {"HALFTONE_ISA": isa} if isa else {}
    run("train", name + ".yaml", "run.dir=out", "run.threads=%d" % threads, env=env)
    return {n: data for n, data in files_below("out/" + name).items()
            if n in ("model.h5", "checkpoints/last.h5", "metrics.jsonl")}


def check(name, layers, quant, train="{epochs: 2, batch: 50}"):
    experiment(name, "pics.yaml", layers, quant=quant, train=train, dataset="validation: 40")
    first = outcome(name, "c")
    ways = [(isa, 1) for isa in ("avx2", "avxvnni", "avx512vnni", "amx")]
    ways += [(None, 2), (None, 3), ("c", 2)]
    ways = [(None, 1), (None, 3)] if SANITIZED else ways
    assert len(first) >= 2
    for isa, threads in ways:
        got = outcome(name, isa, threads)
        equal(got.keys(), first.keys())
        for n in first:
            assert got[n] == first[n], "%s: %s differs with %s, %d threads" % (
                name, n, isa or "all instruction sets", threads)


@test("8 bits, learned scales, batchnorm and dropout")
def _():
    check("w8", WIDE, "{weights: {bits: 8}}")


@test("2 bits, learned scales of activations too, signed, clipped gradients")
def _():
    check("w2", PLAIN, "{weights: {bits: 2, range: min_max, estimator: clipped_ste}, activations: "
          "{bits: 4, grid: full, range: learned, estimator: lsq}}",
          train="{epochs: 2, batch: 50, clip_norm: 0.5, optimizer: sgd, momentum: 0.9}")


@test("4 bits, one scale for all weights, tables, frozen statistics")
def _():
    check("w4", TABLES, "{weights: {bits: 4, granularity: tensor}, freeze_batchnorm_epochs: 1}")


@test("1 bit, and zero points of weights")
def _():
    check("w1", WIDE, "{weights: {bits: 1, range: ema}, layers: {first: {weights: {bits: 3, grid: "
          "affine, range: min_max}}}}")


@test("AdaRound, and training from there")
def _():
    experiment("start", "pics.yaml", WIDE, quant="null", train="{epochs: 1}", dataset="validation: 40")
    run("train", "start.yaml", "run.dir=out")
    check("ada", WIDE, "{weights: {bits: 2, range: mse}, calibration_batches: 3, adaround: true, "
          "adaround_iterations: 60, bias_correction: true}", "{epochs: 1, from: out/start}")


@test("ranges that look at the values")
def _():
    for weights, activations in (("percentile", "kl"), ("mse", "percentile"), ("octav", "mse"),
                                 ("kl", "octav")):
        check("ranges", PLAIN, "{weights: {bits: 4, range: %s}, activations: {bits: 4, range: %s}, "
              "layers: {last: {weights: {granularity: tensor}}}}" % (weights, activations))


@test("learned scales behind tables, in one network with all of them")
def _():
    check("learned", "[{dense: 30}, tanh, {dense: 20}, leaky_relu, {dense: 33}, sigmoid, {dense: 17}, "
          "gelu, {dense: 4}]", "{weights: {bits: 8}, activations: {bits: 8, range: learned, estimator: "
          "lsq}, start_epoch: 1}", train="{epochs: 3, batch: 50}")


@test("batches of one sample, and a last batch of one")
def _():
    check("one", "[{dense: 30}, relu, {dense: 4}]", "{weights: {bits: 4}}",
          train="{epochs: 1, batch: 1}")
    check("rest", WIDE, "{weights: {bits: 4}}", train="{epochs: 2, batch: 73}")


@test("narrow layers, nothing but products")
def _():
    check("small", "[{dense: 30}, relu, {dense: 4}]", "{weights: {bits: 8}}")


@test("tables: powers of two, and learned scales that are one")
def _():
    check("pow2", WIDE, "{weights: {bits: 4, grid: pow2, scale: power_of_two}, layers: {last: "
          "{weights: {bits: 5, grid: apot, granularity: tensor}}}}")


@test("tables: ternary, and codebooks whose centroids learn")
def _():
    check("ternary", PLAIN, "{weights: {grid: ternary}, layers: {first: {weights: {bits: 3, grid: "
          "pow2_zero_free}}}}")
    check("codebook", WIDE, "{weights: {bits: 4, grid: codebook}, layers: {last: {weights: {bits: 2, "
          "estimator: ste}}}}", train="{epochs: 2, batch: 50, clip_norm: 0.5}")


@test("groups: learned scales, and measured ones in a network that rounds by chance")
def _():
    check("groups", WIDE, "{weights: {bits: 4, granularity: group, group: 64}, track_flips: true, "
          "dampening: 0.01, layers: {last: {weights: {bits: 2, group: 32}}}}")
    check("measured", PLAIN, "{weights: {bits: 2, grid: zero_free, rounding: stochastic, granularity: "
          "group, group: 40, range: mse}, layers: {last: {weights: {rounding: nearest_even, grid: apot, "
          "bits: 4, range: ema}}}}", train="{epochs: 2, batch: 50, clip_norm: 0.5}")
    check("soft", WIDE, "{weights: {bits: 3, granularity: group, estimator: parq}}")


@test("learned offsets after table activations, transformed weights, rounding by chance")
def _():
    check("plus", TABLES, "{weights: {bits: 3, estimator: lsq_plus}, activations: {bits: 4, "
          "estimator: lsq_plus}}")
    check("dorefa", PLAIN, "{weights: {bits: 2, estimator: dorefa, granularity: tensor}, activations: "
          "{bits: 3, estimator: dorefa}, layers: {last: {weights: {bits: 8, grid: narrow, range: "
          "learned, estimator: lsq}}}}")
    check("chance", WIDE, "{weights: {bits: 2, grid: zero_free, rounding: stochastic}, activations: "
          "{bits: 4, rounding: stochastic}, input: {bits: 4, rounding: stochastic}}")


@test("a learned clip, scaled and soft gradients, dampened and frozen weights")
def _():
    check("pact", PLAIN, "{weights: {bits: 4, range: learned, estimator: ewgs, delta: 0.2, "
          "delta_epochs: 1}, "
          "activations: {bits: 4, estimator: pact}}")
    check("soft", WIDE, "{weights: {bits: 2, range: ema, estimator: dsq}, activations: {bits: 4, "
          "range: learned, estimator: dsq, learn_shape: true}, dampening: 0.01, track_flips: true}")
    check("frozen", WIDE, "{weights: {bits: 2}, activations: {estimator: ewgs, delta: 1}, "
          "freeze_threshold: 0.02, layers: {last: {weights: {rounding: floor}}}}",
          train="{epochs: 3, batch: 20, learning_rate: 1e-2}")
    lines = [json.loads(line) for line in read("out/frozen/metrics.jsonl").splitlines()]
    assert 0 < lines[-1]["frozen"] < 1 and 0 < lines[-1]["flip_rate"] < 1, lines[-1]
    result = json.loads(read("out/frozen/result.json"))
    equal(result["frozen"], lines[-1]["frozen"])
    equal(result["flip_rate"], lines[-1]["flip_rate"])
    equal(result["mismatched_outputs"], 0)
    assert "flip_rate" not in json.loads(read("out/pact/result.json"))
    assert b"flip_rate" not in read("out/pact/metrics.jsonl")


@test("annealed: soft steps, then hard ones")
def _():
    check("qn", WIDE, "{weights: {bits: 2, estimator: quantization_networks}, activations: {bits: 3, "
          "range: learned, estimator: quantization_networks}, track_flips: true}")
    check("parq", TABLES, "{weights: {bits: 3, estimator: parq, granularity: tensor}, start_epoch: 1, "
          "layers: {first: {weights: {bits: 4, grid: affine, range: ema, estimator: "
          "quantization_networks}}}}", train="{epochs: 3, batch: 50}")
    check("prox", PLAIN, "{weights: {bits: 2, estimator: prox, strength: 0.1}, layers: {last: {weights: "
          "{granularity: tensor, scale: power_of_two}}}}",
          train="{epochs: 2, batch: 50, clip_norm: 0.5}")
    for name in ("qn", "parq", "prox"):
        equal(json.loads(read("out/%s/result.json" % name))["mismatched_outputs"], 0)


@test("dynamic, weight-only and float16")
def _():
    check("dynamic", WIDE, "{weights: {bits: 4}, activations: {bits: 6, range: dynamic}}")
    check("only", WIDE, "{weights: {bits: 4, grid: apot}, activations: {bits: 32}, layers: {last: "
          "{weights: {bits: 16}}}}")


@test("float32")
def _():
    check("float", WIDE, "null")


main()
