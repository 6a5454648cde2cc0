"""How often does this coin show heads? Maximum likelihood, what a prior does to it, and the same answer by descent.

Learn: likelihood, its maximum, prior and posterior; that the cross-entropy loss is a negative log-likelihood.
Needs: matplotlib.
Shows: the likelihood of p after 4, 20 and 100 tosses, and the posterior with a flat prior and with one for a fair coin.

    python examples/coin.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

import gpunn
from gpunn import functional as F
from gpunn import optim
from gpunn.classic import Coin


def by_descent(tosses, device):
    """The same maximum as a network finds it: by descent on the cross-entropy. p = sigmoid(s) comes near 1, never to it."""
    score = gpunn.zeros(1, device=device, requires_grad=True)
    targets = gpunn.tensor(tosses, dtype="float32", device=device)
    optimizer = optim.SGD([score], lr=2.0)
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(score + gpunn.zeros_like(targets), targets)
        loss.backward()
        optimizer.step()
    return score.sigmoid().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimate a coin's probability of heads.")
    parser.add_argument("--heads", type=float, default=0.7, help="the true probability")
    parser.add_argument("--strength", type=float, default=10, help="the prior is Beta(strength, strength)")
    parser.add_argument("--seed", type=int, default=49)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    tosses = np.random.default_rng(options.seed).random(100) < options.heads
    p = np.linspace(0, 1, 501)

    likelihoods, axes = new()
    posteriors, panels = new(rows=3, height=9.5, sharex=True)
    for count, color, panel in zip((4, 20, 100), COLORS, panels, strict=False):
        coin = Coin(device=options.device).fit(tosses[:count])
        believer = Coin(options.strength, options.strength, device=options.device).fit(tosses[:count])
        print(
            f"{coin.heads_} heads in {count} tosses: maximum likelihood {coin.maximum_likelihood_:.3f} "
            f"(by descent {by_descent(tosses[:count], options.device):.3f}), "
            f"with the prior {believer.maximum_posterior_:.3f}"
        )
        curve = coin.likelihood(p)
        axes.plot(p, curve / curve.max(), color=color, label=f"{coin.heads_} heads of {count}")
        axes.plot(coin.maximum_likelihood_, 1, "o", color=color)

        panel.plot(p, believer.prior(p), ":", color="0.45", label="prior for a fair coin")
        panel.plot(p, coin.posterior(p), color=COLORS[0], label="posterior, flat prior")
        panel.plot(p, believer.posterior(p), color=COLORS[5], label="posterior, that prior")
        panel.axvline(options.heads, color="0.45", linestyle="--", label="truth")
        panel.set(ylabel="density", title=f"{coin.heads_} heads in {count} tosses")
    axes.axvline(options.heads, color="0.45", linestyle="--", label="truth")
    axes.set(xlabel="p, the probability of heads", ylabel="likelihood / its maximum", ylim=(0, 1.08))
    axes.legend(loc="upper left")
    panels[0].legend(loc="upper left")
    panels[-1].set_xlabel("p, the probability of heads")
    caption = "The likelihood p^heads (1 - p)^tails. Its maximum is the share of heads; more tosses make it sharper."
    save(likelihoods, "coin_likelihood", caption)
    caption = (
        f"A prior that believes in a fair coin, Beta({options.strength:g}, {options.strength:g}), pulls the answer towards "
        "one half while tosses are few, and matters less and less."
    )
    save(posteriors, "coin_prior", caption)


if __name__ == "__main__":
    main()
