"""Peak memory: the data once, and not much beside it."""
import os
import resource
import subprocess

from harness import *

MIB = 1 << 20
SIDE, SAMPLES, TEST = 64, 12000, 600  # 49 MiB of images


def peak(*args):
    """Peak resident bytes of one run; -1 under a sanitizer, whose shadow memory counts too."""
    script = ("import resource, subprocess, sys\n"
              "p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)\n"
              "print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
              "sys.stderr.buffer.write(p.stderr)\n")
    done = subprocess.run([sys.executable, "-S", "-c", script, COMMAND] + list(args), cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
                          timeout=280)
    code, kib = done.stdout.split()
    check_sane(int(code), done.stderr.decode())
    equal(int(code), 0, done.stderr.decode()[-2000:])
    return int(kib) * 1024


def sanitized():
    with open(COMMAND, "rb") as f:
        return b"__asan_init" in f.read()


def make_images():
    block = os.urandom(SIDE * SIDE * 100)
    for part, n in (("train", SAMPLES), ("test", TEST)):
        idx("big-%s-images" % part, (n, SIDE, SIDE), (block * (n // 100 + 1))[:n * SIDE * SIDE])
        idx("big-%s-labels" % part, (n,), bytes(i * 7 % 10 for i in range(n)))
    write("big.yaml", "name: big\nformat: idx\ntask: classification\nfiles:\n" + "".join(
        "  - {role: %s_%s, path: big-%s-%s}\n" % (part, role, part, what)
        for part in ("train", "test") for role, what in (("features", "images"),
                                                         ("labels", "labels"))))
    experiment("big-exp", "big.yaml", "[{dense: 8}, batchnorm, relu, {dense: 10}]",
               train="{epochs: 1, batch: 64}")


@test("training on 49 MiB of images stays within the data plus 64 MiB")
def _():
    make_images()
    used = peak("train", "big-exp.yaml", "-q")
    data = (SAMPLES + TEST) * SIDE * SIDE
    print("# %.1f MiB for %.1f MiB of data" % (used / MIB, data / MIB))
    if sanitized():
        raise Skip("a sanitizer's own memory counts too")
    assert used < data + 64 * MIB, "%.1f MiB" % (used / MIB)


@test("help and version need little memory and no data")
def _():
    if sanitized():
        raise Skip("a sanitizer's own memory counts too")
    for args in (["--help"], ["--version"], ["train", "--help"]):
        assert peak(*args) < 32 * MIB, args


main()
