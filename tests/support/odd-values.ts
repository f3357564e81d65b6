// Values that callers give by mistake, made anew each time: those that are no data at all, and those that fail when they
// are read.

/** The one error that functions, getters, streams and signals of a caller fail with here. */
export const own = new Error('an error of the caller');

const fail = (): never => {
  throw own;
};
/** Each way to read an object throws. */
const failing: ProxyHandler<object> = {
  get: fail,
  has: fail,
  ownKeys: fail,
  getPrototypeOf: fail,
  getOwnPropertyDescriptor: fail,
};

function revoked(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** The error is taken here, as a caller would: the promise is given, not what it fails with. */
function rejected(): Promise<never> {
  const promise = Promise.reject(own);
  promise.catch(() => {});
  return promise;
}

function detached(): ArrayBuffer {
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
}

function cyclic(): object {
  const value: Record<string, unknown> = {};
  value.self = value;
  return value;
}

function deep(): unknown {
  let value: unknown = 1;
  for (let level = 0; level < 20_000; level++) value = [value];
  return value;
}

class Instance {
  readonly keep = 'a text';
  readonly length = 3;
}

const withMember = (name: string, value: unknown) => ({ [name]: value });

/** By name. */
export const odd: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  zero: () => 0,
  'a negative number': () => -1,
  'a fraction': () => 0.5,
  NaN: () => NaN,
  Infinity: () => Infinity,
  '2^53': () => 2 ** 53,
  'a bigint': () => 5n,
  'a symbol': () => Symbol('odd'),
  'an empty text': () => '',
  'a text with a zero byte': () => '\0',
  'a path below a file': () => '/dev/null/x',
  __proto__name: () => '__proto__',
  'an empty object': () => ({}),
  'an object without prototype': () => Object.create(null),
  'a class instance': () => new Instance(),
  'an object that contains itself': cyclic,
  'an object whose getter throws': () => Object.defineProperty({}, 'keep', { enumerable: true, get: fail }),
  'a list that is nested 20,000 levels deep': deep,
  'an empty list': () => [],
  'a list with holes': () => Array(3),
  'the longest list': () => Array(2 ** 32 - 1),
  'a map': () => new Map<unknown, unknown>([[Symbol('key'), 1]]),
  'a set': () => new Set([1]),
  'a date': () => new Date(NaN),
  'an expression': () => /(?:)/g,
  'an error': () => own,
  'a function': () => () => 5,
  'a function that throws': () => fail,
  'a function that rejects': () => async () => fail(),
  'a class': () => Instance,
  'a promise': () => Promise.resolve(5),
  'a rejected promise': rejected,
  'a thenable that throws': () => withMember('then', fail),
  'a proxy whose traps throw': () => new Proxy({}, failing),
  'a revoked proxy': () => revoked({}),
  'a revoked function': () => revoked(() => 5),
  'a Uint16Array': () => new Uint16Array(3),
  'a BigInt64Array': () => new BigInt64Array(3),
  'a DataView': () => new DataView(new ArrayBuffer(3)),
  'a detached ArrayBuffer': detached,
  'a view of a detached ArrayBuffer': () => {
    const view = new Float32Array(2);
    structuredClone(view.buffer, { transfer: [view.buffer] });
    return view;
  },
  'a SharedArrayBuffer': () => new SharedArrayBuffer(8),
  'a view of a SharedArrayBuffer': () => new Uint8Array(new SharedArrayBuffer(8)),
  'an empty Blob': () => new Blob([]),
  'an aborted signal': () => AbortSignal.abort(own),
  'an AbortController': () => new AbortController(),
  'a stream that fails': () => new WritableStream({ write: fail }),
  'a stream that is locked': () => {
    const stream = new WritableStream();
    stream.getWriter();
    return stream;
  },
  'a generator that throws': () =>
    (function* () {
      yield 1;
      throw own;
    })(),
};

/** How an odd value can be hidden in another one. */
export const wrapped: Readonly<Record<string, (value: unknown) => unknown>> = {
  itself: (value) => value,
  'in a list': (value) => [value],
  'by the name of a layer': (value) => ({ conv: value }),
  'in a map': (value) => new Map([['conv', value]]),
  'as an amount': (value) => ({ keep: value }),
  'as a rule': (value) => ({ kind: value }),
  'as a granularity': (value) => ({ spanning: value }),
  'as a pattern': (value) => ({ nm: [value, 4] }),
  'from a function': (value) => () => value,
  'from an async function': (value) => async () => value,
};
