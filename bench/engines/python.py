"""Engines in Python: `python.py numpy`, `kthvalue`, `prune` (torch.nn.utils.prune) or `fasterai`.

One line of JSON with a case comes in, one with times and the result's figures goes out, as in serve.mjs.
"""

import json
import os
import sys
import time

import numpy

ENGINE = sys.argv[1]
if ENGINE != "numpy":
    import torch
if ENGINE == "prune":
    from torch.nn.utils import prune
if ENGINE == "fasterai":
    from fasterai.core.criteria import large_final
    from fasterai.sparse.sparsifier import Sparsifier

AXES = {"weight": (), "kernel": (2, 3), "filter": (1, 2, 3)}


def with_numpy(tensors, granularity, context):
    """Threshold by numpy.partition; 2:4 by numpy.argpartition."""
    if granularity == "2:4":
        for weights in tensors:
            out, inputs, *kernel = weights.shape
            fours = weights.reshape(out, inputs // 4, 4, *kernel)
            least = numpy.argpartition(numpy.abs(fours), 1, axis=2)[:, :, :2]
            numpy.put_along_axis(fours, least, 0, axis=2)
        return
    axes = AXES[granularity]
    scores = [numpy.abs(weights).mean(axes, keepdims=True) if axes else numpy.abs(weights) for weights in tensors]

    def cut_of(scores):
        remove = round(scores.size / 2)
        return numpy.partition(scores, remove, axis=None)[remove]

    if context == "global":
        cuts = [cut_of(numpy.concatenate([each.ravel() for each in scores]))] * len(scores)
    else:
        cuts = map(cut_of, scores)
    for weights, own, cut in zip(tensors, scores, cuts):
        if axes:
            weights *= own >= cut
        else:
            weights[own < cut] = 0


def with_kthvalue(tensors, granularity, context):
    """Threshold by torch.kthvalue; 2:4 by torch.topk."""
    tensors = [torch.from_numpy(weights) for weights in tensors]
    if granularity == "2:4":
        for weights in tensors:
            out, inputs, *kernel = weights.shape
            fours = weights.view(out, inputs // 4, 4, *kernel)
            least = fours.abs().topk(2, dim=2, largest=False, sorted=False).indices
            fours.scatter_(2, least, 0)
        return
    axes = AXES[granularity]
    scores = [weights.abs().mean(axes, keepdim=True) if axes else weights.abs() for weights in tensors]
    cut_of = lambda scores: scores.kthvalue(round(scores.numel() / 2)).values
    if context == "global":
        cuts = [cut_of(torch.cat([each.flatten() for each in scores]))] * len(scores)
    else:
        cuts = [cut_of(each.flatten()) for each in scores]
    for weights, own, cut in zip(tensors, scores, cuts):
        weights.masked_fill_(own <= cut, 0)


def with_prune(layers, granularity, context):
    """l1_unstructured, global_unstructured, or ln_structured for filters."""
    if context == "global":
        prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.5)
        return
    for layer in layers:
        if granularity == "filter":
            prune.ln_structured(layer, "weight", amount=0.5, n=1, dim=0)
        else:
            prune.l1_unstructured(layer, "weight", amount=0.5)


def convolution(weights):
    out, inputs, *kernel = weights.shape
    layer = torch.nn.Conv2d(inputs, out, kernel, bias=False, device="meta")
    layer.weight = torch.nn.Parameter(torch.from_numpy(weights))
    return layer


def answer(request):
    granularity, context = request["granularity"], request["context"]
    weights = numpy.fromfile(request["file"], numpy.float32)
    ends = numpy.cumsum([numpy.prod(shape) for shape in request["shapes"]])
    tensors = [part.reshape(shape) for part, shape in zip(numpy.split(weights, ends[:-1]), request["shapes"])]
    layers = [convolution(each) for each in tensors] if ENGINE in ("prune", "fasterai") else []
    reset_peak()
    if ENGINE == "fasterai":
        model = torch.nn.Sequential(*layers)
        pattern = granularity == "2:4"
        # It copies all weights here, which is not counted.
        sparsifier = Sparsifier(model, "weight" if pattern else granularity, context, large_final, nm=pattern)
        work = lambda: sparsifier.sparsify_model(0.5)
    else:
        engine = {"numpy": with_numpy, "kthvalue": with_kthvalue, "prune": with_prune}[ENGINE]
        work = lambda: engine(layers or tensors, granularity, context)
    begun = time.perf_counter()
    work()
    spent = 1000 * (time.perf_counter() - begun)
    peak = peak_memory()
    results = [layer.weight.detach().numpy() for layer in layers] or tensors
    figures = {
        "zeros": sum(each.size - int(numpy.count_nonzero(each)) for each in results),
        "left": sum(float(numpy.abs(each).sum(dtype=numpy.float64)) for each in results),
    }
    if ENGINE == "fasterai":
        figures["units"] = sum(int((layer._mask == 0).sum()) for layer in layers)
    return {"engine": spent, "copyIn": 0, "copyOut": 0, "whole": spent, "peakMemory": peak, **figures}


def reset_peak():
    """Linux forgets the peak so far when asked to, and no other system tells it."""
    if sys.platform == "linux":
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def peak_memory():
    """The most memory of this process since then, in bytes, its weights included."""
    if sys.platform != "linux":
        return None
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


# What libraries print must not get between the answers.
answers, sys.stdout = sys.stdout, open(os.devnull, "w")
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
