"""Autoencoders: a linear one finds the plane of the principal components, a deep one finds better codes.

Learn:   reconstruction as a loss without labels; PCA as the best that is linear; what depth adds.
Needs:   nothing: the images come with gpunn.
Shows:   images and their reconstructions from a few numbers, and the error by epoch against PCA's.

    python examples/autoencoder.py
"""

import argparse

import numpy as np
from pictures import new, save, show, tiles

import gpunn
from gpunn import data, models, nn, optim
from gpunn.device import choose


def fit(
    net: nn.Module, images: np.ndarray, test: np.ndarray, epochs: int, device: str
) -> tuple[list[float], np.ndarray]:
    """Train ``net`` to give images back; the test error after each epoch, and the test images as they come back."""
    net.to(device)
    optimizer = optim.Adam(net.parameters(), lr=4e-3)
    batches = [slice(start, start + 64) for start in range(0, len(images), 64)]
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(batches))
    given, errors = gpunn.tensor(test, device=device), []
    for _ in range(epochs):
        for batch in batches:
            x = gpunn.tensor(images[batch], device=device)
            loss = nn.functional.mse_loss(net(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with gpunn.no_grad():
            back = net(given).numpy()
        errors.append(float(((back - test) ** 2).mean()))
    return errors, back


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear and deep autoencoders beside PCA.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, default=5_000, help="how many of the 10,000 training images to use")
    parser.add_argument("--code", type=int, default=8, help="how many numbers stand for an image")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    gpunn.manual_seed(0)
    device, why = choose(options.device)
    print(f"device {device}: {why}")
    images = data.load("fashion-mini", train=True).images[: options.images].astype(np.float32) / 255
    test = data.load("fashion-mini", train=False).images[:1000].astype(np.float32) / 255

    flat, mean = images.reshape(len(images), -1), images.mean(axis=0).reshape(-1)
    directions = np.linalg.svd(flat - mean, full_matrices=False)[2][: options.code]
    projected = ((test.reshape(len(test), -1) - mean) @ directions.T @ directions + mean).reshape(test.shape)
    pca_error = float(((projected - test) ** 2).mean())

    linear = models.linear_autoencoder(code_size=options.code)
    linear_errors, linear_back = fit(linear, images, test, options.epochs, device)
    span = np.linalg.qr(linear.decoder[0].weight.numpy())[0]
    angles = np.degrees(np.arccos(np.clip(np.linalg.svd(span.T @ directions.T)[1], -1, 1)))
    deep_errors, deep_back = fit(models.autoencoder(code_size=options.code), images, test, options.epochs, device)
    print(f"mean squared error on test images from {options.code} numbers each:")
    print(f"  PCA {pca_error:.5f}, linear autoencoder {linear_errors[-1]:.5f}, deep autoencoder {deep_errors[-1]:.5f}")
    print(
        f"  angles between the linear one's plane and PCA's: median {np.median(angles):.1f}, largest {angles.max():.1f} degrees"
    )

    figure, axes = new()
    epochs = np.arange(1, options.epochs + 1)
    axes.axhline(pca_error, color="black", linestyle="--", label="PCA, the best that is linear")
    axes.plot(epochs, linear_errors, label="linear autoencoder")
    axes.plot(epochs, deep_errors, "-.", label="deep autoencoder, 784-256-64-code and back")
    axes.set(xlabel="epoch", ylabel="mean squared error, test images", title=f"Images from {options.code} numbers each")
    axes.set_ylim(0, 1.15 * max(linear_errors[0], deep_errors[0]))
    axes.legend()
    save(figure, "autoencoder_errors", "The linear autoencoder comes down to PCA's error, the deep one falls below it.")

    rows = {"images": test, "PCA": projected, "linear autoencoder": linear_back, "deep autoencoder": deep_back}
    figure, axes = new(rows=len(rows), height=4.6)
    for axis, (title, shown) in zip(axes, rows.items(), strict=True):
        show(axis, tiles(np.clip(shown[:10, 0], 0, 1), columns=10, gap=2), title)
    save(figure, "autoencoder_images", f"Ten test images, and what comes back from {options.code} numbers each.")


if __name__ == "__main__":
    main()
