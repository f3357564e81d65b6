import { test } from 'vitest';
import { expectTheSameBits } from '../support/bits.js';

test('The bits are the recorded ones with 1 thread', { timeout: 120_000 }, () => expectTheSameBits(1));
