import { loadEngine } from 'sparsifier';
import { report } from './report.js';

// Browsers start workers from the page's own origin. Of others they need to be told where the thread is.
await loadEngine({ thread: new URL('./browser-thread.js', import.meta.url) });
void report();
