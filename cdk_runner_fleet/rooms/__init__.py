"""What a fleet is composed of: each part in a room of its own, made by the fleet alone."""
