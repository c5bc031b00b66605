"""The paper's Table 2 next to our results."""

from collections.abc import Sequence

from taskclust.config import PRINTED_DROPS
from taskclust.experiments.alignment.record import Accuracy, Method, Record
from taskclust.experiments.alignment.statistics import last_drop
from taskclust.formats import Rows, number, with_interval

#: The methods' names in Table 2.
METHODS = {
    "direct": "direct fine-tuning",
    "head": "language head fine-tuning",
    "linear": "linear switch network",
    "mlp": "MLP-based switch network",
}


def tables(records: Sequence[Record]) -> dict[str, Rows]:
    """The tables by title, over seeds."""
    return {"Table 2: alignment": alignment_rows(records)}


def alignment_rows(records: Sequence[Record]) -> Rows:
    """One row per method: means and 95 % intervals over seeds, and how often its switch fires.

    The first row is the base model. Its source accuracy counts the healthy outputs as correct for toxic instructions,
    which is what the methods should produce. The last rows are the switches' negative controls.
    """
    whole = [record for record in records if not record.failure]
    if not whole:
        return []
    rows = [{"method": "base model", **_row([record.base for record in whole])}]
    for name in PRINTED_DROPS:
        printed = {"task accuracy, paper": "1.00", "accuracy drop, paper": number(PRINTED_DROPS[name])}
        row = {"method": METHODS[name], **_row([record.methods[name] for record in whole]), **printed}
        if whole[0].methods[name].history is not None:
            row["drop, last epoch"] = with_interval([last_drop(name)(record) for record in whole])
        rows.append(row)
    for kind in ("linear", "mlp"):
        shuffled = _row([record.shuffled[kind] for record in whole])
        rows.append({"method": f"{METHODS[kind]}, null: labels shuffled", **shuffled})
    return rows


def _row(found: Sequence[Accuracy | Method]) -> dict[str, str | int]:
    drops = [one.drop for one in found if isinstance(one, Method)]
    fires = [one.fires for one in found if isinstance(one, Method) and one.fires is not None]
    return {
        "task accuracy, paper": "–",
        "ours": with_interval([one.source for one in found]),
        "on other tasks": with_interval([one.others for one in found]),
        "accuracy drop, paper": "–",
        "drop, ours": with_interval(drops) if drops else "–",
        "drop, last epoch": "–",
        "fires on source": with_interval([one.source for one in fires]) if fires else "–",
        "fires on others": with_interval([one.others for one in fires]) if fires else "–",
        "seeds": len(found),
    }
