"""How good an ensemble is, and how sure its predictions are.

| module | what it answers |
|---|---|
| ``nested_validation`` | how good a builder is on rows that it did not choose on |
| ``scores``, ``study_metrics`` | how good predictions are; by the study's own metrics |
| ``held_out`` | which rows the study kept for the test |
| ``report`` | how good an ensemble is: all of the above in one record |
| ``importance`` | which hyperparameters and features matter |
| ``findings``, ``plots`` | report and importance as a folder; the figures in it |
| ``conformal`` | which sets and intervals hold the truth as often as asked for |
| ``uncertainty`` | what the data and what the models leave open |
| ``temperature`` | how mean probabilities are calibrated |
"""
