"""Readers for MultiBench's files as HighMMT reads them: one module, and one `Dataset`, per data set.

`cohorts.py`: published splits. `numbers.py`: arrays checked and made evidence. `npy.py`, `pickles.py`, `hdf5.py`: the
three kinds of file; no pickle is ever executed. docs/multibench.md tells what each data set expects.
"""
