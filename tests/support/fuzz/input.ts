// What fuzzing gives to a reader, and how it is kept in a file.

type Bytes = Uint8Array<ArrayBuffer>;

/** A main file, and further ones by their names. */
export interface Input {
  readonly bytes: Bytes;
  readonly further?: Readonly<Record<string, Bytes>>;
}

export const filesOf = ({ bytes, further = {} }: Input): Bytes[] => [bytes, ...Object.values(further)];

export const sizeOf = (input: Input): number => filesOf(input).reduce((sum, { length }) => sum + length, 0);

/** The input as JSON, with files in base64. Names of files may be anything there. */
export function written({ bytes, further = {} }: Input): string {
  const inText = Object.fromEntries(Object.entries(further).map(([name, file]) => [name, base64(file)]));
  return `${JSON.stringify({ bytes: base64(bytes), further: inText }, null, 2)}\n`;
}

/** What {@link written} wrote. */
export function read(text: string): Input {
  const { bytes, further } = JSON.parse(text) as { bytes: string; further: Record<string, string> };
  const inBytes = Object.entries(further).map(([name, file]) => [name, bytesIn(file)] as const);
  return { bytes: bytesIn(bytes), further: Object.fromEntries(inBytes) };
}

const base64 = (bytes: Bytes): string => Buffer.from(bytes).toString('base64');
const bytesIn = (text: string): Bytes => new Uint8Array(Buffer.from(text, 'base64'));
