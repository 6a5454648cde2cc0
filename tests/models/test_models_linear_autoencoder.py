"""A linear autoencoder finds the subspace of the principal components."""

from __future__ import annotations

import numpy as np

import gpunn
from gpunn import models, nn, optim


def test_shapes_and_formula(device):
    net = models.linear_autoencoder(2, 3, 4).double().to(device)
    x = np.random.default_rng(0).normal(size=(5, 2, 3, 3))
    first, second = net.encoder[1], net.decoder[0]
    code = x.reshape(5, 18) @ first.weight.numpy().T + first.bias.numpy()
    expected = (code @ second.weight.numpy().T + second.bias.numpy()).reshape(x.shape)
    given = gpunn.tensor(x, device=device)
    assert net.encoder(given).shape == (5, 4)
    np.testing.assert_allclose(net(given).numpy(), expected, rtol=1e-10)
    assert nn.count_parameters(net) == 18 * 4 + 4 + 4 * 18 + 18


def test_it_spans_the_principal_components(device):
    """Trained by descent, its error is PCA's, and its decoder's columns span the first two principal directions."""
    generator = np.random.default_rng(0)
    spread = np.array([3.0, 2.0, *[0.6] * 7])
    rotation = np.linalg.qr(generator.normal(size=(9, 9)))[0]
    data = (generator.normal(size=(60, 9)) * spread) @ rotation + generator.normal(size=9)
    centred = data - data.mean(axis=0)
    directions, values = np.linalg.svd(centred)[2][:2], np.linalg.svd(centred)[1]
    least = (values[2:] ** 2).sum() / data.size

    net = models.linear_autoencoder(1, 3, 2).double().to(device)
    x = gpunn.tensor(data.reshape(60, 1, 3, 3), device=device)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(500):
        loss = nn.MSELoss()(net(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() >= least * (1 - 1e-9), "nothing linear of two numbers does better than PCA"
    np.testing.assert_allclose(loss.item(), least, rtol=1e-8)
    span = np.linalg.qr(net.decoder[0].weight.numpy())[0]
    cosines = np.linalg.svd(span.T @ directions.T)[1]
    np.testing.assert_allclose(cosines, 1, atol=1e-8)
    projected = centred @ directions.T @ directions + data.mean(axis=0)
    np.testing.assert_allclose(net(x).numpy().reshape(60, 9), projected, atol=1e-3)
