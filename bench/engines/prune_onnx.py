"""The shortest way with onnx and numpy: `prune_onnx.py model.onnx sparse.onnx` zeroes half of each convolution."""

import sys

import numpy
import onnx

model = onnx.load(sys.argv[1])
convolutions = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
for tensor in model.graph.initializer:
    if tensor.name in convolutions:
        weights = onnx.numpy_helper.to_array(tensor).copy()
        magnitudes = numpy.abs(weights)
        remove = round(weights.size / 2)
        weights[magnitudes < numpy.partition(magnitudes, remove, axis=None)[remove]] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
onnx.save(model, sys.argv[2])
