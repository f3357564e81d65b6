import type { Axis } from '../../../../structure/coupling.js';
import type { Tensor } from '../../../../structure/network.js';
import type { Known } from '../../../../structure/numbers.js';
import { Weights } from '../../../../structure/weights.js';
import { implied } from '../../einsum.js';
import { Misfit, type Operator, type Site, Unknown } from '../site.js';
import { along, asKnown } from './known.js';
import { knownTogether } from './spreads.js';

/** An operand, and the letter of each of its axes. */
interface Operand {
  readonly tensor: Tensor;
  readonly letters: string;
  readonly place: number;
}

interface Equation {
  readonly operands: readonly Operand[];
  readonly output: string;
}

function equationOf(site: Site): Equation {
  const [left = '', right] = site.text('equation', '').replaceAll(' ', '').split('->');
  const output = right ?? implied(left);
  const terms = left.split(',');
  if (!/^[a-zA-Z,]+$/.test(left)) throw new Unknown('its equation');
  const operands = terms.map((letters, place): Operand => {
    const tensor = site.input(place);
    if (letters.length !== tensor.shape.length || new Set(letters).size < letters.length)
      throw new Unknown('its equation');
    return { tensor, letters, place };
  });
  return { operands, output };
}

const sizeOf = ({ operands }: Equation, letter: string): number => {
  const sizes = operands.flatMap(({ tensor, letters }) => tensor.shape[letters.indexOf(letter)] ?? []);
  if (sizes.some((size) => size !== sizes[0])) throw new Misfit('its operands do not fit');
  return sizes[0]!;
};

const axisOf = ({ operands }: Equation, letter: string): Axis => {
  const { tensor, letters } = operands.find((each) => each.letters.includes(letter))!;
  return tensor.axes[letters.indexOf(letter)]!;
};

/** The matrix that a constant operand of two is for the axis that is summed over. */
function weightsOf(site: Site, { operands, output }: Equation, summed: string): Weights | undefined {
  if (operands.length !== 2) return undefined;
  const constant = operands.find(({ tensor, letters }) => tensor.view !== undefined && letters.includes(summed));
  const other = operands.find((each) => each !== constant);
  if (constant === undefined || other?.letters.includes(summed) !== true) return undefined;
  const { letters, tensor, place } = constant;
  const [kept, ...more] = [...letters].filter((letter) => letter !== summed);
  if (kept === undefined || more.length > 0 || other.letters.includes(kept) || !output.includes(kept)) return undefined;
  const [from, to] = [letters.indexOf(summed), letters.indexOf(kept)];
  return new Weights({ view: tensor.view!, from, to, outputs: tensor.axes[to]!, groups: 1, isOwn: site.isOwn(place) });
}

const summedIn = ({ operands, output }: Equation): string[] =>
  [...new Set(operands.flatMap(({ letters }) => [...letters]))].filter((letter) => !output.includes(letter));

/** Where one of several factors is known to be 0. */
function zerosOf(factors: readonly (Known | undefined)[]): Known | undefined {
  const size = factors.find((known) => known !== undefined)?.numbers.length ?? 0;
  const numbers = Float64Array.from({ length: size }, (_, index) =>
    factors.some((known) => known?.numbers[index] === 0) ? 0 : NaN,
  );
  return asKnown(0, numbers);
}

/** A sum of products. Channels end at the letters that the output does not have. */
export const einsum: Operator = {
  channels: 'end',
  attributes: ['equation'],
  inputs: Infinity,
  shape: (site) => {
    const equation = equationOf(site);
    for (const letter of summedIn(equation)) sizeOf(equation, letter);
    return [[...equation.output].map((letter) => sizeOf(equation, letter))];
  },
  couple: (site) => {
    const equation = equationOf(site);
    const { operands, output } = equation;
    for (const { tensor, letters } of operands)
      for (const [axis, letter] of [...letters].entries())
        site.coupling.couple(axisOf(equation, letter), tensor.axes[axis]!);
    for (const summed of summedIn(equation)) {
      const weights = weightsOf(site, equation, summed);
      const factors = operands.filter(
        ({ tensor, letters }) =>
          letters.includes(summed) && (weights === undefined || tensor.view?.stored !== weights.view.stored),
      );
      const [first, ...others] = factors.map(({ tensor, letters }) => along(tensor, letters.indexOf(summed)));
      site.flow.readers.push({
        title: site.title,
        operator: site,
        axis: axisOf(equation, summed),
        known: others.length > 1 ? zerosOf([first, ...others]) : first,
        factor: others.length > 1 ? undefined : others[0],
        weights,
        folds: false,
      });
    }
    return [[...output].map((letter) => axisOf(equation, letter))];
  },
  // A factor of zeros makes the sum zero.
  constant: (site, [result]) => {
    const { operands, output } = equationOf(site);
    const zeros = [...output].map((letter, axis): Known | undefined => {
      const numbers = new Float64Array(result.shape[axis]!).fill(NaN);
      for (const { tensor, letters } of operands) {
        const known = letters.includes(letter) ? along(tensor, letters.indexOf(letter))?.numbers : undefined;
        for (const [index, number] of known?.entries() ?? []) if (number === 0) numbers[index] = 0;
      }
      return asKnown(axis, numbers);
    });
    return knownTogether(site, zeros, result);
  },
};
