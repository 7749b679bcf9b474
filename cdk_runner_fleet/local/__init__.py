"""The fleet on one machine: emulated AWS, a GitHub twin and local runners."""
