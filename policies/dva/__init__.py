"""The DVA loop: a video model imagines, an inverse dynamics model translates, the arm executes; leapfrog joins them."""
