"""What the constructs are told: values that recur, checked when they are made."""
