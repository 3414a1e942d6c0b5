"""Methods that span a whole training: narrow accumulators, batch normalization estimated anew, widths
that shrink, teachers. Each ships without a mismatch, and a stopped training ends with equal bytes."""
from harness import *

idx_images("pics", n=600, side=8, classes=4, test=100)
LAYERS = ("[{dense: 32, name: one}, batchnorm, relu, {dense: 24, name: two}, batchnorm, relu, "
          "{dense: 4, name: out}]")
TABLES = "[{dense: 24, name: one}, tanh, {dropout: 0.1}, {dense: 16, name: two}, {dense: 4, name: out}]"
PRODUCTS = ["model.h5", "checkpoints/last.h5", "checkpoints/best.h5", "metrics.jsonl", "config.yaml"]


def write_experiment(name, quant, layers=LAYERS, train="{epochs: 4, batch: 20}", **more):
    return experiment(name, "pics.yaml", layers, quant=quant, train=train,
                      dataset="validation: 200", **more)


def train(name, *more, code=0):
    r = run("train", name + ".yaml", "-o", "json", *more, code=code)
    if code:
        return r
    row = r.json()[0]
    equal(row["mismatched_outputs"] or 0, 0, "outputs that differ")
    return row


def metrics(name):
    return [json.loads(line) for line in read("runs", name, "metrics.jsonl").splitlines()]


def stop_and_resume(name, *more):
    """The run again, stopped wherever its time is up, and with other ways through the arithmetic."""
    whole = {n: read("runs", name, n) for n in PRODUCTS}
    args = ["train", name + ".yaml", "run.max_minutes=0.00001", "run.dir=parts", *more]
    r, stops = run(*args, code=(0, 75)), 0
    while r.code == 75:
        stops += 1
        assert stops < 500
        r = run(*args, "--resume", code=(0, 75))
    assert stops > 2, stops
    for n in PRODUCTS[:-1]:
        assert read("parts", name, n) == whole[n], "%s differs after %d stops" % (n, stops)
    for isa, threads in (("c", 1), ("avx2", 1), (None, 3)):
        run("train", name + ".yaml", "run.dir=ways", "run.threads=%d" % threads, *more,
            env={"HALFTONE_ISA": isa} if isa else {})
        for n in PRODUCTS[:-1]:
            assert read("ways", name, n) == whole[n], "%s differs: %s, %d" % (n, isa, threads)


# --- accumulators ---

def product_bits(name):
    rows = run("inspect", "runs/%s/model.h5" % name, "-o", "json").json()[1:]
    for r in rows:
        assert r["accumulator_min"] <= r["accumulator_max"], r
        assert r["worst_accumulator"] >= max(abs(r["accumulator_min"]), abs(r["accumulator_max"]))
        assert -2 ** (r["product_bits"] - 1) <= r["product_min"], r
        assert r["product_max"] < 2 ** (r["product_bits"] - 1), r
    return [r["product_bits"] for r in rows]


@test("quant.accumulator_bits holds in every layer of the file, at every width")
def _():
    for bits in (10, 12, 14, 16):
        for more in (["quant.weights.bits=2"], ["quant.weights.bits=8", "quant.weights.grid=narrow"],
                     ["quant.activations.bits=4", "quant.input.bits=4"]):
            write_experiment("narrow", "{accumulator_bits: %d, weights: {bits: 4, grid: full}}" % bits)
            row = train("narrow", *more)
            widths = product_bits("narrow")
            assert max(widths) <= bits, (bits, more, widths)
            equal(row["product_bits"], max(widths), more)
            assert row["score"] > 0.5 or bits < 16, (bits, more, row["score"])
            assert row["accumulator_bits"] >= 2
    write_experiment("wide", "{weights: {bits: 4}}")
    train("wide")
    assert max(product_bits("wide")) > 14
    # Signed inputs with zero points, tables, and both kinds of estimators in one network.
    write_experiment("narrow", "{accumulator_bits: 14, weights: {bits: 4}, layers: {last: {weights: "
                     "{bits: 2, estimator: lsq}, activations: {bits: 4}}, two: {activations: {bits: 4}}}}",
                     TABLES)
    train("narrow", "data.pixels=symmetric")
    assert max(product_bits("narrow")) <= 14


@test("accumulators that cannot be kept in are refused with the layer's name")
def _():
    write_experiment("narrow", "{accumulator_bits: 12, weights: {bits: 4, estimator: lsq}}")
    for command in ("train", "check"):
        contains(run(command, "narrow.yaml", code=2).err, "one: 64 inputs of 8 bits times weights of 4",
                 "12 bits", "a2q")
    write_experiment("narrow", "{accumulator_bits: 8, weights: {bits: 4}}")
    contains(run("train", "narrow.yaml", code=2).err, "one: ", "a single product")


@test("narrow accumulators: stop and resume, kernels and threads give the same bytes")
def _():
    write_experiment("a2q", "{accumulator_bits: 13, weights: {bits: 4}, start_epoch: 1, track_flips: "
                     "true, calibration_batches: 2}")
    train("a2q")
    stop_and_resume("a2q")


@test("compare and post-training quantization keep accumulators in, too")
def _():
    write_experiment("both", "{accumulator_bits: 14}")
    rows = run("compare", "both.yaml", "--bits", "8,4,2", "-o", "json").json()
    for r in rows:
        equal(r["mismatched_outputs"], 0)
        assert 0 < r["product_bits"] <= 14 and r["accumulator_bits"] > 0, r
    train("both", "name=float", "quant=null")
    train("both", "name=ptq", "train.from=runs/float", "train.epochs=0", "quant.calibration_batches=4",
          "quant.bias_correction=true")
    assert max(product_bits("ptq")) <= 14


# --- batch normalization estimated anew ---

def statistics(name, file="best"):
    rows = run("inspect", "runs/%s/checkpoints/%s.h5" % (name, file), "-o", "json").json()
    return {r["tensor"]: (r["min"], r["mean"], r["max"]) for r in rows if "running" in r["tensor"]}


@test("quant.reestimate_batchnorm: other statistics, the same training, scores of what ships")
def _():
    quant = "{weights: {bits: 2}, activations: {bits: 2, range: learned, estimator: lsq}%s}"
    write_experiment("moving", quant % "")
    write_experiment("anew", quant % ", reestimate_batchnorm: 8")
    write_experiment("all", quant % ", reestimate_batchnorm: 100000")
    train("moving")
    row = train("anew")
    train("all")
    a, b, c = metrics("moving"), metrics("anew"), metrics("all")
    equal([m["train_loss"] for m in a], [m["train_loss"] for m in b])  # of batch statistics
    assert [m["validation_loss"] for m in a] != [m["validation_loss"] for m in b]
    assert [m["validation_loss"] for m in b] != [m["validation_loss"] for m in c]
    assert len({str(statistics(n)) for n in ("moving", "anew", "all")}) == 3
    e = run("eval", "runs/anew/model.h5", "--split", "validation", "-o", "json").json()[0]
    equal(e["score"], row["validation_score"])
    run("export", "runs/anew", "--out", "anew.h5")
    equal(read("anew.h5"), read("runs/anew/model.h5"))


@test("quant.reestimate_batchnorm leaves frozen statistics and float epochs alone; without training, too")
def _():
    write_experiment("frozen", "{weights: {bits: 2}, reestimate_batchnorm: 4, "
                     "freeze_batchnorm_epochs: 2}")
    train("frozen", "data.validation=0")  # the last epoch is the best
    two = statistics("frozen", "last")
    # The same first two epochs: the schedule is constant, so their network does not know the end.
    same = ["train.schedule=constant", "data.validation=0"]
    train("frozen", *same)
    two = statistics("frozen", "last")
    train("frozen", *same, "name=short", "train.epochs=2", "quant.freeze_batchnorm_epochs=0")
    equal(statistics("short", "last"), two)
    train("frozen", "name=float", "quant=null")
    ptq = ["train.from=runs/float", "train.epochs=0", "quant.calibration_batches=4",
           "quant.freeze_batchnorm_epochs=0"]
    train("frozen", "name=ptq", *ptq)
    assert statistics("ptq") != statistics("float")
    train("frozen", "name=ptq", *ptq, "quant.reestimate_batchnorm=0")
    equal(statistics("ptq"), statistics("float"))


@test("statistics estimated anew: stop and resume, kernels and threads give the same bytes")
def _():
    write_experiment("bn", "{weights: {bits: 2}, start_epoch: 1, reestimate_batchnorm: 3}")
    train("bn")
    stop_and_resume("bn")


# --- widths that shrink ---

@test("quant.progressive: stages by width in equal shares, each with its schedule; the last ships")
def _():
    write_experiment("prog", "{progressive: [8, 4], weights: {bits: 2}, activations: {bits: 3}, "
                     "layers: {last: {weights: {bits: 6}}}, start_epoch: 1}",
                     train="{epochs: 10, batch: 20}")
    row = train("prog")
    lines = metrics("prog")
    equal([(m["weight_bits"], m["activation_bits"]) for m in lines],
          [(32, 32)] + 3 * [(8, 8)] + 3 * [(4, 4)] + 3 * [(2, 3)])
    equal([m["quantized"] for m in lines], [False] + [True] * 9)
    rates = [m["learning_rate"] for m in lines]
    for first in (0, 4, 7):  # falls within a stage, and starts anew
        assert first == 0 or rates[first] > rates[first - 1], rates
        for k in range(first + 1, {0: 4, 4: 7, 7: 10}[first]):
            assert rates[k] < rates[k - 1], rates
    equal((row["weight_bits"], row["activation_bits"]), (2, 3))
    assert row["best_epoch"] > 7, row
    bits = [(r["weight_bits"], r["output_bits"]) for r in
            run("inspect", "runs/prog/model.h5", "-o", "json").json()]
    equal(bits, [(None, 8), (2, 3), (2, 3), (6, 32)])
    assert all(m["best"] for m in (lines[1], lines[4], lines[7]))  # scores start anew, too
    # The second stage starts from what the first has learned.
    assert lines[4]["train_loss"] < lines[0]["train_loss"] / 2, lines
    e = run("eval", "runs/prog/model.h5", "--split", "validation", "-o", "json").json()[0]
    equal(e["score"], row["validation_score"])
    contains(run("check", "prog.yaml").err, "8 bits at least until epoch 4",
             "4 bits at least until epoch 7")


@test("quant.progressive: stop and resume, kernels and threads give the same bytes")
def _():
    stop_and_resume("prog")
    write_experiment("prog2", "{progressive: [8, 4], weights: {bits: 2, grid: codebook}, activations: "
                     "{bits: 2, range: kl}, calibration_batches: 2, reestimate_batchnorm: 2, "
                     "track_flips: true}", train="{epochs: 6, batch: 20, optimizer: sgd, "
                     "learning_rate: 0.02}")
    train("prog2")
    stop_and_resume("prog2")
    write_experiment("prog3", "{progressive: [8], accumulator_bits: 14, weights: {bits: 4}, "
                     "activations: {bits: 4}}")
    train("prog3")
    assert max(product_bits("prog3")) <= 14
    stop_and_resume("prog3")


@test("quant.progressive: a checkpoint of an earlier stage is not exported; early stopping waits")
def _():
    experiment("long", "pics.yaml", LAYERS, quant="{progressive: [8], weights: {bits: 2}}",
               train="{epochs: 4000, batch: 20}", dataset="validation: 200")
    run("train", "long.yaml", "run.max_minutes=0.003", code=75)
    r = run("export", "runs/long", "--out", "long.h5", code=2)
    contains(r.err, "stage of 8 bits", "--resume")
    write_experiment("early", "{progressive: [8], weights: {bits: 2}}",
                     train="{epochs: 40, batch: 20, early_stopping: 2, learning_rate: 1e-2}")
    row = train("early")
    assert 20 < row["best_epoch"] and row["epochs"] < 40, row


@test("quant.progressive: a stage that its grid cannot have is told before training; compare sweeps")
def _():
    write_experiment("bad", "{progressive: [8], weights: {bits: 3, grid: zero_free}}")
    for command in ("train", "check"):
        contains(run(command, "bad.yaml", code=2).err, "quant.progressive, stage of 8 bits",
                 "grid zero_free has 1..4 bits, not 8")
    write_experiment("sweep", "{progressive: [8, 4]}")
    rows = run("compare", "sweep.yaml", "--bits", "32,8,4,2,1", "-o", "json").json()
    equal([r["mismatched_outputs"] for r in rows[1:]], [0] * 4)


# --- teachers ---

def teach(name, quant, *more, train_map="{epochs: 12, batch: 20, teacher: runs/master, %s}", share=""):
    write_experiment(name, quant, train=train_map % share)
    row = train(name, *more)
    return row, metrics(name)


@test("train.teacher: with the whole loss the teacher's, labels are not needed")
def _():
    write_experiment("master", "{weights: {bits: 32}, activations: {bits: 32}, input: {bits: 32}}",
                     train="{epochs: 20, batch: 20}")
    run("train", "master.yaml", "-o", "json")
    quant = "{weights: {bits: 2}, activations: {bits: 2}}"
    row, alone = teach("pupil", quant, share="distillation: 1")
    assert row["score"] > 0.8, row
    # Another loss of the labels, and another number for them: no bit of the network changes.
    for more in ("train.loss=squared_hinge", "train.label_smoothing=0.3"):
        _, other = teach("pupil", quant, more, share="distillation: 1")
        for a, b in zip(alone, other):
            for key in ("train_loss", "validation_accuracy", "gradient_norm"):
                equal(a[key], b[key], more)
    losses = {}
    for share in ("distillation: 1, temperature: 1", "distillation: 0.5", "distillation: 0.001"):
        losses[share] = teach("pupil", quant, share=share)[1][0]["train_loss"]
    assert len(set(losses.values())) == 3, losses
    # As good as no teacher.
    write_experiment("pupil", quant, train="{epochs: 12, batch: 20}")
    train("pupil")
    without = metrics("pupil")[0]["train_loss"]
    assert abs(losses["distillation: 0.001"] - without) < 0.03 * without, (losses, without)


@test("train.teacher: stop and resume, kernels and threads give the same bytes; a quantized teacher")
def _():
    teach("pupil", "{weights: {bits: 2}, start_epoch: 1}", share="temperature: 2")
    stop_and_resume("pupil")
    write_experiment("again", "{weights: {bits: 3}}", train="{epochs: 2, batch: 20, teacher: runs/pupil}")
    train("again")
    stop_and_resume("again")


@test("train.teacher in compare: variant:NAME; what does not fit is refused with its place")
def _():
    experiment("taught", "pics.yaml", LAYERS, dataset="validation: 200", train="{epochs: 3, batch: 20}",
               quant="{weights: {bits: 2}, activations: {bits: 2}}", more="""variants:
  - {name: pupil, train: {teacher: variant:float32, from: variant:float32}}
  - {name: float32, quant: null}
""")
    rows = run("compare", "taught.yaml", "-o", "json").json()
    equal([r["mismatched_outputs"] for r in rows], [0, 0])
    contains(read("runs/taught/pupil-seed1/config.yaml").decode(),
             "teacher: runs/taught/float32-seed1\n")

    def refused(train_map, *parts, code=2, **more):
        write_experiment("no", "{weights: {bits: 4}}", train=train_map, **more)
        contains(run("train", "no.yaml", code=code).err, *parts)

    refused("{epochs: 0, from: runs/master, teacher: runs/master}", "no.yaml:6:48", "nobody to teach")
    refused("{epochs: 2, teacher: variant:x}", "halftone compare")
    refused("{epochs: 2, teacher: runs/nobody}", "no.yaml", "train.teacher", "runs/nobody", code=4)
    refused("{epochs: 2, teacher: runs/master, distillation: 0}", "distillation")
    idx_images("wide", n=60, side=9, classes=4, test=10)
    experiment("no", "wide.yaml", LAYERS, quant="{weights: {bits: 4}}",
               train="{epochs: 2, teacher: runs/master}")
    contains(run("train", "no.yaml", code=2).err, "train.teacher",
             "from 64 to 4 values cannot teach one from 81 to 4")
    experiment("no", "pics.yaml", LAYERS, dataset="pixels: symmetric, validation: 200",
               quant="{weights: {bits: 4}}", train="{epochs: 2, teacher: runs/master}")
    contains(run("train", "no.yaml", code=2).err, "data.pixels unit", "here they are symmetric")


main()
