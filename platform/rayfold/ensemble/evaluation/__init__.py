"""The evaluation of an ensemble: scores, importances and uncertainty.

| module | content |
|---|---|
| ``nested_validation`` | loss of a builder on rows that it did not choose on |
| ``scores``, ``study_metrics`` | scores of predictions; the study's own metrics |
| ``held_out`` | the test rows of a study |
| ``report`` | all of the above in one record |
| ``importance`` | importance of hyperparameters and features |
| ``findings``, ``plots`` | report and importance as a folder; its figures |
| ``conformal`` | conformal sets and intervals |
| ``uncertainty`` | uncertainty of predictions, from data and from models |
| ``temperature`` | calibration of mean probabilities |
"""
