import { test } from 'vitest';
import { expectTheSameBits } from '../support/bits.js';

test('The bits are the recorded ones with 2 threads', { timeout: 120_000 }, () => expectTheSameBits(2));
