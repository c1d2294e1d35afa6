"""Identification: which row of the table of knobs a robot is.

`excitation` plans what the arm is to do; `model` runs many candidate rows over the recorded commands; `parameters`
says which knobs are sought and what is known of them beforehand. `equations` (on what `smoothing` makes of a recording)
finds a first row by regression, `fit` the row that moves as the robot did, `uncertainty` says how well it is known, and
`joints` puts these into stages. `contact` does the same for goods and suction; `calibration` writes the result as a
distribution over knobs, to train on.
"""
