"""Stop and resume: whatever the moment, a resumed run ends with the bytes of an undisturbed one."""
import os
import random
import re
import shutil
import signal
import time

from harness import *

idx_images("pics", n=500, side=16, classes=4, test=60, mislabeled=0.15)
LAYERS = ("[{dense: 96}, batchnorm, relu, {dropout: 0.2}, {dense: 64}, batchnorm, relu, "
          "{dense: 4}]")


def write_experiment(checkpoint_minutes):
    return experiment(
        "res", "pics.yaml", LAYERS, dataset="validation: 100, augment: {shift: 1, rotation: 5}",
        quant="{start_epoch: 2, calibration_batches: 5, weights: {bits: 3, rounding: stochastic}, "
              "freeze_batchnorm_epochs: 2, dampening: 1e-3, freeze_threshold: 0.02, track_flips: true, "
              "activations: {range: percentile}, layers: {first: {weights: {granularity: group, group: 32}, "
              "activations: {range: octav}}}}",
        train="{epochs: 7, batch: 8, learning_rate: 3e-3, early_stopping: 3}",
        run="{dir: runs, checkpoint_minutes: %.8f}" % checkpoint_minutes)


def timed_run():
    begun = time.monotonic()
    run("train", EXPERIMENT)
    return time.monotonic() - begun


STEPS_PER_EPOCH = (400 + 7) // 8
PRODUCTS = ["model.h5", "checkpoints/last.h5", "checkpoints/best.h5", "metrics.jsonl",
            "config.yaml"]

# About that many checkpoints inside the epochs, however fast this build and machine are.
CHECKPOINTS = 15 if SANITIZED else 40
EXPERIMENT = write_experiment(5)
EXPERIMENT = write_experiment(timed_run() / 60 / CHECKPOINTS)
shutil.rmtree(path("runs"))
DURATION = timed_run()
WHOLE = {n: read("runs/res", n) for n in PRODUCTS}
RESULT = json.loads(read("runs/res/result.json"))
rng = random.Random(os.getpid())


def check_products(name="res"):
    for n in PRODUCTS:
        assert read("runs", name, n) == WHOLE[n], "%s differs from that of an undisturbed run" % n
    got = json.loads(read("runs", name, "result.json"))
    for key in RESULT:
        if key not in ("train_seconds", "samples_per_s"):
            equal(got[key], RESULT[key], key)
    no_temporary_files("runs/" + name)


def last_step():
    """Epochs and step of the newest checkpoint, or None."""
    if not os.path.exists(path("runs/res/checkpoints/last.h5")):
        return None
    said = run("inspect", "runs/res/checkpoints/last.h5", "-o", "json").err
    return tuple(int(x) for x in re.search(r"after (\d+) epochs, step (\d+)", said).groups())


def wait_for(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


@test("killed at random moments and resumed until done: the same bytes")
def _():
    kills, inside_epochs = 0, 0
    while kills < 8:
        shutil.rmtree(path("runs/res"))
        for attempt in range(6):
            p = start("train", EXPERIMENT, "--resume", "-q")
            time.sleep(rng.uniform(0.02, 0.6 if attempt else 1.0) * DURATION)
            p.kill()
            p.communicate()
            if p.returncode == 0:
                break
            kills += 1
            at = last_step()
            inside_epochs += at is not None and at[1] % STEPS_PER_EPOCH != 0
        run("train", EXPERIMENT, "--resume", "-q")
        check_products()
    print("# %d kills, %d left a checkpoint in the middle of an epoch" % (kills, inside_epochs))
    assert inside_epochs > 0, "no kill came in the middle of an epoch: the test shows little"


@test("SIGINT and SIGTERM: exit 130 and 143, a checkpoint, resumed to the same bytes")
def _():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        shutil.rmtree(path("runs/res"))
        p = start("train", EXPERIMENT, "-o", "json")
        wait_for(lambda: (last_step() or (0, 0))[1] > rng.randrange(20, 200), "no checkpoint came")
        p.send_signal(number)
        sent = time.monotonic()
        out, err = p.communicate(timeout=60)
        assert time.monotonic() - sent < 10, "slow to stop"
        check_sane(p.returncode, err.decode())
        equal(p.returncode, code, err.decode())
        equal(out, b"", "stdout")
        step = int(re.search(r"after step (\d+)", err.decode()).group(1))
        contains(err.decode(), "--resume")
        equal(last_step()[1], step, "step of the checkpoint")
        assert not os.path.exists(path("runs/res/result.json"))
        no_temporary_files("runs/res")
        run("train", EXPERIMENT, "--resume")
        check_products()


@test("run.max_minutes: exit 75 with a checkpoint; again and again until done")
def _():
    limit = "run.max_minutes=%.6f" % (DURATION / 60 / 8)

    def train(*more, **kwargs):
        return run("train", EXPERIMENT, "name=timed", limit, *more, **kwargs)
    r = train(code=75)
    contains(r.err, "run.max_minutes", "--resume")
    for _ in range(500):
        r = train("--resume", code=(0, 75))
        if r.code == 0:
            break
    equal(r.code, 0)
    run("train", EXPERIMENT, "name=untimed", "run.max_minutes=100")
    text = read("runs/timed/metrics.jsonl")
    assert text == WHOLE["metrics.jsonl"] == read("runs/untimed/metrics.jsonl")


def train_in_parts(args, minutes):
    """How many runs it took."""
    shutil.rmtree(path("parts"), ignore_errors=True)
    for runs in range(1, 500):
        more = ["--resume"] if runs > 1 else []
        if run(*args, "run.dir=parts", "run.max_minutes=%.7f" % minutes, *more, code=(0, 75)).code == 0:
            return runs


@test("annealed: stopped in soft and in hard epochs, resumed to the same bytes")
def _():
    for estimator in ("quantization_networks", "ewgs") if SANITIZED else (
            "quantization_networks", "parq", "prox", "ewgs"):
        soft = estimator != "ewgs" # which adapts between epochs, from the state
        args = ["train", EXPERIMENT, "train.epochs=5", "quant.start_epoch=1", "quant.hard_epochs=2",
                "train.early_stopping=%d" % soft, "quant.weights.rounding=nearest_even",
                "quant.weights.delta_epochs=1",
                "quant.weights.estimator=" + estimator]
        run(*args, "run.dir=whole")
        minutes = DURATION / 60 / 12
        while train_in_parts(args, minutes) < 5:
            minutes /= 2
        for n in PRODUCTS[:4]:
            assert read("whole/res", n) == read("parts/res", n), (estimator, n)
        lines = [json.loads(line) for line in read("whole/res/metrics.jsonl").splitlines()]
        equal([line["quantized"] for line in lines], [False, True, True, True, True][:len(lines)])
        assert len(lines) >= 4, "early stopping counts no soft epoch"
        shutil.rmtree(path("whole"))


@test("resuming a finished run changes nothing")
def _():
    before = files_below("runs/res")
    r = run("train", EXPERIMENT, "--resume", "-o", "json")
    after = files_below("runs/res")
    assert r.json()[0]["train_seconds"] > 0
    for name in before:
        assert after[name] == before[name], name


@test("a second training of the same name moves the first aside, whole")
def _():
    before = files_below("runs/res")
    r = run("train", EXPERIMENT)
    contains(r.err, "res.1")
    equal(files_below("runs/res.1"), before)
    check_products()
    run("train", EXPERIMENT, "train.epochs=1", "quant.start_epoch=0")
    assert os.path.isdir(path("runs/res.2"))
    equal(files_below("runs/res.1"), before)
    run("train", EXPERIMENT)
    check_products()


@test("--resume without an earlier run just trains")
def _():
    shutil.rmtree(path("runs/res"))
    run("train", EXPERIMENT, "--resume")
    check_products()


@test("--resume after the experiment changed is refused, and nothing is touched")
def _():
    before = files_below("runs/res")
    for change in ("train.learning_rate=1e-2", "model.init=xavier", "seed=9", "quant=null",
                   "quant.weights.bits=2", "train.epochs=8"):
        r = run("train", EXPERIMENT, change, "--resume", code=2)
        contains(r.err, "another experiment", "--resume")
    r = run("train", EXPERIMENT, "model.layers=[{dense: 4}]", "--resume", code=(2, 4))
    equal(files_below("runs/res"), before)


def damage(name):
    data = bytearray(read("runs/res/checkpoints", name))
    data[len(data) // 2] ^= 0x10
    write("runs/res/checkpoints/" + name, bytes(data))


@test("a damaged last checkpoint: the one before it serves, and it is said")
def _():
    shutil.rmtree(path("runs/res"))
    p = start("train", EXPERIMENT)
    wait_for(lambda: (last_step() or (0, 0))[1] > 120, "no checkpoint came")
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=60)
    equal(p.returncode, 143)
    damage("last.h5")
    r = run("train", EXPERIMENT, "--resume")
    contains(r.err, "last.h5", "previous.h5")
    check_products()


@test("both checkpoints damaged: exit 4, and nothing is overwritten")
def _():
    damage("last.h5")
    damage("previous.h5")
    before = files_below("runs/res")
    r = run("train", EXPERIMENT, "--resume", code=4)
    contains(r.err, "checkpoints/")
    equal(files_below("runs/res"), before)


@test("train.from is not needed any more when a run is resumed")
def _():
    run("train", EXPERIMENT, "name=base", "quant=null", "train.epochs=2")
    args = ["train", EXPERIMENT, "name=tuned", "train.from=runs/base", "train.epochs=3",
            "quant.start_epoch=0"]
    run(*args)
    os.rename(path("runs/base"), path("runs/elsewhere"))
    run(*args, "--resume")
    r = run(*args, code=4)
    contains(r.err, "train.from", "runs/base")
    assert os.path.exists(path("runs/tuned/result.json")), "a refused training moved a run"


main()
