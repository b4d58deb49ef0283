"""The reliability campaign: generated trials of everything a user can do, reproducible from a seed.

``cd tests; python -m campaign --seed 1 --long --out ../docs/campaign.json`` runs all of it. A module of this package
has ``run(count, seed) -> Outcome`` and the counts of trials ``SHORT`` and ``LONG``.
"""
