// Jest loads this file as a CommonJS module; with the flag of package.json, `import()` loads ES modules.
const { writeFile } = require('node:fs/promises');

test('A model is pruned', async () => {
  const { prune } = await import('./prune.js');
  const result = await prune('model.onnx');
  expect(result.bytes.length).toBeGreaterThan(0);
  await writeFile('result.json', JSON.stringify(result));
});
