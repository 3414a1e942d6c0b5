"""What goes wrong silently is told: each check by a training that provokes it, and none by healthy
ones."""
from harness import *

idx_images("pics", n=600, side=8, classes=4, test=100)
csv_classes("toy", n=400, spread=1.2)
DEEP = ("[{dense: 32, name: one}, batchnorm, relu, {dense: 32, name: two}, batchnorm, relu, "
        "{dense: 4, name: out}]")
PLAIN = "[{dense: 32, name: one}, relu, {dense: 32, name: two}, relu, {dense: 4, name: out}]"
TABLES = "[{dense: 24}, tanh, {dense: 16}, gelu, {dense: 4}]"


def train(name, layers, *more, quant="{weights: {bits: 4}}", train="{epochs: 4, batch: 20}",
          code=0):
    experiment(name, "pics.yaml", layers, quant=quant, train=train, dataset="validation: 200")
    r = run("train", name + ".yaml", "-o", "json", *more, code=code)
    result = json.loads(read("runs", name, "result.json"))
    lines = [json.loads(line) for line in read("runs", name, "metrics.jsonl").splitlines()]
    return r, result["warnings"], lines


def provoked(found, check, where=None):
    hits = [w for w in found[1] if w["check"] == check and where in (None, w["where"])]
    assert hits, "no %s in %r" % (check, found[1])
    for w in hits:
        equal(found[0].err.count("warning: " + w["message"]), 1, "said once")
        assert w["message"].startswith(w["where"] + ": ") and "; " in w["message"], w
        # In the lines of all epochs that had it; told in words by the first.
        own = [(m["epoch"], o) for m in found[2] for o in m.get("warnings", [])
               if (o["check"], o["where"]) == (check, w["where"])]
        equal((own[0][0], own[-1][0]), (w["first_epoch"], w["last_epoch"]))
        equal([o.get("message") for _, o in own], [w["message"]] + [None] * (len(own) - 1))
        equal(own[-1][1]["value"], w["value"])
    equal(found[0].json()[0]["warnings"], len(found[1]))
    contains(found[0].err, "warnings: %d" % len(found[1]))
    return hits[0]


@test("healthy trainings have no warnings")
def _():
    settings = [
        (DEEP, "{weights: {bits: 8}}"), (DEEP, "{weights: {bits: 2}, activations: {bits: 2, range: "
         "learned, estimator: lsq}}"),
        (PLAIN, "{weights: {bits: 4}, output: {bits: 8, range: min_max}}"), (TABLES, "{weights: {bits: 4}}"),
        (DEEP.replace(", relu", ""), "{weights: {bits: 1}, activations: {bits: 1}}"),
        (DEEP, "{weights: {grid: ternary}, start_epoch: 2}"),
        (DEEP, "{weights: {bits: 4, grid: codebook}, activations: {bits: 3, estimator: pact}}"),
        (DEEP, "{weights: {bits: 4, grid: pow2, scale: power_of_two}, activations: {range: mse}}"),
        (DEEP, "{weights: {bits: 3, estimator: dorefa, granularity: tensor}}"),
        (DEEP, "{weights: {bits: 8, range: min_max, estimator: ste}, activations: {range: kl}}"),
        (DEEP, "null"),
    ]
    for layers, quant in settings:
        r, warnings, lines = train("healthy", layers, quant=quant,
                                   train="{epochs: 6, batch: 20, learning_rate: 3e-3}")
        equal(warnings, [], quant)
        assert "warning" not in r.err, r
        assert not any("warnings" in m for m in lines)
        equal(r.json()[0]["warnings"], 0)
    csv_regression("line")
    experiment("regression", "line.yaml", "[{dense: 16}, relu, {dense: 1}]",
               train="{epochs: 20, batch: 16, learning_rate: 1e-2}")
    assert "warning" not in run("train", "regression.yaml").err


@test("dead_scales, still_scales, dead_layer, constant_outputs, not_learning: steps far too large")
def _():
    found = train("dead", PLAIN, quant="{weights: {bits: 4}, activations: {bits: 2, range: learned, "
                  "estimator: lsq}}", train="{epochs: 3, batch: 20, learning_rate: 3}")
    w = provoked(found, "dead_scales", "one weights")
    assert 0 < w["value"] < 1 and " of 32 scales" in w["message"], w
    equal(provoked(found, "dead_scales", "one activations")["value"], 1)
    contains(provoked(found, "dead_layer", "two activations")["message"], "0 for every sample")
    contains(provoked(found, "still_scales", "one activations")["message"],
             "1 of 1 learned scale did not move", "train.learning_rate")
    provoked(found, "constant_outputs", "network")
    w = provoked(found, "not_learning", "network")
    equal(w["first_epoch"], 3)
    contains(w["message"], "accuracy", " % after 3 epochs")


@test("still_scales: the whole range of scales is stuck when nothing is learned")
def _():
    found = train("still", PLAIN, train="{epochs: 4, batch: 20, learning_rate: 1e-9, optimizer: sgd, "
                  "schedule: constant}")
    w = provoked(found, "still_scales", "two weights")
    equal((w["value"], w["first_epoch"]), (1, 2))
    # At the end of a cosine the steps vanish by design.
    found = train("still", PLAIN, train="{epochs: 4, batch: 20, learning_rate: 1e-9, optimizer: sgd, "
                  "schedule: exponential, step_factor: 1e-4}")
    assert not any(w["check"] == "still_scales" for w in found[1]), found[1]


@test("clipped: weights that outgrow their scales, activations whose range lags behind")
def _():
    found = train("clip", DEEP, quant="{weights: {bits: 2}}",
                  train="{epochs: 3, batch: 20, learning_rate: 0.1}")
    w = provoked(found, "clipped", "one weights")
    assert 0.3 < w["value"] < 1, w
    assert not any(w["where"] == "network" for w in found[1])
    found = train("lag", PLAIN, quant="{weights: {bits: 4}, output: {bits: 8}}",
                  train="{epochs: 6, batch: 20, learning_rate: 3e-3}")
    contains(provoked(found, "clipped", "out activations")["message"], "momentum")


@test("unused_codes: weights that decay under their scale")
def _():
    found = train("unused", DEEP, train="{epochs: 3, batch: 20, learning_rate: 0.01, weight_decay: 10}")
    w = provoked(found, "unused_codes", "two weights")
    assert w["value"] in (1, 2, 3), w
    contains(w["message"], " of 15 codes used", "use fewer bits")


COLLAPSE = "{epochs: 8, batch: 20, learning_rate: 1, warmup: 8, schedule: constant}"


@test("collapsed: after having been better, with the epochs and figures of both")
def _():
    found = train("collapse", PLAIN, train=COLLAPSE)
    w = provoked(found, "collapsed", "network")
    scores = [m["validation_accuracy"] for m in found[2]]
    best = max(scores[:w["first_epoch"] - 1])
    contains(w["message"], "collapsed in epoch %d: best %.1f %% (epoch %d), now %.1f %%" % (
        w["first_epoch"], 100 * best, 1 + scores.index(best), 100 * scores[w["first_epoch"] - 1]),
        "train.learning_rate", "quant.start_epoch")
    # Also when float epochs came before: the quantized ones are held against them.
    coarse = "bits: 2, range: min_max, estimator: ste"
    found = train("late", PLAIN.replace("relu, {dense: 4", "relu, {dense: 32}, relu, {dense: 32}, relu, "
                  "{dense: 4"), quant="{weights: {%s, granularity: tensor}, activations: {%s}, "
                  "start_epoch: 7}" % (coarse, coarse),
                  train="{epochs: 8, batch: 20, learning_rate: 3e-3}")
    equal(provoked(found, "collapsed")["first_epoch"], 8)


@test("a resumed training has the warnings of an undisturbed one")
def _():
    whole = read("runs/collapse/metrics.jsonl"), json.loads(read("runs/collapse/result.json"))
    args = ["train", "collapse.yaml", "name=parts", "run.max_minutes=0.0001"]
    r, stops = run(*args, code=(0, 75)), 0
    while r.code == 75:
        stops += 1
        assert stops < 500
        r = run(*args, "--resume", code=(0, 75))
    assert stops > 2, stops
    assert read("runs/parts/metrics.jsonl") == whole[0]
    equal(json.loads(read("runs/parts/result.json"))["warnings"], whole[1]["warnings"])


@test("compare tells them once, by run; post-training quantization has them, too")
def _():
    experiment("both", "pics.yaml", PLAIN, train=COLLAPSE, dataset="validation: 200")
    r = run("compare", "both.yaml", "--bits", "4", "-o", "json")
    equal(r.err.count("w4a8-seed1: warning: network: collapsed"), 1)
    assert r.json()[0]["warnings"] >= 1
    train("float", PLAIN, quant="null")
    r = run("train", "both.yaml", "name=ptq", "train.from=runs/float", "train.epochs=0",
            "quant.calibration_batches=2", "quant.activations.grid=narrow", "quant.activations.bits=8",
            "quant.weights.range=min_max", "quant.weights.estimator=ste", "quant.weights.bits=8",
            "quant.activations.range=percentile", "quant.activations.percentile=60", "-o", "json")
    contains(r.err, "warning: one activations: ", "clipped")
    warnings = json.loads(read("runs/ptq/result.json"))["warnings"]
    equal({(w["first_epoch"], w["last_epoch"]) for w in warnings}, {(0, 0)})
    before = read("runs/ptq/result.json")
    run("train", "both.yaml", "name=ptq", "train.from=runs/float", "train.epochs=0",
        "quant.calibration_batches=2", "quant.activations.grid=narrow", "quant.activations.bits=8",
        "quant.weights.range=min_max", "quant.weights.estimator=ste", "quant.weights.bits=8",
        "quant.activations.range=percentile", "quant.activations.percentile=60", "--resume")
    equal(json.loads(read("runs/ptq/result.json"))["warnings"], json.loads(before)["warnings"])


main()
