import { report } from './report.js';

void report();
