"""bench train, and the script that measures beside other programs."""
import json
import os
import subprocess
import sys
import time

from harness import *

sys.dont_write_bytecode = True
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(SOURCE, "bench")
sys.path.insert(0, BENCH)

import measure  # noqa: E402
import tables  # noqa: E402


@test("bench train measures each shape at each width, float32 beside the others")
def _():
    rows = json.loads(run("bench", "train", "--rounds", "1", "-o", "json", timeout=300).out)
    seen = [(r["layers"], r["bits"], r["batch"], r["threads"]) for r in rows]
    equal(len(set(seen)), len(seen))
    for hidden in (64, 256, 1024):
        for batch in (64, 256):
            for bits in (32, 8, 4, 2):
                layers = "784-%d-%d-%d-10" % (hidden, hidden, hidden)
                assert (layers, bits, batch, 1) in seen, (layers, bits, batch)
    for r in rows:
        widths = [int(w) for w in r["layers"].split("-")]
        products = [a * b for a, b in zip(widths, widths[1:])]
        step = r["batch"] * (3 * sum(products) - products[0])
        assert r["rounds"] == 1 and r["isa"], r
        assert abs(r["samples_per_s"] * r["us_per_step"] / (1e6 * r["batch"]) - 1) < 1e-9, r
        assert abs(r["gmac_per_s"] * r["us_per_step"] * 1e3 / step - 1) < 1e-9, r
        assert r["speed_to_float_low"] == r["speed_to_float"] == r["speed_to_float_high"] > 0, r
        assert r["bits"] < 32 or r["threads"] > 1 or r["speed_to_float"] == 1, r


@test("--rounds is for bench train, and a whole number")
def _():
    contains(run("bench", "train", "--rounds", "0", code=2).err, "--rounds", "1 to")
    contains(run("bench", "infer", "--rounds", "3", code=2).err, "--rounds", "bench train")


@test("bench/run has help, and knows its parts")
def _():
    def bench(*args):
        return subprocess.run([sys.executable, os.path.join(BENCH, "run"), *args], text=True,
                              capture_output=True, timeout=60)
    p = bench("--help")
    equal((p.returncode, p.stderr), (0, ""))
    contains(p.stdout, "kernels", "infer", "train", "--install", "--docs", "--json")
    p = bench("kernel")
    equal((p.returncode, p.stdout), (2, ""))
    contains(p.stderr, "no such part", "kernels")


# Answers from a script instead of measuring: the n-th run takes `times[n]` seconds a call.
FAKE = """
import sys
times = [float(t) for t in sys.argv[1:]]
for line in sys.stdin:
    words = line.split()
    if words[0] == 'open' and words[1] == 'nothing':
        print('error there is no such thing', flush=True)
    elif words[0] == 'run':
        print('ok 10', 10 * times.pop(0), flush=True)
    else:
        print('ok', '0 500' if words[0] == 'open' else 'fake', flush=True)
"""


def fake(*times):
    return measure.Worker([sys.executable, "-c", FAKE, *times])


@test("ratios are taken within rounds, and what cannot be opened is left out")
def _():
    fast, slow, said = fake(1, 2, 3), fake(2, 8, 9), []
    equal(fast.about, "fake")
    r = measure.measure({"fast": (fast, ("it",)), "slow": (slow, ("it",)),
                         "gone": (fast, ("nothing",)), "absent": (None, ())}, 3, 0.1,
                        time.monotonic() + 60, said.append)
    fast.end()
    slow.end()
    equal(said, ["gone: left out: there is no such thing"])
    speed = r.speed("fast", "slow")  # rounds give 2, 4, 3
    equal((speed.low, speed.median, speed.high, speed.n), (2.5, 3, 3.5, 3))
    equal(r.speed("gone", "slow"), None)
    equal(r.rate("fast", 1).median, 250)
    equal(r.microseconds("slow").median, 8e6)


@test("a program that is not there, or ends, is a failure with a reason")
def _():
    for command in (["/nowhere/at-all"], [sys.executable, "-c", "pass"]):
        try:
            measure.Worker(command)
        except measure.Failed as e:
            assert str(e), command
        else:
            raise AssertionError(command)


@test("tables leave out columns that hold nothing")
def _():
    columns = [tables.Column("name", "name"), tables.Column("x", "times", 1, True),
               tables.Column("y", "other", 0)]
    rows = [{"name": "a", "x": measure.Summary([3, 4, 5]), "y": None}, {"name": "b"}]
    equal(tables.text(columns, rows), "name           times\n----  --------------\n"
          "a     4.0 (3.5..4.5)\nb                  -")
    equal(tables.markdown(columns, rows),
          "| name | times |\n| :-- | --: |\n| a | 4.0 (3.5..4.5) |\n| b | - |")
    equal(tables.plain(rows)[0]["x"], {"median": 4, "low": 3.5, "high": 4.5, "n": 3})
    equal(columns[1].show(measure.Summary([1, 4, 9])), "unsteady (2.5..6.5)")


main()
