"""PyTorch, in the protocol of bench/worker.h: training steps on random data, in float32 and with
the fake quantization of torch.ao, as its documentation writes them.

usage: peer_torch.py THREADS
open train HIDDEN BITS BATCH
"""
import itertools
import sys
import time

import torch
import torch.ao.quantization as quantization
from torch import nn

FEATURES, CLASSES, SAMPLES = 784, 10, 16384
WARM_SHARE = 0.2


def random_data():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (SAMPLES, FEATURES), generator=generator)
    labels = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
    return pixels.float() / 255, labels


def make_float(hidden):
    widths = [FEATURES, hidden, hidden, hidden]
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, CLASSES))


def make_quantized(hidden, bits):
    """Weights symmetric, one scale for each output; activations unsigned bytes."""
    limit = 2 ** (bits - 1) - 1
    fused = quantization.FusedMovingAvgObsFakeQuantize
    config = quantization.QConfig(
        activation=fused.with_args(
            observer=quantization.MovingAverageMinMaxObserver, quant_min=0, quant_max=255,
            dtype=torch.quint8, reduce_range=False),
        weight=fused.with_args(
            observer=quantization.MovingAveragePerChannelMinMaxObserver, quant_min=-limit,
            quant_max=limit, dtype=torch.qint8, qscheme=torch.per_channel_symmetric))
    model = nn.Sequential(quantization.QuantStub(), *make_float(hidden), quantization.DeQuantStub())
    model.train()
    pairs = [[str(i), str(i + 1)] for i, m in enumerate(model)
             if isinstance(m, nn.Linear) and isinstance(model[i + 1], nn.ReLU)]
    model = quantization.fuse_modules_qat(model, pairs)
    model.qconfig = config
    return quantization.prepare_qat(model)


class Training:
    def __init__(self, data, hidden, bits, batch):
        self.pixels, self.labels = data
        self.model = make_float(hidden) if bits == 32 else make_quantized(hidden, bits)
        self.model.train()
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(2))
        self.batches = itertools.cycle(order.split(batch))
        inner = FEATURES * hidden
        self.work = batch * (2 * inner + 3 * (2 * hidden * hidden + hidden * CLASSES))

    def call(self):
        which = next(self.batches)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.model(self.pixels[which]), self.labels[which])
        loss.backward()
        self.optimizer.step()


def call_for(case, seconds):
    started, calls = time.perf_counter(), 0
    while True:
        case.call()
        calls += 1
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            return calls, elapsed


def answer(cases, data, words):
    if words == ["about"]:
        return f"ok PyTorch {torch.__version__}"
    if words[:2] == ["open", "train"] and len(words) == 5:
        case = Training(data, *map(int, words[2:]))
        number = max(cases, default=-1) + 1
        cases[number] = case
        return f"ok {number} {case.work}"
    if words[:1] == ["run"]:
        case, seconds = cases[int(words[1])], float(words[2])
        call_for(case, WARM_SHARE * seconds)
        return "ok %d %.9f" % call_for(case, seconds)
    if words[:1] == ["close"]:
        del cases[int(words[1])]
        return "ok"
    return "error not understood: " + " ".join(words)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    data, cases = random_data(), {}
    for line in sys.stdin:
        print(answer(cases, data, line.split()), flush=True)


main()
