"""Learning to rank: a machine over pairs of one query, beside a regression on the grades that knows of no queries.

Learn: the ranking support vector machine, pairs within a query, the share of pairs in order.
Needs: matplotlib.
Shows: why only documents of one query may be compared, and how few queries are enough.

    python examples/ranking.py
"""

import argparse

import numpy as np
from pictures import COLORS, new, save

from gpunn.classic import LeastSquares, RankingSVM

WORTH = np.array([1.0, 0.6])  # what makes a document good, within its query


def draw_searches(queries, documents, random):
    """Documents of two features with grades 0 to 2, and the query of each.

    A demanding query has documents with large features, and is graded more strictly: over all queries together, large
    features go with low grades, though within each query they go with high ones.
    """
    query = np.repeat(np.arange(queries), documents)
    level = random.uniform(-3, 3, queries)
    X = random.normal(size=(len(query), 2)) + level[query, None]
    worth = (X - level[query, None]) @ WORTH - 0.8 * level[query] + 0.8 * random.normal(size=len(query))
    return X, np.clip(np.round(1 + 0.8 * worth), 0, 2).astype(int), query


def draw_directions(X, y, query, directions):
    """Three queries, their documents larger the better; and the direction in which each method counts upwards."""
    figure, axes = new(height=6.2)
    levels = [X[query == number].sum() for number in range(query.max() + 1)]
    for place, marker, color in zip((0.1, 0.5, 0.9), "os^", COLORS[:3], strict=True):
        number = np.argsort(levels)[int(place * (len(levels) - 1))]
        rows = query == number
        axes.scatter(*X[rows].T, s=30 + 70 * y[rows], marker=marker, color=color, alpha=0.7, label=f"query {number}")
    for (name, direction), color, style in zip(directions.items(), (COLORS[6], COLORS[5]), ("-", "--"), strict=True):
        tip = 3.5 * direction / np.linalg.norm(direction)
        axes.annotate(
            "", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 3, "linestyle": style}
        )
        axes.plot([], [], color=color, linewidth=3, linestyle=style, label=f"better, says {name}")
    axes.set(xlabel="first feature", ylabel="second feature", aspect="equal")
    axes.legend(loc="upper left")
    caption = (
        "Documents of three queries, larger ones with higher grades. Within each query what is better lies up and to the "
        "right, as the ranking machine finds; over all queries together it lies down and to the left."
    )
    save(figure, "ranking_directions", caption)


def draw_learning(counts, shares):
    figure, axes = new()
    for (name, values), style, color in zip(shares.items(), ("o-", "s--"), (COLORS[6], COLORS[5]), strict=True):
        axes.plot(counts, values, style, color=color, label=name)
    axes.axhline(0.5, color="0.5", linewidth=1)
    axes.text(counts[-1], 0.51, "chance", ha="right", va="bottom")
    axes.set(xscale="log", ylim=(0, 1), xlabel="queries learned from", ylabel="pairs of new queries in order")
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.minorticks_off()
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.82))
    save(figure, "ranking_learning", "The share of pairs of new queries that are put in the right order.")


def main() -> None:
    parser = argparse.ArgumentParser(description="A ranking machine beside a regression on the grades.")
    parser.add_argument("--queries", type=int, default=64, help="how many to learn from, at most")
    parser.add_argument("--documents", type=int, default=15, help="how many a query has")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or reference")
    options = parser.parse_args()

    random = np.random.default_rng(0)
    X, y, query = draw_searches(options.queries, options.documents, random)
    new_X, new_y, new_query = draw_searches(100, options.documents, random)
    counts = [n for n in (2, 4, 8, 16, 32, 64, 128, 256) if n <= options.queries]
    shares: dict[str, list[float]] = {"the ranking machine": [], "a regression": []}
    for count in counts:
        rows = query < count
        machine = RankingSVM(epochs=options.epochs, device=options.device).fit(X[rows], y[rows], query[rows])
        regression = LeastSquares(device=options.device).fit(X[rows], y[rows])
        referee = machine.clone().fit(X[rows], y[rows], query[rows])
        referee.coef_ = regression.coef_  # the share of pairs in order, by the regression's scores
        shares["the ranking machine"].append(machine.score(new_X, new_y, new_query))
        shares["a regression"].append(referee.score(new_X, new_y, new_query))
        values = ", ".join(f"{name} {found[-1]:.1%}" for name, found in shares.items())
        print(f"{count:3} queries: pairs of new queries in order: {values}", flush=True)
    draw_directions(X, y, query, {"the ranking machine": machine.coef_, "a regression": regression.coef_})
    draw_learning(counts, shares)
    ratio = machine.coef_[1] / machine.coef_[0]
    print(f"second feature against first: {ratio:.2f} by the machine, {WORTH[1] / WORTH[0]:.2f} in truth")


if __name__ == "__main__":
    main()
