"""Makes the files of this folder: small networks that onnxruntime's own tools quantise.

    pip install onnx==1.23.2 onnxruntime==1.32.0 onnx_ir==1.1.0 sympy==1.14.0
    python make.py

Beside each file `x.onnx`, `x.json` has the weights that its codes stand for, computed here with NumPy from the initialisers
of the file, as base64 of 32-bit floats in the order in which they are stored. `float.onnx` is what was quantised.
"""

import base64
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

folder = pathlib.Path(__file__).parent
random = np.random.default_rng(1)


def weights(name, *shape):
    return numpy_helper.from_array((random.standard_normal(shape) / 4).astype(np.float32), name)


def network():
    """Images go through a convolution, words through an embedding, and both through products of matrices."""
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], "conv", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gather", ["table", "word"], ["w"], "embedding"),
        helper.make_node("Concat", ["f", "w"], ["x"], "concat", axis=1),
        helper.make_node("MatMul", ["x", "fc1.weight"], ["h"], "fc1"),
        helper.make_node("Tanh", ["h"], ["t"], "tanh"),
        helper.make_node("Gemm", ["t", "fc2.weight", "fc2.bias"], ["y"], "fc2", transB=1),
    ]
    tensors = [
        weights("conv.weight", 12, 2, 3, 3),
        weights("conv.bias", 12),
        weights("table", 10, 28),
        weights("fc1.weight", 40, 24),
        weights("fc2.weight", 6, 24),
        weights("fc2.bias", 6),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 6, 6]),
            helper.make_tensor_value_info("word", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = [
            {
                "image": random.standard_normal((1, 2, 6, 6)).astype(np.float32),
                "word": np.array([word], dtype=np.int64),
            }
            for word in range(10)
        ]

    def get_next(self):
        return self.left.pop() if self.left else None


def affine(codes, scale, zero, axis):
    """`(code - zero) * scale`, rounded once, with a scale for all codes or for each index of an axis."""
    if scale.size > 1:
        shape = [1] * codes.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
    return (codes.astype(np.int64) - zero.astype(np.int64)).astype(np.float32) * scale.astype(np.float32)


def unpacked(bytes, bits, count):
    """The first codes of each row, of which the lowest bits come first."""
    per = 8 // bits
    codes = np.stack([(bytes >> (bits * place)) & (2**bits - 1) for place in range(per)], -1)
    return codes.reshape(*bytes.shape[:-1], -1)[..., :count]


def blocks(node, tensors):
    given = {attribute.name: attribute.i for attribute in node.attribute}
    inputs, outputs, bits, size = given["K"], given["N"], given["bits"], given["block_size"]
    count = -(-inputs // size)
    codes = unpacked(tensors[node.input[1]].reshape(outputs, -1), bits, count * size)[:, :inputs].astype(np.int64)
    scales = tensors[node.input[2]].reshape(outputs, count)
    zeros = np.full((outputs, count), 2 ** (bits - 1))
    if len(node.input) > 3 and node.input[3]:
        zeros = unpacked(tensors[node.input[3]].reshape(outputs, -1), bits, count).astype(np.int64)
    block = np.arange(inputs) // size
    return ((codes - zeros[:, block]).astype(np.float32) * scales[:, block]).T


def expected(model):
    """The weights that the codes of a model stand for, by the names of their codes."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    values = {}
    scales = {}
    for node in model.graph.node:
        if node.op_type == "Mul":
            stored = [name for name in node.input if name in tensors]
            if stored:
                scales[node.input[0]] = tensors[stored[0]]
    for node in model.graph.node:
        read = list(node.input)
        if node.op_type == "DequantizeLinear" and (read[0] in tensors or read[0] + "_" in tensors):
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            size = next((a.i for a in node.attribute if a.name == "block_size"), 0)
            codes, scale = tensors[read[0]], tensors[read[1]]
            zero = tensors[read[2]] if len(read) > 2 else np.zeros_like(scale, dtype=np.int64)
            if size:
                repeat = lambda each: np.repeat(each.astype(np.float32), size, axis).take(range(codes.shape[axis]), axis)
                values[read[0]] = (codes.astype(np.float32) - repeat(zero)) * repeat(scale)
            else:
                values[read[0]] = affine(codes, scale, zero, axis)
        elif node.op_type in ("MatMulInteger", "ConvInteger"):
            # The tool names scales after their weights.
            scale = tensors[read[1].replace("_quantized", "_scale")]
            axis = 0 if node.op_type == "ConvInteger" else 1
            values[read[1]] = affine(tensors[read[1]], scale, tensors[read[3]], axis)
        elif node.op_type == "MatMulNBits":
            values[read[1]] = blocks(node, tensors)
        elif node.op_type == "Gather" and read[0].endswith("_quantized"):
            name = read[0].replace("_quantized", "")
            values[read[0]] = affine(tensors[read[0]], tensors[name + "_scale"], tensors[name + "_zero_point"], 0)
    return values


def save(name, model):
    onnx.checker.check_model(model)
    onnx.save(model, folder / f"{name}.onnx")
    values = {
        key: {"shape": list(value.shape), "numbers": base64.b64encode(value.astype("<f4").tobytes()).decode()}
        for key, value in expected(model).items()
    }
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")


original = folder / "float.onnx"
onnx.save(network(), original)
temporary = folder / "temporary.onnx"

for name, options in {
    "dynamic": {},
    "dynamic_per_channel": {"per_channel": True, "weight_type": QuantType.QInt8, "reduce_range": True},
    "dynamic_unsigned": {"weight_type": QuantType.QUInt8},
}.items():
    quantize_dynamic(original, temporary, **options)
    save(name, onnx.load(temporary))

for name, options in {
    "static": {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8},
    "static_per_channel": {"weight_type": QuantType.QInt8, "per_channel": True},
    "static_16_bits": {"weight_type": QuantType.QInt16, "activation_type": QuantType.QUInt16},
}.items():
    quantize_static(original, temporary, Reader(), quant_format=QuantFormat.QDQ, **options)
    save(name, onnx.load(temporary))

quantize_static(original, temporary, Reader(), quant_format=QuantFormat.QOperator)
onnx.save(onnx.load(temporary), folder / "operators.onnx")

for bits, symmetric, size in [(4, True, 32), (4, False, 16), (8, True, 64), (8, False, 128), (4, False, 128)]:
    quantizer = MatMulNBitsQuantizer(onnx.load(original), bits=bits, block_size=size, is_symmetric=symmetric)
    quantizer.process()
    save(f"blocks_{bits}_{'symmetric' if symmetric else 'asymmetric'}_{size}", quantizer.model.model)

config = DefaultWeightOnlyQuantConfig(block_size=16, is_symmetric=False, bits=4, quant_format=QuantFormat.QDQ)
quantizer = MatMulNBitsQuantizer(onnx.load(original), algo_config=config)
quantizer.process()
save("blocks_4_linear", quantizer.model.model)
temporary.unlink()
