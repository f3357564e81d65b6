// What `gzip -9` makes of bytes, only counted. Compressors that are close to it are not close enough: zlib as Node.js and
// Chromium have it misses matches of three bytes, and zlib begins new blocks at other places, which is up to 1.2 % of
// the weights of a network. This is the algorithm of GNU gzip, with its limits and its order of choices.

/** The window that matches are found in. */
const windowSize = 1 << 15;
const windowMask = windowSize - 1;
const bufferSize = 2 * windowSize;
const minMatch = 3;
const maxMatch = 258;
/** At least so many bytes must follow those that are compressed next, until the file ends. */
const minLookahead = maxMatch + minMatch + 1;
const maxDistance = windowSize - minLookahead;
/** A match of three bytes that is farther away is not worth its distance. */
const tooFar = 4096;
/** The effort of level 9. */
const maxChain = 4096;
const goodMatch = 32;
/** The most symbols of a block. */
const blockSymbols = (1 << 15) - 1;
/** The header, and the checksum with the length at the end. The name of the file is not counted. */
const frameBytes = 18;

const endOfBlock = 256;
const literals = 286;
const distances = 30;
const lengthExtra = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const distanceExtra = Array.from({ length: distances }, (_, code) => Math.max(0, (code >> 1) - 1));
const lengthsExtra = [...new Array<number>(16).fill(0), 2, 3, 7];
/** The order in which the lengths of codes of lengths are written. */
const lengthsOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** The symbol of each length of a match, less the shortest one. */
const lengthSymbol = new Uint16Array(maxMatch - minMatch + 1);
{
  let length = 0;
  for (const [code, extra] of lengthExtra.entries()) {
    for (let count = 0; count < 1 << extra && length < lengthSymbol.length; count++)
      lengthSymbol[length++] = endOfBlock + 1 + code;
  }
  // The longest match has a symbol of its own.
  lengthSymbol[maxMatch - minMatch] = literals - 1;
}

/** The symbol of each distance, less 1. */
const distanceSymbol = new Uint8Array(windowSize);
{
  let distance = 0;
  for (const [code, extra] of distanceExtra.entries()) {
    for (let count = 0; count < 1 << extra; count++) distanceSymbol[distance++] = code;
  }
}

/** A code whose words have at most `longest` bits. */
interface Alphabet {
  readonly symbols: number;
  /** How many bits follow a symbol, from symbol `firstExtra` on. */
  readonly extra: readonly number[];
  readonly firstExtra: number;
  readonly longest: number;
  /** How many bits a symbol has in blocks without a code of their own; undefined if these do not have it. */
  readonly fixed?: (symbol: number) => number;
}

const literalAlphabet: Alphabet = {
  symbols: literals,
  extra: lengthExtra,
  firstExtra: endOfBlock + 1,
  longest: 15,
  fixed: (symbol) => (symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8),
};
const distanceAlphabet: Alphabet = {
  symbols: distances,
  extra: distanceExtra,
  firstExtra: 0,
  longest: 15,
  fixed: () => 5,
};
const lengthsAlphabet: Alphabet = { symbols: 19, extra: lengthsExtra, firstExtra: 0, longest: 7 };

/** The code of a block, and how many bits its symbols take. */
interface Code {
  /** Of each symbol up to the last one that occurs, in bits. */
  readonly lengths: readonly number[];
  readonly bits: number;
  /** With the fixed code. */
  readonly fixedBits: number;
}

/** A Huffman code, with the ties of gzip: these decide how well its lengths compress. */
function codeOf({ symbols, extra, firstExtra, longest, fixed }: Alphabet, counts: Uint32Array): Code {
  const frequency = new Uint32Array(2 * symbols + 1);
  const depth = new Uint8Array(2 * symbols + 1);
  const parent = new Uint16Array(2 * symbols + 1);
  const length = new Uint8Array(2 * symbols + 1);
  const heap: number[] = [0];
  let [bits, fixedBits, last] = [0, 0, -1];
  for (let symbol = 0; symbol < symbols; symbol++) {
    frequency[symbol] = counts[symbol]!;
    if (counts[symbol]! > 0) heap.push((last = symbol));
  }
  // A code has at least two words. Those that are made up cost nothing.
  while (heap.length < 3) {
    const symbol = last < 2 ? ++last : 0;
    heap.push(symbol);
    frequency[symbol] = 1;
    bits--;
    fixedBits -= fixed?.(symbol) ?? 0;
  }

  const isFirst = (one: number, other: number) =>
    frequency[one]! < frequency[other]! || (frequency[one] === frequency[other] && depth[one]! <= depth[other]!);
  const sink = (from: number) => {
    const node = heap[from]!;
    let place = from;
    for (let child = 2 * place; child < heap.length; child = 2 * place) {
      if (child + 1 < heap.length && isFirst(heap[child + 1]!, heap[child]!)) child++;
      if (isFirst(node, heap[child]!)) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = node;
  };
  for (let place = (heap.length - 1) >> 1; place > 0; place--) sink(place);
  /** The nodes in the order in which they were joined, the rarest first. */
  const joined: number[] = [];
  let node = symbols;
  for (; heap.length > 2; node++) {
    const one = heap[1]!;
    heap[1] = heap.pop()!;
    sink(1);
    const other = heap[1]!;
    joined.push(one, other);
    frequency[node] = frequency[one]! + frequency[other]!;
    depth[node] = Math.max(depth[one]!, depth[other]!) + 1;
    parent[one] = parent[other] = node;
    heap[1] = node;
    sink(1);
  }

  const ofLength = new Array<number>(longest + 1).fill(0);
  let tooLong = 0;
  for (const each of [...joined].reverse()) {
    const own = length[parent[each]!]! + 1;
    if (own > longest) tooLong++;
    length[each] = Math.min(own, longest);
    if (each > last) continue;
    ofLength[length[each]!]!++;
  }
  if (tooLong > 0) {
    for (; tooLong > 0; tooLong -= 2) {
      let shorter = longest - 1;
      while (ofLength[shorter] === 0) shorter--;
      ofLength[shorter]!--;
      ofLength[shorter + 1]! += 2;
      ofLength[longest]!--;
    }
    let next = 0;
    for (let own = longest; own > 0; own--) {
      for (let count = ofLength[own]!; count > 0;) {
        const each = joined[next++]!;
        if (each > last) continue;
        length[each] = own;
        count--;
      }
    }
  }
  for (let symbol = 0; symbol <= last; symbol++) {
    const more = symbol >= firstExtra ? extra[symbol - firstExtra]! : 0;
    bits += frequency[symbol]! * (length[symbol]! + more);
    fixedBits += frequency[symbol]! * ((fixed?.(symbol) ?? 0) + more);
  }
  return { lengths: [...length.subarray(0, last + 1)], bits, fixedBits };
}

/** Adds up how often each symbol occurs where lengths of a code are written, of which runs have one symbol. */
function countLengths(lengths: readonly number[], counts: Uint32Array): void {
  let [before, run] = [-1, 0];
  for (const [place, own] of lengths.entries()) {
    const next = lengths[place + 1];
    const isRepeated = own === before;
    const [least, most] = own === 0 ? [3, 138] : isRepeated ? [3, 6] : [4, 7];
    if (++run < most && own === next) continue;
    if (run < least) counts[own]! += run;
    else if (own === 0) counts[run <= 10 ? 17 : 18]!++;
    else {
      if (!isRepeated) counts[own]!++;
      counts[16]!++;
    }
    [before, run] = [own, 0];
  }
}

/** The bits that describe the codes of a block. */
function headBits(...codes: readonly Code[]): number {
  const counts = new Uint32Array(lengthsAlphabet.symbols);
  for (const { lengths } of codes) countLengths(lengths, counts);
  const { lengths, bits } = codeOf(lengthsAlphabet, counts);
  let written = lengthsOrder.length;
  while (written > 4 && !lengths[lengthsOrder[written - 1]!]) written--;
  return 5 + 5 + 4 + 3 * written + bits;
}

/** Counts the bytes that `gzip -9` makes of those that are added. */
export class GzipCounter {
  readonly #buffer = new Uint8Array(bufferSize);
  /** By the hash of three bytes, the last place where they begin; 0 for none. */
  readonly #head = new Uint16Array(windowSize);
  /** For each place of the window the one before it with the same hash. */
  readonly #before = new Uint16Array(windowSize);
  readonly #literals = new Uint32Array(literals);
  readonly #distances = new Uint32Array(distances);
  #symbols = 0;
  #matches = 0;
  /** The next byte, where the block begins, and where those that are known end. A block may begin before the buffer. */
  #at = 0;
  #start = 0;
  #end = 0;
  /** The match that begins one byte earlier, which is taken unless the next one is longer. */
  #length = minMatch - 1;
  #match = 0;
  #hasLiteral = false;
  #bits = 0;

  add(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      if (this.#at >= windowSize + maxDistance) this.#slide();
      const part = bytes.subarray(from, from + bufferSize - this.#end);
      this.#buffer.set(part, this.#end);
      this.#end += part.length;
      from += part.length;
      while (this.#end - this.#at >= minLookahead) this.#step();
    }
  }

  end(): number {
    if (this.#at >= windowSize + maxDistance) this.#slide();
    // gzip looks for matches beyond the end as well: among those that reach it, the one that would be longer wins.
    this.#buffer.fill(0, this.#end, this.#end + minMatch - 1);
    while (this.#at < this.#end) this.#step();
    if (this.#hasLiteral) this.#tally(0, this.#buffer[this.#at - 1]!);
    this.#flush();
    return Math.ceil(this.#bits / 8) + frameBytes;
  }

  /** Forgets the first half of the buffer. */
  #slide(): void {
    this.#buffer.copyWithin(0, windowSize, this.#end);
    this.#at -= windowSize;
    this.#start -= windowSize;
    this.#end -= windowSize;
    this.#match -= windowSize;
    for (const places of [this.#head, this.#before]) {
      for (let index = 0; index < windowSize; index++) places[index] = Math.max(0, places[index]! - windowSize);
    }
  }

  /** Remembers where three bytes begin. @returns where the same hash began before; 0 for nowhere */
  #insert(at: number): number {
    const buffer = this.#buffer;
    const hash = ((buffer[at]! << 10) ^ (buffer[at + 1]! << 5) ^ buffer[at + 2]!) & windowMask;
    const last = this.#head[hash]!;
    this.#before[at & windowMask] = last;
    this.#head[hash] = at;
    return last;
  }

  /** Takes the match that was found, or one more byte. */
  #step(): void {
    const last = this.#insert(this.#at);
    const [length, match] = [this.#length, this.#match];
    this.#length = minMatch - 1;
    const hasRoom = this.#at <= bufferSize - minLookahead;
    if (last !== 0 && length < maxMatch && this.#at - last <= maxDistance && hasRoom) {
      this.#longestMatch(last, length);
      if (this.#length === minMatch && this.#at - this.#match > tooFar) this.#length--;
    }
    if (length >= minMatch && this.#length <= length) {
      const isFull = this.#tally(this.#at - 1 - match, length - minMatch);
      for (const end = this.#at + length - 2; this.#at < end;) this.#insert(++this.#at);
      this.#hasLiteral = false;
      this.#length = minMatch - 1;
      this.#at++;
      if (isFull) this.#flush();
      return;
    }
    if (this.#hasLiteral && this.#tally(0, this.#buffer[this.#at - 1]!)) this.#flush();
    this.#hasLiteral = true;
    this.#at++;
  }

  /** Finds the longest match of the next bytes that is longer than `atLeast`, the nearest of several. */
  #longestMatch(first: number, atLeast: number): void {
    const [buffer, before, at] = [this.#buffer, this.#before, this.#at];
    const limit = Math.max(0, at - maxDistance);
    let [best, place] = [atLeast, first];
    for (let chain = atLeast >= goodMatch ? maxChain >> 2 : maxChain; chain > 0; chain--) {
      if (buffer[place + best] === buffer[at + best] && buffer[place + best - 1] === buffer[at + best - 1]) {
        let length = 0;
        while (length < maxMatch && buffer[place + length] === buffer[at + length]) length++;
        if (length > best) {
          this.#match = place;
          best = length;
          if (length === maxMatch) break;
        }
      }
      place = before[place & windowMask]!;
      if (place <= limit) break;
    }
    this.#length = Math.min(best, this.#end - at);
  }

  /** Adds a literal, or a match at a distance. @returns whether the block ends */
  #tally(distance: number, symbol: number): boolean {
    this.#symbols++;
    if (distance === 0) this.#literals[symbol]!++;
    else {
      this.#literals[lengthSymbol[symbol]!]!++;
      this.#distances[distanceSymbol[distance - 1]!]!++;
      this.#matches++;
    }
    // gzip ends a block early that seems to compress well.
    if ((this.#symbols & 0xfff) === 0) {
      let bits = 8 * this.#symbols;
      for (const [code, extra] of distanceExtra.entries()) bits += this.#distances[code]! * (5 + extra);
      const isShort = bits >> 3 < (this.#at - this.#start) >> 1;
      if (isShort && this.#matches < this.#symbols >> 1) return true;
    }
    return this.#symbols === blockSymbols;
  }

  /** Ends a block: stored, with the fixed code, or with a code of its own, whichever is the shortest. */
  #flush(): void {
    this.#literals[endOfBlock] = 1;
    const [symbols, places] = [codeOf(literalAlphabet, this.#literals), codeOf(distanceAlphabet, this.#distances)];
    const fixed = symbols.fixedBits + places.fixedBits;
    const own = headBits(symbols, places) + symbols.bits + places.bits;
    const bytesOf = (bits: number) => (bits + 3 + 7) >> 3;
    const isFixed = bytesOf(fixed) <= bytesOf(own);
    const stored = this.#at - this.#start;
    // What has left the buffer can no longer be stored.
    if (this.#start >= 0 && stored + 4 <= bytesOf(isFixed ? fixed : own)) {
      this.#bits = 8 * (Math.ceil((this.#bits + 3) / 8) + 4 + stored);
    } else this.#bits += 3 + (isFixed ? fixed : own);
    this.#literals.fill(0);
    this.#distances.fill(0);
    [this.#symbols, this.#matches, this.#start] = [0, 0, this.#at];
  }
}
