import type { Anatomy } from '../../formats/anatomy.js';

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** ONNX operators that run on the GPU in the WebGPU build of onnxruntime-web, for inputs of type float32. */
export const onGpu = words(`
  Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Conv
  ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor GRU Gather
  GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish
  Identity InstanceNormalization LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LpNormalization MatMul Max MaxPool
  Min Mul Neg Not PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
  ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ScatterElements ScatterND Shape Sigmoid Sin Sinh Slice
  Softmax Softplus Split Sqrt Squeeze Sub Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where
  com.microsoft.MatMulNBits`);

/** ONNX operators that this build has only on the CPU, so that their inputs and outputs are copied. */
export const onCpu = words(`
  Celu ConstantOfShape ConvInteger Det DynamicQuantizeLinear GlobalLpPool GroupNormalization Hardmax IsInf IsNaN
  LRN LogSoftmax LpPool MatMulInteger Mean MeanVarianceNormalization Mod NonMaxSuppression NonZero OneHot Or QLinearConv
  QLinearMatMul QuantizeLinear RNN RoiAlign Round Selu Shrink Sign Size Softsign SpaceToDepth Sum Upsample Xor
  com.microsoft.DynamicQuantizeMatMul`);

/** Layers that TensorFlow.js itself has, without those of its addons. */
export const kerasLayers = words(`
  Activation Add AlphaDropout Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
  CategoryEncoding CenterCrop Concatenate Conv1D Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM2D ConvLSTM2DCell
  Cropping2D Dense DepthwiseConv2D Dot Dropout ELU Embedding Flatten Functional GRU GRUCell GaussianDropout GaussianNoise
  GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D InputLayer LSTM LSTMCell
  LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum Model Multiply PReLU Permute
  RNN RandomWidth ReLU RepeatVector Rescaling Reshape Resizing SeparableConv2D Sequential SimpleRNN SimpleRNNCell Softmax
  SpatialDropout1D StackedRNNCells ThresholdedReLU TimeDistributed UpSampling2D ZeroPadding2D`);

/** Operators of TensorFlow graphs that TensorFlow.js runs. Those of decision forests need a package of their own. */
export const tensorFlowOperators = words(`
  Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul
  BatchMatMulV2 BatchToSpaceND BiasAdd Bincount BitwiseAnd BroadcastArgs BroadcastTo Cast Ceil ClipByValue Complex
  ComplexAbs Concat ConcatV2 Const Conv1D Conv2D Conv2DBackpropInput Conv3D Cos Cosh CropAndResize Cumprod Cumsum
  DenseBincount DepthToSpace DepthwiseConv2d DepthwiseConv2dNative Dilation2D Div DivNoNan Einsum Elu EmptyTensorList
  EnsureShape Enter Equal Erf EuclideanNorm Exit Exp ExpandDims Expm1 FFT FakeQuantWithMinMaxVars Fill Floor FloorDiv
  FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedDepthwiseConv2dNative Gather GatherNd GatherV2 Greater
  GreaterEqual HashTable HashTableV2 IFFT IRFFT Identity IdentityN If Imag ImageProjectiveTransformV3 InitializeTable
  InitializeTableV2 IsFinite IsInf IsNan LRN LeakyRelu Less LessEqual LinSpace ListDiff Log Log1p LogSoftmax LogicalAnd
  LogicalNot LogicalOr LookupTableFind LookupTableFindV2 LookupTableImport LookupTableImportV2 LookupTableSize
  LookupTableSizeV2 LoopCond LowerBound MatMul MatrixBandPart Max MaxPool MaxPool3D MaxPoolWithArgmax Maximum Mean Merge
  Min Minimum MirrorPad Mod Mul Multinomial Neg NextIteration NoOp NonMaxSuppressionV2 NonMaxSuppressionV3
  NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot Ones OnesLike Pack Pad PadV2 Placeholder
  PlaceholderWithDefault Pow Prelu Print Prod RFFT RaggedGather RaggedRange RaggedTensorToTensor RandomStandardNormal
  RandomUniform RandomUniformInt Range Rank Real RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear
  ResizeNearestNeighbor Reverse ReverseV2 Round Rsqrt ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh
  Size Slice Snapshot Softmax Softplus SpaceToBatchND SparseFillEmptyRows SparseReshape SparseSegmentMean
  SparseSegmentSum SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze StatelessIf StatelessWhile
  StaticRegexReplace StopGradient StridedSlice StringNGrams StringSplit StringToHashBucketFast Sub Sum Switch Tan Tanh
  TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
  TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TensorListConcat TensorListConcatV2 TensorListFromTensor
  TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
  TensorListResize TensorListScatter TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
  TensorScatterUpdate Tile TopKV2 Transpose TruncatedNormal Unique UniqueV2 Unpack UpperBound Where While Zeros
  ZerosLike _FusedConv2D _FusedMatMul`);

/** Those of them whose kernels, or the ones that they are made of, the WebGL backend has and the wasm backend lacks. */
export const notInTfjsWasm = words(`
  Complex ComplexAbs Einsum FFT IFFT IRFFT Imag RFFT RaggedGather RaggedRange RaggedTensorToTensor Real StaticRegexReplace`);

/** The operators that are known to run, in every runtime of the format. */
const known: Readonly<Record<NonNullable<Anatomy['nodes']>, ReadonlySet<string>>> = {
  // Both are removed while the file is read.
  ONNX: new Set([...onGpu, ...onCpu, 'Constant', 'Dropout']),
  TensorFlow: new Set(tensorFlowOperators),
  Keras: new Set(kerasLayers),
};

/** The operators of a model of which it is not known whether they run. */
export const unknownOperators = ({ nodes, operators }: Anatomy): string[] =>
  nodes === undefined ? [] : [...operators.keys()].filter((name) => !known[nodes].has(name));
