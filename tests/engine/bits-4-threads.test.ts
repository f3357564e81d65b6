import { test } from 'vitest';
import { expectTheSameBits } from '../support/bits.js';

test('The bits are the recorded ones with 4 threads', { timeout: 120_000 }, () => expectTheSameBits(4));
