"""Network bricks: attention, encodings, Perceiver, convolutions; they know no MRI."""
