import { test } from 'vitest';
import { expectTheSameBits } from '../support/bits.js';

test('the same bits with 2 threads', { timeout: 120_000 }, () => expectTheSameBits(2));
