import { test } from 'vitest';
import { expectTheSameBits } from '../support/bits.js';

test('the same bits with 1 thread', { timeout: 120_000 }, () => expectTheSameBits(1));
