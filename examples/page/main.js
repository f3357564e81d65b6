import { fit } from 'sparsifier/fit';
import { readModel } from 'sparsifier/formats';
import { reportPage } from 'sparsifier/report';

const byId = (id) => document.getElementById(id);
const [start, cancel, done, failed] = ['start', 'cancel', 'done', 'failed'].map(byId);

async function make([...files], signal, open) {
  const main = files.find(({ name }) => /\.(json|onnx)$/.test(name)) ?? files[0];
  const give = (path) => {
    for (const file of files) if (file.name === path.split('/').pop()) return file;
    throw new Error(`The model also has the file ${path}: drop all of its files together.`);
  };
  const onProgress = ({ done, total, remaining }) => {
    byId('progress').value = done / total;
    byId('left').textContent = remaining === undefined ? '' : `about ${Math.ceil(remaining)} s left`;
  };
  const before = await readModel(main, { [main.name.endsWith('.onnx') ? 'external' : 'shards']: give, signal });
  open.push(before);
  const { model, report } = await fit(before, { target: byId('target').value, signal, onProgress });
  open.push(model);
  const page = await reportPage(report, { before, after: model, title: main.name });
  done.append(`${report.sizes.before.brotli} bytes became ${report.sizes.after.brotli}: `);
  for (const [download, bytes] of [...(await model.toFiles()), ['report.html', page]]) {
    const href = URL.createObjectURL(new Blob([bytes]));
    done.append(Object.assign(document.createElement('a'), { href, download, textContent: download }), ' ');
  }
}

byId('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [controller, open] = [new AbortController(), []];
  cancel.onclick = () => controller.abort(new Error('Cancelled.'));
  [start.disabled, cancel.disabled, done.textContent, failed.textContent] = [true, false, '', ''];
  await make(byId('files').files, controller.signal, open).catch(({ message }) => (failed.textContent = message));
  for (const model of open) model.close();
  [start.disabled, cancel.disabled] = [false, true];
});
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  byId('files').files = event.dataTransfer.files;
});
