"""Exported C code, compiled and run: on the host by two compilers with 64 and 32 bits and under
sanitizers, on emulated microcontrollers, and on a machine with the other byte order. Each output is
compared with the integer engine's, bit for bit.

usage: test_c.py HALFTONE WRITE_CODE EXAMPLES
"""
import csv
import gzip
import io
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
sys.dont_write_bytecode = True

from harness import (Skip, contains, equal, experiment, folder, idx, idx_images, main,  # noqa: E402
                     no_temporary_files, path, read, run, test, write)

WRITE_CODE, EXAMPLES = (os.path.abspath(a) for a in sys.argv[2:4])
DATA = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
IMAGES = 200
WIDE = ["m%d" % i for i in range(1000, 1024)]  # for inner loops of the processors that have them
FIRST, MODELS = 75, 40  # seeds by which all 38 pairs of grid and width occur
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
OPTIONS = ("SELFTEST", "BYTE_INPUT", "FLOAT_INPUT", "FLOAT_OUTPUT")


def execute(command, cwd=None, timeout=300):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd,
                       timeout=timeout, check=False)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def tool(*names):
    """The command's words; skips the test when it is missing."""
    if not shutil.which(names[0]):
        raise Skip("no %s: tools/install-packages check" % names[0])
    return list(names)


def build(command, source, binary, more=()):
    code, out = execute(command + STRICT + ["-I", os.path.join(HERE, "c"), "-o", binary, source]
                        + list(more), cwd=os.path.dirname(source))
    if code:
        raise AssertionError("%s does not compile:\n%s" % (source, out[:3000]))
    return binary


def check_run(command, least):
    """Runs a program of c/check.h; at least so many numbers were compared, all equal."""
    code, out = execute(command)
    found = re.search(r"(\d+) compared, (\d+) differ", out)
    if not found:
        raise AssertionError("%s: exit code %d\n%s" % (command, code, out[-2000:]))
    equal(int(found.group(2)), 0, "numbers that differ")
    equal(code, 0, "exit code")
    assert int(found.group(1)) >= least, out


def program(name, folders, runs, more=()):
    """A C file that includes networks and their checks, and runs them all."""
    lines = ['#include "check.h"'] + list(more)
    for net, where in folders:
        lines += ["#define HT_%s_%s" % (net.upper(), option) for option in OPTIONS]
        lines += ['#include "%s/%s.c"' % (where, net), '#include "%s/%s.check.c"' % (where, net)]
    lines += ["extern int puts(const char *s);", "int main(void)", "{", "    char text[64];"]
    lines += ["    %s;" % r for r in runs]
    lines += ["    puts(result(text));", "    return differ != 0u;", "}", ""]
    return write(name, "\n".join(lines))


def random_networks():
    """The folder of C files, once."""
    if not os.path.exists(path("random")):
        p = subprocess.run([WRITE_CODE, folder("random"), str(FIRST), str(MODELS), "8"],
                           stdout=subprocess.PIPE, check=True)
        write("random/layers.txt", p.stdout)
        subprocess.run([WRITE_CODE, path("random"), WIDE[0][1:], str(len(WIDE)), "4"],
                       stdout=subprocess.DEVNULL, check=True)
    return path("random")


def random_program(count=MODELS):
    names = ["m%d" % i for i in range(FIRST, FIRST + count)]
    random_networks()
    return program("random/all%d.c" % count, [(n, ".") for n in names], ["RUN_" + n for n in names])


EXPERIMENT = """name: %s
seed: 1
data: {name: fashion-mnist}
model: {layers: [%s{dense: 10}]}
quant:
  weights: {bits: %d, grid: narrow, range: learned, estimator: lsq, granularity: channel}
  activations: {range: learned, estimator: lsq}
train: {epochs: 1, batch: 128}
run: {dir: runs}
"""
HIDDEN = "{dense: %d}, batchnorm, %s, "
TRAINED = {"two": (2, HIDDEN % (64, "relu") + HIDDEN % (64, "relu")),
           "eight": (8, HIDDEN % (16, "tanh"))}


def numbers(values):
    return "{%s}" % ",".join(str(v) for v in values)


def float_bits(text):
    import struct
    return struct.unpack("<i", struct.pack("<f", float(text)))[0]


def trained_networks():
    """Fashion-MNIST by networks of TRAINED: C code and checks with real test images, once."""
    if not os.path.exists(DATA):
        raise Skip("no Fashion-MNIST here: tools/install-packages check")
    if os.path.exists(path("trained")):
        return
    with gzip.open(DATA) as f:
        pixels = f.read()[16:16 + IMAGES * 784]
    idx("some-images", (IMAGES, 28, 28), pixels)
    write("trained/images.h", "static const uint8_t images[] = %s;\n" % numbers(pixels))
    for name, (bits, hidden) in TRAINED.items():
        write(name + ".yaml", EXPERIMENT % (name, hidden, bits))
        run("train", name + ".yaml", "--quiet")
        run("export", "runs/" + name, "--to", "c", "--prefix", name, "--out", "trained", "-q")
        shown = run("predict", "runs/%s/model.h5" % name, "some-images", "-o", "csv").out
        rows = list(csv.DictReader(io.StringIO(shown)))
        equal(len(rows), IMAGES)
        outputs = [float_bits(r["output_%d" % j]) for r in rows for j in range(10)]
        write("trained/%s.check.c" % name,
              "#define CLASSIFY_%s(out) %s_classify(out)\nDEFINE_CHECK(%s, %s)\n"
              "static const int32_t %s_expected[] = %s;\nstatic const int32_t %s_class[] = %s;\n"
              % (name, name, name, name.upper(), name, numbers(outputs), name,
                 numbers(r["class"] for r in rows)))


def target_program(count, wide=False):
    """Both trained networks on real images, and some random ones."""
    trained_networks()
    random_networks()
    names = ["m%d" % i for i in range(FIRST, FIRST + count)] + (WIDE if wide else [])
    return program("target%d%s.c" % (count, "-wide" if wide else ""),
                   [(n, "trained") for n in TRAINED] + [(n, "random") for n in names],
                   ["check_%s(%du, 0, images, %s_expected, %s_class)" % (n, IMAGES, n, n)
                    for n in TRAINED] + ["RUN_" + n for n in names],
                   ['#include "trained/images.h"'])


LEAST = 2 * IMAGES * 12


# --- hosts ---

@test("random networks have every grid, width, granularity and rounding")
def _():
    random_networks()
    layers = read("random", "layers.txt").decode()
    kinds = {" ".join(line.split()[:2]) for line in layers.splitlines()}
    equal({k.split()[1] for k in kinds}, set("12345678"), "widths")
    equal({k.split()[0] for k in kinds},
          {"full", "narrow", "affine", "binary", "zero_free", "pow2", "pow2_zero_free", "apot",
           "ternary", "codebook"}, "grids")
    assert len(kinds) >= 36, kinds
    contains(layers, "groups", "channels", "table", "sums", "odd", "floor", "nearest")


def host(command):
    check_run([build(command, random_program(), path("random.exe"))], 10000)


@test("random networks by gcc, 64 bits")
def _():
    host(tool("gcc", "-O1"))


@test("random networks by clang, with its sanitizers")
def _():
    host(tool("clang", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"))


@test("random networks by gcc, 32 bits")
def _():
    host(tool("i686-linux-gnu-gcc", "-O1", "-static"))


@test("random networks by clang, 32 bits")
def _():
    tool("i686-linux-gnu-gcc")
    host(tool("clang", "--target=i686-linux-gnu", "-msse2", "-O1", "-static"))


@test("random and trained networks on a machine of the other byte order (s390x)")
def _():
    emulator = tool("qemu-s390x")
    binary = build(tool("s390x-linux-gnu-gcc", "-static", "-O1"), target_program(6),
                   path("s390x.exe"))
    check_run(emulator + [binary], LEAST)


# --- microcontrollers ---

# The M4, M7 and M33 run inner loops for pairs, the M55 those for vectors; the others the plain ones.
BOARDS = {  # board, start and size of flash and RAM, random networks that fit beside the images
    "cortex-m0": ("microbit", 0, 0x40000, 0x20000000, 0x4000, 4),
    "cortex-m3": ("mps2-an385", 0, 0x400000, 0x20000000, 0x400000, 6),
    "cortex-m4": ("mps2-an386", 0, 0x400000, 0x20000000, 0x400000, 6),
    "cortex-m7": ("mps2-an500", 0, 0x400000, 0x20000000, 0x400000, 6),
    "cortex-m33": ("mps2-an505", 0x10000000, 0x400000, 0x38000000, 0x400000, 6),
    "cortex-m55": ("mps3-an547", 0, 0x80000, 0x20000000, 0x80000, 6),
}


def arm_compiler(core):
    _, flash, flash_size, ram, ram_size, _ = BOARDS[core]
    script = write(core + ".ld", "__flash = %d; __flash_size = %d; __ram = %d; __ram_size = %d;\n"
                   "__stack_size = 2048;\nINCLUDE picolibc.ld\n" % (flash, flash_size, ram, ram_size))
    floats = ["-mfloat-abi=hard"] if core == "cortex-m55" else []  # vectors come with it
    return tool("arm-none-eabi-gcc", "--specs=picolibc.specs", "-mcpu=" + core, *floats, "-mthumb",
                "-Os",
                "-T", script, "--oslib=semihost", "--crt0=hosted")


def arm_emulator(core, binary):
    return tool("qemu-system-arm", "-M", BOARDS[core][0], "-nographic", "-monitor", "none",
                "-serial", "null", "-semihosting-config", "enable=on,target=native", "-kernel",
                binary)


for _core in BOARDS:
    @test("%d real images and random networks on an emulated %s" % (IMAGES, _core))
    def _(core=_core):
        tool("qemu-system-arm")
        source = target_program(BOARDS[core][5], core in ("cortex-m4", "cortex-m55"))
        binary = build(arm_compiler(core), source, path(core + ".elf"))
        check_run(arm_emulator(core, binary), LEAST)


for _bits, _abi in ((32, "ilp32"), (64, "lp64")):
    @test("%d real images and random networks on an emulated RISC-V, rv%dimac" % (IMAGES, _bits))
    def _(bits=_bits, abi=_abi):
        emulator = tool("qemu-riscv%d" % bits)
        command = tool("riscv64-unknown-elf-gcc", "-march=rv%dimac" % bits, "-mabi=" + abi,
                       "-mcmodel=medany", "-Os", "-ffreestanding", "-nostdlib", "-static")
        binary = build(command, target_program(6), path("riscv%d.elf" % bits),
                       ["-lgcc"] + [os.path.join(HERE, "c", "start_riscv.c"), "-lgcc"])
        check_run(emulator + [binary], LEAST)


@test("%d real images and random networks on an emulated aarch64" % IMAGES)
def _():
    emulator = tool("qemu-aarch64")
    binary = build(tool("aarch64-linux-gnu-gcc", "-static", "-O2"), target_program(6),
                   path("aarch64.exe"))
    check_run(emulator + [binary], LEAST)


# --- what is in the code ---

@test("without options, and with each of them alone, nothing is left unused")
def _():
    compiler = tool("gcc") + STRICT + ["-c", "-o", "options.o"]
    random_networks()
    for option in ("NONE",) + OPTIONS:
        names = ["m%d" % i for i in range(FIRST, FIRST + MODELS, 1 if option == "NONE" else 3)]
        write("random/options.c", "".join("#define HT_%s_%s\n#include \"%s.c\"\n"
                                          % (n.upper(), option, n) for n in names))
        equal(execute(compiler + ["options.c"], cwd=path("random")), (0, ""), option)


@test("784-64-64-10 with 2 bits: less than 16 KiB of a Cortex-M4's flash, no float, no library")
def _():
    compiler, size, names = (tool("arm-none-eabi-" + t)[0] for t in ("gcc", "size", "nm"))
    trained_networks()
    for core in ("cortex-m0", "cortex-m4"):
        code, out = execute([compiler, "-mcpu=" + core, "-mthumb", "-Os", "-ffreestanding", "-c",
                             "two.c", "-o", core + ".o"] + STRICT, cwd=path("trained"))
        equal((code, out), (0, ""))
        _, out = execute([size, core + ".o"], cwd=path("trained"))
        text, data, bss = (int(v) for v in out.splitlines()[1].split()[:3])
        assert text < 16384 and data == 0 and bss == 0, out
        _, out = execute([names, "-u", core + ".o"], cwd=path("trained"))
        needed = set(out.replace("U", "").split())
        # Products and shifts of 64 bits, where the core has none.
        equal(needed - {"__aeabi_lmul", "__aeabi_llsl", "__aeabi_llsr"}, set())
        if core == "cortex-m4":
            equal(needed, set())
    header = read("trained", "two.h").decode()
    contains(header, "#define HT_TWO_ARENA_BYTES 128u", "#define HT_TWO_MACS 54912u",
             "#define HT_TWO_FLASH_BYTES 14832u", "image bytes as they are")


def listed_deviations():
    with open(os.path.join(HERE, "..", "..", "docs", "c-export.md"), encoding="utf-8") as f:
        return set(re.findall(r"^\| (\d+\.\d+) \|", f.read(), re.MULTILINE))


@test("MISRA C:2012, as cppcheck sees it: no rule is broken that docs/c-export.md does not list")
def _():
    checker = tool("cppcheck", "--addon=misra", "--std=c99", "-q")
    random_networks()
    found = set()
    for name in ("m%d" % i for i in range(FIRST, FIRST + 3)):
        options = ["-DHT_%s_%s" % (name.upper(), o) for o in OPTIONS]
        _, out = execute(checker + options + [name + ".c"], cwd=path("random"))
        found |= set(re.findall(r"misra-c2012-([0-9.]+)", out))
    assert "2.5" in found, "the checker said nothing"
    equal(found - listed_deviations(), set(), "rules that are broken")


@test("the example for a Cortex-M4 prints the classes that the engine gives")
def _():
    tool("arm-none-eabi-gcc"), tool("qemu-system-arm")
    make = tool("make", "-s", "-C")
    trained_networks()
    shutil.copytree(os.path.join(EXAMPLES, "cortex-m4"), path("example"))
    run("export", "runs/two", "--to", "c", "--out", "example/net", "-q")
    shutil.copy(path("some-images"), path("example", "some"))
    code, out = execute(make + [path("example"), "IMAGES=some", "run"])
    names = [r["name"] for r in csv.DictReader(io.StringIO(
        run("predict", "runs/two/model.h5", "some-images", "-o", "csv").out))]
    equal((code, out.splitlines()[-IMAGES:]), (0, names))


# --- the command ---

def small(name="small"):
    if not os.path.exists(path("images.yaml")):
        idx_images("images", n=300, test=80)
    e = experiment(name, "images.yaml", "[{dense: 12}, relu, {dense: 4}]", train="{epochs: 1}")
    if not os.path.exists(path("runs", name)):
        run("train", e, "--quiet")
    return "runs/" + name


@test("export --to c: the line about parity, the costs, equal bytes")
def _():
    r = run("export", small(), "--to", "c", "-o", "json")
    row = r.json()[0]
    equal((row["format"], row["file"], row["samples"], row["mismatched_outputs"]),
          ("c", "small-c", 80, 0))
    equal((row["flash_bytes"], row["multiplies"]),
          (12 * 64 // 2 + 12 * 8 + 4 * 12 // 2 + 4 * 8, 12 * 64 + 12 + 12 * 4))
    contains(r.err, "float32", "dense1", "all")
    equal(sorted(os.listdir(path("small-c"))), ["net.c", "net.h"])
    run("export", "runs/small", "--to", "c", "--out", "a/b/again", "-q")
    for name in ("net.c", "net.h"):
        equal(read("small-c", name), read("a/b/again", name), "equal bytes")
    no_temporary_files("a")


@test("export --to c: refusals are exit 2, and nothing is written")
def _():
    source = small()
    contains(run("export", source, "--to", "c", "--input", "u8", code=2).err, "--input")
    contains(run("export", source, "--to", "onnx", "--prefix", "a", code=2).err, "--prefix")
    contains(run("export", source, "--to", "c", "--prefix", "A", code=2).err, "lower case")
    write("mine/net.c", "int mine;\n")
    contains(run("export", source, "--to", "c", "--out", "mine", code=2).err, "mine/net.c was not")
    equal(os.listdir(path("mine")), ["net.c"])
    e = experiment("rows", "images.yaml", "[{dense: 12}, relu, {dense: 4}]",
                   quant="{weights: {bits: 8}, activations: {range: dynamic}}", train="{epochs: 1}")
    run("train", e, "--quiet")
    r = run("export", "runs/rows", "--to", "c", "--out", "none", code=2)
    contains(r.err, "layer dense1: its mode is dynamic")
    assert not os.path.exists(path("none"))


@test("header and source of two exports do not compile together")
def _():
    compiler = tool("gcc")
    other = experiment("other", "images.yaml", "[{dense: 12}, relu, {dense: 4}]", seed=2,
                       train="{epochs: 1}")
    small()
    run("train", other, "--quiet")
    for name in ("small", "other"):
        run("export", "runs/" + name, "--to", "c", "--out", "mixed-" + name, "-q")
    equal(execute(compiler + ["-c", "net.c"], cwd=path("mixed-small"))[0], 0)
    shutil.copy(path("mixed-other", "net.h"), path("mixed-small"))
    code, out = execute(compiler + ["-c", "net.c"], cwd=path("mixed-small"))
    assert code != 0
    contains(out, "of two exports")


main()
