"""The three parts of bench/run: what is measured, beside what, and which ratios come out."""
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import Failed, Worker, measure
from tables import Column

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"  # the one that packages of the system install for
FEATURES, CLASSES = 784, 10
QUIET = 0.1  # others may use this share of the processors


def say(message):
    print(message, file=sys.stderr, flush=True)


class Part:
    """rows are the result; about says what was measured."""

    title = ""
    columns = []

    def __init__(self, build, rounds, budget):
        self.programs, self.rounds = Path(build) / "bench", rounds
        self.deadline = time.monotonic() + budget
        self.rows, self.about, self.workers = [], {}, []

    def start(self, name, command, environment=None, needs=""):
        """None, and a word, when it cannot be started."""
        try:
            worker = Worker(command, environment, quiet=bool(needs))
        except Failed as e:
            if not needs:
                raise
            say(f"{name} is left out ({e}); it needs {needs}")
            self.about[name] = "not measured"
            return None
        self.workers.append(worker)
        self.about[name] = worker.about
        return worker

    def ours(self):
        return self.start("halftone", [self.programs / "bench-halftone"])

    def blas(self):
        return self.start("OpenBLAS", [self.programs / "bench-blas"])

    def measure(self, wanted, seconds):
        return measure(wanted, self.rounds, seconds, self.deadline, say)

    def run(self):
        try:
            self.measure_all()
        finally:
            for worker in self.workers:
                worker.end()

    def measure_all(self):
        raise NotImplementedError

    def tables(self):
        """(title, columns, rows) of each table to show."""
        return [(self.title, self.columns, self.rows)]


def cpu_flags():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith(("flags", "Features")):
                return line.split(":", 1)[1].split()
    return []


def busy_share(seconds=0.5):
    """The share of all processors that others use; ours are stopped when this is called."""
    def read():
        with open("/proc/stat", encoding="utf-8") as f:
            times = [int(word) for word in f.readline().split()[1:9]]
        return sum(times), times[3] + times[4]  # all; idle and waiting for a disk
    total, idle = read()
    time.sleep(seconds)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def too_busy(threads):
    """Threads that wait for each other by spinning, on processors that others use, measure the
    scheduler: ratios of a hundred were seen."""
    if threads == 1 or busy_share() < QUIET:
        return False
    say(f"{threads} threads are left out: others use the processors")
    return True


def available_bytes():
    with open("/proc/meminfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return 0


class Kernels(Part):
    title = "Dense layers"
    columns = [
        Column("shape", "M x N x K"),
        Column("int8", "int8 GMAC/s", 0),
        Column("int8_of_peak", "of peak", 2, True),
        Column("int8_to_gemm", "to oneDNN gemm", 2, True),
        Column("int8_to_matmul", "to oneDNN matmul", 2, True),
        Column("int8_to_amx", "to matmul on AMX", 2, True),
        Column("int8_to_sgemm", "to sgemm", 1, True),
        Column("int4_to_int8", "int4 to int8", 2, True),
        Column("int2_to_int8", "int2 to int8", 2, True),
        Column("peak", "peak GMAC/s", 0),
        Column("fma", "float peak GMAC/s", 0),
    ]
    row_columns = [
        Column("shape", "M x N x K"),
        Column("int8", "int8 GMAC/s", 0),
        Column("int8_of_read", "to reading", 2, True),
        Column("int8_to_gemm", "to oneDNN gemm", 2, True),
        Column("int8_to_matmul", "to oneDNN matmul", 2, True),
        Column("int8_to_amx", "to matmul on AMX", 2, True),
        Column("int8_to_sgemm", "to sgemv", 1, True),
        Column("int4_to_int8", "int4 to int8", 2, True),
        Column("int2_to_int8", "int2 to int8", 2, True),
        Column("int1_to_int8", "int1 to int8", 2, True),
        Column("read", "reading GB/s", 0),
    ]
    SIDES = (256, 784, 1024)
    SECONDS = 0.012
    LARGE = 1 << 28  # weights from which on copies of them are counted

    def shapes(self):
        for m in (64, 256):
            yield from ((m, n, k) for n in self.SIDES for k in self.SIDES)
        yield from ((1, 256, 784), (1, 1024, 1024), (1, 4096, 4096))
        if available_bytes() > 9 << 30:
            yield 1, 16384, 32768
        else:
            say("1 x 16384 x 32768 is left out: too little memory")

    def dnnl(self, name, isa):
        # The variable holds for a whole process, so there is one for each setting.
        environment = {"OMP_NUM_THREADS": "1"}
        if isa:
            environment["ONEDNN_MAX_CPU_ISA"] = isa
        return self.start(name, [self.programs / "bench-dnnl"], environment, "libdnnl-dev")

    def measure_all(self):
        ours, blas = self.ours(), self.blas()
        flags = cpu_flags()
        vnni = self.dnnl("oneDNN", "AVX512_CORE_VNNI" if "avx512_vnni" in flags else None)
        amx = self.dnnl("oneDNN, AMX", None) if "amx_int8" in flags else None
        for m, n, k in self.shapes():
            large = n * k >= self.LARGE
            wanted = {f"int{bits}": (ours, ("layer", bits, m, n, k)) for bits in (8, 4, 2, 1)}
            wanted["gemm"] = (vnni, ("gemm", m, n, k))
            wanted["matmul"] = (vnni, ("matmul", m, n, k))
            wanted["amx"] = (amx, ("matmul", m, n, k))
            wanted["sgemm"] = (None if large else blas, ("sgemm", m, n, k))
            wanted["peak"] = (ours, ("peak",))
            wanted["fma"] = (blas, ("fma",))
            wanted["read"] = (blas if m == 1 else None, ("read", n * k))
            self.rows.append(self.row(f"{m} x {n} x {k}", self.measure(wanted, self.SECONDS)))
            say(f"kernels {self.rows[-1]['shape']}")

    def tables(self):
        many = [row for row in self.rows if row["read"] is None]
        one = [row for row in self.rows if row["read"] is not None]
        return [("Dense layers", self.columns, many),
                ("Dense layers on one row", self.row_columns, one)]

    @staticmethod
    def row(shape, r):
        row = {"shape": shape}
        for name in ("int8", "int4", "int2", "int1", "gemm", "matmul", "amx", "sgemm", "peak",
                     "fma", "read"):
            row[name] = r.rate(name)
        for name in ("gemm", "matmul", "amx", "sgemm"):
            row[f"int8_to_{name}"] = r.speed("int8", name)
        for name in ("int4", "int2", "int1"):
            row[f"{name}_to_int8"] = r.speed(name, "int8")
        row["int8_of_peak"] = r.rate_ratio("int8", "peak")
        row["int8_of_read"] = r.rate_ratio("int8", "read") if "read" in r else None
        return row


def layers_of(hidden):
    return [FEATURES, hidden, hidden, hidden, CLASSES]


class Infer(Part):
    title = "Whole networks"
    columns = [
        Column("layers", "network"),
        Column("batch", "batch"),
        Column("threads", "threads"),
        Column("int8", "int8 us", 1),
        Column("ort_int8", "ORT int8 us", 1),
        Column("to_ort", "speed to ORT", 2, True),
        Column("to_ort_net", "less the binding", 2, True),
        Column("int4_to_int8", "int4 to int8", 2, True),
        Column("int2_to_int8", "int2 to int8", 2, True),
        Column("to_one", "int8 to one thread", 2, True),
        Column("ort_float", "ORT float us", 1),
        Column("ort_identity", "binding us", 1),
    ]
    SECONDS = 0.03

    def model(self, kind, widths):
        path = self.programs / f"{kind}-{'-'.join(map(str, widths))}.onnx"
        if not path.exists():
            subprocess.run([PYTHON, HERE / "make_onnx.py", path, kind, ",".join(map(str, widths))],
                           check=True, stderr=subprocess.DEVNULL)
        return path

    def peer(self, threads):
        name = f"ONNX Runtime, {threads} threads" if threads > 1 else "ONNX Runtime"
        try:
            self.model("identity", [CLASSES])
        except (OSError, subprocess.CalledProcessError):
            say("ONNX Runtime is left out: python3-onnx is not here")
            self.about[name] = "not measured"
            return None
        return self.start(name, ["node", HERE / "peer_onnxruntime.js", threads], None,
                          "node and `bench/run --install`")

    def wanted(self, peer, hidden, batch, threads):
        widths = layers_of(hidden)
        products = sum(a * b for a, b in zip(widths, widths[1:]))
        wanted = {f"int{bits}": (self.halftone, ("infer", hidden, bits, batch, threads))
                  for bits in (8, 4, 2)}
        if threads > 1:
            wanted["one"] = (self.halftone, ("infer", hidden, 8, batch, 1))
        if peer:
            for kind in ("int8", "float"):
                path = self.model(kind, widths)
                wanted[f"ort_{kind}"] = (peer, ("infer", path, FEATURES, batch, products))
            path = self.model("identity", [CLASSES])
            wanted["ort_identity"] = (peer, ("infer", path, CLASSES, 1, 0))
        return wanted

    def measure_all(self):
        self.halftone = self.ours()
        for threads in (1, 2):
            if threads > (os.cpu_count() or 1):
                continue
            peer = self.peer(threads)
            for hidden in (256, 1024):
                for batch in (1, 64, 256):
                    if too_busy(threads):
                        continue
                    r = self.measure(self.wanted(peer, hidden, batch, threads), self.SECONDS)
                    self.rows.append(self.row(hidden, batch, threads, r))
                    say(f"infer {self.rows[-1]['layers']} batch {batch} threads {threads}")

    @staticmethod
    def row(hidden, batch, threads, r):
        row = {"layers": "-".join(map(str, layers_of(hidden))), "batch": batch, "threads": threads}
        for name in ("int8", "int4", "int2", "ort_int8", "ort_float", "ort_identity"):
            row[name] = r.microseconds(name)
        row["to_ort"] = r.speed("int8", "ort_int8")
        row["to_ort_net"] = r.of(lambda ours, ort, binding: (ort - binding) / ours, "int8",
                                 "ort_int8", "ort_identity")
        row["int4_to_int8"] = r.speed("int4", "int8")
        row["int2_to_int8"] = r.speed("int2", "int8")
        row["to_one"] = r.speed("int8", "one")
        row["samples_per_s"] = r.rate("int8", 1, batch)
        return row


class Train(Part):
    title = "Training"
    columns = [
        Column("layers", "network"),
        Column("batch", "batch"),
        Column("threads", "threads"),
        Column("float", "float samples/s", 0),
        Column("w8", "w8a8 samples/s", 0),
        Column("w8_to_float", "w8a8 to float", 2, True),
        Column("w4_to_float", "w4a8 to float", 2, True),
        Column("w2_to_float", "w2a8 to float", 2, True),
        Column("float_of_floor", "float to its floor", 2, True),
        Column("float_to_torch", "float to PyTorch", 2, True),
        Column("w8_to_torch", "w8a8 to PyTorch QAT", 2, True),
        Column("torch_cost", "PyTorch: QAT to float", 2, True),
        Column("to_one", "w8a8 to one thread", 2, True),
    ]
    SECONDS = 0.08

    def peer(self, threads):
        name = f"PyTorch, {threads} threads" if threads > 1 else "PyTorch"
        environment = {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
        return self.start(name, [PYTHON, HERE / "peer_torch.py", threads], environment,
                          "python3-torch")

    def measure_all(self):
        ours, blas = self.ours(), self.blas()
        for threads in (1, 2):
            if threads > (os.cpu_count() or 1):
                continue
            torch = self.peer(threads)
            for hidden in (64, 256, 1024):
                for batch in (64, 256):
                    if too_busy(threads):
                        continue
                    wanted = {
                        "float": (ours, ("train", hidden, 32, batch, threads)),
                        "w8": (ours, ("train", hidden, 8, batch, threads)),
                        "w4": (ours, ("train", hidden, 4, batch, threads)),
                        "w2": (ours, ("train", hidden, 2, batch, threads)),
                        # The floor is that of one thread.
                        "floor": (blas if threads == 1 else None, ("floor", hidden, batch, 1)),
                        "sgemm": (blas if threads == 1 else None, ("floor", hidden, batch, 0)),
                        "one": (ours if threads > 1 else None, ("train", hidden, 8, batch, 1)),
                        "torch": (torch, ("train", hidden, 32, batch)),
                        "torch_w8": (torch, ("train", hidden, 8, batch)),
                    }
                    r = self.measure(wanted, self.SECONDS)
                    self.rows.append(self.row(hidden, batch, threads, r))
                    say(f"train {self.rows[-1]['layers']} batch {batch} threads {threads}")

    @staticmethod
    def row(hidden, batch, threads, r):
        row = {"layers": "-".join(map(str, layers_of(hidden))), "batch": batch, "threads": threads}
        for name in ("float", "w8", "w4", "w2", "floor", "sgemm", "torch", "torch_w8"):
            row[name] = r.rate(name, 1, batch)
        for name in ("w8", "w4", "w2"):
            row[f"{name}_to_float"] = r.speed(name, "float")
        row["float_of_floor"] = r.speed("float", "floor")
        row["float_to_torch"] = r.speed("float", "torch")
        row["w8_to_torch"] = r.speed("w8", "torch_w8")
        row["torch_cost"] = r.speed("torch_w8", "torch")
        row["to_one"] = r.speed("w8", "one")
        return row


# Name, class, seconds that it may take: beyond them there are fewer rounds.
PARTS = {"kernels": (Kernels, 120), "infer": (Infer, 120), "train": (Train, 300)}
