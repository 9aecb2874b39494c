"""The table in docs/folding.md of our files beside Keras' own and those that PyTorch exports."""

from .tables import measured, stored, table

OTHERS = {"keras": "Keras'", "torch": "PyTorch's"}


def torch_exports() -> str:
    """Latencies of three files of each network."""
    results = stored("torch_exports")
    lines = [
        (
            f"{name}, {threads}",
            *(f"{row[f'{kind}_ms']:.1f}" for kind in ("ours", *OTHERS)),
            *(
                f"**{found['ratio']:.2f}** ({found['ratio_low']:.2f} to {found['ratio_high']:.2f})"
                for found in (row["ours_to"][other] for other in OTHERS)
            ),
            row["rounds"],
            f"{row['load']:.1f}",
        )
        for name, network in results["rows"].items()
        for threads, row in network["latency"].items()
    ]
    (torch,) = {row["torch_version"] for row in results["rows"].values()}
    header = ("", "ours, ms", *(f"{name}, ms" for name in OTHERS.values()))
    header += (*(f"ours / {name}" for name in OTHERS.values()), "rounds", "load before")
    return table(header, lines) + f"\nPyTorch is {torch}.\n" + measured(results)
