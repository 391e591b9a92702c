"""HighMMT (Liang et al., TMLR 2023): one encoder for all modalities and one block for all pairs of them, shared where
it pays. `network` is the model, `heterogeneity` measures which modalities carry the same information, `grouping` turns
that into who shares with whom."""
