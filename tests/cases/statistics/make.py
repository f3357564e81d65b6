"""Makes the files of this folder: a small network, inputs, and statistics of its layers. docs/statistics.md shows the recipe.

python make.py      needs torch, numpy and safetensors; ran with torch 2
"""

# The recipe
import hashlib

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional


def rows_of(layer, x):
    """What the weights of a layer are multiplied with: [groups, rows, columns]."""
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, layer.in_features)
    size, dilation, padding, stride = layer.kernel_size, layer.dilation, layer.padding, layer.stride
    if isinstance(layer, nn.Conv1d):  # an image of one line
        x, size, dilation, padding, stride = x.unsqueeze(2), (1, *size), (1, *dilation), (0, *padding), (1, *stride)
    x = functional.unfold(x, size, dilation, padding, stride)  # [samples, columns of all groups, positions]
    return x.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def squares_of(layer, x):
    """The sum of squares of each input channel."""
    axis = x.dim() - 1 if isinstance(layer, nn.Linear) else 1
    return x.square().sum([each for each in range(x.dim()) if each != axis])


@torch.no_grad()
def write_statistics(model, batches, path, every=4):
    """Runs a model on batches, and holds out the last one of each `every`."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d))}
    sums, part = {}, ''

    def add(name):
        def hook(layer, inputs):
            x = inputs[0].double()
            rows = rows_of(layer, x)
            new = (rows.shape[1], rows.mT @ rows, rows.sum(1), squares_of(layer, x))
            old = sums.get(name + part, (0, 0, 0, 0))
            sums[name + part] = [a + b for a, b in zip(old, new)]

        return hook

    hooks = [layer.register_forward_pre_hook(add(name)) for name, layer in layers.items()]
    for index, batch in enumerate(batches):
        part = '/heldOut' if index % every == every - 1 else ''
        model(batch)
    for hook in hooks:
        hook.remove()

    tensors, metadata = {}, {'format': 'sparsifier-statistics', 'version': '1'}
    for name, (rows, products, totals, squares) in sums.items():
        tensors[f'{name}/rows'] = torch.tensor(rows)
        tensors[f'{name}/moment'] = (products / rows).float()
        tensors[f'{name}/mean'] = (totals / rows).float()
        tensors[f'{name}/norm'] = squares.sqrt().float()
    for name, layer in layers.items():
        data = layer.weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        metadata[f'sha256:{name}'] = hashlib.sha256(data).hexdigest()
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, metadata)


# The files
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(4, 6, (2, 3), groups=2)
        self.conv3 = nn.Conv1d(6, 5, 3, padding=2, dilation=2)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x)).flatten(2)
        x = torch.relu(self.conv3(x))
        return self.fc(x.mT)


torch.manual_seed(16)
network = Network()
batches = [torch.randn(2, 3, 8, 7) + 0.5 for _ in range(8)]
save_file(network.state_dict(), 'weights.safetensors')
save_file({f'{index}': batch for index, batch in enumerate(batches)}, 'inputs.safetensors')
write_statistics(network, batches, 'statistics.safetensors')
