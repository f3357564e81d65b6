// The inputs of the text recogniser for `--calibrate`: 16 rendered lines.
import { lines } from './recogniser.mjs';

export default () => lines(16).map(({ feeds }) => feeds);
