"""What bench/recovery.mjs compares with, in Python: onnxsim's Wanda and SparseGPT, and SparseGPT in numpy.

A line of JSON with a request comes in: the method, the sparsity (0 to 1), the paths of the model and of the new one, and
the inputs, each with its name, shape and path. A line goes out: the seconds from a model in memory to a pruned one in
memory, calibration included, and the zeros. onnxsim prunes depthwise convolutions as well. A second file has their dense
weights again, since each layer is pruned by itself.
"""

import json
import os
import sys
import time

import numpy
import onnx
import onnxruntime
import onnxsim
from onnx import numpy_helper

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from initializers import with_initializers


def weights_of(model):
    return {tensor.name: tensor for tensor in model.graph.initializer}


def layers_of(model):
    """Each convolution and product with a matrix: its node, weight, and whether it is a depthwise convolution."""
    weights = weights_of(model)
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul") and node.input[1] in weights:
            weight = weights[node.input[1]]
            yield node, weight, attributes_of(node).get("group", 1) > 1 and weight.dims[1] == 1


def attributes_of(node):
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def rows_of(node, weight, value):
    """The inputs of a layer as rows, one for each position of its output."""
    if node.op_type == "MatMul":
        return value.reshape(-1, value.shape[-1])
    given = attributes_of(node)
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    padded = numpy.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)))
    (down, along), (high, wide) = given.get("dilations", (1, 1)), weight.dims[2:]
    windows = numpy.lib.stride_tricks.sliding_window_view(
        padded, ((high - 1) * down + 1, (wide - 1) * along + 1), axis=(2, 3)
    )
    strides = given.get("strides", (1, 1))
    windows = windows[:, :, :: strides[0], :: strides[1], ::down, ::along]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, padded.shape[1] * high * wide)


def moments_of(model, batches):
    """X'X / n of each layer that is not depthwise, by the name of its weight."""
    layers = [(node, weight) for node, weight, is_depthwise in layers_of(model) if not is_depthwise]
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    given = {each.name for each in model.graph.input}
    names = sorted({node.input[0] for node, _ in layers} - given)
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    sums, counts = {}, {}
    for batch in batches:
        values = {**batch, **dict(zip(names, session.run(names, batch)))}
        for node, weight in layers:
            rows = rows_of(node, weight, values[node.input[0]])
            sums[weight.name] = sums.get(weight.name, 0) + (rows.T @ rows).astype(numpy.float64)
            counts[weight.name] = counts.get(weight.name, 0) + len(rows)
    return {name: total / counts[name] for name, total in sums.items()}


def sparsegpt(weights, moment, sparsity, by_row, block=128, dampening=0.01):
    """Frantar, Alistarh 2023, algorithm 1, on weights [out, columns].

    The mask is chosen in each block of columns: of all its weights together, or of each output by itself.
    """
    weights = weights.astype(numpy.float64)
    hessian = moment.copy()
    dead = numpy.diag(hessian) == 0
    hessian[dead, dead] = 1
    weights[:, dead] = 0
    hessian += dampening * numpy.mean(numpy.diag(hessian)) * numpy.eye(len(hessian))
    # The upper factor U of the inverse, U'U: that of the reversed matrix, so that it is not inverted twice.
    lower = numpy.linalg.cholesky(hessian[::-1, ::-1])
    inverse = numpy.linalg.inv(lower)[::-1, ::-1]
    for first in range(0, len(hessian), block):
        last = min(first + block, len(hessian))
        part, factor = weights[:, first:last], inverse[first:last, first:last]
        scores = (part / numpy.diag(factor)) ** 2
        units = scores if by_row else scores.reshape(1, -1)
        remove = round(sparsity * units.shape[1])
        removed = numpy.zeros(units.shape, bool)
        numpy.put_along_axis(removed, numpy.argpartition(units, remove - 1, axis=1)[:, :remove], True, axis=1)
        removed = removed.reshape(scores.shape)
        errors = numpy.zeros(part.shape)
        for column in range(last - first):
            errors[:, column] = numpy.where(removed[:, column], part[:, column], 0) / factor[column, column]
            part[:, column:] -= numpy.outer(errors[:, column], factor[column, column:])
        part[removed] = 0
        weights[:, last:] -= errors @ inverse[first:last, last:]
    return weights


def with_sparsegpt(model, batches, sparsity, by_row):
    moments = moments_of(model, batches)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node, weight, is_depthwise in layers_of(changed):
        if is_depthwise:
            continue
        dense = numpy_helper.to_array(weight)
        matrix = dense.T if node.op_type == "MatMul" else dense.reshape(len(dense), -1)
        pruned = sparsegpt(matrix, moments[weight.name], sparsity, by_row).astype(numpy.float32)
        pruned = pruned.T if node.op_type == "MatMul" else pruned.reshape(dense.shape)
        weight.CopyFrom(numpy_helper.from_array(numpy.ascontiguousarray(pruned), weight.name))
    return changed


METHODS = {
    "onnxsim Wanda": lambda *given, sparsity: onnxsim.apply_wanda_pruning(*given, sparsity=sparsity),
    "onnxsim SparseGPT": lambda *given, sparsity: onnxsim.apply_sparsegpt_pruning(*given, sparsity=sparsity),
    "SparseGPT in numpy, by layer": lambda *given, sparsity: with_sparsegpt(*given, sparsity, by_row=False),
    "SparseGPT in numpy, by row": lambda *given, sparsity: with_sparsegpt(*given, sparsity, by_row=True),
}


def with_dense_depthwise(model, dense):
    """Puts the dense weights of depthwise convolutions back, in place."""
    weights = weights_of(dense)
    for _, weight, is_depthwise in layers_of(model):
        if is_depthwise:
            weight.CopyFrom(weights[weight.name])
    return model


def zeros_in(model):
    layers = [(numpy_helper.to_array(weight), is_depthwise) for _, weight, is_depthwise in layers_of(model)]
    count = lambda depthwise: sum(int((weight == 0).sum()) for weight, is_depthwise in layers if is_depthwise == depthwise)
    return {"zeros": count(False), "depthwiseZeros": count(True)}


def answer(request):
    dense = with_initializers(onnx.load(request["model"]))
    batches = [
        {each["name"]: numpy.fromfile(each["file"], numpy.float32).reshape(each["shape"])} for each in request["inputs"]
    ]
    begun = time.perf_counter()
    pruned = METHODS[request["method"]](dense, batches, sparsity=request["sparsity"])
    spent = time.perf_counter() - begun
    onnx.save(pruned, request["out"])
    found = zeros_in(pruned)
    if found["depthwiseZeros"] > zeros_in(dense)["depthwiseZeros"]:
        onnx.save(with_dense_depthwise(pruned, dense), request["denseDepthwise"])
    return {"seconds": spent, **found}


# What libraries print must not get between the answers.
answers, sys.stdout = sys.stdout, open(os.devnull, "w")
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
