"""Preprocessing: zero mean, scaling, principal components and whitening, of a cloud of points and of CIFAR-10.

Learn:  what each step does to data, how many components images need, and what whitened images look like.
Needs:  CIFAR-10, 170 MB; give --data-dir, and --download to fetch it there. Or --data fashion-mini, which comes with gpunn.
Shows:  preprocessing_cloud.png, preprocessing_spectrum.png, preprocessing_components.png, preprocessing_images.png.

    python examples/preprocessing.py --data-dir ~/data
"""

import argparse

import numpy as np
from pictures import new, save, show, tiles

from gpunn import data


def draw_cloud() -> None:
    """Points with correlated coordinates of different size, after each step."""
    random = np.random.default_rng(0)
    points = random.normal(size=(400, 2)) * (3, 1) @ np.array([[0.9, 0.45], [-0.45, 0.9]]) + (4, 3)
    steps = {
        "the data": points,
        "zero mean": data.Standardize("none").fit_transform(points),
        "and every feature scaled to variance 1": data.Standardize().fit_transform(points),
        "PCA: turned to its principal components": data.PCA().fit_transform(points),
        "PCA whitening: these scaled to variance 1": data.Whiten("pca").fit_transform(points),
        "ZCA whitening: and turned back": data.Whiten("zca").fit_transform(points),
    }
    figure, axes = new(3, 2, width=10, height=14)
    for place, (name, values) in zip(axes.flat, steps.items(), strict=True):
        covariance = np.cov(values.T, bias=True)
        print(f"{name:42} mean {np.abs(values.mean(axis=0)).max():4.1f}, covariance {np.round(covariance, 2).tolist()}")
        # Coloured by the first coordinate of the data, so that turning shows.
        place.scatter(*values.T, s=12, c=points[:, 0], cmap="viridis")
        place.axhline(0, color="0.5", linewidth=1)
        place.axvline(0, color="0.5", linewidth=1)
        limit = 1.1 * np.abs(values).max()
        place.set(title=name, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="first feature")
        place.set_ylabel("second feature")
    save(
        figure,
        "preprocessing_cloud",
        "The steps of preprocessing; the colour of a point stays. The scale of the axes differs.",
    )


def as_picture(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, channels, height, width) of any scale, one beside the other, each stretched to use all of [0, 1]."""
    low, high = np.percentile(images, (1, 99), axis=(1, 2, 3), keepdims=True)
    stretched = np.clip((images - low) / np.maximum(high - low, 1e-12), 0, 1).transpose(0, 2, 3, 1)
    return tiles(stretched.squeeze(3) if stretched.shape[3] == 1 else stretched, columns)


def draw_images(train: np.ndarray, test: np.ndarray, count: int) -> None:
    """The eigenvalues and eigenvectors of the images, and test images that were made from few of them, or whitened."""
    # Learned once, with all components. Of CIFAR-10 the first has a variance of millions, the last of 0.01.
    whiten = data.Whiten("zca", epsilon=100.0).fit(train)
    kept = np.cumsum(whiten.share_)
    needed = {share: int(np.searchsorted(kept, share)) + 1 for share in (0.9, 0.99)}
    print(
        f"variances of the components: {whiten.variances_[0]:.2g} of the first, {whiten.variances_[-1]:.2g} of the last"
    )
    print(f"of {len(kept)} components {needed[0.9]} hold 90% of the variance, {needed[0.99]} hold 99%")
    figure, axes = new()
    axes.semilogx(np.arange(1, len(kept) + 1), 100 * kept)
    for share, number in needed.items():
        axes.plot(number, 100 * share, "o", color="C5")
        axes.annotate(
            f"{share:.0%} by {number}", (number, 100 * share), (-8, 4), textcoords="offset points", ha="right"
        )
    axes.set(xlabel="number of components", ylabel="variance they hold (%)", ylim=(0, 104))
    save(
        figure,
        "preprocessing_spectrum",
        "How much of the variance of the training images their first principal components hold.",
    )

    figure, axes = new(height=6.6)
    show(axes, as_picture(whiten.components_[:36].reshape(-1, *train.shape[1:]), 6))
    save(
        figure,
        "preprocessing_components",
        "The first 36 principal components, the largest variance first: from overall brightness to ever finer waves.",
    )

    chosen = test[:count].astype(np.float64)
    centered = chosen - whiten.mean_.reshape(train.shape[1:])
    rows = {"test images": chosen, "minus the mean image of the training set": centered}
    for few in (30, 144):
        directions = whiten.components_[:few]
        principal = centered.reshape(count, -1) @ directions.T
        rows[f"from {few} of {len(kept)} components"] = (principal @ directions + whiten.mean_).reshape(chosen.shape)
        error = np.square(rows[f"from {few} of {len(kept)} components"] - chosen).mean() ** 0.5
        print(f"test images from {few} components: off by {error:.1f} of 255 grey levels in the root mean square")
    rows["ZCA whitened"] = whiten.transform(chosen)
    neighbours = [np.corrcoef(values[..., 1:].ravel(), values[..., :-1].ravel())[0, 1] for values in rows.values()]
    print(f"correlation of neighbouring pixels: {neighbours[0]:.2f}, whitened {neighbours[-1]:.2f}")
    figure, axes = new(len(rows), 1, width=7.5, height=7)
    for place, (name, values) in zip(axes, rows.items(), strict=True):
        show(place, as_picture(values, count), name)
    save(
        figure,
        "preprocessing_images",
        "Test images after preprocessing that was learned from training images. ZCA whitening leaves the edges.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Preprocess a cloud of points, and the images of CIFAR-10.")
    parser.add_argument("--data", default="cifar10", help="cifar10, mnist or fashion-mini")
    parser.add_argument("--images", type=int, default=4000, help="how many training images to use")
    parser.add_argument("--show", type=int, default=8, help="how many test images to show")
    parser.add_argument("--data-dir", default="data", help="where the data are, or shall be (default: data)")
    parser.add_argument(
        "--download", action=argparse.BooleanOptionalAction, default=False, help="fetch what is missing"
    )
    options = parser.parse_args()
    draw_cloud()
    train, test = (data.load(options.data, options.data_dir, part, options.download) for part in (True, False))
    draw_images(train.images[: options.images], test.images, options.show)


if __name__ == "__main__":
    main()
