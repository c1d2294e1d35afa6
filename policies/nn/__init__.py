"""What all our networks are built of: `layers` of a transformer, and the `optimizer` that trains them."""
