import { textOf } from '../printable.js';
import { diagnose, type Applied, type Diagnosis, type DoctorReport } from '../analysis/doctor/diagnose.js';
import { runtimeNames, type RuntimeName } from '../analysis/doctor/runtimes.js';
import { readModel } from '../formats/read-model.js';
import { counted, percent, percentOf } from '../pruning/text.js';
import { print } from './print.js';

/** The options of the command, without `--threads`. */
export interface DoctorOptions {
  readonly for?: readonly RuntimeName[];
  readonly json?: boolean;
}

/** The command `doctor`. @param engine is still loading */
export async function doctor(
  file: string,
  { for: names = runtimeNames, json }: DoctorOptions,
  engine: Promise<unknown>,
): Promise<void> {
  await engine;
  using model = await readModel(file);
  const report = await diagnose(model, file, names);
  print(json ? JSON.stringify({ file, ...report }, null, 2) : textOf([summary(file, report), ...paragraphs(report)]));
}

function summary(file: string, { format, versions, weights, zeros, types }: DoctorReport): string {
  const stored = Object.entries(types).map(([type, bytes]) => `${size(bytes)} ${type}`);
  const facts = [
    format,
    versions && `opset ${versions.opset}`,
    // Operands of integer products are no weights of layers.
    ...(weights === 0 ? [] : [counted(weights, 'weight'), `${percent(percentOf(zeros, weights))} zero`]),
    ...stored.slice(0, 3),
  ];
  return `${file}: ${facts.filter((fact) => fact !== undefined).join(', ')}`;
}

const size = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`;

function paragraphs({ runtimes }: DoctorReport): string[] {
  return runtimes.flatMap((diagnosis) => ['', ...paragraph(diagnosis)]);
}

const answers = {
  loads: { yes: 'yes', no: 'no', with: 'yes, if', unknown: 'not known' },
  smaller: { yes: 'yes', no: 'no' },
  faster: { yes: 'yes', no: 'no', slower: 'slower', partly: 'in part' },
} as const;

function paragraph({ runtime, title, version, otherFormat, facts, next, ...diagnosis }: Diagnosis): string[] {
  const head = `${title} ${version} (${runtime})`;
  if (otherFormat !== undefined) return [head, `  loads    no: ${otherFormat}`];
  const line = (on: 'loads' | 'smaller' | 'faster', answer: string) => {
    const reasons = facts.filter(({ effect }) => effect.on === on).map(reason);
    const isListed = reasons.length > 1 || answer.endsWith('if');
    if (reasons.length === 0) return [`  ${on.padEnd(8)} ${answer}`];
    if (!isListed) return [`  ${on.padEnd(8)} ${answer}: ${reasons[0]}`];
    return [`  ${on.padEnd(8)} ${answer}:`, ...reasons.map((each) => `           - ${each}`)];
  };
  return [
    head,
    ...line('loads', answers.loads[diagnosis.loads]),
    ...line('smaller', answers.smaller[diagnosis.smaller]),
    ...line('faster', answers.faster[diagnosis.faster]),
    ...(next
      ? [`  next     sparsifier ${next.command.map(quoted).join(' ')}`, `           ${next.why}`]
      : ['  next     nothing that this package does']),
  ];
}

const reason = ({ concerns, sentence }: Applied): string => `${concerns}: ${sentence}`;

/** A word of a command line, in quotes if a shell would split or expand it. */
const quoted = (word: string): string => (/^[\w./\\:=,@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
