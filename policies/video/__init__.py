"""The causal video model: pictures to latents (`tokenizer`), these to the next latents (`model`, told by `condition`).

`cache` keeps what the model has seen, `flow` imagines with it, `dream` lets it run freely, `learner` trains it, and a
`network` is tokenizer and model together with what their numbers mean. `dreaming` dreams in bulk, from the starts in
`footage`; `drift` says how far dreams stray, `probe`, `manifold` and `perceptual` look at them.
"""
