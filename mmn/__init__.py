"""From raw multimodal data to trained, evaluated and auditable models.

The rooms, in the order the data walks through them:

- `mmn.data`: what a data set is: contracts, readers, cohorts, folds, generators.
- `mmn.featurizers`: one modality's evidence to an embedding.
- `mmn.modeling`: embeddings to predictions, and predictions to results.
- `mmn.orchestration`: the table of steps, the Dagster and DVC graphs made from it, the command line.
"""
