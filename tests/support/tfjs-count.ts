// Counts the numbers of a TensorFlow.js model that layers or skipped tensors must account for, from its JSON alone.

interface Manifest {
  readonly weights: readonly { readonly name: string; readonly shape: readonly number[]; readonly dtype: string }[];
}

interface GraphNode {
  readonly name: string;
  readonly input?: readonly string[];
}

interface Topology {
  readonly node?: readonly GraphNode[];
  readonly library?: {
    readonly function?: readonly {
      readonly signature: { readonly inputArg?: readonly { readonly name: string }[] };
      readonly nodeDef?: readonly GraphNode[];
      readonly ret?: Readonly<Record<string, string>>;
    }[];
  };
}

/** The numbers of all floats of two or more axes; in a GraphModel, of those that a node or a function reads. */
export function countedIn(content: unknown): number {
  const { weightsManifest, modelTopology } = (Array.isArray(content) ? { weightsManifest: content } : content) as {
    readonly weightsManifest: readonly Manifest[];
    readonly modelTopology?: Topology;
  };
  const read = new Set<string>();
  const scan = (inputs: readonly string[], local: ReadonlySet<string>) => {
    for (const input of inputs) {
      const [name] = input.split(':') as [string];
      if (!name.startsWith('^') && !local.has(name)) read.add(name);
    }
  };
  for (const { input = [] } of modelTopology?.node ?? []) scan(input, new Set());
  for (const { signature, nodeDef = [], ret = {} } of modelTopology?.library?.function ?? []) {
    const local = new Set((signature.inputArg ?? []).map(({ name }) => name));
    for (const { input = [] } of nodeDef) scan(input, local);
    scan(Object.values(ret), local);
  }
  let count = 0;
  for (const { weights } of weightsManifest) {
    for (const { name, shape, dtype } of weights) {
      if (shape.length < 2 || !dtype.startsWith('float')) continue;
      if (modelTopology?.node === undefined || read.has(name)) count += shape.reduce((all, size) => all * size, 1);
    }
  }
  return count;
}
